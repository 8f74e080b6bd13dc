// The max-plus semiring: the largest sum of logarithms along a path, and which path has it.
#pragma once

#include <cstring>
#include <utility>

#include "core/config.hpp"
#include "paths/transfer_line.hpp"

namespace qcore::QC_ISA {
namespace {

template <class T>
class MaxSums {
    using S = Simd<T>;
    using V = typename S::V;
    using Int = std::conditional_t<sizeof(T) == 4, std::int32_t, std::int64_t>;
    typedef Int VI __attribute__((vector_size(vector_bytes)));
    static constexpr int width = S::width, tile = 4;
    static constexpr T nothing = -T(__builtin_inf());

  public:
    MaxSums(const Plan& p, Arena& arena, std::int64_t first, std::int64_t count) : p_(p), line_(p, count), first_(first) {
        const std::int64_t n = line_.size;
        if (p.factor) factor_ = arena.take<T>(n);
        backwards_ = p.grad || p.ends;
        // Without a gradient the states of the segments are kept here.
        segment_ = p.ends ? isqrt(p.steps) : p.segment();
        const std::int64_t starts = p.ends && segment_ ? p.steps / segment_ + 1 : 0;
        state_ = arena.take<T>((backwards_ ? segment_ + 1 : 2) * n);
        if (!backwards_) return;
        from_ = arena.take<Int>(segment_ * n);
        starts_ = arena.take<T>(starts * n);
        pulled_ = arena.take<T>(n);
        before_ = arena.take<T>(n);
    }

    void go() {
        if (p_.ends) return trace();
        T *now = state_, *next = state(1);
        start(0, now);
        for (std::int64_t t = 0; t < p_.steps; ++t) {
            prepare(t);
            step<false>(now, next, nullptr);
            std::swap(now, next);
            if (p_.keep_every > 0 && (t + 1) % p_.keep_every == 0 && t + 1 < p_.steps)
                line_.store(now, kept(p_.kept, (t + 1) / p_.keep_every - 1));
        }
        line_.store(now, static_cast<T*>(p_.out) + first_ * p_.sites);
    }

    void go(std::int64_t task) {
        std::fill(pulled_, pulled_ + line_.size, T(0));
        line_.load(static_cast<const T*>(p_.grad) + first_ * p_.sites, pulled_);
        if (!p_.steps) {
            start(0, state_);
            for (std::int64_t i = 0; i < line_.size; ++i)
                if (state_[i] == nothing) pulled_[i] = 0;
        }
        for (std::int64_t end = p_.steps; end > 0;) {
            const std::int64_t begin = (end - 1) / segment_ * segment_;
            start(begin, state_);
            run(begin, end);
            for (std::int64_t t = end - 1; t >= begin; --t) pull(t, state(t + 1 - begin), from_ + (t - begin) * line_.size, task);
            end = begin;
        }
        line_.store(pulled_, static_cast<T*>(p_.grad_psi) + first_ * p_.sites);
    }

  private:
    static std::int64_t isqrt(std::int64_t n) {
        std::int64_t root = 0;
        while (root * root < n) ++root;
        return root;
    }

    T* state(std::int64_t i) const { return state_ + i * line_.size; }
    template <class Pointer>
    T* kept(Pointer states, std::int64_t i) const {
        return static_cast<T*>(states) + (i * p_.batch + first_) * p_.sites;
    }

    void start(std::int64_t begin, T* state) const {
        line_.load(begin ? kept(p_.kept, begin / p_.keep_every - 1) : static_cast<const T*>(p_.psi) + first_ * p_.sites, state);
        line_.border(state, nothing);
    }

    void prepare(std::int64_t t) {
        taps_ = static_cast<const T*>(p_.taps) + p_.tap_row(t, first_) * p_.kernel;
        if (!p_.factor) return;
        if (const std::int64_t at = p_.factor_steps == 1 ? 0 : t; at != factor_step_) {
            if (factor_step_ < 0) std::fill(factor_, factor_ + line_.size, T(0));
            line_.load_factor(p_, p_.factor, t, first_, factor_);
            factor_step_ = at;
        }
    }

    // States after begin ... end - 1, and where each entry comes from.
    void run(std::int64_t begin, std::int64_t end) {
        for (std::int64_t t = begin; t < end; ++t) {
            prepare(t);
            step<true>(state(t - begin), state(t + 1 - begin), from_ + (t - begin) * line_.size);
        }
    }

    template <bool traced>
    QC_KERNEL void step(const T* from, T* to, Int* source) const {
        line_.template tiles<tile>([&](auto n, std::int64_t i) {
            constexpr int U = n;
            const T* const at = from + i * width;
            V best[U];
            VI tap[U];
            for (int u = 0; u < U; ++u) {
                best[u] = V{} + nothing;
                tap[u] = VI{} - 1;
            }
            for (std::int64_t k = 0; k < p_.kernel; ++k)
                for (int u = 0; u < U; ++u) {
                    const V sum = S::load(at + k + u * width) + taps_[k];
                    const VI take = (sum > best[u]) | (sum != sum);  // a NaN stays once it is there
                    best[u] = take ? sum : best[u];
                    if (traced) tap[u] = take ? VI{} + static_cast<Int>(k) : tap[u];
                }
            for (int u = 0; u < U; ++u) {
                const std::int64_t x = (i + u) * width;
                if (p_.factor) best[u] += S::load(factor_ + x);
                S::store(to + line_.halo + x, best[u]);
                if (traced) std::memcpy(source + x, &tap[u], sizeof(VI));
            }
        });
        line_.border(to, nothing);
    }

    // Moves every gradient along the step its path took; a path of weight 0 took none.
    void pull(std::int64_t t, const T* after, const Int* source, std::int64_t task) {
        const std::int64_t tap_rows = p_.tap_steps * p_.tap_batch, factor_rows = p_.factor_steps * p_.factor_batch;
        std::fill(before_, before_ + line_.size, T(0));
        for (std::int64_t g = 0; g < line_.problems; ++g) {
            const std::int64_t b = first_ + g;
            double* const taps = !p_.sum_taps ? nullptr : p_.sum_taps + ((p_.tap_batch == 1 ? task * tap_rows : 0) + p_.tap_row(t, b)) * p_.kernel;
            double* const factors =
                !p_.sum_factor ? nullptr : p_.sum_factor + ((p_.factor_batch == 1 ? task * factor_rows : 0) + p_.factor_row(t, b)) * p_.sites;
            const T *to = line_.at(pulled_, g), *value = line_.at(after, g);
            const Int* const taken = source + g * line_.stride;
            T* const back = line_.at(before_, g);
            for (std::int64_t x = 0; x < p_.sites; ++x) {
                if (taken[x] < 0 || value[x] == nothing) continue;
                back[origin(x, taken[x])] += to[x];
                if (taps) taps[taken[x]] += static_cast<double>(to[x]);
                if (factors) factors[x] += static_cast<double>(to[x]);
            }
        }
        std::swap(pulled_, before_);
    }

    std::int64_t origin(std::int64_t x, std::int64_t tap) const {
        const std::int64_t y = x + tap - line_.halo;
        return line_.periodic ? (y % p_.sites + p_.sites) % p_.sites : y;
    }

    void trace() {
        if (segment_) {
            start(0, state_);
            for (std::int64_t t = 0; t < p_.steps; ++t) {
                if (t % segment_ == 0) std::memcpy(starts_ + t / segment_ * line_.size, state_, static_cast<std::size_t>(line_.size) * sizeof(T));
                prepare(t);
                step<false>(state_, state(1), nullptr);
                std::memcpy(state_, state(1), static_cast<std::size_t>(line_.size) * sizeof(T));
            }
        } else {
            start(0, state_);
        }
        for (std::int64_t g = 0; g < line_.problems; ++g) {
            const auto end = static_cast<std::int64_t>(p_.ends[first_ + g]);
            double* const path = p_.path + (first_ + g) * (p_.steps + 1);
            path[p_.steps] = line_.at(state_, g)[end] == nothing ? -1.0 : static_cast<double>(end);
        }
        for (std::int64_t end = p_.steps; end > 0;) {
            const std::int64_t begin = (end - 1) / segment_ * segment_;
            std::memcpy(state_, starts_ + begin / segment_ * line_.size, static_cast<std::size_t>(line_.size) * sizeof(T));
            run(begin, end);
            for (std::int64_t t = end - 1; t >= begin; --t)
                for (std::int64_t g = 0; g < line_.problems; ++g) {
                    double* const path = p_.path + (first_ + g) * (p_.steps + 1);
                    const auto x = static_cast<std::int64_t>(path[t + 1]);
                    const std::int64_t y = x < 0 ? -1 : origin(x, from_[(t - begin) * line_.size + g * line_.stride + x]);
                    // A tap that is NaN leads from beyond the line, too.
                    path[t] = y >= 0 && y < p_.sites ? static_cast<double>(y) : -1.0;
                }
            end = begin;
        }
    }

    const Plan& p_;
    const Line<T> line_;
    const std::int64_t first_;
    std::int64_t factor_step_ = -1, segment_;
    bool backwards_;
    const T* taps_ = nullptr;
    Int* from_ = nullptr;
    T *state_, *factor_ = nullptr, *starts_ = nullptr, *pulled_ = nullptr, *before_ = nullptr;
};

}  // namespace
}  // namespace qcore::QC_ISA
