// What the compiled variants of the Gaussian chains offer.
#pragma once

#include <cstdint>

#include "core/isa.hpp"
#include "paths/potential.hpp"

namespace qcore::paths {

struct RandomTask {
    std::uint32_t purpose, site, sweep, first_chain;
    std::uint64_t seed;
    int kind;
    std::int64_t draws, chains;
    void* out;  // (draws, chains)
};

// Numbers of type T: float or double.
struct ChainTask {
    std::int64_t steps;
    const void* coefficients;  // [steps][3], T
    double start_sigma;
    bool closed;
    std::uint32_t purpose, first;
    std::uint64_t seed;
    std::int64_t samples;
};

struct PathsTask {
    ChainTask chain;
    double start, end;
    std::uint32_t sweep;
    void* out;  // [samples][steps + 1], T
};

struct WeightsTask {
    ChainTask chain;  // double
    const double *start, *end;
    std::int64_t chains;
    Potential potential;
    double scale, quadratic;
    bool midpoint;
    double* log_weights;  // [chains][samples]
};

struct BridgeKernels {
    void (*random[2])(const RandomTask&);  // float, double
    void (*paths[2])(const PathsTask&);
    void (*weights[2])(const WeightsTask&);  // polynomial, table
    std::int64_t lanes[2];
};

}  // namespace qcore::paths

namespace qcore {
QC_ISA_OBJECT(paths::BridgeKernels, bridge_kernels)
}
