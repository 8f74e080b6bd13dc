// Metropolis sampling of discrete paths with weight exp(-S),
//     S = (link / 2) sum_n (x_n - x_{n-1})^2 + sum_n U(x_n),   U = potential_scale V + correction (potential_scale V')^2,
// link = m / (hbar dt), potential_scale = dt / hbar. The potential may instead be taken at midpoints (x_n + x_{n-1}) / 2. Closed
// paths have as many beads as links; pinned ones a bead more, the first and last of which stay.
#pragma once

#include <cstdint>
#include <vector>

#include "core/tensor_view.hpp"
#include "paths/potential.hpp"

namespace qcore::paths {

enum class Move : int {
    single,        // beads one by one, even ones first, uniformly displaced
    staging,       // segments regrown as free bridges, accepted on the potential
    bisection,     // the same by halves, from coarse to fine, rejected as early as the coarse potential says so
    displacement,  // the whole path moved by one amount
    reflection,    // x -> -x
};
constexpr int move_kinds = 5;

struct MetropolisCall {
    Potential potential;
    double link, potential_scale, correction;
    bool midpoint, pinned, warmup;
    std::vector<int> moves;  // of a sweep, in order
    std::int64_t segment;    // links of a staging or bisection segment; a power of two for bisection
    std::int64_t hits;       // proposals to a bead in a sweep
    std::int64_t first, sweeps, every;  // sweep numbers first ... first + sweeps - 1; measured where (number + 1) % every == 0
    std::vector<std::int64_t> lags;     // of the correlator
    double histogram_start, inverse_bin;
    std::uint64_t seed;
};

// In place:
//     x         (beads, chains) float32 or float64
//     step      (2, chains) float64              full widths of single and displacement proposals, rounded to x's type; tuned
//                                                while `warmup`
//     counts    (2, moves, chains) float64       proposals made and accepted since the warm-up
// Written:
//     measured  (measurements, 4 + lags, chains) float64: virial and thermodynamic energy in units of 1 / beta, mean x^2, mean
//               x^4, mean x_n x_{n+lag}; of pinned paths potential action, middle bead squared, mean x^2, x^4, x_middle x_{middle+lag}
//     accepted  (chains,) float64                fraction of the first move's proposals accepted in this call
//     histogram (bins,) float64, or null: added to for each measured bead inside
void metropolis(const MetropolisCall& call, const TensorView& coefficients, const TensorView& x, const TensorView& step,
                const TensorView& counts, const TensorView& measured, const TensorView& accepted, const TensorView* histogram);

}  // namespace qcore::paths
