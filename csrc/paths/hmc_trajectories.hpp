// What the variants of hmc_isa.cpp give to hmc_trajectories.cpp.
#pragma once

#include "core/isa.hpp"
#include "paths/hmc_kernels.hpp"

namespace qcore::paths {

// For one block of chains, of which it has `count`.
using HmcKernel = void (*)(const HmcTask& task, std::int64_t first_chain, int count);

struct HmcKernels {
    struct Of {
        int path_lanes, field_lanes;  // chains of a block
        HmcKernel paths, phi4, leapfrog_paths, leapfrog_phi4;
        void (*powers)(const HmcTask& task, void* out);  // HmcTask::powers
    };
    Of f32, f64;
};

}  // namespace qcore::paths

namespace qcore {
QC_ISA_OBJECT(paths::HmcKernels, hmc_kernels)
}
