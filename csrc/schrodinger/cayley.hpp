// Many Cayley steps of any tridiagonal operator A and mass matrix M,
//     psi <- (M - z A)^{-1} (M + z A) psi = 2 chi - psi,   (M - z A) chi = M psi.
// z = -i dt / (2 hbar) is Crank-Nicolson for i hbar dpsi/dt = A psi, z = dt / 2 for dpsi/dt = A psi.
//
// Elimination is not pivoted. That is safe where every leading part of M - z A is far from singular: A Hermitian with z
// imaginary (|pivot| >= the pivot of M), -z A positive definite, diagonal dominance. A pivot that is zero, not finite or
// lost to rounding is an error.
#pragma once

#include <cstdint>

#include "core/tensor_view.hpp"
#include "schrodinger/evolve.hpp"

namespace qcore::schrodinger {

// Tensors are contiguous, complex128 with complex psi, else float64. P, Q and Z are 1 (the same for every system) or B.
//   bands  (3, P, n)  A[j, j-1], A[j, j], A[j, j+1]; the first of bands[0] and the last of bands[2] are not read
//   mass   (3, Q, n)  M likewise, or null: M = 1
//   z      (Z,)
struct Cayley {
    TensorView bands;
    const TensorView* mass;
    TensorView z;
    std::int64_t steps;
    Backend backend;
};

// out (B, n) from psi (B, n), both float32, float64, complex64 or complex128; arithmetic is in float64.
//   frames (steps / save_every, B, n), or null      the states after steps save_every, 2 save_every, ...
//   kept, or null: for the adjoint, in float64 or complex128,
//     with checkpoint_every > 0 (max(steps - 1, 0) / checkpoint_every, B, n): the states after every so many steps
//     with checkpoint_every = 0 (1, B, n): the last state
// The same for a system whatever others are in the batch, and for any number of threads. Throws std::invalid_argument.
void cayley(const Cayley& c, const TensorView& psi, const TensorView& out, const TensorView* frames, std::int64_t save_every,
            const TensorView* kept, std::int64_t checkpoint_every);

// Gradients of a real function of out and frames, with torch's convention (conjugate of the derivative). With
// checkpoint_every = 0 the states are traced back from the last one, which takes M + z A to be factored.
//   grad_out (B, n), grad_frames as frames or null
//   grad_psi (B, n)
//   grad_bands, grad_mass, grad_z as bands, mass, z; grad_bands null: only grad_psi is wanted
void cayley_adjoint(const Cayley& c, const TensorView& psi, const TensorView& kept, std::int64_t checkpoint_every,
                    const TensorView& grad_out, const TensorView* grad_frames, std::int64_t save_every, const TensorView& grad_psi,
                    const TensorView* grad_bands, const TensorView* grad_mass, const TensorView* grad_z);

}  // namespace qcore::schrodinger
