// Many steps of a split-operator scheme on a grid of one to three space axes: a step is a product of pointwise factors (potential)
// and of kinetic substeps, each of which applies along every axis d the stages m = 1 ... M with the coefficients e_{dm},
//     cayley:  psi <- 2 chi - psi,    euler:  psi <- chi,    (1 - e_{dm} L_r) chi = psi along axis d,
// L_r the central difference of order r for -h^2 d^2/dx^2 (see evolve.hpp). Crank-Nicolson is e = -i dt hbar / (4 m h^2).
#pragma once

#include <cstdint>
#include <vector>

#include "core/tensor_view.hpp"
#include "schrodinger/evolve.hpp"

namespace qcore::schrodinger {

// Tensors are contiguous; S = one to three sizes.
//   phases   (Q, P, *S)  P = 1 or B; complex128, or float64 where psi is real
//   e        (A, D, M)   complex128 on the host; real numbers where psi is real
//   program  one step, in order: q >= 0 multiplies by phases[q], -1 - a applies kinetic substep a
// boundary one per space axis. arithmetic f32 wants psi in float32 or complex64.
struct Split {
    TensorView phases;
    TensorView e;
    std::vector<std::int64_t> program;
    std::vector<Boundary> boundary;
    std::int64_t steps;
    Rule rule;
    int order;
    Arithmetic arithmetic;
    Backend backend;
};

// out (B, *S) from psi (B, *S), float32, float64, complex64 or complex128. frames (steps / save_every, B, *S), if there, are
// the states after every save_every steps. The same for a field whatever others are in the batch, and for any number of
// threads. Throws std::invalid_argument.
void split_evolve(const Split& s, const TensorView& psi, const TensorView& out, const TensorView* frames, std::int64_t save_every);

// Gradients of a real function of out and frames, with torch's convention (conjugate of the derivative).
//   states       (B, *S): out, from which the run is traced back (cayley and phases far from 0 only); or (steps, B, *S): the
//                state before every step, for when tracing back would amplify errors
//   grad_out (B, *S), grad_frames or null: these steps may be part of a longer run, in which `first` others stood before them, and
//                whose frames are counted from its start: ((first + steps) / save_every - first / save_every, B, *S)
//   grad_psi     (B, *S)
//   grad_phases  as phases, or null
//   grad_e       (A, D, M) complex128, or null
void split_adjoint(const Split& s, const TensorView& states, const TensorView& grad_out, const TensorView* grad_frames,
                   std::int64_t save_every, std::int64_t first, const TensorView& grad_psi, const TensorView* grad_phases,
                   const TensorView* grad_e);

}  // namespace qcore::schrodinger
