// Langevin motion dx = -G'(x) dt + sqrt(2 D) dB of many chains, stationary where psi^2 = exp(-G / D): Nelson's picture of the ground
// state psi = exp(-G / 2D), with 2 D = hbar / m.
#pragma once

#include <cstdint>
#include <vector>

#include "core/tensor_view.hpp"
#include "paths/potential.hpp"

namespace qcore::paths {

// s = sqrt(2 D dt), xi_n a standard normal keyed by the number of the step.
enum class LangevinScheme {
    euler_maruyama,       // x' = x + F(x) dt + s xi_n
    heun,                 // x' = x + (F(x) + F(x + F(x) dt + s xi_n)) dt / 2 + s xi_n
    leimkuhler_matthews,  // x' = x + F(x) dt + s (xi_n + xi_{n+1}) / 2
    implicit_midpoint,    // x' = x + F((x + x') / 2) dt + s xi_n
    exact,                // Ornstein-Uhlenbeck, G of second degree alone
};

struct LangevinRun {
    LangevinScheme scheme = LangevinScheme::heun;
    double dt = 0, diffusion = 0;        // D
    std::int64_t first = 0, count = 0;   // sweeps; sweep k makes the steps from k * steps on
    std::int64_t steps = 1;
    std::vector<std::int64_t> lags;      // of the correlators, at most `steps`
    std::uint64_t seed = 0;
};

// x: (chains,), float32 or float64, moved in place.
// measured: (count, 3 + lags, chains) float64, means over a sweep: x, x^2, x^4, x_t x_{t + lag} for every lag.
// failed: (chains,) float64: the step after which a chain was found at no finite place, else -1. An implicit step whose equation
// Newton's iteration didn't solve counts as one.
void langevin(const LangevinRun& run, Potential g, const TensorView& coefficients, const TensorView& x, const TensorView& measured,
              const TensorView& failed);

}  // namespace qcore::paths
