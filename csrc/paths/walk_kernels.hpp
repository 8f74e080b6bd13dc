// What the variants of walk_isa.cpp give to langevin.cpp and dmc.cpp.
#pragma once

#include "paths/dmc.hpp"
#include "paths/langevin.hpp"

namespace qcore::paths {

// One block of chains, for one thread.
struct LangevinTask {
    const LangevinRun* run = nullptr;
    Potential g;
    std::int64_t chains = 0, first_chain = 0;
    int count = 0;
    void* x = nullptr;
    double *measured = nullptr, *failed = nullptr;
};

// One population.
struct DmcTask {
    const DmcRun* run = nullptr;
    Potential potential;
    const Potential* guide = nullptr;
    std::int64_t populations = 0, population = 0, size = 0;
    void* walkers = nullptr;
    double *reference = nullptr, *measured = nullptr;
};

struct WalksOf {
    int lanes;
    void (*langevin)(const LangevinTask&);
    void (*dmc)(const DmcTask&);
};

struct WalkKernels {
    WalksOf f32, f64;
};

}  // namespace qcore::paths
