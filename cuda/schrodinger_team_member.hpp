// A stage as the lanes of a team run it.
#pragma once

#include "schrodinger_team.hpp"

namespace qcore::schrodinger {
namespace {

// The coefficients of a block's lanes, as one of them reads them.
template <class N, int M, int reach>
class LaneView {
  public:
    using At = LaneNumbers<reach>;

    __device__ LaneView(const Team& team, Pointer<const N> all, int mine, int place)
        : all_(all), here_(all + mine * team.numbers() * warp + place), numbers_(team.numbers()) {}

    // A stride that isn't known when this is compiled keeps ptxas from holding the points in registers.
    __device__ N of_point(int number) const { return here_[number * warp]; }
    __device__ N of_lane(int number) const { return of_point(base + number); }
    __device__ N border(int k, int t) const { return of_lane(At::count + k * M + t); }
    // Matrices of this lane, and of another warp's.
    __device__ auto matrix(int number) const {
        return [=, *this](int i) { return of_lane(number + i); };
    }
    __device__ auto matrix(int number, int of_warp, int place) const {
        return [=, *this](int i) { return all_[(of_warp * numbers_ + base + number + i) * warp + place]; };
    }

  private:
    static constexpr int base = (reach ? 1 + 2 * reach : 3) * M;

    Pointer<const N> all_, here_;
    std::int64_t numbers_;
};

// A lane of a team: the points of one system from `begin` on, of which `left` are there.
template <class N, int M, int reach>
class Member {
  public:
    using At = LaneNumbers<reach>;
    using View = LaneView<N, M, reach>;
    static constexpr int carried = At::carried;
    using Carried = Carry<N, carried>;
    static constexpr int exchanged = carried * (2 * (most_team / warp) + 2);  // numbers that the warps of a team give each other

    // `exchange`: room for `exchanged` numbers, shared by the team where it has more than a warp. `before`: lanes of the system
    // in other blocks, before this one's.
    __device__ Member(const Line& line, const Team& team, Pointer<N> exchange, std::int64_t before = 0)
        : Member(line.n, line.mass, team, exchange, before) {}
    __device__ Member(std::int64_t n, double mass, const Team& team, Pointer<N> exchange, std::int64_t before = 0)
        : lane(static_cast<int>(threadIdx.x)), begin((before + lane) * M), left(n - begin), last_lane((n - 1) / M - before),
          last_point(static_cast<int>((n - 1) % M)), team_(team), exchange_(exchange),
          mass_(static_cast<typename N::Scalar>(mass)), width_(team.width()), place_(lane % width_),
          mine_(lane / warp), warps_(team.warps()) {}

    __device__ View view(Pointer<const N> all) const { return {team_, all, mine_, place_}; }

    // Runs a stage with right hand side x, where `all` are its coefficients: x_t becomes update(t, chi, psi, G), from the last
    // point to the first; in order 2 chi is still to be divided by c kappa. `ends`: whether every lane is to know w at both
    // ends of the system, the first points from the outside in.
    template <class F>
    __device__ __forceinline__ void stage(Pointer<const N> all, bool ends, N (&x)[M], Carried& top, Carried& bottom,
                                          F update) const {
        const View numbers = view(all);
        N sum;  // order 2: w at the first point, if nothing came in from either side
        Carried out;
        const Carried entering = from_above(numbers, go_down(numbers, x, sum), nothing(), out);
        Carried up;
        if constexpr (reach == 0) {
            up.of[0] = mac(numbers.of_lane(At::through), entering.of[0], sum);
        } else {
            settle(numbers, entering, x);
            up = go_up(numbers, x);
        }
        const Carried below = from_below(numbers, up, nothing(), top);
        bottom = nothing();
        if (ends) {
            bottom = last_points<reach != 0>(numbers, entering, x);
            if (warps_ > 1) {
                const Pointer<N> both = exchange_ + 2 * carried * (most_team / warp);
                if (lane == 0) give(both, 0, top);
                if (lane == last_lane) give(both, 1, bottom);
                __syncthreads();
                top = given(both, 0);
                bottom = given(both, 1);
            } else {
#pragma unroll
                for (int i = 0; i < carried; ++i) {
                    top.of[i] = from_lane(top.of[i], 0, width_);
                    bottom.of[i] = from_lane(bottom.of[i], static_cast<int>(last_lane), width_);
                }
            }
        }
        come_back<reach != 0>(numbers, entering, below, top, bottom, x, update);
    }

    // The parts of a stage. Down as if nothing came into the lane: what comes out of it. In order 2 x becomes d.
    __device__ __forceinline__ static Carried go_down(const View& numbers, N (&x)[M], N& sum) {
        Carried y = nothing();
        if constexpr (reach == 0) {
            y.of[0] = x[0];
            sum = numbers.of_point(M) * x[0];
#pragma unroll
            for (int t = 1; t < M; ++t) {
                y.of[0] = nmac(numbers.of_point(t - 1), y.of[0], x[t]);
                x[t] = y.of[0];
                sum = mac(numbers.of_point(M + t), y.of[0], sum);
            }
        } else {
#pragma unroll
            for (int t = 0; t < M; ++t) push(y, eliminated(numbers, t, y, x[t]));
        }
        return y;
    }

    // What comes into the lane, from what comes out of each lane alone and what comes `into` the block; `out`: what leaves that.
    __device__ __forceinline__ Carried from_above(const View& numbers, Carried alone, Carried into, Carried& out) const {
        for (int k = 0; k < 5; ++k) {
            if (1 << k >= width_) break;
            alone = plus_product(alone, numbers.matrix(At::down_level + k * At::square), shifted_up(alone, 1 << k));
        }
        Carried entering = shifted_up(alone, 1);
        if (place_ == 0) entering = nothing();
        if (warps_ > 1) {
            if (place_ == warp - 1) give(exchange_, mine_, alone);
            __syncthreads();
            const auto past = [&](int v) {
                into = plus_product(given(exchange_, v), numbers.matrix(At::down_after, v, warp - 1), into);
            };
            for (int v = 0; v < mine_; ++v) past(v);
            entering = plus_product(entering, numbers.matrix(At::down_before), into);
            for (int v = mine_; v < warps_; ++v) past(v);
        }
        out = into;
        return entering;
    }

    // With what comes into the lane: x becomes y (order 2: the whole d).
    __device__ __forceinline__ static void settle(const View& numbers, Carried y, N (&x)[M]) {
#pragma unroll
        for (int t = 0; t < M; ++t) {
            if constexpr (reach == 0) {
                x[t] = mac(numbers.of_point(2 * M + t), y.of[0], x[t]);
            } else {
                x[t] = eliminated(numbers, t, y, x[t]);
                push(y, x[t]);
            }
        }
    }

    // Up from what settle() has left as if nothing came into the lane: what comes out, w at its first points.
    __device__ __forceinline__ static Carried go_up(const View& numbers, const N (&x)[M]) {
        Carried w = nothing();
#pragma unroll
        for (int t = M - 1; t >= 0; --t) {
            if constexpr (reach == 0) w.of[0] = mac(numbers.of_point(M + t), x[t], w.of[0]);
            else push(w, substituted(numbers, t, w, numbers.of_point(t) * x[t]));
        }
        return w;
    }

    // What comes into the lane from below, likewise; `top`: w at its first points.
    __device__ __forceinline__ Carried from_below(const View& numbers, Carried alone, Carried into, Carried& top) const {
        for (int k = 0; k < 5; ++k) {
            if (1 << k >= width_) break;
            alone = plus_product(alone, numbers.matrix(At::up_level + k * At::square), shifted_down(alone, 1 << k));
        }
        top = alone;
        Carried below = shifted_down(alone, 1);
        if (place_ == width_ - 1) below = nothing();
        if (warps_ > 1) {
            const Pointer<N> upwards = exchange_ + carried * (most_team / warp);
            if (place_ == 0) give(upwards, mine_, alone);
            __syncthreads();
            for (int v = warps_ - 1; v > mine_; --v)
                into = plus_product(given(upwards, v), numbers.matrix(At::up_after, v, 0), into);
            below = plus_product(below, numbers.matrix(At::up_before), into);
            top = plus_product(top, numbers.matrix(At::up_after), into);
        }
        return below;
    }

    // w at the last points of the system, in their lane.
    template <bool settled>
    __device__ __forceinline__ Carried last_points(const View& numbers, const Carried& entering, const N (&x)[M]) const {
        // Selected, not indexed: an array that is indexed is not in registers.
        N here = x[0], above = entering.of[0];
#pragma unroll
        for (int t = 1; t < M; ++t) {
            const N candidate = x[t], neighbour = x[t - 1];
            here = t == last_point ? candidate : here;
            above = t == last_point ? neighbour : above;
        }
        Carried w;
        if constexpr (reach == 0 && !settled) here = mac(numbers.of_point(2 * M + last_point), entering.of[0], here);
        w.of[0] = numbers.of_point(last_point) * here;
        if constexpr (carried == 2) {
            const N r = last_point ? numbers.of_point(last_point - 1) : numbers.of_lane(At::entering),
                    s = last_point ? numbers.of_point(M + last_point - 1) : numbers.of_lane(At::entering + 1);
            w.of[1] = nmac(s, w.of[0], r * above);
        }
        return w;
    }

    // Up with what comes in, finishing point by point. `settled`: x is what settle() has left.
    template <bool settled, class F>
    __device__ __forceinline__ void come_back(const View& numbers, const Carried& entering, const Carried& below,
                                              const Carried& top, const Carried& bottom, N (&x)[M], F update) const {
        Carried correction = nothing();
        if (team_.periodic) {
            Carried dot;  // of u, and of t, with w
            dot.of[0] = top.of[0] - bottom.of[0];
            if constexpr (carried == 2) dot.of[1] = dot.of[0] - top.of[1] + bottom.of[1];
            correction = plus_product(correction, numbers.matrix(At::weight), dot);
        }
        const auto finish = [&](int t, N chi, N psi) {
            if (team_.periodic)
#pragma unroll
                for (int k = 0; k < carried; ++k) chi = mac(correction.of[k], numbers.border(k, t), chi);
            x[t] = update(t, chi, psi, reach ? N::of(0, 0) : numbers.of_lane(At::gain));
        };
        if constexpr (reach == 0) {
            const auto whole = [&](int t) { return settled ? x[t] : mac(numbers.of_point(2 * M + t), entering.of[0], x[t]); };
            N w = below.of[0], d = whole(M - 1), y = numbers.of_point(M - 1) * d;
#pragma unroll
            for (int t = M - 1; t >= 0; --t) {
                w = nmac(numbers.of_point(t), w, y);
                const N above = t ? whole(t ? t - 1 : 0) : entering.of[0];
                y = (t ? numbers.of_point(t - 1) : numbers.of_lane(At::entering)) * above;
                finish(t, w, d + y);
                d = above;
            }
        } else {
            Carried w = below;  // of the points behind
            N here = N::of(0, 0), after = N::of(0, 0);
#pragma unroll
            for (int t = M - 1; t >= -1; --t) {
                N before;  // w of point t
                if (t >= 0) {
                    before = substituted(numbers, t, w, numbers.of_point(t) * x[t]);
                } else {
                    before = nmac(numbers.of_lane(At::entering + 1), w.of[0], numbers.of_lane(At::entering) * entering.of[0]);
                    if constexpr (reach == 2) before = nmac(numbers.of_lane(At::entering + 2), w.of[1], before);
                }
                if (t + 1 < M) {
                    const int j = t + 1;
                    N psi = mac(numbers.of_point(multiplier + j), j ? x[j ? j - 1 : 0] : entering.of[0], x[j]);
                    if constexpr (reach == 2)
                        psi = mac(numbers.of_point(multiplier + M + j), j > 1 ? x[j > 1 ? j - 2 : 0] : entering.of[j ? 0 : 1],
                                  psi);
                    N chi = (before + after).times(mass_) + here.times(1 - 2 * mass_);
                    if (team_.periodic) {
                        const int ends = (begin == 0 && j == 0) + (lane == last_lane && j == last_point);
                        chi = chi + here.times(mass_ * static_cast<typename N::Scalar>(ends));
                    }
                    finish(j, j < left ? chi : N::of(0, 0), psi);
                    after = here;
                } else {
                    after = w.of[0];
                }
                push(w, before);
                here = before;
            }
        }
    }

    static __device__ Carried nothing() {
        Carried zero;
#pragma unroll
        for (int i = 0; i < carried; ++i) zero.of[i] = N::of(0, 0);
        return zero;
    }
    static __device__ void give(Pointer<N> to, std::int64_t who, const Carried& a) {
#pragma unroll
        for (int i = 0; i < carried; ++i) to[who * carried + i] = a.of[i];
    }
    static __device__ Carried given(Pointer<const N> from, std::int64_t who) {
        Carried a;
#pragma unroll
        for (int i = 0; i < carried; ++i) a.of[i] = from[who * carried + i];
        return a;
    }

    const int lane;
    const std::int64_t begin, left;
    const std::int64_t last_lane;  // of the system, counted in this block
    const int last_point;

  private:
    static constexpr int multiplier = (1 + reach) * M;  // of the rows' e, where they have them

    __device__ Carried shifted_up(const Carried& a, int lanes) const {
        Carried b;
#pragma unroll
        for (int i = 0; i < carried; ++i) b.of[i] = shift_up(a.of[i], lanes, width_);
        return b;
    }
    __device__ Carried shifted_down(const Carried& a, int lanes) const {
        Carried b;
#pragma unroll
        for (int i = 0; i < carried; ++i) b.of[i] = shift_down(a.of[i], lanes, width_);
        return b;
    }
    __device__ __forceinline__ static N eliminated(const View& numbers, int t, const Carried& y, N now) {
        if constexpr (reach == 2) now = nmac(numbers.of_point(multiplier + M + t), y.of[1], now);
        return nmac(numbers.of_point(multiplier + t), y.of[0], now);
    }
    __device__ __forceinline__ static N substituted(const View& numbers, int t, const Carried& w, N now) {
        if constexpr (reach == 2) now = nmac(numbers.of_point(2 * M + t), w.of[1], now);
        return nmac(numbers.of_point(M + t), w.of[0], now);
    }
    __device__ static void push(Carried& a, N now) {
        if constexpr (carried == 2) a.of[1] = a.of[0];
        a.of[0] = now;
    }

    const Team& team_;
    Pointer<N> exchange_;
    typename N::Scalar mass_;
    int width_, place_, mine_, warps_;
};

// What a stage makes of chi, scaled in order 2, and of the state before.
template <int reach, class N>
__device__ N stepped(bool cayley, N gain, N chi, N psi) {
    if constexpr (reach == 0) return cayley ? mac(gain, chi, -psi) : gain * chi;
    else return cayley ? chi + chi - psi : chi;
}

}  // namespace
}  // namespace qcore::schrodinger
