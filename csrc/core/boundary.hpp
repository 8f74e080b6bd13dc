// What lies beyond the edge of a grid.
#pragma once

#include <cstdint>

#include "core/config.hpp"

namespace qcore {

enum class Boundary : int { zero = 0, periodic = 1, reflect = 2, replicate = 3 };

// The grid index whose value stands at index i (any i) of an axis of n points, or -1 where the value is zero.
// As torch's padding modes: reflect mirrors about the edge point (needs at most n - 1 points beyond), replicate repeats it.
QC_HD std::int64_t source_index(std::int64_t i, std::int64_t n, Boundary boundary) {
    if (i >= 0 && i < n) return i;
    switch (boundary) {
        case Boundary::zero: return -1;
        case Boundary::periodic: return ((i % n) + n) % n;
        case Boundary::reflect: return i < 0 ? -i : 2 * (n - 1) - i;
        case Boundary::replicate: return i < 0 ? 0 : n - 1;
    }
    return -1;
}

}  // namespace qcore
