// A closed Euclidean path as a model of HMC, with unit masses or with those of an oscillator.
#pragma once

#include "paths/hmc_chains.hpp"
#include "paths/potential_lanes.hpp"

namespace qcore::QC_ISA {
namespace {

// Vectors of chains side by side; two on the CPU: the recurrences along a path wait for each other's results.
#if defined(QC_ON_DEVICE)
constexpr int vectors_together = 1;
#else
constexpr int vectors_together = 2;
#endif

// HmcTask::powers.
template <class T>
QC_DEVICE T power_of_r(const HmcTask& task, std::int64_t n) {
    const double power = exp_of(-task.masses.angle * static_cast<double>(n));
    return static_cast<T>(power < 1e-30 ? 0 : power);
}

template <class T, class P>
class PathLanes : public Fields<T, vectors_together * Vector<T>::width> {
    using Base = Fields<T, vectors_together * Vector<T>::width>;
    using Base::count_;
    using Base::p_;
    using Base::sites_;
    using Base::task_;
    using Base::x_;

  public:
    using typename Base::S;
    using typename Base::V;
    static constexpr int lanes = Base::lanes, vectors = vectors_together;

    static QC_HD std::int64_t scratch_bytes(const HmcTask& task) {
        return (task.frequency > 0 ? 4 : 3) * task.sites() * static_cast<std::int64_t>(sizeof(T));
    }

    QC_DEVICE PathLanes(const HmcTask& task, std::int64_t first_chain, int count, Scratch scratch)
        : Base(task, first_chain, count, scratch), potential_(task.potential.get()), link_(task.mass / (task.hbar * task.dt)),
          weight_(task.dt / task.hbar) {
        if (!massive()) return;
        work_ = scratch.template rows<T, lanes>(sites_);
        powers_ = memory<const T>(static_cast<const T*>(task.powers));
        covariance_ = task.masses.covariance;
        decay_ = static_cast<T>(task.masses.r);
        around_ = static_cast<T>(task.masses.around);
    }

    QC_DEVICE std::int64_t observables() const { return paths::path_observables + task_.lag_count; }

    struct Sums {
        alignas(vector_bytes) double links[lanes], potential[lanes], virial[lanes], x[lanes], x2[lanes], x4[lanes];

        // S / hbar.
        QC_DEVICE double action(int l, const PathLanes& model) const {
            return 0.5 * model.link_ * links[l] + model.weight_ * potential[l];
        }
        QC_DEVICE void take(const Sums& other, int l) {
            links[l] = other.links[l];
            potential[l] = other.potential[l];
            virial[l] = other.virial[l];
            x[l] = other.x[l];
            x2[l] = other.x2[l];
            x4[l] = other.x4[l];
        }
    };

    QC_LANE_KERNEL void sums(Sums& out) const {
        for (int l = 0; l < lanes; l += S::width) {
            Totals<T> links, potential, virial, first, second, fourth;
            V before = S::load(x_[sites_ - 1] + l);
            for (std::int64_t n = 0; n < sites_; ++n) {
                const V x = S::load(x_[n] + l), square = x * x, link = x - before;
                const Jet<T> v = potential_.jet(x);
                links.add(link * link);
                potential.add(v.value);
                virial.add(x * v.slope);
                first.add(x);
                second.add(square);
                fourth.add(square * square);
                before = x;
            }
            links.store(out.links + l);
            potential.store(out.potential + l);
            virial.store(out.virial + l);
            first.store(out.x + l);
            second.store(out.x2 + l);
            fourth.store(out.x4 + l);
        }
    }

    QC_DEVICE void kinetic(double* out) const {
        if (massive()) oscillator_kinetic(out);
        else this->half_squares(out);
    }

    QC_DEVICE void refresh(std::uint32_t sweep) {
        this->draw(sweep);
        if (massive()) correlate();
    }

    QC_DEVICE void move(const T* step, std::int64_t steps) {
        for (int l = 0; massive() && l < lanes; ++l) {
            double sine, cosine;
            sincos_of(static_cast<double>(step[l]), sine, cosine);
            sine_[l] = static_cast<T>(sine);
            cosine_[l] = static_cast<T>(cosine);
        }
        for (std::int64_t s = 0; s <= steps; ++s) {
            const bool end = s == steps;
            const T part = s == 0 || end ? T(0.5) : T(1);
            if (massive()) kick_and_rotate(step, part, !end);
            else kick_and_drift(step, part, !end);
        }
    }

    QC_LANE_KERNEL void measure(const Sums& sums, const double* weight, Memory<double> out) const {
        const double n = static_cast<double>(sites_), dt = task_.dt;
        for (int l = 0; l < count_; ++l) {
            const double potential = sums.potential[l] / n;
            const double values[] = {potential + 0.5 * sums.virial[l] / n,
                                     0.5 * task_.hbar / dt - 0.5 * task_.mass * sums.links[l] / (n * dt * dt) + potential,
                                     sums.x[l] / n,
                                     sums.x2[l] / n,
                                     sums.x4[l] / n,
                                     weight[l]};
            for (int k = 0; k < paths::path_observables; ++k) out[k * task_.chains + l] = values[k];
        }
        out += paths::path_observables * task_.chains;
        alignas(vector_bytes) double sum[lanes];
        const Memory<const std::int64_t> lags = memory<const std::int64_t>(task_.lags);
        for (std::int64_t k = 0; k < task_.lag_count; ++k) {
            const std::int64_t lag = lags[k];
            for (int l = 0; l < lanes; l += S::width) {
                Totals<T> total;
                for (std::int64_t i = 0; i < sites_;) {
                    V part{};
                    for (const std::int64_t stop = std::min(sites_, i + tile); i < stop; ++i) {
                        const std::int64_t j = i + lag < sites_ ? i + lag : i + lag - sites_;
                        part = S::fma(S::load(x_[i] + l), S::load(x_[j] + l), part);
                    }
                    total.add(part);
                }
                total.store(sum + l);
            }
            for (int l = 0; l < count_; ++l) out[l] = sum[l] / n;
            out += task_.chains;
        }
    }

  private:
    static constexpr std::int64_t tile = 32;  // terms of a sum in the path's own precision

    QC_DEVICE bool massive() const { return task_.frequency > 0; }

    QC_LANE_KERNEL void kick_and_drift(const T* step, T part, bool drifts) {
        V h[vectors], spring[vectors], force[vectors], left[vectors], x[vectors], first[vectors];
        for (int k = 0; k < vectors; ++k) {
            h[k] = S::load(step + k * S::width);
            spring[k] = h[k] * part * static_cast<T>(link_);
            force[k] = h[k] * part * static_cast<T>(-weight_);
            left[k] = S::load(x_[sites_ - 1] + k * S::width);
            first[k] = x[k] = S::load(x_[0] + k * S::width);
        }
        for (std::int64_t n = 0; n < sites_; ++n)
            for (int k = 0; k < vectors; ++k) {
                const int at = k * S::width;
                const V right = n + 1 < sites_ ? S::load(x_[n + 1] + at) : first[k];
                const V curve = (left[k] - x[k]) + (right - x[k]);
                const V p = S::fma(force[k], potential_.slope(x[k]), S::fma(spring[k], curve, S::load(p_[n] + at)));
                S::store(p_[n] + at, p);
                if (drifts) S::store(x_[n] + at, S::fma(h[k], p, x[k]));
                left[k] = x[k];
                x[k] = right;
            }
    }

    // Velocities v with v <- v - h C grad U, C the oscillator's covariance r/link (1 - r/shift)^-1 (1 - r shift)^-1, two closed
    // recurrences; then every mode turns by the same angle.
    QC_LANE_KERNEL void kick_and_rotate(const T* step, T part, bool rotates) {
        const V r = V{} + decay_;
        const T spring = static_cast<T>(-task_.mass * task_.frequency * task_.frequency);
        V h[vectors], sum[vectors], back[vectors], sine[vectors], cosine[vectors];
        for (int k = 0; k < vectors; ++k) {
            h[k] = S::load(step + k * S::width) * (part * static_cast<T>(covariance_ * weight_));
            sine[k] = S::load(sine_ + k * S::width);
            cosine[k] = S::load(cosine_ + k * S::width);
            sum[k] = back[k] = V{};
        }
        for (std::int64_t n = 0; n < sites_; ++n)
            for (int k = 0; k < vectors; ++k) {
                const int at = k * S::width;
                const V x = S::load(x_[n] + at);
                const V g = h[k] * S::fma(V{} + spring, x, potential_.slope(x));
                S::store(work_[n] + at, g);
                sum[k] = S::fma(sum[k], r, g);
            }
        for (int k = 0; k < vectors; ++k) sum[k] *= around_;
        for (std::int64_t n = 0; n < sites_; ++n)
            for (int k = 0; k < vectors; ++k) {
                const int at = k * S::width;
                sum[k] = S::fma(sum[k], r, S::load(work_[n] + at));
                S::store(work_[n] + at, sum[k]);
                back[k] = S::fma(V{} + powers_[n], sum[k], back[k]);
            }
        for (int k = 0; k < vectors; ++k) back[k] *= around_;
        for (std::int64_t n = sites_ - 1; n >= 0; --n)
            for (int k = 0; k < vectors; ++k) {
                const int at = k * S::width;
                back[k] = S::fma(back[k], r, S::load(work_[n] + at));
                const V x = S::load(x_[n] + at), v = S::load(p_[n] + at) - back[k];
                if (rotates) {
                    S::store(x_[n] + at, S::fma(cosine[k], x, sine[k] * v));
                    S::store(p_[n] + at, S::fma(cosine[k], v, -(sine[k] * x)));
                } else {
                    S::store(p_[n] + at, v);
                }
            }
    }

    // Independent normals become velocities of covariance C: sqrt(r/link) (1 - r shift)^-1.
    QC_LANE_KERNEL void correlate() {
        const V r = V{} + decay_;
        const T scale = static_cast<T>(std::sqrt(covariance_));
        V sum[vectors];
        for (int k = 0; k < vectors; ++k) sum[k] = V{};
        for (int lap = 0; lap < 2; ++lap) {
            for (std::int64_t n = 0; n < sites_; ++n)
                for (int k = 0; k < vectors; ++k) {
                    const int at = k * S::width;
                    sum[k] = S::fma(sum[k], r, S::load(p_[n] + at) * scale);
                    if (lap) S::store(p_[n] + at, sum[k]);
                }
            for (int k = 0; k < vectors; ++k) sum[k] *= around_;
        }
    }

    QC_LANE_KERNEL void oscillator_kinetic(double* out) const {
        const T half = static_cast<T>(0.5 / covariance_);
        for (int l = 0; l < lanes; l += S::width) {
            Totals<T> sum;
            V before = S::load(p_[sites_ - 1] + l);
            for (std::int64_t n = 0; n < sites_; ++n) {
                const V v = S::load(p_[n] + l), fresh = S::fma(V{} - decay_, before, v);
                sum.add(fresh * (fresh * half));
                before = v;
            }
            sum.store(out + l);
        }
    }

    P potential_;
    Rows<T, lanes> work_;
    Memory<const T> powers_{};
    double link_, weight_, covariance_ = 0;
    T decay_ = 0, around_ = 0;
    alignas(vector_bytes) T sine_[lanes], cosine_[lanes];
};

}  // namespace
}  // namespace qcore::QC_ISA
