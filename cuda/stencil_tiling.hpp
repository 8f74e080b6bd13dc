// How a plane is cut into tiles, and tiles dealt to blocks, warps and lanes: what the host decides of stencil_tile.hpp.
#pragma once

#include "stencil.hpp"

namespace qcore::stencil {

constexpr int columns_of_lane = 4;
constexpr int overlap_unit = columns_of_lane;

// Rows of a lane, eight or, of planes that then fill their last warp better, seven.
constexpr int many_rows = 8, fewer_rows = 7;

// Warps of a block, for which registers suffice.
template <class T>
constexpr int most_warps = sizeof(T) == 4 ? 16 : 8;

// Where an axis is cut: tile i has the core [i pitch, (i + 1) pitch) and reads `overlap` points beyond it.
struct Cut {
    std::int64_t size;
    int pitch, tiles, overlap;

    Cut() = default;
    Cut(std::int64_t n, int capacity, int beyond) : size(n), pitch(static_cast<int>(n)), tiles(1), overlap(0) {
        if (n <= capacity) return;
        overlap = beyond;
        pitch = capacity - 2 * beyond;
        tiles = static_cast<int>((n + pitch - 1) / pitch);
    }
};

// How planes are dealt to blocks: item = ((channel, group of images), tile row, tile column).
struct Tiling {
    Cut x, y;
    int rows, lanes, pack, warps;  // rows of a lane, lanes of an image, images side by side, warps of a block
    int batch, channels, groups;
    Boundary boundary;

    Tiling() = default;
    // `choose`: whether the kernel is there for fewer rows too.
    Tiling(const Problem& p, int warps_at_most, int overlap, bool choose)
        : x(p.width, 32 * columns_of_lane, overlap), y(p.height, warps_at_most * many_rows, overlap), rows(many_rows), lanes(32),
          batch(static_cast<int>(p.batch)), channels(static_cast<int>(p.channels)), boundary(p.options.boundary) {
        if (whole())
            while (lanes > 1 && lanes / 2 * columns_of_lane >= p.width) lanes /= 2;
        pack = 32 / lanes;
        groups = (batch + pack - 1) / pack;
        const int most = y.tiles == 1 ? static_cast<int>(y.size) : warps_at_most * many_rows;
        const auto warps_of = [&](int n) { return (most + n - 1) / n; };
        const int fewer = warps_of(fewer_rows);
        const bool fuller = fewer <= warps_at_most && fewer * fewer_rows < warps_of(many_rows) * many_rows;
        if (choose && plain() && fuller) rows = fewer_rows;
        warps = warps_of(rows);
    }

    QC_HD bool whole() const { return x.tiles == 1 && y.tiles == 1; }
    QC_HD int tiles() const { return x.tiles * y.tiles; }
    QC_HD int items() const { return channels * groups * tiles(); }
    QC_HD std::int64_t parts() const { return std::int64_t{groups} * tiles() * warps; }  // partial sums of a channel
    // Whether the columns beyond a lane's own are always a neighbour's, a zero or, periodically, the other end's.
    QC_HD bool plain() const {
        return x.size % columns_of_lane == 0 && (boundary == Boundary::zero || boundary == Boundary::periodic);
    }
};

// A tile's place on an axis: it holds [origin, origin + extent) and answers for [core, core_end), counted from its origin.
struct Span {
    std::int64_t origin;
    int extent, core, core_end;
    bool first, last;  // whether it begins and ends where the axis does
    bool wraps;        // whether its own ends are neighbours

    QC_HD Span(const Cut& cut, int i, Boundary boundary) {
        const std::int64_t begin = std::int64_t{i} * cut.pitch, end = begin + cut.pitch < cut.size ? begin + cut.pitch : cut.size;
        std::int64_t from = begin - cut.overlap, to = end + cut.overlap;
        if (boundary != Boundary::periodic) {
            from = from < 0 ? 0 : from;
            to = to > cut.size ? cut.size : to;
        }
        origin = from;
        extent = static_cast<int>(to - from);
        core = static_cast<int>(begin - from);
        core_end = static_cast<int>(end - from);
        first = cut.tiles == 1 || (from == 0 && boundary != Boundary::periodic);
        last = cut.tiles == 1 || (to == cut.size && boundary != Boundary::periodic);
        wraps = cut.tiles == 1 && boundary == Boundary::periodic;
    }
};

}  // namespace qcore::stencil
