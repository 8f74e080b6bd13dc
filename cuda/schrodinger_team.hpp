// Many stages of one system in one launch: a team of 1 to 16 warps for each system, whose state stays in registers, M points in a
// row a lane. The factors of elimination.hpp (order 2) and band.hpp (the compact orders) make of a stage two linear recurrences,
// one down, one up: each lane goes through its points as if nothing came in, scans over the lanes, whose multipliers are known
// beforehand, tell what does come in, and over the warps shared memory does.
//
// Order 2 goes down and up once:
//     down   d_j = psi_j - r_{j-1} d_{j-1},        up   w_j = r_j (d_j - w_{j+1}),   psi'_j = G w_j - (d_j + r_{j-1} d_{j-1}).
// d_j is what the lane finds alone plus q_j D, and w at its first point sum s_j d_j plus a multiple of what comes in from
// below. Per point and stage 26 multiply-adds and 4 numbers of coefficients; where all systems share those, from the
// first-level cache. In complex128 both take about half a clock of a multiprocessor, 2 ps on an H200. 16 points a lane leave
// room for 16 warps on each, which hide the latency of the recurrences.
//
// The compact orders go twice, alone and with what came in, and read nothing but rows of factors: with one diagonal on either
// side 32 multiply-adds and 6 reads of 3 numbers a point, with two 52 and 10 of 5.
#pragma once

#include <algorithm>

#include "schrodinger_factors.hpp"

namespace qcore::schrodinger {
namespace {

constexpr int warp = 32, most_team = 512, most_points = 16;
constexpr unsigned everyone = 0xffffffffu;

// What a lane hands on to the next: the one or two numbers that a recurrence goes on from, the nearest first.
template <class N, int count>
struct Carry {
    N of[count];
};

// Coefficients of a lane, behind those of its points. Matrices multiply carries. Scans: level k takes what lane - 2^k (+ 2^k
// upwards) has.
template <int reach>
struct LaneNumbers {
    static constexpr int carried = reach == 2 ? 2 : 1, square = carried * carried;
    static constexpr int down_level = 0;             // 5 matrices of the scan downwards
    static constexpr int up_level = 5 * square;      // 5 of that upwards
    static constexpr int down_before = 10 * square;  // of what comes into the warp, before this lane
    static constexpr int down_after = 11 * square;   // and after it
    static constexpr int up_before = 12 * square;
    static constexpr int up_after = 13 * square;
    static constexpr int weight = 14 * square;           // periodic: the small matrix
    static constexpr int entering = 15 * square;         // r, s of the point before the lane's first
    static constexpr int through = entering + 1 + reach; // order 2: sum s_j q_j
    static constexpr int gain = through + 1;             // order 2: G
    static constexpr int count = gain + 1;
};

// How the points of a system are dealt out, and where coefficients lie: [table][set][warp][number][lane of the warp] or, for
// teams that share a warp, [table][group of sets][number][set][lane], numbers being those of the points (order 2: r, s, q; else
// a row of factors), those of the lane, and, periodic, borders of the points.
struct Team {
    std::int64_t lanes;
    int points, reach;
    bool periodic;

    // Lanes of a team in a warp, which may hold several, and in a block; systems of more lanes than that have parts in several.
    QC_HD int width() const { return lanes < warp ? static_cast<int>(lanes) : warp; }
    QC_HD int block() const { return lanes < most_team ? static_cast<int>(lanes) : most_team; }
    QC_HD std::int64_t parts() const { return lanes / block(); }
    QC_HD int warps() const { return block() <= warp ? 1 : block() / warp; }
    QC_HD int point_numbers() const { return reach ? 1 + 2 * reach : 3; }
    QC_HD int lane_numbers() const {
        return reach == 0 ? LaneNumbers<0>::count : reach == 1 ? LaneNumbers<1>::count : LaneNumbers<2>::count;
    }
    QC_HD int borders() const { return !periodic ? 0 : reach ? reach : 1; }
    QC_HD std::int64_t numbers() const { return (point_numbers() + borders()) * points + lane_numbers(); }
    QC_HD std::int64_t part_size() const { return numbers() * block(); }
    // Of as many sets as have their lanes beside each other.
    QC_HD int together() const { return warp / width(); }
    QC_HD std::int64_t size() const { return part_size() * parts() * together(); }
    QC_HD std::int64_t groups(std::int64_t sets) const { return (sets + together() - 1) / together(); }
    QC_HD std::int64_t place_of_set(std::int64_t set) const { return set / together() * size() + set % together() * width(); }
};

inline Team make_team(const Line& line, int points, int least_lanes = 1) {
    const std::int64_t lanes = (line.n + points - 1) / points;
    const auto whole = [&](std::int64_t many) { return (lanes + many - 1) / many * many; };
    std::int64_t dealt = lanes <= most_team && least_lanes <= warp ? whole(warp) : whole(most_team);
    while (dealt <= warp && dealt / 2 >= std::max<std::int64_t>(lanes, least_lanes)) dealt /= 2;
    return {dealt, points, line.reach, line.periodic};
}

// Within `width` lanes.
template <class N>
__device__ N shift_up(N a, int lanes, int width = warp) {
    if constexpr (N::parts == 1) return {__shfl_up_sync(everyone, a.re, lanes, width)};
    else return {__shfl_up_sync(everyone, a.re, lanes, width), __shfl_up_sync(everyone, a.im, lanes, width)};
}
template <class N>
__device__ N shift_down(N a, int lanes, int width = warp) {
    if constexpr (N::parts == 1) return {__shfl_down_sync(everyone, a.re, lanes, width)};
    else return {__shfl_down_sync(everyone, a.re, lanes, width), __shfl_down_sync(everyone, a.im, lanes, width)};
}
template <class N>
__device__ N from_lane(N a, int lane, int width = warp) {
    if constexpr (N::parts == 1) return {__shfl_sync(everyone, a.re, lane, width)};
    else return {__shfl_sync(everyone, a.re, lane, width), __shfl_sync(everyone, a.im, lane, width)};
}

// a + M b, `number` giving M by rows. Entries may have overflowed, of operators whose Green's function grows from site to site:
// where nothing comes in, nothing comes out.
template <class N, int count, class F>
__device__ Carry<N, count> plus_product(Carry<N, count> a, F number, const Carry<N, count>& b) {
#pragma unroll
    for (int i = 0; i < count; ++i)
#pragma unroll
        for (int k = 0; k < count; ++k) {
            const N sum = mac(number(i * count + k), b.of[k], a.of[i]);  // no branch: the number is read ahead
            a.of[i] = b.of[k].is_zero() ? a.of[i] : sum;
        }
    return a;
}

}  // namespace
}  // namespace qcore::schrodinger
