// The factors of the matrices of a run in one dimension, for each stage and, where potentials differ, for each system: one thread
// eliminates one matrix, in float64. What they are is written in csrc/schrodinger/elimination.hpp (order 2) and band.hpp (compact
// orders); unlike there the corrections of a periodic matrix also hold for fewer than four points.
#pragma once

#include "launch.hpp"
#include "schrodinger_number.hpp"

namespace qcore::schrodinger {
namespace {

using cuda::launch;
using cuda::Pointer;
using cuda::pointer;
using cuda::Queue;

constexpr int most_poles = 32;

// A run as kernels take it.
struct Line {
    std::int64_t n, batch;
    std::int64_t slices, systems;  // of the potential
    std::int64_t poles;
    int reach;  // diagonals on either side of the factors' matrices; 0: order 2 by its own, shorter way
    bool periodic, cayley, complex_potential;
    double mass, quartic;  // m and q of band.hpp
    double kappa;
    double c[2 * most_poles];

    QC_HD int numbers() const { return 1 + 2 * reach; }               // of a row of factors
    QC_HD int border_numbers() const { return reach ? reach : 1; }  // C of band.hpp, or v
    QC_HD int weights() const { return reach ? reach * reach : 1; }
    template <class N>
    QC_HD N coefficient(std::int64_t pole, double sign) const {
        return N::of(sign * c[2 * pole], sign * c[2 * pole + 1]);
    }
};

// Some stages of a run.
struct Stages {
    std::int64_t first, count;
};

// For each of some stages the numbers lie system by system, [stage][row][number].
template <class N>
struct Factors {
    Pointer<N> rows, borders, weights;
    std::int64_t sets;  // 1: all systems share them
    double sign;        // they are of 1 - sign c H
};

// Bytes of the factors of so many stages and systems, and the factors in such memory.
template <class N>
std::int64_t factor_bytes(const Line& line, std::int64_t stages, std::int64_t systems) {
    const std::int64_t border = line.periodic ? line.n * line.border_numbers() + line.weights() : 0;
    return (line.n * line.numbers() + border) * stages * systems * static_cast<std::int64_t>(sizeof(N));
}
template <class N>
Factors<N> place_factors(Pointer<N> at, const Line& line, std::int64_t stages, std::int64_t systems, double sign) {
    const std::int64_t count = stages * systems, rows = count * line.n * line.numbers();
    return {at, at + rows, at + rows + (line.periodic ? count * line.n * line.border_numbers() : 0), systems, sign};
}

// l of a grid whose ends are walls, or, where they are connected, of what is left of it without u u^T.
QC_HD double second_difference(const Line& line, std::int64_t j, std::int64_t offset) {
    if (offset) return j + offset >= 0 && j + offset < line.n ? -1 : 0;
    return 2 - (line.periodic ? (j == 0) + (j == line.n - 1) : 0);
}
QC_HD double border_u(const Line& line, std::int64_t j) { return (j == 0) - (j == line.n - 1); }
QC_HD double border_t(const Line& line, std::int64_t j) {
    double sum = second_difference(line, j, 0) * border_u(line, j);
    if (j > 0) sum -= border_u(line, j - 1);
    if (j + 1 < line.n) sum -= border_u(line, j + 1);
    return sum;
}

// The matrix of one stage and one set, eliminated from the top.
template <class N>
class Elimination {
  public:
    __device__ Elimination(const Line& line, const Factors<N>& factors, Pointer<const double> potential, const Stages& stages,
                           std::int64_t table, std::int64_t set)
        : line_(line), pitch_(factors.sets) {
        const std::int64_t stage = stages.first + table, slice = line.slices == 1 ? 0 : stage / line.poles;
        c_ = line.template coefficient<N>(stage % line.poles, factors.sign);
        c_kappa_ = c_.times(line.kappa);
        potential_ = potential + (slice * line.systems + set) * line.n * (line.complex_potential ? 2 : 1);
        rows_ = factors.rows + table * line.n * line.numbers() * pitch_ + set;
        if (line.periodic) {
            border_ = factors.borders + table * line.n * line.border_numbers() * pitch_ + set;
            weight_ = factors.weights + table * line.weights() * pitch_ + set;
        }
    }

    // tri(1, b, 1) of order 2.
    __device__ void three_point() {
        const N scale = inverse(c_kappa_);
        N before = N::of(0, 0);
        for (std::int64_t j = 0; j < line_.n; ++j) {
            before = inverse(one_minus_cv(j) * scale - N::of(second_difference(line_, j, 0), 0) - before);
            factor(j, 0) = before;
        }
        if (!line_.periodic) return;
        N e = N::of(0, 0), v = N::of(0, 0);
        for (std::int64_t j = 0; j < line_.n; ++j) {
            e = N::of(border_u(line_, j), 0) - (j ? factor(j - 1, 0) * e : N::of(0, 0));
            border(j, 0) = e;
        }
        for (std::int64_t j = line_.n - 1; j >= 0; --j) {
            v = factor(j, 0) * (border(j, 0) - v);
            border(j, 0) = v;
        }
        weight_[0] = inverse(N::of(1, 0) - border_sum(0, 0));
    }

    template <int reach>
    __device__ void banded() {
        N recip[2] = {}, above1[2] = {}, above2[2] = {};
        for (std::int64_t j = 0; j < line_.n; ++j) {
            const N one = one_minus_cv(j);
            const N e2 = reach == 2 ? entry(one, j, -2) * recip[1] : N::of(0, 0);
            const N e1 = nmac(e2, above1[1], entry(one, j, -1)) * recip[0];
            const N r = inverse(nmac(e2, above2[1], nmac(e1, above1[0], entry(one, j, 0))));
            const N f1 = nmac(e1, above2[0], entry(one, j, 1)), f2 = reach == 2 ? entry(one, j, 2) : N::of(0, 0);
            recip[1] = recip[0];
            above1[1] = above1[0];
            above2[1] = above2[0];
            recip[0] = r;
            above1[0] = f1;
            above2[0] = f2;
            factor(j, 0) = r;
            factor(j, 1) = r * f1;
            factor(j, 1 + reach) = e1;
            if (reach == 2) {
                factor(j, 2) = r * f2;
                factor(j, 4) = e2;
            }
        }
        if (!line_.periodic) return;
        for (int k = 0; k < reach; ++k) {
            for (std::int64_t j = 0; j < line_.n; ++j) border(j, k) = added(k, j);
            substitute<reach>(k, 1, 1 + reach);
            scale(k);
            substitute<reach>(k, -1, 1);
        }
        // The inverse of 1 + [u t]^T [v1 v2].
        if constexpr (reach == 1) {
            weight_[0] = inverse(N::of(1, 0) + border_sum(0, 0));
        } else {
            const N a = N::of(1, 0) + border_sum(0, 0), b = border_sum(0, 1), c = border_sum(1, 0),
                    d = N::of(1, 0) + border_sum(1, 1);
            const N over = inverse(nmac(b, c, a * d));
            weight_[0] = over * d;
            weight_[pitch_] = -(over * b);
            weight_[2 * pitch_] = -(over * c);
            weight_[3 * pitch_] = over * a;
        }
        for (int k = 0; k < reach; ++k) to_chi(k);
    }

  private:
    __device__ N& factor(std::int64_t j, int number) const { return rows_[(j * line_.numbers() + number) * pitch_]; }
    __device__ N& border(std::int64_t j, int number) const { return border_[(j * line_.border_numbers() + number) * pitch_]; }

    __device__ N one_minus_cv(std::int64_t j) const {
        const N v = line_.complex_potential ? N::of(potential_[2 * j], potential_[2 * j + 1]) : N::of(potential_[j], 0);
        return nmac(c_, v, N::of(1, 0));
    }

    __device__ N entry(N one, std::int64_t j, std::int64_t offset) const {
        const std::int64_t k = j + offset;
        if (k < 0 || k >= line_.n) return N::of(0, 0);
        double square = 0;
        for (std::int64_t via = j - 1; via <= j + 1; ++via)
            if (via >= 0 && via < line_.n && via >= k - 1 && via <= k + 1)
                square += second_difference(line_, j, via - j) * second_difference(line_, via, k - via);
        const double once = offset >= -1 && offset <= 1 ? second_difference(line_, j, offset) : 0;
        return nmac(c_kappa_, N::of(once - line_.quartic * square, 0), one.times((offset ? 0 : 1) - line_.mass * once));
    }

    // a1 and a2.
    __device__ N added(int k, std::int64_t j) const {
        const double u = border_u(line_, j);
        if (k) return c_kappa_.times(line_.quartic * u);
        return nmac(one_minus_cv(j), N::of(line_.mass * u, 0), c_kappa_.times(line_.quartic * (border_t(line_, j) + 2 * u) - u));
    }

    // x -= coefficient(i) x of other rows, from one end to the other.
    template <int reach>
    __device__ void substitute(int x, std::int64_t direction, int which) const {
        for (std::int64_t k = 0; k < line_.n; ++k) {
            const std::int64_t j = direction > 0 ? k : line_.n - 1 - k;
            N sum = border(j, x);
            for (int i = 1; i <= reach && i <= k; ++i) {
                const std::int64_t from = j - i * direction;
                sum = nmac(factor(j, which + i - 1), border(from, x), sum);
            }
            border(j, x) = sum;
        }
    }
    __device__ void scale(int x) const {
        for (std::int64_t j = 0; j < line_.n; ++j) border(j, x) = factor(j, 0) * border(j, x);
    }

    // (u or t, v_k): their entries differ from zero in the first and the last two rows only.
    __device__ N border_sum(int i, int k) const {
        N sum = N::of(0, 0);
        for (std::int64_t j = 0; j < line_.n; ++j) {
            if (j == 2 && line_.n > 4) j = line_.n - 2;
            sum = mac(N::of(i ? border_t(line_, j) : border_u(line_, j), 0), border(j, k), sum);
        }
        return sum;
    }

    // v becomes C.
    __device__ void to_chi(int k) const {
        N before = N::of(0, 0), here = border(0, k);
        for (std::int64_t j = 0; j < line_.n; ++j) {
            const N after = j + 1 < line_.n ? border(j + 1, k) : N::of(0, 0);
            const N l_v = here.times(second_difference(line_, j, 0)) - (before + after);
            border(j, k) = l_v.times(line_.mass) - here - N::of(k ? 0 : line_.mass * border_u(line_, j), 0);
            before = here;
            here = after;
        }
    }

    const Line& line_;
    std::int64_t pitch_;
    N c_, c_kappa_;
    Pointer<const double> potential_;
    Pointer<N> rows_, border_ = nullptr, weight_ = nullptr;
};

template <class N>
__global__ void factorize(Line line, Factors<N> factors, Pointer<const double> potential, Stages stages) {
    for (std::int64_t i = cuda::thread(); i < stages.count * factors.sets; i += cuda::threads()) {
        Elimination<N> elimination(line, factors, potential, stages, i / factors.sets, i % factors.sets);
        if (line.reach == 0) elimination.three_point();
        else if (line.reach == 1) elimination.template banded<1>();
        else elimination.template banded<2>();
    }
}

}  // namespace
}  // namespace qcore::schrodinger
