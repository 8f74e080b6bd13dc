// A stage as the lanes of a team run it.
#pragma once

#include "schrodinger_team.hpp"

namespace qcore::schrodinger {
namespace {

// A lane of a team: the points of one system from `begin` on, of which `left` are there.
template <class N, int M, int reach>
class Member {
  public:
    using At = LaneNumbers<reach>;
    static constexpr int carried = At::carried;
    using Carried = Carry<N, carried>;
    static constexpr int exchanged = carried * (2 * (most_team / warp) + 2);  // numbers that the warps of a team give each other

    // `exchange`: room for `exchanged` numbers, shared by the team where it has more than a warp.
    __device__ Member(const Line& line, const Team& team, Pointer<N> exchange) : Member(line.n, line.mass, team, exchange) {}
    __device__ Member(std::int64_t n, double mass, const Team& team, Pointer<N> exchange)
        : lane(static_cast<int>(threadIdx.x)), begin(static_cast<std::int64_t>(lane) * M), left(n - begin),
          last_lane(static_cast<int>((n - 1) / M)), last_point(static_cast<int>((n - 1) % M)), team_(team), exchange_(exchange),
          mass_(static_cast<typename N::Scalar>(mass)), place_(lane % warp), mine_(lane / warp), warps_(team.warps()) {}

    // Runs a stage with right hand side x, where `all` are its coefficients: x_t becomes update(t, chi, psi, G), from the last
    // point to the first; in order 2 chi is still to be divided by c kappa. `ends`: whether every lane is to know w at both
    // ends of the system, the first points from the outside in.
    template <class F>
    __device__ __forceinline__ void stage(Pointer<const N> all, bool ends, N (&x)[M], Carried& top, Carried& bottom,
                                          F update) const {
        const Pointer<const N> here = all + mine_ * team_.numbers() * warp + place_;
        const auto number = [&](int k) { return here[k * warp]; };
        const auto of_lane = [&](int k) { return [=](int i) { return number(base + k + i); }; };
        const auto of_warp = [&](int k, int v, int place) {
            return [=, this](int i) { return all[(v * team_.numbers() + base + k + i) * warp + place]; };
        };

        N sum;  // order 2: w at the first point, if nothing came in from either side
        Carried down = go_down(number, x, sum);
        for (int k = 0; k < 5; ++k) down = plus_product(down, of_lane(At::down_level + k * At::square), shifted_up(down, 1 << k));
        Carried entering = shifted_up(down, 1);
        if (place_ == 0) entering = nothing();
        if (warps_ > 1) {
            if (place_ == warp - 1) give(exchange_, mine_, down);
            __syncthreads();
            Carried into = nothing();
            for (int v = 0; v < mine_; ++v) into = plus_product(given(exchange_, v), of_warp(At::down_after, v, warp - 1), into);
            entering = plus_product(entering, of_lane(At::down_before), into);
        }

        Carried up;
        if constexpr (reach == 0) {
            up.of[0] = mac(number(base + At::through), entering.of[0], sum);
        } else {
            go_down_again(number, entering, x);
            up = go_up(number, x);
        }
        for (int k = 0; k < 5; ++k) up = plus_product(up, of_lane(At::up_level + k * At::square), shifted_down(up, 1 << k));
        top = up;  // w at the lane's first points
        Carried below = shifted_down(up, 1);
        if (place_ == warp - 1) below = nothing();
        if (warps_ > 1) {
            const Pointer<N> upwards = exchange_ + carried * (most_team / warp);
            if (place_ == 0) give(upwards, mine_, top);
            __syncthreads();
            Carried into = nothing();
            for (int v = warps_ - 1; v > mine_; --v) into = plus_product(given(upwards, v), of_warp(At::up_after, v, 0), into);
            below = plus_product(below, of_lane(At::up_before), into);
            top = plus_product(top, of_lane(At::up_after), into);
        }

        bottom = nothing();
        if (ends) {
            bottom = last_points(number, entering, x);
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
                    top.of[i] = from_lane(top.of[i], 0);
                    bottom.of[i] = from_lane(bottom.of[i], last_lane);
                }
            }
        }

        Carried correction = nothing();
        if (team_.periodic) {
            Carried dot;  // of u, and of t, with w
            dot.of[0] = top.of[0] - bottom.of[0];
            if constexpr (carried == 2) dot.of[1] = dot.of[0] - top.of[1] + bottom.of[1];
            correction = plus_product(correction, of_lane(At::weight), dot);
        }
        const auto corrected = [&](int t, N chi) {
            if (team_.periodic)
#pragma unroll
                for (int k = 0; k < carried; ++k) chi = mac(correction.of[k], number(base + At::count + k * M + t), chi);
            return chi;
        };
        const auto finish = [&](int t, N chi, N psi) {
            if constexpr (reach == 0) x[t] = update(t, corrected(t, chi), psi, number(base + At::gain));
            else x[t] = update(t, corrected(t, t < left ? chi : N::of(0, 0)), psi, N::of(0, 0));
        };
        come_back(number, entering, below, x, finish);
    }

    const int lane;
    const std::int64_t begin, left;
    const int last_lane, last_point;

  private:
    static constexpr int base = (reach ? 1 + 2 * reach : 3) * M;  // of the lane's numbers
    static constexpr int multiplier = (1 + reach) * M;            // of the rows' e, where they have them

    static __device__ Carried nothing() {
        Carried zero;
#pragma unroll
        for (int i = 0; i < carried; ++i) zero.of[i] = N::of(0, 0);
        return zero;
    }
    static __device__ Carried shifted_up(const Carried& a, int lanes) {
        Carried b;
#pragma unroll
        for (int i = 0; i < carried; ++i) b.of[i] = shift_up(a.of[i], lanes);
        return b;
    }
    static __device__ Carried shifted_down(const Carried& a, int lanes) {
        Carried b;
#pragma unroll
        for (int i = 0; i < carried; ++i) b.of[i] = shift_down(a.of[i], lanes);
        return b;
    }
    static __device__ void give(Pointer<N> to, int who, const Carried& a) {
#pragma unroll
        for (int i = 0; i < carried; ++i) to[who * carried + i] = a.of[i];
    }
    static __device__ Carried given(Pointer<N> from, int who) {
        Carried a;
#pragma unroll
        for (int i = 0; i < carried; ++i) a.of[i] = from[who * carried + i];
        return a;
    }

    // Down alone: what comes out. In order 2 x becomes d.
    template <class F>
    __device__ __forceinline__ static Carried go_down(F number, N (&x)[M], N& sum) {
        Carried y = nothing();
        if constexpr (reach == 0) {
            y.of[0] = x[0];
            sum = number(M) * x[0];
#pragma unroll
            for (int t = 1; t < M; ++t) {
                y.of[0] = nmac(number(t - 1), y.of[0], x[t]);
                x[t] = y.of[0];
                sum = mac(number(M + t), y.of[0], sum);
            }
        } else {
#pragma unroll
            for (int t = 0; t < M; ++t) push(y, eliminated(number, t, y, x[t]));
        }
        return y;
    }
    // With what comes in: x becomes y.
    template <class F>
    __device__ __forceinline__ static void go_down_again(F number, Carried y, N (&x)[M]) {
#pragma unroll
        for (int t = 0; t < M; ++t) {
            x[t] = eliminated(number, t, y, x[t]);
            push(y, x[t]);
        }
    }
    // Up alone: what comes out.
    template <class F>
    __device__ __forceinline__ static Carried go_up(F number, const N (&x)[M]) {
        Carried w = nothing();
#pragma unroll
        for (int t = M - 1; t >= 0; --t) push(w, substituted(number, t, w, number(t) * x[t]));
        return w;
    }

    template <class F>
    __device__ static N eliminated(F number, int t, const Carried& y, N now) {
        if constexpr (reach == 2) now = nmac(number(multiplier + M + t), y.of[1], now);
        return nmac(number(multiplier + t), y.of[0], now);
    }
    template <class F>
    __device__ static N substituted(F number, int t, const Carried& w, N now) {
        if constexpr (reach == 2) now = nmac(number(2 * M + t), w.of[1], now);
        return nmac(number(M + t), w.of[0], now);
    }
    __device__ static void push(Carried& a, N now) {
        if constexpr (carried == 2) a.of[1] = a.of[0];
        a.of[0] = now;
    }

    // w at the last points of the system, in their lane.
    template <class F>
    __device__ __forceinline__ Carried last_points(F number, const Carried& entering, const N (&x)[M]) const {
        // Selected, not indexed: an array that is indexed is not in registers.
        N here = x[0], above = entering.of[0];
#pragma unroll
        for (int t = 1; t < M; ++t) {
            const N candidate = x[t], neighbour = x[t - 1];
            here = t == last_point ? candidate : here;
            above = t == last_point ? neighbour : above;
        }
        Carried w;
        if constexpr (reach == 0) here = mac(number(2 * M + last_point), entering.of[0], here);
        w.of[0] = number(last_point) * here;
        if constexpr (carried == 2) {
            const int r = last_point ? last_point - 1 : base + At::entering, s = last_point ? M + last_point - 1 : r + 1;
            w.of[1] = nmac(number(s), w.of[0], number(r) * above);
        }
        return w;
    }

    // Up with what comes in, finishing point by point.
    template <class F, class G>
    __device__ __forceinline__ void come_back(F number, const Carried& entering, const Carried& below, N (&x)[M],
                                              G finish) const {
        if constexpr (reach == 0) {
            N w = below.of[0], d = mac(number(3 * M - 1), entering.of[0], x[M - 1]), y = number(M - 1) * d;
#pragma unroll
            for (int t = M - 1; t >= 0; --t) {
                w = nmac(number(t), w, y);
                const N above = t ? mac(number(2 * M + t - 1), entering.of[0], x[t - 1]) : entering.of[0];
                y = (t ? number(t - 1) : number(base + At::entering)) * above;
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
                    before = substituted(number, t, w, number(t) * x[t]);
                } else {
                    before = nmac(number(base + At::entering + 1), w.of[0], number(base + At::entering) * entering.of[0]);
                    if constexpr (reach == 2) before = nmac(number(base + At::entering + 2), w.of[1], before);
                }
                if (t + 1 < M) {
                    const int j = t + 1;
                    N psi = mac(number(multiplier + j), j ? x[j ? j - 1 : 0] : entering.of[0], x[j]);
                    if constexpr (reach == 2)
                        psi = mac(number(multiplier + M + j), j > 1 ? x[j > 1 ? j - 2 : 0] : entering.of[j ? 0 : 1], psi);
                    N chi = (before + after).times(mass_) + here.times(1 - 2 * mass_);
                    if (team_.periodic) {
                        const int ends = (lane == 0 && j == 0) + (lane == last_lane && j == last_point);
                        chi = chi + here.times(mass_ * static_cast<typename N::Scalar>(ends));
                    }
                    finish(j, chi, psi);
                    after = here;
                } else {
                    after = w.of[0];
                }
                push(w, before);
                here = before;
            }
        }
    }

    const Team& team_;
    Pointer<N> exchange_;
    typename N::Scalar mass_;
    int place_, mine_, warps_;
};

// What a stage makes of chi, scaled in order 2, and of the state before.
template <int reach, class N>
__device__ N stepped(bool cayley, N gain, N chi, N psi) {
    if constexpr (reach == 0) return cayley ? mac(gain, chi, -psi) : gain * chi;
    else return cayley ? chi + chi - psi : chi;
}

}  // namespace
}  // namespace qcore::schrodinger
