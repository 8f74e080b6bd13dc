// A closed Euclidean path as a model of HMC, with unit masses or with those of an oscillator.
#pragma once

#include "paths/hmc_chains.hpp"
#include "paths/potential_lanes.hpp"

namespace qcore::QC_ISA {
namespace {

// Two vectors of chains side by side: the recurrences along a path wait for each other's results.
template <class T, class P>
class PathLanes : public Fields<T, 2 * Simd<T>::width> {
    using Base = Fields<T, 2 * Simd<T>::width>;
    using Base::old_;
    using Base::p_;
    using Base::sites_;
    using Base::task_;
    using Base::x_;

  public:
    using typename Base::S;
    using typename Base::V;
    static constexpr int lanes = Base::lanes, vectors = 2;

    explicit PathLanes(const HmcTask& task)
        : Base(task, 4, task.rows + 16), path_(*task.path), potential_(path_.potential), work_(old_ + sites_ * lanes),
          powers_(work_ + sites_ * lanes), link_(path_.mass / (path_.hbar * path_.dt)), weight_(path_.dt / path_.hbar) {
        if (!massive()) return;
        // Hessian of an oscillator's S / hbar: link (2 + e^2 - shift - 1/shift) = link/r (1 - r shift) (1 - r/shift).
        const double e = path_.frequency * path_.dt;
        const double angle = 2 * std::asinh(e / 2), r = std::exp(-angle);
        decay_ = static_cast<T>(r);
        covariance_ = r / link_;
        around_ = static_cast<T>(-1 / std::expm1(-angle * static_cast<double>(sites_)));
        for (std::int64_t n = 0; n < sites_; ++n) {
            const double power = std::exp(-angle * static_cast<double>(n));
            powers_[n] = static_cast<T>(power < 1e-30 ? 0 : power);
        }
    }

    std::int64_t observables() const { return paths::path_observables + static_cast<std::int64_t>(path_.lags.size()); }

    struct Sums {
        alignas(vector_bytes) double links[lanes], potential[lanes], virial[lanes], x[lanes], x2[lanes], x4[lanes];

        // S / hbar.
        double action(int l, const PathLanes& model) const { return 0.5 * model.link_ * links[l] + model.weight_ * potential[l]; }
        void take(const Sums& other, int l) {
            links[l] = other.links[l];
            potential[l] = other.potential[l];
            virial[l] = other.virial[l];
            x[l] = other.x[l];
            x2[l] = other.x2[l];
            x4[l] = other.x4[l];
        }
    };

    QC_KERNEL void sums(Sums& out) const {
        for (int l = 0; l < lanes; l += S::width) {
            Totals<T> links, potential, virial, first, second, fourth;
            V before = S::load(x_ + (sites_ - 1) * lanes + l);
            for (std::int64_t n = 0; n < sites_; ++n) {
                const V x = S::load(x_ + n * lanes + l), square = x * x, link = x - before;
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

    void kinetic(double* out) const {
        if (massive()) oscillator_kinetic(out);
        else this->half_squares(p_, out);
    }

    void refresh(std::uint32_t sweep) {
        this->draw(sweep);
        if (massive()) correlate();
    }

    void move(const T* step, std::int64_t steps) {
        for (int l = 0; l < lanes; l += S::width)
            for (int i = 0; i < S::width; ++i) {
                sine_[l + i] = static_cast<T>(std::sin(static_cast<double>(step[l + i])));
                cosine_[l + i] = static_cast<T>(std::cos(static_cast<double>(step[l + i])));
            }
        for (std::int64_t s = 0; s <= steps; ++s) {
            const bool end = s == steps;
            const T part = s == 0 || end ? T(0.5) : T(1);
            if (massive()) kick_and_rotate(step, part, !end);
            else kick_and_drift(step, part, !end);
        }
    }

    QC_KERNEL void measure(const Sums& sums, const double* weight, double* out) const {
        const double n = static_cast<double>(sites_);
        for (int l = 0; l < task_.count; ++l) {
            const double potential = sums.potential[l] / n;
            const double values[] = {potential + 0.5 * sums.virial[l] / n,
                                     0.5 * path_.hbar / path_.dt - 0.5 * path_.mass * sums.links[l] / (n * path_.dt * path_.dt) + potential,
                                     sums.x[l] / n,
                                     sums.x2[l] / n,
                                     sums.x4[l] / n,
                                     weight[l]};
            for (int k = 0; k < paths::path_observables; ++k) out[k * task_.chains + task_.first_chain + l] = values[k];
        }
        out += paths::path_observables * task_.chains + task_.first_chain;
        alignas(vector_bytes) double sum[lanes];
        for (const std::int64_t lag : path_.lags) {
            for (int l = 0; l < lanes; l += S::width) {
                Totals<T> total;
                for (std::int64_t i = 0; i < sites_;) {
                    V part{};
                    for (const std::int64_t stop = std::min(sites_, i + tile); i < stop; ++i) {
                        const std::int64_t j = i + lag < sites_ ? i + lag : i + lag - sites_;
                        part = S::fma(S::load(x_ + i * lanes + l), S::load(x_ + j * lanes + l), part);
                    }
                    total.add(part);
                }
                total.store(sum + l);
            }
            for (int l = 0; l < task_.count; ++l) out[l] = sum[l] / n;
            out += task_.chains;
        }
    }

  private:
    static constexpr std::int64_t tile = 32;  // terms of a sum in the path's own precision

    bool massive() const { return path_.frequency > 0; }

    QC_KERNEL void kick_and_drift(const T* step, T part, bool drifts) {
        V h[vectors], spring[vectors], force[vectors], left[vectors], x[vectors], first[vectors];
        for (int k = 0; k < vectors; ++k) {
            h[k] = S::load(step + k * S::width);
            spring[k] = h[k] * part * static_cast<T>(link_);
            force[k] = h[k] * part * static_cast<T>(-weight_);
            left[k] = S::load(x_ + (sites_ - 1) * lanes + k * S::width);
            first[k] = x[k] = S::load(x_ + k * S::width);
        }
        for (std::int64_t n = 0; n < sites_; ++n)
            for (int k = 0; k < vectors; ++k) {
                const std::int64_t i = n * lanes + k * S::width;
                const V right = n + 1 < sites_ ? S::load(x_ + i + lanes) : first[k];
                const V curve = (left[k] - x[k]) + (right - x[k]);
                const V p = S::fma(force[k], potential_.slope(x[k]), S::fma(spring[k], curve, S::load(p_ + i)));
                S::store(p_ + i, p);
                if (drifts) S::store(x_ + i, S::fma(h[k], p, x[k]));
                left[k] = x[k];
                x[k] = right;
            }
    }

    // Velocities v with v <- v - h C grad U, C the oscillator's covariance r/link (1 - r/shift)^-1 (1 - r shift)^-1, two closed
    // recurrences; then every mode turns by the same angle.
    QC_KERNEL void kick_and_rotate(const T* step, T part, bool rotates) {
        const V r = V{} + decay_;
        const T spring = static_cast<T>(-path_.mass * path_.frequency * path_.frequency);
        V h[vectors], sum[vectors], back[vectors], sine[vectors], cosine[vectors];
        for (int k = 0; k < vectors; ++k) {
            h[k] = S::load(step + k * S::width) * (part * static_cast<T>(covariance_ * weight_));
            sine[k] = S::load(sine_ + k * S::width);
            cosine[k] = S::load(cosine_ + k * S::width);
            sum[k] = back[k] = V{};
        }
        for (std::int64_t n = 0; n < sites_; ++n)
            for (int k = 0; k < vectors; ++k) {
                const std::int64_t i = n * lanes + k * S::width;
                const V x = S::load(x_ + i);
                const V g = h[k] * S::fma(V{} + spring, x, potential_.slope(x));
                S::store(work_ + i, g);
                sum[k] = S::fma(sum[k], r, g);
            }
        for (int k = 0; k < vectors; ++k) sum[k] *= around_;
        for (std::int64_t n = 0; n < sites_; ++n)
            for (int k = 0; k < vectors; ++k) {
                const std::int64_t i = n * lanes + k * S::width;
                sum[k] = S::fma(sum[k], r, S::load(work_ + i));
                S::store(work_ + i, sum[k]);
                back[k] = S::fma(V{} + powers_[n], sum[k], back[k]);
            }
        for (int k = 0; k < vectors; ++k) back[k] *= around_;
        for (std::int64_t n = sites_ - 1; n >= 0; --n)
            for (int k = 0; k < vectors; ++k) {
                const std::int64_t i = n * lanes + k * S::width;
                back[k] = S::fma(back[k], r, S::load(work_ + i));
                const V x = S::load(x_ + i), v = S::load(p_ + i) - back[k];
                if (rotates) {
                    S::store(x_ + i, S::fma(cosine[k], x, sine[k] * v));
                    S::store(p_ + i, S::fma(cosine[k], v, -(sine[k] * x)));
                } else {
                    S::store(p_ + i, v);
                }
            }
    }

    // Independent normals become velocities of covariance C: sqrt(r/link) (1 - r shift)^-1.
    QC_KERNEL void correlate() {
        const V r = V{} + decay_;
        const T scale = static_cast<T>(std::sqrt(covariance_));
        V sum[vectors];
        for (int k = 0; k < vectors; ++k) sum[k] = V{};
        for (int lap = 0; lap < 2; ++lap) {
            for (std::int64_t n = 0; n < sites_; ++n)
                for (int k = 0; k < vectors; ++k) {
                    const std::int64_t i = n * lanes + k * S::width;
                    sum[k] = S::fma(sum[k], r, S::load(p_ + i) * scale);
                    if (lap) S::store(p_ + i, sum[k]);
                }
            for (int k = 0; k < vectors; ++k) sum[k] *= around_;
        }
    }

    QC_KERNEL void oscillator_kinetic(double* out) const {
        const T half = static_cast<T>(0.5 / covariance_);
        for (int l = 0; l < lanes; l += S::width) {
            Totals<T> sum;
            V before = S::load(p_ + (sites_ - 1) * lanes + l);
            for (std::int64_t n = 0; n < sites_; ++n) {
                const V v = S::load(p_ + n * lanes + l), fresh = S::fma(V{} - decay_, before, v);
                sum.add(fresh * (fresh * half));
                before = v;
            }
            sum.store(out + l);
        }
    }

    const paths::PathModel& path_;
    P potential_;
    T* work_;
    T* powers_;
    double link_, weight_, covariance_ = 0;
    T decay_ = 0, around_ = 0;
    alignas(vector_bytes) T sine_[lanes], cosine_[lanes];
};

}  // namespace
}  // namespace qcore::QC_ISA
