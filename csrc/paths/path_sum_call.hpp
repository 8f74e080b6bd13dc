// What the entry points of the gated path sums and their kernels agree on.
#pragma once

#include <cstdint>

#include "core/boundary.hpp"

namespace qcore::paths {

// A chain as plain pointers, checked; `offsets` and `output` to memory of the host.
struct GatedCall {
    std::int64_t steps, kernel, batch, height, width, outputs;
    const double *taps, *gates, *bias;
    const std::int64_t *offsets, *output;
    Boundary boundary;

    std::int64_t sites() const { return height * width; }
};

void gated_transfer(const GatedCall& p, double* weights, double* from_bias, double* exponents);
void gated_enumerate(const GatedCall& p, std::int64_t paths, double* weights, double* starts);
void gated_sample(const GatedCall& p, const double* psi0, std::int64_t samples, std::uint64_t seed, std::int64_t first,
                  double* mean, double* variance);

}  // namespace qcore::paths
