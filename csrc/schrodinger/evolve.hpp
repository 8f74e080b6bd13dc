// Many fused implicit steps of a one-dimensional Schroedinger or diffusion equation d psi/ds = c H psi,
//     H = kappa L_r + diag(V),  L_r the central difference of order r for -h^2 d^2/dx^2,  kappa = hbar^2 / (2 m h^2).
// A step is a product of M stages, each with a coefficient c_s of its own,
//     cayley:  psi <- (1 + c_s H) (1 - c_s H)^{-1} psi = 2 chi - psi,   chi = (1 - c_s H)^{-1} psi
//     euler:   psi <- chi
// which is the diagonal Pade approximant [M/M] of exp (c_s = -i dt / (hbar z_s), z_s its poles; Crank-Nicolson is M = 1,
// z = 2), or [0/M], which damps. r = 2: three points; r = 4 and 6: compact, L_4 = l / (1 - l / 12),
// L_6 = l (1 - l / 20) / (1 - 2 l / 15) with l = 2 - (shift right) - (shift left), zero or periodic beyond the ends.
#pragma once

#include <cstdint>

#include "core/tensor_view.hpp"

namespace qcore::schrodinger {

enum class Rule : int { cayley = 0, euler = 1 };
enum class Boundary : int { dirichlet = 0, periodic = 1 };
enum class Arithmetic : int { f64 = 0, f32 = 1 };
enum class Backend : int { automatic = 0, reference = 1 };

// Tensors are contiguous.
//   potential  (S, P, n)  S = 1 or steps, P = 1 or B; float64, or complex128 with complex psi
//   c          (M,)       complex128, on the host; real numbers where psi is real
// arithmetic f32 wants psi in float32 or complex64.
struct Evolution {
    TensorView potential;
    double kappa;
    TensorView c;
    std::int64_t steps;
    Rule rule;
    int order;
    Boundary boundary;
    Arithmetic arithmetic;
    Backend backend;
};

// out (B, n) from psi (B, n), both float32, float64, complex64 or complex128. A stage is one factor, steps * M in all;
// frames (stages / save_every, B, n), if there, are the states after every save_every stages.
// The same for a system whatever others are in the batch, and for any number of threads. Throws std::invalid_argument.
void evolve(const Evolution& e, const TensorView& psi, const TensorView& out, const TensorView* frames, std::int64_t save_every);

// Gradients of a real function of out and frames, with torch's convention (conjugate of the derivative).
//   states          (B, n): out, from which the run is traced back, stage by stage; or (stages + 1, B, n): psi and the
//                   state after every stage, for when tracing back would amplify errors
//   grad_out (B, n), grad_frames as frames or null
//   grad_psi        (B, n)
//   grad_potential  as potential; its real part where potential is real
//   grad_c          (M,) complex128
void adjoint(const Evolution& e, const TensorView& states, const TensorView& grad_out, const TensorView* grad_frames,
             std::int64_t save_every, const TensorView& grad_psi, const TensorView& grad_potential, const TensorView& grad_c);

}  // namespace qcore::schrodinger
