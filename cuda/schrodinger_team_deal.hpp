// The coefficients of teams: every lane finds what becomes of a carry on its way through its points, and with the lanes before
// and behind it the multipliers of the scans.
#pragma once

#include "schrodinger_team.hpp"

namespace qcore::schrodinger {
namespace {

// A matrix of carries, while a lane works one out.
template <class N, int count>
struct CarryMatrix {
    N of[count * count];

    static __device__ CarryMatrix identity() {
        CarryMatrix one;
#pragma unroll
        for (int i = 0; i < count * count; ++i) one.of[i] = N::of(i % (count + 1) == 0, 0);
        return one;
    }
    __device__ CarryMatrix operator*(const CarryMatrix& b) const {
        CarryMatrix product;
#pragma unroll
        for (int i = 0; i < count; ++i)
#pragma unroll
            for (int k = 0; k < count; ++k) {
                N sum = product_of(of[i * count], b.of[k]);
                if (count == 2) sum = sum + product_of(of[i * count + 1], b.of[count + k]);
                product.of[i * count + k] = sum;
            }
        return product;
    }
    // Zero has the last word, see plus_product().
    static __device__ N product_of(N a, N b) { return a.is_zero() || b.is_zero() ? N::of(0, 0) : a * b; }
    template <class F>
    __device__ CarryMatrix with_each(F f) const {
        CarryMatrix result;
#pragma unroll
        for (int i = 0; i < count * count; ++i) result.of[i] = f(of[i]);
        return result;
    }
};

// The coefficients of every table and set from its factors: as many blocks of a team's lanes each as the team has.
template <class N, int reach>
__global__ void __launch_bounds__(most_team)
    deal(Line line, Team team, Stages stages, Factors<typename N::template With<double>> factors, Pointer<N> coefficients) {
    using Wide = typename N::template With<double>;
    using At = LaneNumbers<reach>;
    constexpr int carried = At::carried;
    using Matrix = CarryMatrix<Wide, carried>;
    const int width = team.width(), place = static_cast<int>(threadIdx.x) % width, points = team.points;
    const bool there = static_cast<int>(threadIdx.x) < team.block();  // a block is never less than a warp
    const Wide one = Wide::of(1, 0), zero = Wide::of(0, 0);
    for (std::int64_t item = blockIdx.x; item < stages.count * factors.sets * team.parts(); item += gridDim.x) {
        const std::int64_t whole = item / team.parts(), table = whole / factors.sets, set = whole % factors.sets,
                           lane = item % team.parts() * team.block() + static_cast<int>(threadIdx.x), first = lane * points;
        const auto factor = [&](std::int64_t j, int k) {
            return j >= 0 && j < line.n ? factors.rows[((table * line.n + j) * (1 + 2 * reach) + k) * factors.sets + set] : zero;
        };
        const Pointer<N> to = coefficients + table * team.groups(factors.sets) * team.size() + team.place_of_set(set) +
                              lane / warp * team.numbers() * warp + place;
        const auto put = [&](int number, Wide value) {
            if (there) to[number * warp] = convert<N>(value);
        };
        const int base = team.point_numbers() * points, border = base + At::count;
        // What becomes of a carry on its way through the lane.
        Matrix down, up;
        if constexpr (reach == 0) {
            Wide q = one, s = zero, sum = zero;
            for (int t = 0; t < points; ++t) {
                const Wide here = factor(first + t, 0);
                q = -(q * factor(first + t - 1, 0));
                s = t ? -(s * here) : here;
                sum = mac(s, q, sum);
                put(t, here);
                put(points + t, s);
                put(2 * points + t, q);
            }
            down.of[0] = q;
            up.of[0] = -s;
            put(base + At::through, sum);
            const Wide c = line.template coefficient<Wide>((stages.first + table) % line.poles, factors.sign);
            put(base + At::gain, inverse(c.times(line.kappa)).times(line.cayley ? 2 : 1));
        } else {
            for (int t = 0; t < points; ++t)
                for (int k = 0; k < 1 + 2 * reach; ++k) put(k * points + t, factor(first + t, k));
#pragma unroll
            for (int column = 0; column < carried; ++column) {
                Carry<Wide, 2> y = {{column ? zero : one, column ? one : zero}}, w = y;
                const auto through = [&](Carry<Wide, 2>& x, std::int64_t j, int which) {
                    Wide next = -(factor(j, which) * x.of[0]);
                    if (reach == 2) next = nmac(factor(j, which + 1), x.of[1], next);
                    x.of[1] = x.of[0];
                    x.of[0] = next;
                };
                for (int t = 0; t < points; ++t) {
                    through(y, first + t, 1 + reach);
                    through(w, first + points - 1 - t, 1);
                }
#pragma unroll
                for (int i = 0; i < carried; ++i) {
                    down.of[i * carried + column] = y.of[i];
                    up.of[i * carried + column] = w.of[i];
                }
            }
        }
        for (int k = 0; k <= reach; ++k) put(base + At::entering + k, factor(first - 1, k));
        if (team.periodic) {
            const std::int64_t borders = line.border_numbers(), weights = At::square;
            for (int k = 0; k < team.borders(); ++k)
                for (int t = 0; t < points; ++t) {
                    const std::int64_t j = first + t;
                    put(border + k * points + t,
                        j < line.n ? factors.borders[((table * line.n + j) * borders + k) * factors.sets + set] : zero);
                }
            for (int k = 0; k < weights; ++k)
                put(base + At::weight + k, factors.weights[(table * weights + k) * factors.sets + set]);
        }
        const auto put_matrix = [&](int number, const Matrix& matrix, bool used) {
#pragma unroll
            for (int i = 0; i < At::square; ++i) put(base + number + i, used ? matrix.of[i] : zero);
        };
        for (int k = 0; k < 5; ++k) {
            const int distance = 1 << k;
            const Matrix above = down.with_each([&](Wide a) { return shift_up(a, distance, width); }),
                         below = up.with_each([&](Wide a) { return shift_down(a, distance, width); });
            put_matrix(At::down_level + k * At::square, down, place >= distance);
            put_matrix(At::up_level + k * At::square, up, place + distance < width);
            if (place >= distance) down = down * above;
            if (place + distance < width) up = up * below;
        }
        const Matrix above = down.with_each([&](Wide a) { return shift_up(a, 1, width); }),
                     below = up.with_each([&](Wide a) { return shift_down(a, 1, width); });
        put_matrix(At::down_after, down, true);
        put_matrix(At::up_after, up, true);
        put_matrix(At::down_before, place ? above : Matrix::identity(), true);
        put_matrix(At::up_before, place + 1 < width ? below : Matrix::identity(), true);
    }
}

}  // namespace
}  // namespace qcore::schrodinger
