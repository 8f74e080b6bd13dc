// Trajectories of a block of chains: momenta, motion, accept or reject, tuning, measurement, for any model that can move.
// Included by files compiled per instruction set and by CUDA sources.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/scalar_math.hpp"
#include "paths/chain_lanes.hpp"
#include "paths/hmc_kernels.hpp"

namespace qcore::QC_ISA {
namespace {

using paths::hmc_purpose;
using paths::HmcTask;
using paths::Trajectories;

// Dual averaging of the logarithm of a chain's step. Hoffman, Gelman, J. Mach. Learn. Res. 15 (2014) 1593, section 3.2, with
// their constants. Each chain tunes for itself, so that it doesn't depend on how many others there are.
class Tuning {
  public:
    QC_DEVICE void load(Memory<const double> p) {
        for (int i = 0; i < 4; ++i) v_[i] = p[i];
    }
    QC_DEVICE void save(Memory<double> p) const {
        for (int i = 0; i < 4; ++i) p[i] = v_[i];
    }

    QC_DEVICE double log_step(const Trajectories& run) const { return run.tune ? v_[now] : v_[mean]; }

    // With the logs of ten times the run's first step, and of its longest.
    QC_DEVICE void learn(double acceptance, const Trajectories& run, double centre, double bound) {
        const double t = v_[tuned] += 1, weight = 1 / (t + 10), root = std::sqrt(t);
        v_[error] = (1 - weight) * v_[error] + weight * (run.target - acceptance);
        v_[now] = std::min(centre - root / 0.05 * v_[error], bound);
        const double fresh = 1 / (root * std::sqrt(root));  // t^-0.75
        v_[mean] = fresh * v_[now] + (1 - fresh) * v_[mean];
    }

  private:
    enum { now, mean, error, tuned };
    double v_[4] = {};
};

template <class Model>
QC_DEVICE void run_trajectories(const HmcTask& task, std::int64_t first_chain, int chains, Scratch scratch) {
    constexpr int lanes = Model::lanes;
    using T = typename Model::Real;
    const int count = std::min(chains, lanes);
    const Trajectories& run = task.run;
    const Memory<double> kept = memory<double>(task.tuning) + first_chain * 4;
    const Memory<double> measured = memory<double>(task.measured) + first_chain;
    Model model(task, first_chain, count, scratch);
    model.load();
    typename Model::Sums now, next;
    model.sums(now);
    alignas(vector_bytes) double before[lanes], after[lanes], weight[lanes], taken[lanes] = {};
    alignas(vector_bytes) T step[lanes] = {}, accept[lanes] = {};
    Tuning tuning[lanes];
    const double centre = log_of(10 * run.step), bound = log_of(run.longest);
    for (int l = 0; l < count; ++l) tuning[l].load(kept + l * 4);
    for (std::int64_t k = 0; k < run.count; ++k) {
        const std::uint32_t sweep = static_cast<std::uint32_t>(run.first + k);
        alignas(vector_bytes) double draw[lanes] = {}, length[lanes];
        for (int l = 0; l < lanes; ++l) length[l] = l < count ? tuning[l].log_step(run) : 0.0;
        exp_each(length, lanes);
        for (int l = 0; l < count; ++l) {
            const auto words = philox({hmc_purpose(1), 0, sweep, static_cast<std::uint32_t>(first_chain + l)}, run.seed);
            draw[l] = uniform(words[0], words[1]);
            const double factor = 1 + run.jitter * (2 * uniform(words[2], words[3]) - 1);
            step[l] = static_cast<T>(std::min(length[l], run.longest) * factor);
        }
        model.refresh(sweep);
        model.kinetic(before);
        model.move(step, run.steps);
        model.kinetic(after);
        model.sums(next);
        bool all = true;
        for (int l = 0; l < lanes; ++l) {
            const double change = (after[l] - before[l]) + (next.action(l, model) - now.action(l, model));
            weight[l] = change == change ? -change : -std::numeric_limits<double>::infinity();  // lost to overflow
        }
        exp_each(weight, lanes);
        for (int l = 0; l < count; ++l) {
            const bool yes = draw[l] < weight[l];
            accept[l] = yes ? T(1) : T(0);
            taken[l] += yes;
            all = all && yes;
            if (yes) now.take(next, l);
            if (run.tune) tuning[l].learn(std::min(1.0, weight[l]), run, centre, bound);
        }
        if (!all) model.reject(accept);
        model.measure(now, weight, measured + k * model.observables() * task.chains);
    }
    model.save();
    for (int l = 0; l < count; ++l) {
        tuning[l].save(kept + l * 4);
        memory<double>(task.accepted)[first_chain + l] = run.count ? taken[l] / static_cast<double>(run.count) : 0;
    }
}

// One trajectory with the momenta of the task.
template <class Model>
QC_DEVICE void run_leapfrog(const HmcTask& task, std::int64_t first_chain, int chains, Scratch scratch) {
    constexpr int lanes = Model::lanes;
    using T = typename Model::Real;
    const int count = std::min(chains, lanes);
    const Memory<double> energies = memory<double>(task.energies) + first_chain;
    Model model(task, first_chain, count, scratch);
    model.load();
    model.load_momenta();
    typename Model::Sums sums;
    alignas(vector_bytes) double kinetic[lanes];
    alignas(vector_bytes) T step[lanes];
    for (int l = 0; l < lanes; ++l) step[l] = static_cast<T>(task.step);
    for (int end = 0; end < 2; ++end) {
        if (end) model.move(step, task.run.steps);
        model.sums(sums);
        model.kinetic(kinetic);
        for (int l = 0; l < count; ++l) energies[end * task.chains + l] = kinetic[l] + sums.action(l, model);
    }
    model.save();
    model.save_momenta();
}

// The fields of a block of chains: places, momenta, and places before the trajectory.
template <class T, int lanes_>
class Fields {
  public:
    using Real = T;
    using S = Vector<T>;
    using V = typename S::V;
    static constexpr int lanes = lanes_;

    // Of a lane.
    static QC_HD std::int64_t scratch_bytes(const HmcTask& task) {
        return 3 * task.sites() * static_cast<std::int64_t>(sizeof(T));
    }

    QC_DEVICE Fields(const HmcTask& task, std::int64_t first_chain, int count, Scratch& scratch)
        : task_(task), first_chain_(first_chain), sites_(task.sites()), count_(count),
          x_(scratch.template rows<T, lanes>(sites_)), p_(scratch.template rows<T, lanes>(sites_)),
          old_(scratch.template rows<T, lanes>(sites_)) {}

    QC_DEVICE void load() { load_chains<T, lanes>(chain<const T>(task_.x), sites_, count_, x_); }
    QC_DEVICE void save() { store_chains<T, lanes>(x_, sites_, count_, chain<T>(task_.x)); }
    QC_DEVICE void load_momenta() { load_chains<T, lanes>(chain<const T>(task_.momenta), sites_, count_, p_); }
    QC_DEVICE void save_momenta() { store_chains<T, lanes>(p_, sites_, count_, chain<T>(task_.momenta)); }

    // Back to where the trajectory began, where accept is zero.
    QC_DEVICE void reject(const T* accept) {
        for (std::int64_t i = 0; i < sites_; ++i)
            for (int l = 0; l < lanes; l += S::width) {
                const V yes = S::load(accept + l);
                S::store(x_[i] + l, yes != T(0) ? S::load(x_[i] + l) : S::load(old_[i] + l));
            }
    }

  protected:
    template <class U>
    QC_DEVICE Memory<U> chain(void* base) const {
        return memory<U>(base) + first_chain_ * sites_;
    }

    // Independent standard normals for the momenta, and a copy of where the trajectory begins.
    QC_DEVICE void draw(std::uint32_t sweep) {
        for (int l = 0; l < lanes; l += S::width)
            draw_normals(p_, l, sites_, hmc_purpose(0), sweep, static_cast<std::uint32_t>(first_chain_ + l), task_.run.seed);
        for (std::int64_t i = 0; i < sites_; ++i)
            for (int l = 0; l < lanes; l += S::width) S::store(old_[i] + l, S::load(x_[i] + l));
    }

    // Half the sum of squares.
    QC_LANE_KERNEL void half_squares(double* out) const {
        for (int l = 0; l < lanes; l += S::width) {
            Totals<T> sum;
            for (std::int64_t i = 0; i < sites_; ++i) {
                const V v = S::load(p_[i] + l);
                sum.add(v * (v * T(0.5)));
            }
            sum.store(out + l);
        }
    }

    const HmcTask& task_;
    std::int64_t first_chain_, sites_;
    int count_;
    Rows<T, lanes> x_, p_, old_;
};

}  // namespace
}  // namespace qcore::QC_ISA
