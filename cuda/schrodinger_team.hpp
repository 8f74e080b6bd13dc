// Order 2 with a constant potential: a team of 1 to 16 warps for each system, whose state stays in registers for all stages of a
// launch. A lane holds M points in a row. With the factors of elimination.hpp a stage is
//     down   d_j = psi_j - r_{j-1} d_{j-1},        up   w_j = r_j (d_j - w_{j+1}),   psi'_j = G w_j - (d_j + r_{j-1} d_{j-1}).
// Both recurrences are linear: a lane runs down its points as if nothing came in, D = 0, then d_j is that plus q_j D, and w at
// its first point is sum s_j d_j plus a multiple of what comes in from below. What comes in follows by scans over the lanes,
// whose multipliers are known beforehand, and over the warps by shared memory.
//
// Per point and stage 26 multiply-adds and 4 numbers of coefficients, which all systems share, from the first-level cache; no
// other memory. In complex128 both take about half a clock of a multiprocessor, 2 ps on an H200. 16 points a lane leave room for
// 16 warps on each, which hide the latency of the recurrences.
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

// How the points of a system are dealt out, and where coefficients lie: [pole][set][warp][number][lane of the warp], numbers
// being r, s, q of the points, those of the lane, and, periodic, v of the points.
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
__global__ void __launch_bounds__(most_team)
    deal(Line line, Team team, Factors<typename N::template With<double>> factors, Pointer<N> coefficients) {
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
                put(3 * team.points + lane_numbers + t,
                    j < line.n ? factors.borders[(slot * line.n + j) * factors.sets + set] : zero);
            }
        }
        const int base = 3 * team.points;
        put(base + through, sum);
        put(base + entering, r(first - 1));
        put(base + gain,
            inverse(line.template coefficient<Wide>(pole, factors.sign).times(line.kappa)).times(line.cayley ? 2 : 1));
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

// A lane of a team: the points of one system from `begin` on, of which `left` are there.
template <class N, int M>
class Member {
  public:
    // `exchange`: room for `exchanged` numbers, shared by the team where it has more than a warp.
    __device__ Member(std::int64_t n, const Team& team, Pointer<N> exchange)
        : lane(static_cast<int>(threadIdx.x)), begin(static_cast<std::int64_t>(lane) * M), left(n - begin),
          last_lane(static_cast<int>((n - 1) / M)), last_point(static_cast<int>((n - 1) % M)), team_(team), exchange_(exchange),
          place_(lane % warp), mine_(lane / warp), warps_(team.warps()) {}

    // Runs a stage with right hand side x, where `all` are its coefficients: x_t becomes update(t, w, psi), from the last point
    // to the first. `ends`: whether every lane is to know w at both ends of the system.
    template <class F>
    __device__ void stage(Pointer<const N> all, bool ends, N (&x)[M], N& top, N& bottom, F update) const {
        const Pointer<const N> here = all + mine_ * team_.numbers() * warp + place_;
        const auto number = [&](int k) { return here[k * warp]; };
        const auto of_warp = [&](int k, int v, int place) { return all[(v * team_.numbers() + 3 * M + k) * warp + place]; };

        N d = x[0], sum = number(M) * d;
#pragma unroll
        for (int t = 1; t < M; ++t) {
            d = nmac(number(t - 1), d, x[t]);
            x[t] = d;
            sum = mac(number(M + t), d, sum);
        }
        for (int k = 0; k < 5; ++k) d = mac(number(3 * M + down_level + k), shift_up(d, 1 << k), d);
        N entering_d = shift_up(d, 1);
        if (place_ == 0) entering_d = N::of(0, 0);
        if (warps_ > 1) {
            if (place_ == warp - 1) exchange_[mine_] = d;
            __syncthreads();
            N into = N::of(0, 0);
            for (int v = 0; v < mine_; ++v) into = mac(of_warp(down_after, v, warp - 1), into, exchange_[v]);
            entering_d = mac(number(3 * M + down_before), into, entering_d);
        }

        N w = mac(number(3 * M + through), entering_d, sum);
        for (int k = 0; k < 5; ++k) w = mac(number(3 * M + up_level + k), shift_down(w, 1 << k), w);
        top = w;  // w at the lane's first point
        w = shift_down(w, 1);
        if (place_ == warp - 1) w = N::of(0, 0);
        if (warps_ > 1) {
            const Pointer<N> upwards = exchange_ + most_team / warp;
            if (place_ == 0) upwards[mine_] = top;
            __syncthreads();
            N into = N::of(0, 0);
            for (int v = warps_ - 1; v > mine_; --v) into = mac(of_warp(up_after, v, 0), into, upwards[v]);
            w = mac(number(3 * M + up_before), into, w);
            top = mac(number(3 * M + up_after), into, top);
        }

        bottom = N::of(0, 0);  // w at the last point of the system, in its lane
        if (ends) {
#pragma unroll
            for (int t = 0; t < M; ++t)
                if (t == last_point) bottom = number(t) * mac(number(2 * M + t), entering_d, x[t]);
            if (warps_ > 1) {
                const Pointer<N> both = exchange_ + 2 * (most_team / warp);
                if (lane == 0) both[0] = top;
                if (lane == last_lane) both[1] = bottom;
                __syncthreads();
                top = both[0];
                bottom = both[1];
            } else {
                top = from_lane(top, 0);
                bottom = from_lane(bottom, last_lane);
            }
        }

        prepare(update, here, top, bottom);
        d = mac(number(3 * M - 1), entering_d, x[M - 1]);
        N y = number(M - 1) * d;
#pragma unroll
        for (int t = M - 1; t >= 0; --t) {
            w = nmac(number(t), w, y);
            const N above = t ? mac(number(2 * M + t - 1), entering_d, x[t - 1]) : entering_d;
            y = (t ? number(t - 1) : number(3 * M + entering)) * above;
            x[t] = update(t, w, d + y);
            d = above;
        }
    }

    const int lane;
    const std::int64_t begin, left;
    const int last_lane, last_point;

  private:
    // Updates that depend on the lane's coefficients or on w at the ends get them.
    template <class F>
    __device__ static void prepare(F& update, Pointer<const N> here, N top, N bottom) {
        if constexpr (requires { update.prepare(here, top, bottom); }) update.prepare(here, top, bottom);
    }

    const Team& team_;
    Pointer<N> exchange_;
    int place_, mine_, warps_;
};

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

// What a stage makes of w: c kappa chi, and G.
template <class N, int M>
struct Solution {
    bool periodic;
    Pointer<const N> here = nullptr;
    N g{}, correction{};

    __device__ void prepare(Pointer<const N> coefficients, N top, N bottom) {
        here = coefficients;
        g = here[(3 * M + gain) * warp];
        if (periodic) correction = here[(3 * M + weight) * warp] * (top - bottom);
    }
    __device__ N corrected(int t, N w) const {
        return periodic ? mac(correction, here[(3 * M + lane_numbers + t) * warp], w) : w;
    }
};

// psi' of a Cayley or Euler stage.
template <class N, int M>
struct Step : Solution<N, M> {
    bool cayley;

    __device__ N operator()(int t, N w, N psi) const {
        const N chi = this->corrected(t, w);
        return cayley ? mac(this->g, chi, -psi) : this->g * chi;
    }
};

// Threads are (lane of the team, team of the block); with more than a warp a block has one team. `first` is the system that the
// launch begins with.
template <class N, int M>
__global__ void __launch_bounds__(most_team)
    advance_team(Line line, Team team, std::int64_t stages, std::int64_t sets, Pointer<const N> coefficients, Rows<N> psi,
                 Rows<N> out, Rows<N> frames, Frames saved, std::int64_t first) {
    cuda::SharedMemory shared;
    const Member<N, M> member(line.n, team, shared.array<N>(exchanged));
    for (std::int64_t own = blockIdx.x * blockDim.y + threadIdx.y; own < line.batch;
         own += static_cast<std::int64_t>(gridDim.x) * blockDim.y) {
        const std::int64_t row = (first + own) * line.n + member.begin;
        N x[M], top, bottom;
#pragma unroll
        for (int t = 0; t < M; ++t) x[t] = t < member.left ? psi.get(row + t) : N::of(0, 0);
        for (std::int64_t i = 0; i < stages; ++i) {
            const Pointer<const N> all = coefficients + (i % line.poles * sets + (sets > 1 ? own : 0)) * team.size();
            member.stage(all, line.periodic, x, top, bottom, Step<N, M>{{line.periodic}, line.cayley});
            if (saved.every && (i + 1) % saved.every == 0) {
                const std::int64_t at = ((i + 1) / saved.every - 1) * saved.batch * line.n + row;
#pragma unroll
                for (int t = 0; t < M; ++t)
                    if (t < member.left) frames.set(at + t, x[t]);
            }
        }
#pragma unroll
        for (int t = 0; t < M; ++t)
            if (t < member.left) out.set(row + t, x[t]);
    }
}

}  // namespace
}  // namespace qcore::schrodinger
