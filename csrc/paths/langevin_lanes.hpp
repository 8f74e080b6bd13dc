// Langevin steps of one vector of chains. Included by files compiled per instruction set, with contraction off.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/parallel.hpp"
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
    using S = Simd<T>;
    using V = typename S::V;
    using R = Random<T>;

    StepNoise(std::int64_t chain, std::uint64_t seed) : stream_(static_cast<std::uint32_t>(chain), seed) {}

    V operator()(std::int64_t step) {
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
    using S = Simd<T>;
    using V = typename S::V;
    static constexpr int lanes = S::width;

    explicit LangevinLanes(const LangevinTask& task)
        : task_(task), run_(*task.run), g_(task.g), noise_(task.first_chain, run_.seed), dt_(static_cast<T>(run_.dt)),
          kick_(static_cast<T>(std::sqrt(2 * run_.diffusion * run_.dt))) {
        if (run_.scheme != LangevinScheme::exact) return;
        const double rate = 2 * task.g.coefficients[2];
        centre_ = static_cast<T>(-task.g.coefficients[1] / rate);
        decay_ = static_cast<T>(std::exp(-rate * run_.dt));
        kick_ = static_cast<T>(std::sqrt(-run_.diffusion / rate * std::expm1(-2 * rate * run_.dt)));
    }

    void run() {
        T* const way = static_cast<T*>(thread_scratch(static_cast<std::size_t>((run_.steps + 1) * lanes) * sizeof(T)));
        T* const x = static_cast<T*>(task_.x) + task_.first_chain;
        double* const failed = task_.failed + task_.first_chain;
        for (int l = 0; l < lanes; ++l) way[l] = l < task_.count ? x[l] : T(0);
        for (int l = 0; l < task_.count; ++l) failed[l] = -1;
        for (std::int64_t k = 0; k < run_.count; ++k) {
            const std::int64_t step = (run_.first + k) * run_.steps;
            walk(way, step);
            measure(way, task_.measured + k * (3 + static_cast<std::int64_t>(run_.lags.size())) * task_.chains + task_.first_chain);
            std::copy(way + run_.steps * lanes, way + (run_.steps + 1) * lanes, way);
            for (int l = 0; l < task_.count; ++l)
                if (failed[l] < 0 && !std::isfinite(way[l])) failed[l] = static_cast<double>(step + run_.steps);
        }
        for (int l = 0; l < task_.count; ++l) x[l] = way[l];
    }

  private:
    QC_KERNEL void walk(T* way, std::int64_t first) {
        switch (run_.scheme) {
            case LangevinScheme::euler_maruyama:
                return each(way, first, [&](V x, std::int64_t n) { return S::fma(V{} + kick_, noise_(n), drift(x, x)); });
            case LangevinScheme::heun:
                return each(way, first, [&](V x, std::int64_t n) {
                    const V push = kick_ * noise_(n), slope = g_.slope(x);
                    const V there = S::fma(V{} - dt_, slope, x) + push;
                    return S::fma(V{} - dt_ * T(0.5), slope + g_.slope(there), x) + push;
                });
            case LangevinScheme::leimkuhler_matthews: {
                V noise = noise_(first);
                return each(way, first, [&](V x, std::int64_t n) {
                    const V next = noise_(n + 1), both = noise + next;
                    noise = next;
                    return S::fma(V{} + kick_ * T(0.5), both, drift(x, x));
                });
            }
            case LangevinScheme::implicit_midpoint:
                return each(way, first, [&](V x, std::int64_t n) { return implicit(x, kick_ * noise_(n)); });
            case LangevinScheme::exact:
                return each(way, first, [&](V x, std::int64_t n) {
                    return S::fma(V{} + kick_, noise_(n), S::fma(V{} + decay_, x - centre_, V{} + centre_));
                });
        }
    }

    template <class F>
    void each(T* way, std::int64_t first, F&& step) {
        V x = S::load(way);
        for (std::int64_t t = 0; t < run_.steps; ++t) {
            x = step(x, first + t);
            S::store(way + (t + 1) * lanes, x);
        }
    }

    V drift(V at, V x) const { return S::fma(V{} - dt_, g_.slope(at), x); }

    // The midpoint y = x + push/2 - dt/2 G'(y), by a fixed number of Newton steps, so that a chain doesn't depend on its neighbours.
    V implicit(V x, V push) const {
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

    QC_KERNEL void measure(const T* way, double* out) const {
        Totals<T> first, second, fourth;
        for (std::int64_t t = 1; t <= run_.steps;) {
            V a{}, b{}, c{};
            for (const std::int64_t stop = std::min(run_.steps + 1, t + tile); t < stop; ++t) {
                const V x = S::load(way + t * lanes), square = x * x;
                a += x;
                b += square;
                c = S::fma(square, square, c);
            }
            first.add(a);
            second.add(b);
            fourth.add(c);
        }
        alignas(vector_bytes) double sum[lanes];
        const double n = static_cast<double>(run_.steps);
        const auto put = [&](const Totals<T>& total, std::int64_t to, double terms) {
            total.store(sum);
            for (int l = 0; l < task_.count; ++l) out[to * task_.chains + l] = sum[l] / terms;
        };
        put(first, 0, n);
        put(second, 1, n);
        put(fourth, 2, n);
        std::int64_t row = 3;
        for (const std::int64_t lag : run_.lags) {
            Totals<T> total;
            for (std::int64_t t = lag; t <= run_.steps;) {
                V part{};
                for (const std::int64_t stop = std::min(run_.steps + 1, t + tile); t < stop; ++t)
                    part = S::fma(S::load(way + t * lanes), S::load(way + (t - lag) * lanes), part);
                total.add(part);
            }
            put(total, row++, static_cast<double>(run_.steps + 1 - lag));
        }
    }

    static constexpr std::int64_t tile = 32;  // terms of a sum in the chains' own precision
    static constexpr int newton_steps = sizeof(T) == 4 ? 5 : 6;
    static constexpr T solved = sizeof(T) == 4 ? T(1e-3) : T(1e-7);  // the last change; the error left is about its square

    const LangevinTask& task_;
    const paths::LangevinRun& run_;
    P g_;
    StepNoise<T> noise_;
    T dt_, kick_, centre_ = 0, decay_ = 0;
};

}  // namespace
}  // namespace qcore::QC_ISA
