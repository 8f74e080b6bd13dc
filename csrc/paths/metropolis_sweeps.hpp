// What the variants of metropolis_isa.cpp give to metropolis_sweeps.cpp.
#pragma once

#include "core/isa.hpp"
#include "paths/metropolis_kernels.hpp"

namespace qcore::paths {

struct MetropolisKernels {
    // All sweeps for the chains of one vector, with BridgeSteps of the type and a histogram of its own. By type (float, double),
    // then potential: polynomial of few_terms, any polynomial, table.
    void (*sweeps[2][3])(const MetropolisTask& task, const void* bridge, std::int64_t first_chain, int count, double* histogram);
    std::int64_t lanes[2];
};

}  // namespace qcore::paths

namespace qcore {
QC_ISA_OBJECT(paths::MetropolisKernels, metropolis_kernels)
}
