// What the entry points of Langevin motion and diffusion Monte Carlo give to their kernels: plain numbers and addresses, passed
// by value.
#pragma once

#include "core/dtype.hpp"
#include "core/philox.hpp"
#include "paths/dmc.hpp"
#include "paths/langevin.hpp"

namespace qcore::paths {

struct LangevinTask {
    LangevinScheme scheme;
    HeldPotential g;
    int terms;                    // of g, where the kernels know their number, else 0
    double dt, kick;              // spread of a step's noise
    double centre, decay;         // of the exact scheme: x' = centre + decay (x - centre) + kick xi
    std::int64_t first, count, steps;
    const std::int64_t* lags;
    std::int64_t lag_count;
    std::uint64_t seed;
    std::int64_t chains;
    void* x;
    double *measured, *failed;
};

struct DmcTask {
    DmcRun run;
    HeldPotential potential, guide;
    bool guided;
    std::int64_t populations, size;
    void* walkers;
    double *reference, *measured;
};

// All sweeps of a call.
void langevin_sweeps(const LangevinTask& task, DType dtype);
void dmc_sweeps(const DmcTask& task, DType dtype);

// Sums over a population are made of so many partial ones, walker i in number i modulo that: the same everywhere.
constexpr int dmc_sums = 16;
constexpr int dmc_terms = 6;  // w, w^2, w f, w x, w x^2, w x^4

constexpr std::uint32_t dmc_purpose(std::uint32_t slot) { return static_cast<std::uint32_t>(Purpose::diffusion) << 24 | slot; }

}  // namespace qcore::paths
