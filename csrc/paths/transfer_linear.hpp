// The semiring of numbers: sums of products, rescaled by powers of two where asked for, and their pull-back.
#pragma once

#include <cmath>
#include <cstring>
#include <utility>

#include "core/config.hpp"
#include "paths/transfer_band.hpp"
#include "paths/transfer_line.hpp"

namespace qcore::QC_ISA {
namespace {

template <class T, bool is_complex>
class Linear {
    using S = Simd<T>;
    using V = typename S::V;
    using B = Band<T, is_complex>;
    static constexpr int parts = B::parts, width = S::width;

  public:
    Linear(const Plan& p, Arena& arena, std::int64_t first, std::int64_t count)
        : p_(p), line_(p, count), first_(first), plane_(line_.size) {
        taps_ = arena.take<T>(parts * p.kernel);
        factor_ = p.factor ? arena.take<T>(parts * plane_) : nullptr;
        exponent_ = arena.take<std::int64_t>(count);
        if (!p.grad) {
            state_ = arena.take<T>(2 * parts * plane_);
            return;
        }
        reversed_ = arena.take<T>(parts * p.kernel);
        state_ = arena.take<T>((p.segment() + 1) * parts * plane_);
        pulled_ = arena.take<T>(parts * plane_);
        gated_ = arena.take<T>(parts * plane_);
        product_ = arena.take<T>(parts * plane_);
        scale_ = arena.take<T>((p.segment() + 1) * count);
    }

    // psi_N, and on the way the states to keep.
    void go() {
        T *now = state_, *next = state_ + parts * plane_;
        load(static_cast<const T*>(p_.psi) + first_ * row(), now);
        for (std::int64_t g = 0; g < line_.problems; ++g) exponent_[g] = 0;
        if (p_.scaled) rescale(now, nullptr);
        border(now);
        for (std::int64_t t = 0; t < p_.steps; ++t) {
            prepare(t);
            step(now, next);
            if (p_.scaled) rescale(next, nullptr);
            border(next);
            std::swap(now, next);
            if (p_.keep_every > 0 && (t + 1) % p_.keep_every == 0 && t + 1 < p_.steps)
                store(now, kept(p_.kept, (t + 1) / p_.keep_every - 1));
        }
        store(now, static_cast<T*>(p_.out) + first_ * row());
        if (!p_.scaled) return;
        for (std::int64_t g = 0; g < line_.problems; ++g) static_cast<double*>(p_.second)[first_ + g] = static_cast<double>(exponent_[g]);
    }

    // Gradients of these problems; those that problems share are added to the sums of `task`.
    void go(std::int64_t task) {
        const std::int64_t segment = p_.segment();
        for (std::int64_t g = 0; g < line_.problems; ++g) exponent_[g] = 0;
        std::memset(pulled_, 0, static_cast<std::size_t>(parts * plane_) * sizeof(T));
        line_.template load<parts>(static_cast<const T*>(p_.grad) + first_ * row(), pulled_);
        for (std::int64_t end = p_.steps; end > 0;) {
            const std::int64_t begin = (end - 1) / segment * segment;
            start(begin);
            for (std::int64_t t = begin; t < end; ++t) {
                if (t + 1 == end && !p_.scaled) break;  // the last state is only run for its scale
                prepare(t);
                T* const next = state(t + 1 - begin);
                step(state(t - begin), next);
                if (p_.scaled) rescale(next, scale(t + 1 - begin));
                border(next);
            }
            for (std::int64_t t = end - 1; t >= begin; --t) pull(t, state(t - begin), p_.scaled ? scale(t + 1 - begin) : nullptr, task);
            end = begin;
        }
        if (p_.scaled) {
            if (!p_.steps) start(0);
            multiply(pulled_, scale(0));
        }
        line_.template store<parts>(pulled_, static_cast<T*>(p_.grad_psi) + first_ * row());
    }

  private:
    std::int64_t row() const { return p_.sites * parts; }
    T* state(std::int64_t i) const { return state_ + i * parts * plane_; }
    T* scale(std::int64_t i) const { return scale_ + i * line_.problems; }
    template <class Pointer>
    T* kept(Pointer states, std::int64_t i) const {
        return static_cast<T*>(states) + (i * p_.batch + first_) * row();
    }

    void load(const T* rows, T* line) const {
        std::memset(line, 0, static_cast<std::size_t>(parts * plane_) * sizeof(T));
        line_.template load<parts>(rows, line);
    }
    void store(const T* line, T* rows) const { line_.template store<parts>(line, rows); }
    void border(T* line) const {
        for (int c = 0; c < parts; ++c) line_.border(line + c * plane_);
    }
    void clear_gaps(T* line) const {
        for (int c = 0; c < parts; ++c) line_.clear_gaps(line + c * plane_);
    }

    // The first state of a segment, and what it was scaled by.
    void start(std::int64_t begin) {
        load(begin ? kept(p_.kept, begin / p_.keep_every - 1) : static_cast<const T*>(p_.psi) + first_ * row(), state(0));
        if (p_.scaled && begin == 0) rescale(state(0), scale(0));
        border(state(0));
    }

    // Taps and factors of step t, unless they are there.
    void prepare(std::int64_t t) {
        if (const std::int64_t at = p_.tap_row(t, first_); at != tap_row_) {
            const T* const from = static_cast<const T*>(p_.taps) + at * p_.kernel * parts;
            for (std::int64_t k = 0; k < p_.kernel; ++k)
                for (int c = 0; c < parts; ++c) {
                    taps_[c * p_.kernel + k] = from[k * parts + c];
                    if (p_.grad) reversed_[c * p_.kernel + p_.kernel - 1 - k] = c ? -from[k * parts + c] : from[k * parts];
                }
            tap_row_ = at;
        }
        if (!p_.factor) return;
        if (const std::int64_t at = p_.factor_steps == 1 ? 0 : t; at != factor_step_) {
            if (factor_step_ < 0) std::memset(factor_, 0, static_cast<std::size_t>(parts * plane_) * sizeof(T));
            line_.template load_factor<parts>(p_, p_.factor, t, first_, factor_);
            factor_step_ = at;
        }
    }

    void step(const T* from, T* to) const { products(from, taps_, factor_, to + line_.halo); }

    // to(x) = factor(x) sum_k taps_k from(x + k), from the first problem's first site on.
    QC_KERNEL void products(const T* from, const T* taps, const T* factor, T* to) const {
        line_.template tiles<B::tile>([&](auto n, std::int64_t i) {
            constexpr int U = n;
            V sum[parts * U];
            B::products(sum, from + i * width, plane_, taps, p_.kernel);
            if (factor) times<U, false>(sum, factor, i);
            T* const at = to + i * width;
            for (int c = 0; c < parts; ++c)
                for (int u = 0; u < U; ++u) S::store(at + c * plane_ + u * width, sum[c * U + u]);
        });
    }

    // sum <- sum f, or conj(f).
    template <int U, bool conjugate>
    void times(V (&sum)[parts * U], const T* factor, std::int64_t i) const {
        for (int u = 0; u < U; ++u) {
            const V re = S::load(factor + (i + u) * width);
            if constexpr (is_complex) {
                const V part = S::load(factor + plane_ + (i + u) * width), im = conjugate ? -part : part;
                const V a = sum[u], b = sum[U + u];
                sum[u] = S::fma(re, a, -(im * b));
                sum[U + u] = S::fma(re, b, im * a);
            } else {
                sum[u] *= re;
            }
        }
    }

    // Brings the largest part of every problem to [1, 2) and counts by what power of two; `scales` notes it.
    void rescale(T* line, T* scales) {
        constexpr int limit = sizeof(T) == 4 ? 126 : 1022;  // 2^-e is to be a normal number
        for (std::int64_t g = 0; g < line_.problems; ++g) {
            T by = 1;
            for (int again = 0; again < 2; ++again) {  // a denormal takes two
                const T most = largest(line, g);
                const int e = most > 0 && most < T(__builtin_inf()) ? std::clamp(std::ilogb(most), -limit, limit) : 0;
                if (e == 0) break;
                const T power = std::ldexp(T(1), -e);
                by *= power;
                exponent_[g] += e;
                multiply(line, g, power);
            }
            if (scales) scales[g] = by;
        }
    }

    QC_KERNEL T largest(const T* line, std::int64_t g) const {
        V most = S::zero();
        auto take = [&](V v) {
            const V size = v < V{} ? -v : v;
            most = size > most ? size : most;
        };
        for (int c = 0; c < parts; ++c) {
            const T* const at = line_.at(line + c * plane_, g);
            std::int64_t x = 0;
            for (; x + width <= p_.sites; x += width) take(S::load(at + x));
            if (x < p_.sites) take(S::load(at + x, typename S::Lanes{static_cast<int>(p_.sites - x)}));
        }
        T all = 0;
        for (int i = 0; i < width; ++i) all = most[i] > all ? most[i] : all;
        return all;
    }

    void multiply(T* line, std::int64_t g, T by) const {
        for (int c = 0; c < parts; ++c) {
            T* const at = line_.at(line + c * plane_, g);
            for (std::int64_t x = 0; x < p_.sites; ++x) at[x] *= by;
        }
    }
    void multiply(T* line, const T* scales) const {
        for (std::int64_t g = 0; g < line_.problems; ++g)
            if (scales[g] != T(1)) multiply(line, g, scales[g]);
    }

    // One step back: pulled_ holds the gradient to psi_{t+1} and gets that to psi_t = `psi`.
    void pull(std::int64_t t, const T* psi, const T* scales, std::int64_t task) {
        prepare(t);
        if (scales) multiply(pulled_, scales);
        if (p_.sum_factor) {
            products(psi, taps_, nullptr, product_);  // what the factor multiplies
            sum_factor(t, task);
        }
        gate();
        if (p_.sum_taps) sum_taps(t, psi, task);
        border(gated_);
        products(gated_, reversed_, nullptr, pulled_ + line_.halo);
        clear_gaps(pulled_);
    }

    void sum_factor(std::int64_t t, std::int64_t task) const {
        const std::int64_t rows = p_.factor_steps * p_.factor_batch;
        double* const sums = p_.sum_factor + (p_.factor_batch == 1 ? task * rows * row() : 0);
        for (std::int64_t g = 0; g < line_.problems; ++g) {
            double* const to = sums + p_.factor_row(t, first_ + g) * row();
            const T *a = line_.at(pulled_, g), *b = product_ + g * line_.stride;
            for (std::int64_t x = 0; x < p_.sites; ++x) {
                if constexpr (is_complex) {
                    const T ar = a[x], ai = a[plane_ + x], br = b[x], bi = b[plane_ + x];
                    to[2 * x] += static_cast<double>(ar * br + ai * bi);
                    to[2 * x + 1] += static_cast<double>(ai * br - ar * bi);
                } else {
                    to[x] += static_cast<double>(a[x] * b[x]);
                }
            }
        }
    }

    // gated_ = conj(f) pulled_, zero in the gaps.
    QC_KERNEL void gate() const {
        if (!p_.factor) {
            std::memcpy(gated_, pulled_, static_cast<std::size_t>(parts * plane_) * sizeof(T));
            return;
        }
        std::memset(gated_, 0, static_cast<std::size_t>(parts * plane_) * sizeof(T));
        for (std::int64_t i = 0; i < line_.vectors; ++i) {
            V v[parts];
            for (int c = 0; c < parts; ++c) v[c] = S::load(pulled_ + line_.halo + c * plane_ + i * width);
            times<1, true>(v, factor_, i);
            for (int c = 0; c < parts; ++c) S::store(gated_ + line_.halo + c * plane_ + i * width, v[c]);
        }
        clear_gaps(gated_);
    }

    QC_KERNEL void sum_taps(std::int64_t t, const T* psi, std::int64_t task) const {
        const std::int64_t rows = p_.tap_steps * p_.tap_batch, kernel = p_.kernel;
        double* const sums = p_.sum_taps + ((p_.tap_batch == 1 ? task * rows : 0) + p_.tap_row(t, first_)) * kernel * parts;
        constexpr std::int64_t block = 64;  // vectors that are summed in the precision of T
        constexpr int most = is_complex ? 4 : 8;
        const T* const a = gated_ + line_.halo;
        for (std::int64_t i = 0; i < line_.vectors; i += block) {
            const std::int64_t n = std::min(block, line_.vectors - i), at = i * width;
            std::int64_t k = 0;
            for (; k + most <= kernel; k += most) B::template correlate<most>(sums + k * parts, a + at, psi + at + k, plane_, n);
            for (; k < kernel; ++k) B::template correlate<1>(sums + k * parts, a + at, psi + at + k, plane_, n);
        }
    }

    const Plan& p_;
    const Line<T> line_;
    const std::int64_t first_, plane_;
    std::int64_t tap_row_ = -1, factor_step_ = -1;
    std::int64_t* exponent_;
    T *taps_, *factor_, *state_, *reversed_ = nullptr, *pulled_ = nullptr, *gated_ = nullptr, *product_ = nullptr, *scale_ = nullptr;
};

}  // namespace
}  // namespace qcore::QC_ISA
