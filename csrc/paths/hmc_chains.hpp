// Trajectories of a block of chains: momenta, motion, accept or reject, tuning, measurement, for any model that can move.
// Included by files compiled per instruction set.
#pragma once

#include <algorithm>
#include <cmath>

#include "core/parallel.hpp"
#include "paths/chain_lanes.hpp"
#include "paths/hmc_kernels.hpp"

namespace qcore::QC_ISA {
namespace {

using paths::hmc_purpose;
using paths::HmcTask;
using paths::Trajectories;

// Dual averaging of the logarithm of a chain's step. Hoffman, Gelman, J. Mach. Learn. Res. 15 (2014) 1593, section 3.2, with their
// constants. Each chain tunes for itself, so that it doesn't depend on how many others there are.
class Tuning {
  public:
    void load(const double* p) { std::copy(p, p + 4, v_); }
    void save(double* p) const { std::copy(v_, v_ + 4, p); }

    double step(const Trajectories& run) const { return std::min(std::exp(run.tune ? v_[now] : v_[mean]), run.longest); }

    void learn(double acceptance, const Trajectories& run) {
        const double t = v_[tuned] += 1, weight = 1 / (t + 10);
        v_[error] = (1 - weight) * v_[error] + weight * (run.target - acceptance);
        const double bound = std::log(run.longest);
        v_[now] = std::min(std::log(10 * run.step) - std::sqrt(t) / 0.05 * v_[error], bound);
        const double fresh = std::pow(t, -0.75);
        v_[mean] = fresh * v_[now] + (1 - fresh) * v_[mean];
    }

  private:
    enum { now, mean, error, tuned };
    double v_[4] = {};
};

template <class Model>
void run_trajectories(const HmcTask& task) {
    constexpr int lanes = Model::lanes;
    using T = typename Model::Real;
    const int count = std::min(task.count, lanes);
    const Trajectories& run = *task.run;
    Model model(task);
    model.load();
    typename Model::Sums now, next;
    model.sums(now);
    alignas(vector_bytes) double before[lanes], after[lanes], weight[lanes], taken[lanes] = {};
    alignas(vector_bytes) T step[lanes] = {}, accept[lanes] = {};
    Tuning tuning[lanes];
    for (int l = 0; l < count; ++l) tuning[l].load(task.tuning + (task.first_chain + l) * 4);
    for (std::int64_t k = 0; k < run.count; ++k) {
        const std::uint32_t sweep = static_cast<std::uint32_t>(run.first + k);
        double draw[lanes];
        for (int l = 0; l < count; ++l) {
            const auto words = philox({hmc_purpose(1), 0, sweep, static_cast<std::uint32_t>(task.first_chain + l)}, run.seed);
            draw[l] = uniform(words[0], words[1]);
            const double factor = 1 + run.jitter * (2 * uniform(words[2], words[3]) - 1);
            step[l] = static_cast<T>(tuning[l].step(run) * factor);
        }
        model.refresh(sweep);
        model.kinetic(before);
        model.move(step, run.steps);
        model.kinetic(after);
        model.sums(next);
        bool all = true;
        for (int l = 0; l < count; ++l) {
            const double change = (after[l] - before[l]) + (next.action(l, model) - now.action(l, model));
            weight[l] = change == change ? std::exp(-change) : 0.0;  // lost to overflow: as unlikely as can be
            const bool yes = draw[l] < weight[l];
            accept[l] = yes ? T(1) : T(0);
            taken[l] += yes;
            all = all && yes;
            if (yes) now.take(next, l);
            if (run.tune) tuning[l].learn(std::min(1.0, weight[l]), run);
        }
        if (!all) model.reject(accept);
        model.measure(now, weight, task.measured + k * model.observables() * task.chains);
    }
    model.save();
    for (int l = 0; l < count; ++l) {
        tuning[l].save(task.tuning + (task.first_chain + l) * 4);
        task.accepted[task.first_chain + l] = run.count ? taken[l] / static_cast<double>(run.count) : 0;
    }
}

// One trajectory with the momenta of the task.
template <class Model>
void run_leapfrog(const HmcTask& task) {
    constexpr int lanes = Model::lanes;
    using T = typename Model::Real;
    const int count = std::min(task.count, lanes);
    Model model(task);
    model.load();
    model.load_momenta();
    typename Model::Sums sums;
    alignas(vector_bytes) double kinetic[lanes];
    alignas(vector_bytes) T step[lanes];
    std::fill(step, step + lanes, static_cast<T>(task.step));
    for (int end = 0; end < 2; ++end) {
        if (end) model.move(step, task.run->steps);
        model.sums(sums);
        model.kinetic(kinetic);
        for (int l = 0; l < count; ++l)
            task.energies[end * task.chains + task.first_chain + l] = kinetic[l] + sums.action(l, model);
    }
    model.save();
    model.save_momenta();
}

// Where the fields of a block lie: [site][lane] arrays in this thread's scratch memory.
template <class T, int lanes_>
class Fields {
  public:
    using Real = T;
    using S = Simd<T>;
    using V = typename S::V;
    static constexpr int lanes = lanes_;

    Fields(const HmcTask& task, int arrays, std::int64_t extra)
        : task_(task), sites_(task.sites()),
          x_(static_cast<T*>(thread_scratch(static_cast<std::size_t>(arrays * sites_ * lanes + extra) * sizeof(T)))),
          p_(x_ + sites_ * lanes), old_(p_ + sites_ * lanes) {}

    void load() { load_chains<T, lanes>(chain(task_.x), sites_, task_.count, x_); }
    void save() { store_chains<T, lanes>(x_, sites_, task_.count, chain(task_.x)); }
    void load_momenta() { load_chains<T, lanes>(chain(task_.momenta), sites_, task_.count, p_); }
    void save_momenta() { store_chains<T, lanes>(p_, sites_, task_.count, chain(task_.momenta)); }

    // Back to where the trajectory began, where accept is zero.
    void reject(const T* accept) {
        for (std::int64_t i = 0; i < sites_ * lanes; i += lanes)
            for (int l = 0; l < lanes; l += S::width) {
                const V yes = S::load(accept + l);
                S::store(x_ + i + l, yes != T(0) ? S::load(x_ + i + l) : S::load(old_ + i + l));
            }
    }

  protected:
    T* chain(void* base) const { return static_cast<T*>(base) + task_.first_chain * sites_; }

    // Independent standard normals for the momenta, and a copy of where the trajectory begins.
    void draw(std::uint32_t sweep) {
        for (int l = 0; l < lanes; l += S::width)
            draw_normals(p_ + l, sites_, lanes, hmc_purpose(0), sweep, static_cast<std::uint32_t>(task_.first_chain + l), task_.run->seed);
        std::memcpy(old_, x_, static_cast<std::size_t>(sites_ * lanes) * sizeof(T));
    }

    // Half the sum of squares.
    QC_KERNEL void half_squares(const T* p, double* out) const {
        for (int l = 0; l < lanes; l += S::width) {
            Totals<T> sum;
            for (std::int64_t i = 0; i < sites_; ++i) {
                const V v = S::load(p + i * lanes + l);
                sum.add(v * (v * T(0.5)));
            }
            sum.store(out + l);
        }
    }

    const HmcTask& task_;
    std::int64_t sites_;
    T *x_, *p_, *old_;
};

}  // namespace
}  // namespace qcore::QC_ISA
