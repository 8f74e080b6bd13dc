// Langevin steps of one vector of chains. Included by files compiled per instruction set and by CUDA sources, with contraction
// off.
#pragma once

#include <cmath>
#include <limits>

#include "paths/chain_lanes.hpp"
#include "paths/potential_lanes.hpp"
#include "paths/walk_kernels.hpp"

namespace qcore::QC_ISA {
namespace {

using paths::LangevinScheme;
using paths::LangevinTask;

// The standard normal of every step of one vector of chains; a block of random words serves several steps.
template <class T>
class StepNoise {
  public:
    using S = Vector<T>;
    using V = typename S::V;
    using R = Random<T>;

    QC_DEVICE StepNoise(std::int64_t chain, std::uint64_t seed) : stream_(static_cast<std::uint32_t>(chain), seed) {}

    QC_DEVICE V operator()(std::int64_t step) {
        if (step / R::normals != block_) {
            block_ = step / R::normals;
            constexpr std::uint32_t purpose = static_cast<std::uint32_t>(Purpose::langevin) << 24;
            const auto words = stream_.words(purpose, 0, static_cast<std::uint32_t>(block_));
            for (int k = 0; k < R::normals / 2; ++k) R::normal(words, k, z_[2 * k], z_[2 * k + 1]);
        }
        return z_[step % R::normals];
    }

  private:
    typename R::Stream stream_;
    std::int64_t block_ = -1;
    V z_[R::normals];
};

template <class T, class P>
class LangevinLanes {
  public:
    using S = Vector<T>;
    using V = typename S::V;
    static constexpr int lanes = S::width;

    // Of a lane.
    static QC_HD std::int64_t scratch_bytes(const LangevinTask& task) {
        return (task.steps + 1) * static_cast<std::int64_t>(sizeof(T));
    }

    QC_DEVICE LangevinLanes(const LangevinTask& task, std::int64_t first_chain, int count, Scratch scratch)
        : task_(task), first_chain_(first_chain), count_(count), g_(task.g.get()), noise_(first_chain, task.seed),
          way_(scratch.template rows<T, lanes>(task.steps + 1)), dt_(static_cast<T>(task.dt)), kick_(static_cast<T>(task.kick)),
          centre_(static_cast<T>(task.centre)), decay_(static_cast<T>(task.decay)) {}

    QC_DEVICE void run() {
        const Memory<T> x = memory<T>(task_.x) + first_chain_;
        const Memory<double> failed = memory<double>(task_.failed) + first_chain_;
        const Memory<double> measured = memory<double>(task_.measured) + first_chain_;
        for (int l = 0; l < lanes; ++l) way_[0][l] = l < count_ ? x[l] : T(0);
        for (int l = 0; l < count_; ++l) failed[l] = -1;
        for (std::int64_t k = 0; k < task_.count; ++k) {
            const std::int64_t step = (task_.first + k) * task_.steps;
            walk(step);
            measure(measured + k * (3 + task_.lag_count) * task_.chains);
            S::store(way_[0], S::load(way_[task_.steps]));
            for (int l = 0; l < count_; ++l)
                if (failed[l] < 0 && !std::isfinite(way_[0][l])) failed[l] = static_cast<double>(step + task_.steps);
        }
        for (int l = 0; l < count_; ++l) x[l] = way_[0][l];
    }

  private:
    QC_LANE_KERNEL void walk(std::int64_t first) {
        switch (task_.scheme) {
            case LangevinScheme::euler_maruyama:
                return each(first, [&](V x, std::int64_t n) { return S::fma(V{} + kick_, noise_(n), drift(x, x)); });
            case LangevinScheme::heun:
                return each(first, [&](V x, std::int64_t n) {
                    const V push = kick_ * noise_(n), slope = g_.slope(x);
                    const V there = S::fma(V{} - dt_, slope, x) + push;
                    return S::fma(V{} - dt_ * T(0.5), slope + g_.slope(there), x) + push;
                });
            case LangevinScheme::leimkuhler_matthews: {
                V noise = noise_(first);
                return each(first, [&](V x, std::int64_t n) {
                    const V next = noise_(n + 1), both = noise + next;
                    noise = next;
                    return S::fma(V{} + kick_ * T(0.5), both, drift(x, x));
                });
            }
            case LangevinScheme::implicit_midpoint:
                return each(first, [&](V x, std::int64_t n) { return implicit(x, kick_ * noise_(n)); });
            case LangevinScheme::exact:
                return each(first, [&](V x, std::int64_t n) {
                    return S::fma(V{} + kick_, noise_(n), S::fma(V{} + decay_, x - centre_, V{} + centre_));
                });
        }
    }

    template <class F>
    QC_DEVICE void each(std::int64_t first, F&& step) {
        V x = S::load(way_[0]);
        for (std::int64_t t = 0; t < task_.steps; ++t) {
            x = step(x, first + t);
            S::store(way_[t + 1], x);
        }
    }

    QC_DEVICE V drift(V at, V x) const { return S::fma(V{} - dt_, g_.slope(at), x); }

    // The midpoint y = x + push/2 - dt/2 G'(y), by a fixed number of Newton steps, so that a chain doesn't depend on its
    // neighbours.
    QC_DEVICE V implicit(V x, V push) const {
        const T half = dt_ * T(0.5);
        const V goal = S::fma(push, V{} + T(0.5), x);
        V y = goal, change{};
        for (int k = 0; k < newton_steps; ++k) {
            const Jet<T> g = g_.jet(y);
            change = (S::fma(V{} + half, g.slope, y) - goal) / S::fma(V{} + half, g.curvature, V{} + T(1));
            y -= change;
        }
        const V size = change < T(0) ? -change : change, scale = (y < T(0) ? -y : y) + T(1);
        const V next = (y + y) - x;
        return size <= scale * solved ? next : V{} + std::numeric_limits<T>::quiet_NaN();  // a NaN fails the comparison too
    }

    QC_LANE_KERNEL void measure(Memory<double> out) const {
        Totals<T> first, second, fourth;
        for (std::int64_t t = 1; t <= task_.steps;) {
            V a{}, b{}, c{};
            for (const std::int64_t stop = std::min(task_.steps + 1, t + tile); t < stop; ++t) {
                const V x = S::load(way_[t]), square = x * x;
                a += x;
                b += square;
                c = S::fma(square, square, c);
            }
            first.add(a);
            second.add(b);
            fourth.add(c);
        }
        alignas(vector_bytes) double sum[lanes];
        const double n = static_cast<double>(task_.steps);
        const auto put = [&](const Totals<T>& total, std::int64_t to, double terms) {
            total.store(sum);
            for (int l = 0; l < count_; ++l) out[to * task_.chains + l] = sum[l] / terms;
        };
        put(first, 0, n);
        put(second, 1, n);
        put(fourth, 2, n);
        std::int64_t row = 3;
        const Memory<const std::int64_t> lags = memory<const std::int64_t>(task_.lags);
        for (std::int64_t k = 0; k < task_.lag_count; ++k) {
            const std::int64_t lag = lags[k];
            Totals<T> total;
            for (std::int64_t t = lag; t <= task_.steps;) {
                V part{};
                for (const std::int64_t stop = std::min(task_.steps + 1, t + tile); t < stop; ++t)
                    part = S::fma(S::load(way_[t]), S::load(way_[t - lag]), part);
                total.add(part);
            }
            put(total, row++, static_cast<double>(task_.steps + 1 - lag));
        }
    }

    static constexpr std::int64_t tile = 32;  // terms of a sum in the chains' own precision
    static constexpr int newton_steps = sizeof(T) == 4 ? 5 : 6;
    static constexpr T solved = sizeof(T) == 4 ? T(1e-3) : T(1e-7);  // the last change; the error left is about its square

    const LangevinTask& task_;
    std::int64_t first_chain_;
    int count_;
    P g_;
    StepNoise<T> noise_;
    Rows<T, lanes> way_;
    T dt_, kick_, centre_, decay_;
};

}  // namespace
}  // namespace qcore::QC_ISA
