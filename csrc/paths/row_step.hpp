// The inner loop of the transfer: rows of several outputs, one a lane, one layer back.
#pragma once

#include <cstdint>

namespace qcore::paths {

// Outputs that are worked off together.
constexpr int lanes = 16;

// next(y) = sum over the entries e of y of taps[tap[e]] row(site[e]), after row(x) was multiplied by gate(x). Rows are
// [site][lanes]; entries of y are begin[y] ... begin[y + 1] - 1: the sites and taps that read y.
struct RowStep {
    std::int64_t sites;
    const std::int64_t* begin;
    const std::int32_t *site, *tap;
    const double *gate, *taps;
    double *row, *next;
    double* opened;  // [lanes] the sum of what is left of the row
};

struct Kernels {
    void (*step)(const RowStep&);
};

}  // namespace qcore::paths
