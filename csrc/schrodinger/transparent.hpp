// Crank-Nicolson steps of H = kappa (2 - (shift right) - (shift left)) + V on a grid that goes on beyond its ends, where V keeps
// its value at the end and psi is zero at first: the discrete transparent boundary of Arnold and Ehrhardt (VLSI Design 6
// (1998) 325; Commun. Comput. Phys. 1 (2006) 1), which lets waves leave as the same scheme on an endless grid would.
//
// With chi the mean of two consecutive states, the scheme outside gives chi at the point beyond an end from all chi so far at
// the end, chi_{-1}^m = sum_k nu_{m-k} chi_0^k; nu has the generating function
//     nu(x) = (b - sqrt(b^2 - 4)) / 2,   b(x) = 2 + V / kappa - i R (1 - x) / (1 + x),   R = 1 / (tau kappa).
// So a step is a tridiagonal solve with nu_0 in the corners and the rest of the sum on the right hand side.
#pragma once

#include <cstdint>

#include "core/tensor_view.hpp"
#include "schrodinger/evolve.hpp"

namespace qcore::schrodinger {

// Tensors are contiguous; P is 1 or B.
//   potential  (P, n) float64
//   kappa      hbar^2 / (2 m h^2)
//   tau        dt / (2 hbar)
//   left, right: which ends are transparent; the other has a wall at the point beyond it
struct Transparent {
    TensorView potential;
    double kappa, tau;
    std::int64_t steps;
    bool left, right;
    Backend backend;
};

// out (B, n) from psi (B, n), both complex64 or complex128; arithmetic is in float64.
//   frames (steps / save_every, B, n), or null
//   kept, trace: for the adjoint, both or neither, complex128
//     kept (max(steps - 1, 0) / checkpoint_every, B, n): the states after every checkpoint_every > 0 steps
//     trace (2, steps, 2, B): chi at both ends, and the right hand sides there, of every step
// Throws std::invalid_argument.
void transparent(const Transparent& t, const TensorView& psi, const TensorView& out, const TensorView* frames,
                 std::int64_t save_every, const TensorView* kept, std::int64_t checkpoint_every, const TensorView* trace);

// Gradients of a real function of out and frames, with torch's convention.
//   grad_psi (B, n)
//   grad_potential (P, n) float64, or null: only grad_psi is wanted; what the ends of the potential do as the
//     potential outside is in it
//   grad_constants (2, P) float64, with grad_potential: to kappa and tau, what each set adds
void transparent_adjoint(const Transparent& t, const TensorView& psi, const TensorView& kept, std::int64_t checkpoint_every,
                         const TensorView& trace, const TensorView& grad_out, const TensorView* grad_frames, std::int64_t save_every,
                         const TensorView& grad_psi, const TensorView* grad_potential, const TensorView* grad_constants);

}  // namespace qcore::schrodinger
