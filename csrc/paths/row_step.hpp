// The inner loop of the transfer: rows of several outputs, one a lane, one layer back.
#pragma once

#include <cstdint>

namespace qcore::paths {

// Outputs that are worked off together.
constexpr int lanes = 16;

// next(y) = factor gate(y) * sum over the entries e of y of taps[tap[e]] row(site[e]), for first <= y < last. Rows are
// [site][lanes]; entries of y are begin[y] ... begin[y + 1] - 1: the sites and taps that read y. The gate is that of the layer
// that comes next, so that what it closes is never computed; null where none does.
struct RowStep {
    std::int64_t first, last;
    const std::int64_t* begin;
    const std::int32_t *site, *tap;
    const double *gate, *taps;
    const double* factor;  // [lanes]
    const double* row;
    double* next;
    double* sum;      // [lanes] of next
    double* largest;  // [lanes] of the sizes of next; null where nobody asks
};

struct Kernels {
    void (*step)(const RowStep&);
};

}  // namespace qcore::paths
