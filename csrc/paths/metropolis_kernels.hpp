// What the entry point of the Metropolis sampler gives to its kernels: plain numbers and addresses, passed by value.
#pragma once

#include <cmath>
#include <cstdint>

#include "core/config.hpp"
#include "core/dtype.hpp"
#include "paths/metropolis.hpp"

namespace qcore::paths {

struct MetropolisTask {
    static constexpr int most_moves = 8;

    HeldPotential potential;  // a polynomial comes multiplied by potential_scale
    int terms;                // of a polynomial whose number of coefficients the kernels know, else 0
    double link, potential_scale, correction;
    bool midpoint, pinned, warmup;
    int moves[most_moves], move_count;
    std::int64_t segment, hits, first, sweeps, every;
    const std::int64_t* lags;
    std::int64_t lag_count;
    double histogram_start, inverse_bin;
    std::uint64_t seed;
    std::int64_t beads, links, chains, bins, measurements;
    void* x;  // (beads, chains)
    double *step, *counts, *measured, *accepted, *histogram;
};

// All sweeps of a call.
void metropolis_sweeps(const MetropolisTask& task, DType dtype);

// A free bridge's next bead, with r links that remain after it: the weight of the end, the spread.
template <class T>
struct BridgeStep {
    T share, sigma;
};
template <class T>
QC_HD BridgeStep<T> bridge_step(std::int64_t r, T link) {
    const T share = T(1) / static_cast<T>(r + 1);
    return {share, std::sqrt(static_cast<T>(r) * share / link)};
}

}  // namespace qcore::paths
