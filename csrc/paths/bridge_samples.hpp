// What the variants of bridge_isa.cpp give to bridge_samples.cpp.
#pragma once

#include "core/isa.hpp"
#include "paths/bridge_kernels.hpp"

namespace qcore::paths {

struct BridgeKernels {
    void (*random[2])(const RandomTask& task, std::int64_t site);  // float, double
    // Samples begin ... begin + count - 1 of chain q; coefficients in the type of the paths.
    void (*paths[2])(const PathsTask& task, const void* coefficients, std::int64_t q, std::int64_t begin, std::int64_t count);
    void (*weights[2])(const WeightsTask& task, std::int64_t group);  // polynomial, table
};

}  // namespace qcore::paths

namespace qcore {
QC_ISA_OBJECT(paths::BridgeKernels, bridge_kernels)
}
