// Sums over all lattice paths of a line of M sites, step by step (theory: exact path sum; notes 1.7, 3.3):
//     psi_{t+1}(x) = f_t(x) sum_k taps_t(k) psi_t(x + k - K/2),   t = 0 ... N-1,
// in three semirings: linear (numbers), log (logarithms of numbers, which may carry signs), max (max-plus, the best path).
#pragma once

#include <cstdint>

#include "core/boundary.hpp"
#include "core/tensor_view.hpp"

namespace qcore::transfer {

enum class Semiring : int { linear = 0, log = 1, max = 2 };
enum class Backend : int { automatic = 0, reference = 1 };

// Contiguous tensors of one dtype: float32 or float64, for `linear` also complex64 or complex128.
//   psi     (B, M)
//   taps    (1 or N, 1 or B, K), K odd
//   factor  (1 or N, 1 or B, M), f, or null for f = 1
// The semirings log and max take logarithms of all three; log also the signs (-1, 0 or 1) of what isn't positive, in tensors of
// the same shapes. Boundary: zero (paths that leave are lost) or periodic.
struct Chain {
    TensorView psi, taps;
    const TensorView *factor, *psi_sign, *taps_sign, *factor_sign;
    std::int64_t steps;
    Boundary boundary;
    Semiring semiring;
    bool scaled;  // linear: psi_N is given as out * 2^exponent
    Backend backend;
};

// out (B, M). Second result: exponents (B,) of a scaled chain, integers in float64, whose largest entry of |out| (for complex numbers of the
// real and imaginary parts) is in [1, 2); signs (B, M) in the semiring log where any were given. Kept, if keep_every > 0: the
// states after keep_every, 2 keep_every, ... < N steps, (count, parts, B, M), from which the adjoint starts; parts is 1, in the
// semiring log 2: psi = first * 2^second. Throws std::invalid_argument.
void forward(const Chain& chain, const TensorView& out, const TensorView* second, const TensorView* kept, std::int64_t keep_every);

// The pull-back of `grad` (B, M), a gradient to out, in torch's convention for complex numbers: gradients to psi and, where
// asked for, taps and factor, in their shapes. In the semiring log these are sums over paths of marginals, in max those of the
// best paths (of several: the one whose steps are the first taps). Nothing comes back to, or from, a weight of 0 in log and max.
void adjoint(const Chain& chain, const TensorView& grad, const TensorView* kept, std::int64_t keep_every, const TensorView& grad_psi,
             const TensorView* grad_taps, const TensorView* grad_factor);

// Semiring max: the sites (B, N + 1) of the best path into the site ends(b), integers in float64, -1 all along where no path leads there.
void best_path(const Chain& chain, const TensorView& ends, const TensorView& sites);

// States that `forward` keeps.
inline std::int64_t kept_states(std::int64_t steps, std::int64_t keep_every) {
    return keep_every > 0 && steps > 0 ? (steps - 1) / keep_every : 0;
}

}  // namespace qcore::transfer
