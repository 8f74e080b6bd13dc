// What the entry points of random numbers and Gaussian chains give to their kernels: plain numbers and addresses, passed by
// value.
#pragma once

#include <cstdint>

#include "core/dtype.hpp"
#include "paths/bridge.hpp"

namespace qcore::paths {

struct RandomTask {
    std::uint32_t purpose, site, sweep, first_chain;
    std::uint64_t seed;
    int kind;
    std::int64_t sites, draws, chains;
    void* out;  // (sites, draws, chains)
};

struct ChainTask {
    std::int64_t chains, steps, samples;
    const double *coefficients, *start, *end;  // (steps, 3), (chains,), (chains,)
    double start_sigma;
    bool closed;
    std::uint32_t purpose, first;  // number of the first sample
    std::uint64_t seed;
};

struct PathsTask {
    ChainTask chain;
    void* out;  // (chains, samples, steps + 1)
};

struct WeightsTask {
    ChainTask chain;
    HeldPotential potential;
    double scale, quadratic;
    bool midpoint;
    std::int64_t groups;
    double* out;  // (chains, groups, 3)
};

void random_numbers(const RandomTask& task, DType dtype);
void sample_chains(const PathsTask& task, DType dtype);
void weigh_chains(const WeightsTask& task);

}  // namespace qcore::paths
