// Order 2 with a constant potential: a team of 1 to 16 warps for each system, whose state stays in registers for all stages of a
// launch. A lane holds M points in a row. With the factors of elimination.hpp a stage is
//     down   d_j = psi_j - r_{j-1} d_{j-1},        up   w_j = r_j (d_j - w_{j+1}),   psi'_j = G w_j - (d_j + r_{j-1} d_{j-1}).
// Both recurrences are linear: a lane runs down its points as if nothing came in, D = 0, then d_j is that plus q_j D, and w at its
// first point is sum s_j d_j plus a multiple of what comes in from below. What comes in follows by scans over the lanes, whose
// multipliers are known beforehand, and over the warps by shared memory.
//
// Per point and stage 26 multiply-adds and 4 numbers of coefficients, which all systems share, from the first-level cache; no other
// memory. In complex128 both take about half a clock of a multiprocessor, 2 ps on an H200. 16 points a lane leave room for 16 warps
// on each, which hide the latency of the recurrences.
#pragma once

#include "schrodinger_factors.hpp"

namespace qcore::schrodinger {
namespace {

constexpr int warp = 32, most_team = 512, most_points = 16;
constexpr int exchanged = 2 * (most_team / warp) + 2;  // numbers that the warps of a team give each other
constexpr unsigned everyone = 0xffffffffu;

// Coefficients of a lane, after those of its points. Scans: level k takes what lane - 2^k (+ 2^k upwards) has.
enum LaneNumber : int {
    down_level = 0,   // 5: multipliers of the scan downwards
    up_level = 5,     // 5: of that upwards
    through = 10,     // sum s_j q_j
    down_before = 11, // multiplier of what comes into the warp, before this lane
    down_after = 12,  // and after it
    up_before = 13,
    up_after = 14,
    entering = 15,    // r of the point before the lane's first
    weight = 16,      // periodic: 1 / (1 - (u, v))
    gain = 17,        // G
    lane_numbers = 18
};

// How the points of a system are dealt out, and where coefficients lie: [pole][set][warp][number][lane of the warp], numbers being
// r, s, q of the points, those of the lane, and, periodic, v of the points.
struct Team {
    int points, lanes;
    bool periodic;

    QC_HD int warps() const { return lanes / warp; }
    QC_HD std::int64_t numbers() const { return (periodic ? 4 : 3) * points + lane_numbers; }
    QC_HD std::int64_t size() const { return numbers() * lanes; }
};

// The team for so many points; nothing depends on the batch, so that a system's result doesn't either.
inline bool has_team(const Line& line) { return line.reach == 0 && line.slices == 1 && line.n <= most_points * most_team; }
inline Team make_team(const Line& line) {
    const int points = line.n <= 8 * warp ? 8 : most_points;
    return {points, static_cast<int>((line.n + points * warp - 1) / (points * warp)) * warp, line.periodic};
}

template <class N>
__device__ N shift_up(N a, int lanes) {
    if constexpr (N::parts == 1) return {__shfl_up_sync(everyone, a.re, lanes)};
    else return {__shfl_up_sync(everyone, a.re, lanes), __shfl_up_sync(everyone, a.im, lanes)};
}
template <class N>
__device__ N shift_down(N a, int lanes) {
    if constexpr (N::parts == 1) return {__shfl_down_sync(everyone, a.re, lanes)};
    else return {__shfl_down_sync(everyone, a.re, lanes), __shfl_down_sync(everyone, a.im, lanes)};
}
template <class N>
__device__ N from_lane(N a, int lane) {
    if constexpr (N::parts == 1) return {__shfl_sync(everyone, a.re, lane)};
    else return {__shfl_sync(everyone, a.re, lane), __shfl_sync(everyone, a.im, lane)};
}

// The coefficients of every pole and set from its factors: a block of a team's lanes each.
template <class N>
__global__ void __launch_bounds__(most_team) deal(Line line, Team team, Factors<typename N::template With<double>> factors, Pointer<N> coefficients) {
    using Wide = typename N::template With<double>;
    const int lane = static_cast<int>(threadIdx.x), place = lane % warp;
    const Wide one = Wide::of(1, 0), zero = Wide::of(0, 0);
    for (std::int64_t item = blockIdx.x; item < line.poles * factors.sets; item += gridDim.x) {
        const std::int64_t pole = item / factors.sets, set = item % factors.sets, slot = 2 * pole;  // eliminated from the top
        const Pointer<const Wide> rows = factors.rows + slot * line.n * factors.sets + set;
        const Pointer<N> to = coefficients + item * team.size() + lane / warp * team.numbers() * warp + place;
        const auto put = [&](int number, Wide value) { to[number * warp] = convert<N>(value); };
        const std::int64_t first = static_cast<std::int64_t>(lane) * team.points;
        const auto r = [&](std::int64_t j) { return j >= 0 && j < line.n ? rows[j * factors.sets] : Wide::of(0, 0); };
        Wide q = one, s = zero, sum = zero;
        for (int t = 0; t < team.points; ++t) {
            const Wide here = r(first + t);
            q = -(q * r(first + t - 1));
            s = t ? -(s * here) : here;
            sum = mac(s, q, sum);
            put(t, here);
            put(team.points + t, s);
            put(2 * team.points + t, q);
            if (team.periodic) {
                const std::int64_t j = first + t;
                put(3 * team.points + lane_numbers + t, j < line.n ? factors.borders[(slot * line.n + j) * factors.sets + set] : zero);
            }
        }
        const int base = 3 * team.points;
        put(base + through, sum);
        put(base + entering, r(first - 1));
        put(base + gain, inverse(line.template coefficient<Wide>(pole, 1).times(line.kappa)).times(line.cayley ? 2 : 1));
        if (team.periodic) put(base + weight, factors.weights[slot * factors.sets + set]);
        Wide down = q, up = -s;
        for (int k = 0; k < 5; ++k) {
            const int distance = 1 << k;
            const Wide above = shift_up(down, distance), below = shift_down(up, distance);
            put(base + down_level + k, place >= distance ? down : zero);
            put(base + up_level + k, place + distance < warp ? up : zero);
            if (place >= distance) down = down * above;
            if (place + distance < warp) up = up * below;
        }
        const Wide above = shift_up(down, 1), below = shift_down(up, 1);
        put(base + down_after, down);
        put(base + up_after, up);
        put(base + down_before, place ? above : one);
        put(base + up_before, place + 1 < warp ? below : one);
    }
}

// A tensor of a system's points in single or double precision: the other pointer is null.
template <class N>
struct Rows {
    Pointer<typename N::template With<float>> narrow;
    Pointer<typename N::template With<double>> wide;

    __device__ N get(std::int64_t i) const { return narrow ? convert<N>(narrow[i]) : convert<N>(wide[i]); }
    __device__ void set(std::int64_t i, N value) const {
        if (narrow) narrow[i] = convert<typename N::template With<float>>(value);
        else wide[i] = convert<typename N::template With<double>>(value);
    }
};

struct Frames {
    std::int64_t every, batch;  // stages; 0: no frames. Systems of the whole run, of which the launch may have a part
};

// Threads are (lane of the team, team of the block); with more than a warp a block has one team. `first` is the system that the
// launch begins with.
template <class N, int M>
__global__ void __launch_bounds__(most_team) advance_team(Line line, Team team, std::int64_t stages, std::int64_t sets, Pointer<const N> coefficients,
                                                          Rows<N> psi, Rows<N> out, Rows<N> frames, Frames saved, std::int64_t first) {
    cuda::SharedMemory shared;
    const auto exchange = shared.array<N>(exchanged);
    const int lane = static_cast<int>(threadIdx.x), place = lane % warp, mine = lane / warp, warps = team.warps();
    const std::int64_t begin = static_cast<std::int64_t>(lane) * M, left = line.n - begin;
    const int last_lane = static_cast<int>((line.n - 1) / M), last_point = static_cast<int>((line.n - 1) % M);
    for (std::int64_t own = blockIdx.x * blockDim.y + threadIdx.y; own < line.batch; own += static_cast<std::int64_t>(gridDim.x) * blockDim.y) {
        const std::int64_t row = (first + own) * line.n + begin;
        N x[M];
#pragma unroll
        for (int t = 0; t < M; ++t) x[t] = t < left ? psi.get(row + t) : N::of(0, 0);
        for (std::int64_t i = 0; i < stages; ++i) {
            const std::int64_t pole = i % line.poles;
            const Pointer<const N> all = coefficients + (pole * sets + (sets > 1 ? own : 0)) * team.size();
            const Pointer<const N> here = all + mine * team.numbers() * warp + place;
            const auto number = [&](int k) { return here[k * warp]; };
            const auto lanes = [&](int k) { return here[(3 * M + k) * warp]; };
            const auto of_warp = [&](int k, int v, int its_place) { return all[(v * team.numbers() + 3 * M + k) * warp + its_place]; };

            N d = x[0], sum = number(M) * d;
#pragma unroll
            for (int t = 1; t < M; ++t) {
                d = nmac(number(t - 1), d, x[t]);
                x[t] = d;
                sum = mac(number(M + t), d, sum);
            }
            for (int k = 0; k < 5; ++k) d = mac(lanes(down_level + k), shift_up(d, 1 << k), d);
            N entering_d = shift_up(d, 1);
            if (place == 0) entering_d = N::of(0, 0);
            if (warps > 1) {
                if (place == warp - 1) exchange[mine] = d;
                __syncthreads();
                N into = N::of(0, 0);
                for (int v = 0; v < mine; ++v) into = mac(of_warp(down_after, v, warp - 1), into, exchange[v]);
                entering_d = mac(lanes(down_before), into, entering_d);
            }

            N w = mac(lanes(through), entering_d, sum);
            for (int k = 0; k < 5; ++k) w = mac(lanes(up_level + k), shift_down(w, 1 << k), w);
            N top = w;  // w at the lane's first point
            w = shift_down(w, 1);
            if (place == warp - 1) w = N::of(0, 0);
            if (warps > 1) {
                const int offset = most_team / warp;
                if (place == 0) exchange[offset + mine] = top;
                __syncthreads();
                N into = N::of(0, 0);
                for (int v = warps - 1; v > mine; --v) into = mac(of_warp(up_after, v, 0), into, exchange[offset + v]);
                w = mac(lanes(up_before), into, w);
                top = mac(lanes(up_after), into, top);
            }

            N correction = N::of(0, 0);
            if (line.periodic) {
                N bottom = N::of(0, 0);  // w at the last point of the system, in its lane
#pragma unroll
                for (int t = 0; t < M; ++t)
                    if (t == last_point) bottom = number(t) * mac(number(2 * M + t), entering_d, x[t]);
                if (warps > 1) {
                    const int offset = 2 * most_team / warp;
                    if (lane == 0) exchange[offset] = top;
                    if (lane == last_lane) exchange[offset + 1] = bottom;
                    __syncthreads();
                    top = exchange[offset];
                    bottom = exchange[offset + 1];
                } else {
                    top = from_lane(top, 0);
                    bottom = from_lane(bottom, last_lane);
                }
                correction = lanes(weight) * (top - bottom);
            }

            const N g = lanes(gain);
            d = mac(number(3 * M - 1), entering_d, x[M - 1]);
            N y = number(M - 1) * d;
#pragma unroll
            for (int t = M - 1; t >= 0; --t) {
                w = nmac(number(t), w, y);
                const N above = t ? mac(number(2 * M + t - 1), entering_d, x[t - 1]) : entering_d;
                y = (t ? number(t - 1) : lanes(entering)) * above;
                const N chi = line.periodic ? mac(correction, number(3 * M + lane_numbers + t), w) : w;
                x[t] = line.cayley ? mac(g, chi, -(d + y)) : g * chi;
                d = above;
            }
            if (saved.every && (i + 1) % saved.every == 0) {
                const std::int64_t at = ((i + 1) / saved.every - 1) * saved.batch * line.n + row;
#pragma unroll
                for (int t = 0; t < M; ++t)
                    if (t < left) frames.set(at + t, x[t]);
            }
        }
#pragma unroll
        for (int t = 0; t < M; ++t)
            if (t < left) out.set(row + t, x[t]);
    }
}

}  // namespace
}  // namespace qcore::schrodinger
