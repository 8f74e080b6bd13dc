// What the variants of hmc_isa.cpp give to hmc.cpp.
#pragma once

#include "core/philox.hpp"
#include "paths/hmc.hpp"

namespace qcore::paths {

// First word of the counters: slot 0 for momenta, 1 for the uniforms of a trajectory.
constexpr std::uint32_t hmc_purpose(std::uint32_t slot) { return static_cast<std::uint32_t>(Purpose::hmc) << 24 | slot; }

constexpr int path_observables = 6, field_observables = 6;  // before the correlators

// One block of chains, for one thread.
struct HmcTask {
    const Trajectories* run = nullptr;
    const PathModel* path = nullptr;
    const FieldModel* field = nullptr;
    std::int64_t rows = 0, columns = 1;  // slices and 1, or the lattice
    std::int64_t chains = 0, first_chain = 0;
    int count = 0;  // chains of this block
    void* x = nullptr;
    double *tuning = nullptr, *measured = nullptr, *accepted = nullptr;
    void* momenta = nullptr;  // leapfrog alone
    double* energies = nullptr;
    double step = 0;

    std::int64_t sites() const { return rows * columns; }
};

template <class T>
struct HmcOf {
    int path_lanes, field_lanes;  // chains of a block
    void (*paths)(const HmcTask&);
    void (*phi4)(const HmcTask&);
    void (*leapfrog_paths)(const HmcTask&);
    void (*leapfrog_phi4)(const HmcTask&);
};

struct HmcKernels {
    HmcOf<float> f32;
    HmcOf<double> f64;
};

}  // namespace qcore::paths
