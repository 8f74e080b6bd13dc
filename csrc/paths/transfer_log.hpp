// The semiring of logarithms, computed as numbers of any size: banded products of scaled mantissas, aligned exponent by exponent
// only where the range of what a vector of outputs reads demands it. No exponential or logarithm inside the steps.
#pragma once

#include <cstring>
#include <utility>

#include "core/config.hpp"
#include "paths/transfer_band.hpp"
#include "paths/transfer_line.hpp"
#include "paths/transfer_scaled.hpp"

namespace qcore::QC_ISA {
namespace {

// What a range that fits plain products is: entries are brought below 2^(top + 1), and no entry but 0 counts as less than 2^-low.
// Products then are normal numbers, sums of them don't overflow, and the error of a sum from 2^enough on for each tap is below half a
// unit in the last place.
template <class T>
struct Window {
    static constexpr int most_taps_log2 = 14, top = sizeof(T) == 4 ? 55 : 503, low = sizeof(T) == 4 ? 62 : 510;
    static constexpr int enough = top - low + 2 + Scaled<T>::mantissa_bits + 2;
};

template <class T>
class LogSums {
    using S = Simd<T>;
    using V = typename S::V;
    using X = Scaled<T>;
    using VI = typename X::VI;
    using W = Window<T>;
    static constexpr int width = S::width;

  public:
    LogSums(const Plan& p, Arena& arena, std::int64_t first, std::int64_t count) : p_(p), line_(p, count), first_(first) {
        const std::int64_t n = line_.size, kernel = (p.kernel + width - 1) / width * width;
        enough_ = W::enough + std::ilogb(static_cast<double>(p.kernel)) + 1;
        for (Taps* taps : {&taps_, &reversed_}) {
            taps->m = arena.take<T>(kernel);
            taps->e = arena.take<T>(kernel);
            taps->plain = arena.take<T>(kernel);
        }
        window_size_ = B::tile * width + kernel + width;
        window_ = arena.take<T>(windows * window_size_);
        if (p.factor) {
            factor_m_ = arena.take<T>(n);
            factor_e_ = arena.take<T>(n);
        }
        if (!p.grad) {
            state_ = arena.take<T>(4 * n);
            return;
        }
        state_ = arena.take<T>((p.segment() + 1) * 2 * n);
        pulled_ = arena.take<T>(n);
        ratio_m_ = arena.take<T>(n);
        ratio_e_ = arena.take<T>(n);
    }

    void go() {
        T *now = state_, *next = state(1);
        start(0, now);
        for (std::int64_t t = 0; t < p_.steps; ++t) {
            prepare(t);
            step(now, next);
            std::swap(now, next);
            if (p_.keep_every > 0 && (t + 1) % p_.keep_every == 0 && t + 1 < p_.steps) {
                const std::int64_t i = (t + 1) / p_.keep_every - 1;
                line_.store(now, kept(p_.kept, i, 0));
                line_.store(now + line_.size, kept(p_.kept, i, 1));
            }
        }
        finish(now);
    }

    void go(std::int64_t task) {
        const std::int64_t segment = p_.segment();
        std::fill(pulled_, pulled_ + line_.size, T(0));
        line_.load(static_cast<const T*>(p_.grad) + first_ * p_.sites, pulled_);
        if (!p_.steps) start(0, state(0));
        for (std::int64_t end = p_.steps; end > 0;) {
            const std::int64_t begin = (end - 1) / segment * segment;
            start(begin, state(0));
            for (std::int64_t t = begin; t < end; ++t) {
                prepare(t);
                step(state(t - begin), state(t + 1 - begin));
            }
            for (std::int64_t t = end - 1; t >= begin; --t) pull(t, state(t - begin), state(t + 1 - begin), task);
            end = begin;
        }
        if (!p_.steps) {  // a weight of 0 has no logarithm to move
            for (std::int64_t i = 0; i < line_.size; ++i)
                if (state_[i] == T(0)) pulled_[i] = 0;
        }
        line_.store(pulled_, static_cast<T*>(p_.grad_psi) + first_ * p_.sites);
    }

  private:
    using B = Band<T, false>;
    static constexpr int windows = 4;
    struct Taps {
        T *m, *e, *plain;  // plain = m * 2^(e - largest + W::top)
        T largest;
    };

    T* state(std::int64_t i) const { return state_ + i * 2 * line_.size; }
    template <class Pointer>
    T* kept(Pointer states, std::int64_t i, std::int64_t part) const {
        return static_cast<T*>(states) + ((i * 2 + part) * p_.batch + first_) * p_.sites;
    }

    void start(std::int64_t begin, T* state) const {
        T *const m = state, *const e = state + line_.size;
        std::fill(m, m + line_.size, T(0));
        if (begin) {
            line_.load(kept(p_.kept, begin / p_.keep_every - 1, 0), m);
            line_.load(kept(p_.kept, begin / p_.keep_every - 1, 1), e);
        } else {
            line_.load(static_cast<const T*>(p_.psi) + first_ * p_.sites, m);
            split_logs(m, m, e, line_.size);
            if (p_.psi_sign) apply_signs(static_cast<const T*>(p_.psi_sign) + first_ * p_.sites, line_.at(m, 0), line_.at(e, 0), p_.sites);
            for (std::int64_t i = 0; i < line_.size; i += width) {
                V vm, ve;
                X::split(S::load(m + i), S::load(e + i), vm, ve);
                S::store(m + i, vm);
                S::store(e + i, ve);
            }
        }
        border(state);
    }

    void border(T* state) const {
        line_.border(state);
        line_.border(state + line_.size, X::none);
    }

    void finish(const T* state) const {
        T* const out = static_cast<T*>(p_.out) + first_ * p_.sites;
        const T *m = line_.at(state, 0), *e = line_.at(state + line_.size, 0);
        for (std::int64_t x = 0; x < p_.sites; x += width) {
            const V v = X::to_log(S::load(m + x), S::load(e + x));
            if (x + width <= p_.sites) S::store(out + x, v);
            else S::store(out + x, v, typename S::Lanes{static_cast<int>(p_.sites - x)});
        }
        if (!p_.second) {
            for (std::int64_t x = 0; x < p_.sites; ++x)
                if (m[x] < T(0)) out[x] = T(__builtin_nan(""));
            return;
        }
        T* const sign = static_cast<T*>(p_.second) + first_ * p_.sites;
        for (std::int64_t x = 0; x < p_.sites; ++x) sign[x] = m[x] > T(0) ? T(1) : m[x] < T(0) ? T(-1) : m[x];
    }

    // Arrays of a multiple of `width` entries.
    static void split_logs(const T* logs, T* m, T* e, std::int64_t n) {
        for (std::int64_t i = 0; i < n; i += width) {
            V vm, ve;
            X::from_log(S::load(logs + i), vm, ve);
            S::store(m + i, vm);
            S::store(e + i, ve);
        }
    }
    static void apply_signs(const T* signs, T* m, T* e, std::int64_t n) {
        for (std::int64_t i = 0; i < n; ++i) {
            m[i] *= signs[i];
            if (signs[i] == T(0)) e[i] = X::none;
        }
    }

    void prepare(std::int64_t t) {
        if (const std::int64_t at = p_.tap_row(t, first_); at != tap_row_) {
            const std::int64_t kernel = p_.kernel, padded = (kernel + width - 1) / width * width;
            std::fill(taps_.m, taps_.m + padded, T(0));
            std::memcpy(taps_.m, static_cast<const T*>(p_.taps) + at * kernel, static_cast<std::size_t>(kernel) * sizeof(T));
            split_logs(taps_.m, taps_.m, taps_.e, padded);
            if (p_.taps_sign) apply_signs(static_cast<const T*>(p_.taps_sign) + at * kernel, taps_.m, taps_.e, kernel);
            taps_.largest = X::none;
            for (std::int64_t k = 0; k < kernel; ++k) taps_.largest = std::max(taps_.largest, taps_.e[k]);
            for (std::int64_t k = 0; k < kernel; ++k) {
                const T shift = taps_.e[k] - taps_.largest + T(W::top);
                taps_.plain[k] = shift >= -T(W::low) ? std::ldexp(taps_.m[k], static_cast<int>(shift)) : T(0);
                reversed_.m[kernel - 1 - k] = taps_.m[k];
                reversed_.e[kernel - 1 - k] = taps_.e[k];
                reversed_.plain[kernel - 1 - k] = taps_.plain[k];
            }
            reversed_.largest = taps_.largest;
            tap_row_ = at;
        }
        if (!p_.factor) return;
        if (const std::int64_t at = p_.factor_steps == 1 ? 0 : t; at != factor_step_) {
            if (factor_step_ < 0) std::fill(factor_m_, factor_m_ + line_.size, T(0));
            const std::int64_t row = p_.factor_row(t, first_) * p_.sites;
            std::memcpy(factor_m_, static_cast<const T*>(p_.factor) + row, static_cast<std::size_t>(p_.sites) * sizeof(T));
            split_logs(factor_m_, factor_m_, factor_e_, line_.vectors * width);
            if (p_.factor_sign) apply_signs(static_cast<const T*>(p_.factor_sign) + row, factor_m_, factor_e_, p_.sites);
            V worst{}, least = V{} + T(1);
            for (std::int64_t x = 0; x < line_.vectors * width; x += width) {
                const V fm = S::load(factor_m_ + x), fe = S::load(factor_e_ + x);
                worst = X::larger(worst, X::larger(fe, -fe));
                least = least * (fm == V{} ? V{} : V{} + T(1));
            }
            factor_normal_ = reduce_max(worst) < X::most / 4 && reduce_max(-least) < T(0);
            factor_step_ = at;
        }
    }

    void step(const T* from, T* to) const {
        forward_products(from, to);
        border(to);
    }

    QC_KERNEL void forward_products(const T* from, T* to) const {
        T *const m = to + line_.halo, *const e = m + line_.size;
        const T *const factor_m = factor_m_, *const factor_e = factor_e_;
        const bool factor_normal = factor_normal_;
        products(from, from + line_.size, taps_, [=](std::int64_t i, V value, V base, auto normal) {
            if (factor_m) {
                value *= S::load(factor_m + i);
                base += S::load(factor_e + i);
            }
            V vm, ve;
            if (normal && factor_normal) X::split_normal(value, base, vm, ve);
            else X::split(value, base, vm, ve);
            S::store(m + i, vm);
            S::store(e + i, ve);
        });
    }

    // emit(position, v, base, normal): sums v * 2^base over taps of one vector of outputs; normal: v and base are such numbers.
    // Several windows are filled before the first is read: a read that spans two fresh writes waits until both are in the cache.
    template <class Emit>
    void products(const T* m, const T* e, const Taps& taps, Emit&& emit) const {
        const std::int64_t vectors = line_.vectors;
        T top[windows];
        std::int64_t i = 0;
        while (vectors - i >= B::tile) {
            const std::int64_t n = std::min<std::int64_t>(windows, (vectors - i) / B::tile);
            for (std::int64_t w = 0; w < n; ++w) top[w] = fill<B::tile>(m, e, (i + w * B::tile) * width, window_ + w * window_size_);
            for (std::int64_t w = 0; w < n; ++w)
                add_up<B::tile>(m, e, taps, (i + w * B::tile) * width, window_ + w * window_size_, top[w], emit);
            i += n * B::tile;
        }
        for (; vectors - i >= B::tile / 2; i += B::tile / 2)
            add_up<B::tile / 2>(m, e, taps, i * width, window_, fill<B::tile / 2>(m, e, i * width, window_), emit);
        for (; i < vectors; ++i) add_up<1>(m, e, taps, i * width, window_, fill<1>(m, e, i * width, window_), emit);
    }

    // What U vectors of outputs from `at` on read, relative to the largest of it, whose exponent comes back.
    template <int U>
    T fill(const T* m, const T* e, std::int64_t at, T* window) const {
        const std::int64_t reads = (U * width + p_.kernel - 1 + width - 1) / width * width;
        V highest = V{} + X::none, other = highest;
        std::int64_t pair = 0;
        for (; pair + 2 * width <= reads; pair += 2 * width) {
            highest = X::larger(highest, S::load(e + at + pair));
            other = X::larger(other, S::load(e + at + pair + width));
        }
        if (pair < reads) other = X::larger(other, S::load(e + at + pair));
        const T top = reduce_max(X::larger(highest, other)), lift = T(W::top) - top;
#pragma GCC unroll 4
        for (std::int64_t j = 0; j < reads; j += width) {
            const V shift = X::larger(S::load(e + at + j) + lift, V{} - T(W::low));
            S::store(window + j, S::load(m + at + j) * X::pow2(shift));
        }
        return top;
    }

    template <int U, class Emit>
    void add_up(const T* m, const T* e, const Taps& taps, std::int64_t at, const T* window, T top, Emit&& emit) const {
        if (top < -X::bound || taps.largest < -X::bound) {
            for (int u = 0; u < U; ++u) emit(at + u * width, V{}, V{}, std::false_type{});
            return;
        }
        V sum[U];
        B::products(sum, window, 0, taps.plain, p_.kernel);
        const V base = V{} + (top + taps.largest - T(2 * W::top));
        typename X::Bits farthest{};
#pragma GCC unroll 8
        for (int u = 0; u < U; ++u) {
            const typename X::Bits d = X::distance(sum[u], enough_);
            farthest = d > farthest ? d : farthest;
        }
        const typename X::Bits room = X::room(enough_);
        if (!any((VI)(farthest > room)) && std::fabs(top) + std::fabs(taps.largest) < X::most / 2) {
#pragma GCC unroll 8
            for (int u = 0; u < U; ++u) emit(at + u * width, sum[u], base, std::true_type{});
            return;
        }
        for (int u = 0; u < U; ++u) {
            if (taps.largest < X::bound && !any((VI)(X::distance(sum[u], enough_) > room)))
                emit(at + u * width, sum[u], base, std::false_type{});
            else aligned(m + at + u * width, e + at + u * width, taps, at + u * width, emit);
        }
    }

    // The same for one vector, each output with an exponent of its own and each product aligned to it: exact in any range.
    template <class Emit>
    __attribute__((always_inline)) void aligned(const T* m, const T* e, const Taps& taps, std::int64_t at, Emit&& emit) const {
        V top = V{} + 2 * X::none;
        for (std::int64_t k = 0; k < p_.kernel; ++k) top = X::larger(top, S::load(e + k) + taps.e[k]);
        if (!any(top >= V{} - X::bound)) return emit(at, V{}, V{}, std::false_type{});
        constexpr int low = sizeof(T) == 4 ? 100 : 1000;
        V sum{};
        for (std::int64_t k = 0; k < p_.kernel; ++k) {
            const V shift = S::load(e + k) + taps.e[k] - top, bounded = X::larger(shift, V{} - T(low));
            sum += shift >= bounded ? S::load(m + k) * X::pow2(bounded) * taps.m[k] : V{};
        }
        for (int l = 0; l < width; ++l) {
            if (top[l] < X::bound) continue;
            T wild = 0;  // inf and NaN as numbers have them
            for (std::int64_t k = 0; k < p_.kernel; ++k)
                if (e[k + l] + taps.e[k] >= X::bound) wild += m[k + l] * taps.m[k];
            sum[l] = wild;
            top[l] = X::special;
        }
        emit(at, sum, top, std::false_type{});
    }

    // pulled_ holds g(x) = dL / d log psi_{t+1}(x) and gets that to log psi_t. With r = g f / psi_{t+1}:
    // g_t(y) = psi_t(y) sum_k taps_k r(y - k), and dL / d log taps_k = taps_k sum_x r(x) psi_t(x + k), both marginals.
    void pull(std::int64_t t, const T* psi, const T* after, std::int64_t task) {
        prepare(t);
        ratio(after);
        if (p_.sum_factor) {
            const std::int64_t rows = p_.factor_steps * p_.factor_batch;
            double* const to = p_.sum_factor + ((p_.factor_batch == 1 ? task * rows : 0) + p_.factor_row(t, first_)) * p_.sites;
            const T *g = line_.at(pulled_, 0), *m = line_.at(after, 0);
            for (std::int64_t x = 0; x < p_.sites; ++x) to[x] += m[x] == T(0) ? 0.0 : static_cast<double>(g[x]);
        }
        if (p_.sum_taps) sum_taps(t, psi, task);
        line_.border(ratio_m_);
        line_.border(ratio_e_, X::none);
        products_back(psi);
        line_.clear_gaps(pulled_);
    }

    QC_KERNEL void ratio(const T* after) const {
        std::fill(ratio_m_, ratio_m_ + line_.size, T(0));
        std::fill(ratio_e_, ratio_e_ + line_.size, X::none);
        const T *m = after + line_.halo, *e = m + line_.size;
        for (std::int64_t i = 0; i < line_.vectors * width; i += width) {
            const V g = S::load(pulled_ + line_.halo + i), psi = S::load(m + i);
            V value = g / psi, base = V{} - S::load(e + i), rm, re;
            if (p_.factor) {
                value *= S::load(factor_m_ + i);
                base += S::load(factor_e_ + i);
            }
            const VI nothing = (psi == V{}) | (g == V{});
            X::split(nothing ? V{} : value, base, rm, re);
            S::store(ratio_m_ + line_.halo + i, rm);
            S::store(ratio_e_ + line_.halo + i, re);
        }
        line_.clear_gaps(ratio_m_);
        line_.clear_gaps(ratio_e_, X::none);
    }

    QC_KERNEL void products_back(const T* psi) const {
        const T *m = psi + line_.halo, *e = m + line_.size;
        T* const to = pulled_ + line_.halo;
        products(ratio_m_, ratio_e_, reversed_, [&](std::int64_t i, V value, V base, auto) {
            const V weight = S::load(m + i);
            S::store(to + i, weight == V{} ? V{} : shifted(value * weight, base + S::load(e + i)));
        });
    }

    QC_KERNEL void sum_taps(std::int64_t t, const T* psi, std::int64_t task) const {
        const std::int64_t rows = p_.tap_steps * p_.tap_batch, kernel = p_.kernel;
        double* const sums = p_.sum_taps + ((p_.tap_batch == 1 ? task * rows : 0) + p_.tap_row(t, first_)) * kernel;
        constexpr std::int64_t block = 64;
        constexpr int low = X::bias - 2;
        const T *rm = ratio_m_ + line_.halo, *re = ratio_e_ + line_.halo, *pm = psi, *pe = psi + line_.size;
        for (std::int64_t k = 0; k < kernel; ++k) {
            if (taps_.m[k] == T(0)) continue;
            double total = 0;
            for (std::int64_t i = 0; i < line_.vectors; i += block) {
                V part{};
                for (std::int64_t j = i * width; j < std::min(i + block, line_.vectors) * width; j += width) {
                    const V shift = S::load(re + j) + S::load(pe + j + k) + taps_.e[k];
                    const V kept_up = X::larger(shift, V{} - T(low)), bounded = kept_up < V{} + T(low) ? kept_up : V{} + T(low);
                    const V term = S::load(rm + j) * X::pow2(bounded) * S::load(pm + j + k);
                    part += shift >= kept_up ? term : V{};
                }
                total += S::sum(part);
            }
            sums[k] += total * static_cast<double>(taps_.m[k]);
        }
    }

    // v * 2^n in T.
    static V shifted(V v, V n) {
        constexpr T limit = T(2 * X::bias - 4);
        const V low = X::larger(n, V{} - limit), bounded = low < V{} + limit ? low : V{} + limit;
        const V half = (bounded * T(0.5) + X::magic) - X::magic;
        return v * X::pow2(half) * X::pow2(bounded - half);
    }

    static bool any(VI mask) {
#if defined(__AVX512F__)
        if constexpr (sizeof(T) == 4) return _mm512_test_epi32_mask((__m512i)mask, (__m512i)mask) != 0;
        else return _mm512_test_epi64_mask((__m512i)mask, (__m512i)mask) != 0;
#elif defined(__AVX2__)
        return _mm256_testz_si256((__m256i)mask, (__m256i)mask) == 0;
#else
        typename X::Int all = 0;
        for (int i = 0; i < width; ++i) all |= mask[i];
        return all != 0;
#endif
    }

    static T reduce_max(V v) {
#if defined(__AVX512F__)
        if constexpr (sizeof(T) == 4) return _mm512_reduce_max_ps((__m512)v);
        else return _mm512_reduce_max_pd((__m512d)v);
#else
        T top = v[0];
        for (int i = 1; i < width; ++i) top = v[i] > top ? v[i] : top;
        return top;
#endif
    }

    const Plan& p_;
    const Line<T> line_;
    const std::int64_t first_;
    std::int64_t window_size_;
    std::int64_t tap_row_ = -1, factor_step_ = -1;
    bool factor_normal_ = true;  // no factor is 0, inf or NaN
    int enough_;
    Taps taps_, reversed_;
    T *window_, *state_, *factor_m_ = nullptr, *factor_e_ = nullptr, *pulled_ = nullptr, *ratio_m_ = nullptr, *ratio_e_ = nullptr;
};

}  // namespace
}  // namespace qcore::QC_ISA
