// What the variants of walk_isa.cpp give to walks.cpp.
#pragma once

#include "core/isa.hpp"
#include "paths/walk_kernels.hpp"

namespace qcore::paths {

struct WalkKernels {
    struct Of {
        int lanes;
        void (*langevin)(const LangevinTask& task, std::int64_t first_chain, int count);  // a vector of chains
        void (*dmc)(const DmcTask& task, std::int64_t population);
    };
    Of f32, f64;
};

}  // namespace qcore::paths

namespace qcore {
QC_ISA_OBJECT(paths::WalkKernels, walk_kernels)
}
