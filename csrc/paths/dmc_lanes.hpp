// Steps of one population of diffusion Monte Carlo, walkers in the lanes. Included by files compiled per instruction set, with
// contraction off.
#pragma once

#include <algorithm>
#include <cmath>

#include "paths/chain_lanes.hpp"
#include "paths/dmc_walkers.hpp"

namespace qcore::QC_ISA {
namespace {

template <class T, class P, bool guided>
class Population {
  public:
    using S = Simd<T>;
    using V = typename S::V;
    using R = Random<T>;

    Population(const DmcTask& task, std::int64_t population)
        : task_(task), population_(population), run_(task.run), walkers_(task), room_((task.size / sums + 1) * sums) {
        constexpr int arrays = 4 + R::normals;
        const std::size_t numbers = static_cast<std::size_t>(room_);
        weight_ = static_cast<double*>(thread_scratch(numbers * (sizeof(double) + arrays * sizeof(T))));
        x_ = reinterpret_cast<T*>(weight_ + room_);
        local_ = x_ + room_;
        next_ = local_ + room_;
        next_local_ = next_ + room_;
        noise_ = next_local_ + room_;
    }

    void run() {
        T* const walkers = static_cast<T*>(task_.walkers) + population_ * task_.size;
        double& reference = task_.reference[population_];
        std::copy(walkers, walkers + task_.size, x_);
        std::fill(x_ + task_.size, x_ + room_, walkers[0]);
        for (std::int64_t i = 0; i < room_; i += S::width) S::store(local_ + i, walkers_.energy(S::load(x_ + i)));
        for (std::int64_t k = 0; k < run_.count; ++k) {
            double mean[paths::dmc_observables] = {};
            for (std::int64_t t = 0; t < run_.steps; ++t) step((run_.first + k) * run_.steps + t, reference, mean);
            for (int o = 0; o < paths::dmc_observables; ++o) {
                mean[o] /= static_cast<double>(run_.steps);
                task_.measured[(k * paths::dmc_observables + o) * task_.populations + population_] = mean[o];
            }
            reference = mean[0];
        }
        std::copy(x_, x_ + task_.size, walkers);
    }

  private:
    static constexpr int sums = paths::dmc_sums, terms = paths::dmc_terms;

    void step(std::int64_t number, double reference, double* mean) {
        const std::int64_t block = number / R::normals;
        if (block != block_) {
            block_ = block;
            for (std::int64_t i = 0; i < room_; i += S::width) draw(i);
        }
        double total[terms];
        move(noise_ + number % R::normals * room_, static_cast<T>(reference), total);
        const double size = static_cast<double>(task_.size);
        mean[0] += reference - log_of(total[0] / size) / walkers_.rate;
        for (int o = 1; o < 5; ++o) mean[o] += total[o + 1] / total[0];
        mean[5] += total[0] * total[0] / (size * total[1]);
        const auto words =
            philox({dmc_purpose(1), static_cast<std::uint32_t>(population_), static_cast<std::uint32_t>(number), 0}, run_.seed);
        comb(uniform(words[0], words[1]), total[0]);
    }

    QC_KERNEL void draw(std::int64_t i) {
        const auto words = R::words(dmc_purpose(0), static_cast<std::uint32_t>(population_), static_cast<std::uint32_t>(block_),
                                    static_cast<std::uint32_t>(i), run_.seed);
        for (int k = 0; k < R::normals / 2; ++k) {
            V a, b;
            R::normal(words, k, a, b);
            S::store(noise_ + 2 * k * room_ + i, a);
            S::store(noise_ + (2 * k + 1) * room_ + i, b);
        }
    }

    // Diffuse and weigh.
    QC_KERNEL void move(const T* noise, T reference, double* total) {
        Totals<T> part[terms][sums / S::width];
        for (std::int64_t i = 0; i < room_; i += sums)
            for (int k = 0; k < sums / S::width; ++k) {
                const std::int64_t j = i + k * S::width;
                const V y = walkers_.moved(S::load(x_ + j), S::load(noise + j)), f = walkers_.energy(y);
                V w = walkers_.weight(S::load(local_ + j), f, reference);
                const std::int64_t live = task_.size - j;
                if (live < S::width) w = live > 0 ? S::keep(w, typename S::Lanes{static_cast<int>(live)}) : V{};
                S::store(next_ + j, y);
                S::store(next_local_ + j, f);
                double wide[S::width];
                for (int l = 0; l < S::width; ++l) wide[l] = static_cast<double>(w[l]);
                std::copy(wide, wide + S::width, weight_ + j);
                const V square = y * y, wx2 = w * square;
                part[0][k].add(w);
                part[1][k].add(w * w);
                part[2][k].add(w * f);
                part[3][k].add(w * y);
                part[4][k].add(wx2);
                part[5][k].add(wx2 * square);
            }
        for (int t = 0; t < terms; ++t) {
            alignas(vector_bytes) double lane[sums];
            for (int k = 0; k < sums / S::width; ++k) part[t][k].store(lane + k * S::width);
            for (int half = sums / 2; half > 0; half /= 2)
                for (int l = 0; l < half; ++l) lane[l] += lane[l + half];
            total[t] = lane[0];
        }
    }

    // Systematic resampling: teeth at (k + u) / size of the total weight; a walker is copied once for every tooth that meets it,
    // so floor or ceil of its expected number of times. Each is written twice whether wanted or not: that leaves no branch to
    // guess.
    void comb(double u, double total) {
        const std::int64_t size = task_.size;
        const double per_weight = static_cast<double>(size) / total, all = static_cast<double>(size);
        T *const x = x_, *const local = local_;
        double reached = 0;
        std::int64_t k = 0;
        for (std::int64_t i = 0; i < size && k < size; ++i) {
            reached += weight_[i];
            const double teeth = reached * per_weight + (1 - u);
            const std::int64_t end = teeth < all && i + 1 < size ? static_cast<std::int64_t>(teeth) : size;
            const T place = next_[i], energy = next_local_[i];
            x[k] = x[k + 1] = place;
            local[k] = local[k + 1] = energy;
            for (std::int64_t copy = k + 2; copy < end; ++copy) {
                x[copy] = place;
                local[copy] = energy;
            }
            k = end;
        }
        std::fill(x_ + task_.size, x_ + room_, x_[0]);
        std::fill(local_ + task_.size, local_ + room_, local_[0]);
    }

    const DmcTask& task_;
    std::int64_t population_;
    const paths::DmcRun& run_;
    Walkers<T, P, guided> walkers_;
    std::int64_t room_, block_ = -1;
    double* weight_;
    T *x_, *local_, *next_, *next_local_, *noise_;
};

}  // namespace
}  // namespace qcore::QC_ISA
