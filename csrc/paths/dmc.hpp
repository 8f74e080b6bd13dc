// Diffusion Monte Carlo with populations of fixed size: diffusion, weights, systematic (comb) resampling.
#pragma once

#include <cstdint>

#include "core/tensor_view.hpp"
#include "paths/potential.hpp"

namespace qcore::paths {

struct DmcRun {
    double mass = 1, hbar = 1, dt = 0;
    std::int64_t first = 0, count = 0, steps = 1;  // sweep k makes the steps from k * steps on
    std::uint64_t seed = 0;
};

constexpr int dmc_observables = 6;

// walkers: (populations, size), float32 or float64, moved in place.
// reference: (populations,) float64, the energy that weights are taken relative to, so that they stay in range; moves to the growth
//   energy of each sweep. It cancels in everything else.
// guide: u of the guiding function exp(u), or null. Without it walkers sample phi_0, with it phi_0 exp(u).
// measured: (count, 6, populations) float64, means over a sweep: growth energy, weighted mean of the local energy (of V without a
//   guide), of x, x^2, x^4, and (sum w)^2 / (size sum w^2).
void dmc(const DmcRun& run, Potential potential, const TensorView& coefficients, const Potential* guide,
         const TensorView* guide_coefficients, const TensorView& walkers, const TensorView& reference, const TensorView& measured);

}  // namespace qcore::paths
