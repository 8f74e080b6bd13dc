// A checked run of Cayley steps as plain pointers, with the factors that all systems share: what the kernels take.
#pragma once

#include <cstdint>

namespace qcore::schrodinger {

// A pivot that is left with this little of what it was made of is lost to rounding.
constexpr double lost_pivot = 1e-13;

// One number is `parts` doubles: 1 (real) or 2. With T = M - z A = (1 + K) diag(1 / r) (1 + t), unit bidiagonal on both sides,
//     k_j = T[j, j-1] r_{j-1},  1 / r_j = T[j, j] - k_j T[j-1, j],  t_j = r_j T[j, j+1];   k_0 = t_{n-1} = 0.
struct Factors {
    const double *k, *r, *t;
};

struct CayleyRun {
    std::int64_t n, batch, steps;
    int parts;
    bool single;  // psi, out, frames and their gradients are of single precision

    // Numbers [3][count][n] and [count], where count is 1 or batch. mass may be null.
    const double *bands, *mass, *z;
    std::int64_t bands_count, mass_count, z_count;

    // Transparent ends: the weights of the point beyond an end, numbers [2][count][steps], already times -z kappa; the
    // first of them is in the corner of the matrix and isn't used here. Null: no such ends.
    const double* memory;
    std::int64_t memory_count;

    bool lanewise;  // coefficients of its own for each system: factored in the kernel. Else:
    Factors factors, back;       // of M - z A, and of M + z A where states are traced back
    const double* mass_rows;     // numbers [3][n]
    const double *down, *up;     // alternating sweeps, numbers [n][5], see cayley_kernel.hpp; null where two sweeps are safer
};

// Pointers of the batch's first system. What isn't asked for is null.
struct CayleyForward {
    const void* psi;
    void *out, *frames;
    std::int64_t save_every;
    double* kept;
    std::int64_t checkpoint_every;
    double* trace;
};

struct CayleyAdjoint {
    const void* psi;
    const double* kept;
    std::int64_t checkpoint_every;
    const double* trace;
    const void *grad_out, *grad_frames;
    std::int64_t save_every;
    void* grad_psi;
    // Sums over steps of nu_i chi_j on the bands of A, then, with a mass, of nu_i (psi - chi)_j on those of M: numbers
    // [3 or 6][n] of this block, or of each of its systems where the run is lanewise.
    double* sums;
    double* memory_sums;  // the same for the weights of the ends: [2][steps]
};

// Blocks of systems. A run gives false where a pivot of a lanewise run is zero, not finite or lost to rounding.
struct CayleyKernels {
    int lanes;  // systems in a group: a block of `groups` (1, or 2 with alternating sweeps) is that many times as wide
    bool (*forward)(const CayleyRun&, const CayleyForward&, std::int64_t first, std::int64_t count, int groups);
    bool (*adjoint)(const CayleyRun&, const CayleyAdjoint&, std::int64_t first, std::int64_t count);
};

}  // namespace qcore::schrodinger
