// The adjoint of all stages, of one or two vectors of systems at a time.
#pragma once

#include "schrodinger/forward.hpp"
#include "schrodinger/pull.hpp"

namespace qcore::QC_ISA {
namespace {

template <class N, bool per_lane>
class Backward {
  public:
    using T = typename N::Scalar;
    static constexpr std::int64_t lanes = N::parts * N::width;

    Backward(const Plan& p, Memory& memory)
        : p_(p), shared_{static_cast<char*>(const_cast<void*>(p.shared))},
          shared_back_{static_cast<char*>(const_cast<void*>(p.shared_back))},
          coefficients_(p, Use::adjoint, p.shared ? shared_ : memory),
          back_(p, Use::traced, !needs_back() ? unused_ : p.shared ? shared_back_ : memory),
          mu_(p, coefficients_, p.groups, memory), psi_(p, late_factor() ? coefficients_ : back_, p.groups, memory),
          before_(p, back_, p.groups, p.traced ? unused_ : memory),
          values_(p.complex_potential ? 2 : 1) {
        if (!p.shared) coefficients_.take_work(memory);
        if (!p.shared && needs_back()) back_.take_work(memory);
        if (!p.traced) {
            chi_ = memory.take<T>(p.n * p.groups * lanes);
            change_ = memory.take<T>(p.n * p.groups * lanes);
        }
        sum_potential_ = memory.take<T>(p.n * values_ * N::width);
        sum_c_ = memory.take<T>(p.poles * lanes);
        stage_sum_ = memory.take<T>(lanes);
    }

    void run(std::int64_t task) {
        for (std::int64_t chunk = task; chunk < p_.chunks; chunk += p_.tasks) {
            first_ = chunk * p_.groups * N::width;
            pull_chunk(task);
            flush_c(task);
        }
    }

  private:
    void pull_chunk(std::int64_t task) {
        if (!p_.shared) {
            coefficients_.start(first_);
            if (needs_back()) back_.start(first_);
        }
        interval_ = 0;
        clear(sum_c_, p_.poles * lanes);
        clear(sum_potential_, p_.n * values_ * N::width);
        mu_.template read<Reading::conjugate>(p_.grad_out, first_, 0);
        if (late_factor()) psi_.template read<Reading::conjugate>(p_.states, first_, 0);
        else psi_.read(p_.states, first_, p_.traced ? 0 : p_.stages * p_.batch);
        add_frame(p_.stages);
        mu_.clear_rest(first_);
        mu_.begin(0);
        if (p_.traced) psi_.begin(0);
        for (std::int64_t i = 0; i < p_.stages; ++i) {
            const std::int64_t stage = p_.stages - 1 - i;
            const bool last = stage == 0, plain = last || has_frame(stage);
            step(i, plain);
            if (stage % p_.poles == 0 && (p_.slices > 1 || last)) flush_potential(task, stage);
            if (has_frame(stage)) {
                add_frame(stage);
                mu_.clear_rest(first_);
                mu_.begin(i + 1);
                if (late_factor()) psi_.begin(i + 1);
            }
        }
        mu_.template write<true>(p_.grad_psi, first_, 0);
    }

    // Whether the state after so many stages was saved.
    bool has_frame(std::int64_t stages) const { return p_.grad_frames && stages > 0 && stages % p_.save_every == 0; }

    void add_frame(std::int64_t stages) {
        if (has_frame(stages))
            mu_.template read<Reading::add_conjugate>(p_.grad_frames, first_, (stages / p_.save_every - 1) * p_.batch);
    }

    void step(std::int64_t i, bool plain) {
        // Tracks that share their coefficients are interrupted together.
        const bool cayley = p_.rule == Rule::cayley, plain_back = late_factor() ? plain : i + 1 == p_.stages;
        Pull<T> a{};
        a.mu = mu_.sweep(i, plain);
        if (p_.traced) a.psi = psi_.sweep(i, plain_back);
        else load_stage(p_.stages - 1 - i, a);
        const double re = coefficients_.c(i, 0), im = N::parts == 2 ? coefficients_.c(i, 1) : 0, alpha = cayley ? 2 : 1;
        const double size = p_.kappa * (re * re + im * im);
        a.ratio[0] = -re / size;
        a.ratio[1] = im / size;
        // alpha c nu chi, where w stands for c kappa nu and, if traced, x for -c kappa chi.
        a.factor[0] = alpha * re;
        a.factor[1] = alpha * im;
        if (p_.order == 2) {
            a.factor[0] = p_.traced ? alpha * a.ratio[0] / p_.kappa : alpha / p_.kappa;
            a.factor[1] = p_.traced ? alpha * a.ratio[1] / p_.kappa : 0;
        }
        a.sum_potential = sum_potential_;
        const std::int64_t stage = p_.stages - 1 - i;
        T* const sum = sum_c_ + stage % p_.poles * lanes;
        a.sum_c = stage_sum_;
        clear(stage_sum_, lanes);
        late_ = -a.factor[1];
        // The stages until the next frame, and those of them with the same c: one stands for all where they commute.
        const bool alike = p_.traced && p_.constant();
        const std::int64_t left = 1 + (p_.grad_frames ? stage % p_.save_every : stage);
        const bool with_c = !alike || i - interval_ < p_.poles;
        const N weight = N::of(alike ? static_cast<double>((left - 1) / p_.poles + 1) : 1.0, 0);
        with_c ? run<true>(a) : run<false>(a);
        if (with_c) mac(weight, N::load(stage_sum_), N::load(sum)).store(sum);
        if (left == 1) interval_ = i + 1;
        mu_.finish(i, plain);
        if (p_.traced) psi_.finish(i, plain_back);
    }

    // Which sum is kept for V, see Sum::imaginary_part.
    bool late_factor() const {
        return N::parts == 2 && p_.order == 2 && p_.rule == Rule::cayley && p_.traced && p_.poles == 1 && p_.c[0] == 0 &&
               !p_.complex_potential;
    }

    // Coefficients for -c.
    bool needs_back() const { return p_.traced && !late_factor(); }

    template <bool with_c>
    void run(const Pull<T>& a) {
        with_reach(p_, [&](auto reach) {
            const auto run_groups = [&]<template <class> class Update, bool traced, Sum kind>() {
                if constexpr (!per_lane && N::parts == 1) {
                    if (p_.groups == 2) return pull<N, per_lane, 2, reach, Update, traced, kind, with_c || !traced>(a);
                }
                pull<N, per_lane, 1, reach, Update, traced, kind, with_c || !traced>(a);
            };
            const auto pick = [&]<template <class> class Update, bool traced>() {
                if constexpr (N::parts == 2)
                    if (p_.complex_potential) return run_groups.template operator()<Update, traced, Sum::both>();
                run_groups.template operator()<Update, traced, Sum::real_part>();
            };
            const bool cayley = p_.rule == Rule::cayley;
            if constexpr (reach != 0) {
                if (!cayley) return pick.template operator()<CompactEuler, false>();
                p_.traced ? pick.template operator()<CompactCayley, true>() : pick.template operator()<CompactCayley, false>();
            } else {
                if constexpr (N::parts == 2)
                    if (late_factor()) return run_groups.template operator()<ImaginaryCayley, true, Sum::imaginary_part>();
                if (!cayley) return pick.template operator()<Euler, false>();
                p_.traced ? pick.template operator()<Cayley, true>() : pick.template operator()<Cayley, false>();
            }
        });
    }

    // chi and chi - psi of a stage from the states before and after it; psi_ holds the one after.
    void load_stage(std::int64_t stage, Pull<T>& a) {
        before_.read(p_.states, first_, stage * p_.batch);
        const N half = N::of(0.5, 0);
        for (std::int64_t i = 0; i < p_.n * p_.groups * lanes; i += lanes) {
            const N before = N::load(before_.row(0) + i), after = N::load(psi_.row(0) + i);
            const N chi = p_.rule == Rule::cayley ? half * (before + after) : after;
            chi.store(chi_ + i);
            (chi - before).store(change_ + i);
        }
        psi_.exchange(before_);
        a.chi = chi_;
        a.change = change_;
    }

    static void clear(T* p, std::int64_t count) {
        for (std::int64_t i = 0; i < count; ++i) p[i] = T(0);
    }

    void flush_potential(std::int64_t task, std::int64_t stage) {
        const std::int64_t slice = p_.slices > 1 ? stage / p_.poles : 0, columns = p_.n * values_;
        if (late_factor())
            for (std::int64_t i = 0; i < columns * N::width; ++i) sum_potential_[i] *= late_;
        if (p_.per_system()) {
            T* rows[N::width];
            for (int l = 0; l < N::width; ++l) rows[l] = p_.grad_potential + (slice * p_.systems + first_ + l) * columns;
            const std::int64_t left = p_.batch - first_;
            write_lanes<true>(LaneRows<T>{sum_potential_, values_ * N::width, values_}, columns, rows, left < N::width ? left : N::width);
        } else {
            double* const to = p_.sum_potential + (task * p_.slices + slice) * columns;
            for (std::int64_t q = 0; q < columns; ++q) to[q] += N::S::sum(N::S::load(sum_potential_ + q * N::width));
        }
        clear(sum_potential_, columns * N::width);
    }

    // dc += (alpha / c) sum nu (chi - psi), where w stands for c kappa nu in order 2.
    void flush_c(std::int64_t task) {
        for (std::int64_t s = 0; s < p_.poles; ++s) {
            const double c_re = p_.c[2 * s], c_im = p_.c[2 * s + 1], alpha = p_.rule == Rule::cayley ? 2 : 1;
            const double size = c_re * c_re + c_im * c_im;
            double re = alpha * c_re / size, im = -alpha * c_im / size;
            if (p_.order == 2) {
                const double old = re;
                re = (old * c_re + im * c_im) / size / p_.kappa;
                im = (im * c_re - old * c_im) / size / p_.kappa;
            }
            const N sum = N::load(sum_c_ + s * lanes);
            double sum_im = 0;
            const double sum_re = N::S::sum(sum.re);
            if constexpr (N::parts == 2) sum_im = N::S::sum(sum.im);
            double* const to = p_.sum_c + 2 * (task * p_.poles + s);
            to[0] += re * sum_re - im * sum_im;
            to[1] += re * sum_im + im * sum_re;
        }
    }

    const Plan& p_;
    Memory shared_, shared_back_, unused_{nullptr};
    Coefficients<N, per_lane> coefficients_, back_;
    Batch<N, per_lane> mu_, psi_, before_;
    int values_;
    T *sum_potential_, *sum_c_, *stage_sum_, *chi_ = nullptr, *change_ = nullptr;
    double late_ = 0;
    std::int64_t first_ = 0, interval_ = 0;  // the first system; the first position since the last frame
};

}  // namespace
}  // namespace qcore::QC_ISA
