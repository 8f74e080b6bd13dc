// The sums over a path and their derivatives by its beads, lanes along the path. Included by files compiled per instruction set.
#pragma once

#include "core/config.hpp"
#include "paths/action_point.hpp"
#include "paths/action_rows.hpp"
#include "paths/lane_sum.hpp"

namespace qcore::QC_ISA {
namespace {

using paths::ActionRows;
using paths::ActionSums;
using paths::Form;

constexpr bool on_links(Form form) { return form == Form::middles || form == Form::van_vleck; }

// Of a vector of inner beads: it always begins at an odd one.
template <class T>
typename Simd<T>::V alternating(const paths::BeadWeights& w) {
    typename Simd<T>::V v{};
    for (int i = 0; i < Simd<T>::width; ++i) v[i] = static_cast<T>(i % 2 ? w.even : w.odd);
    return v;
}

template <class V>
V log_lanes(V v) {
    for (unsigned i = 0; i < sizeof(V) / sizeof(v[0]); ++i) v[i] = static_cast<std::remove_reference_t<decltype(v[0])>>(__builtin_log(v[i]));
    return v;
}

// --- sums ---

template <class T, class P, Form form>
class RowSums {
  public:
    using S = Simd<T>;
    using V = typename S::V;

    RowSums(const ActionRows& a, const P& v) : a_(a), v_(v), plain_(alternating<T>(a.plain)), squared_(alternating<T>(a.squared)) {}

    ActionSums operator()(const T* x) const {
        constexpr int w = S::width;
        constexpr std::int64_t tile = 32 * w;  // a float32 lane adds up 16 terms before they go on to the totals
        const std::int64_t beads = a_.beads, end = beads - 1;
        LaneSum<T> kinetic, potential, correction;
        // The inner beads, each with the link to its right.
        for (std::int64_t n = 1; n < end;) {
            const std::int64_t stop = n + tile < end ? n + tile : end;
            V k0{}, k1{}, p0{}, p1{}, c0{}, c1{};
            for (; n + 2 * w <= stop; n += 2 * w) {
                add(S::load(x + n), S::load(x + n + 1), k0, p0, c0);
                add(S::load(x + n + w), S::load(x + n + w + 1), k1, p1, c1);
            }
            if (n + w <= stop) {
                add(S::load(x + n), S::load(x + n + 1), k0, p0, c0);
                n += w;
            }
            if (n < stop) {
                const typename S::Lanes rest{static_cast<int>(stop - n)};
                V k{}, p{}, c{};
                add(S::load(x + n, rest), S::load(x + n + 1, rest), k, p, c);
                k1 += S::keep(k, rest), p1 += S::keep(p, rest), c1 += S::keep(c, rest);
                n = stop;
            }
            kinetic.add(k0 + k1), potential.add(p0 + p1);
            if constexpr (form == Form::corrected || form == Form::van_vleck) correction.add(c0 + c1);
        }
        ActionSums sums{kinetic.sum(), potential.sum(), correction.sum()};
        if (form != Form::corrected && end > 1) sums.potential += v_.constant() * static_cast<double>(end - 1);
        if (beads > 1) link(x[0], x[1], sums);
        if (a_.periodic) link(x[end], x[0], sums);
        if constexpr (!on_links(form)) {
            if (beads > 1 || a_.periodic) ends(x[0], x[end], beads > 1, sums);
        }
        sums.kinetic *= 0.5;
        return sums;
    }

  private:
    void add(V here, V next, V& kinetic, V& potential, V& correction) const {
        const V d = next - here;
        kinetic = S::fma(d, d, kinetic);
        const V y = on_links(form) ? T(0.5) * (here + next) : here;
        if constexpr (form == Form::corrected) {
            const V slope = v_.slope(y);
            potential = S::fma(plain_, v_.value(y), potential);
            correction = S::fma(squared_ * slope, slope, correction);
        } else {
            potential = v_.plus(potential, y);
        }
        if constexpr (form == Form::van_vleck) correction += log_lanes(T(1) - static_cast<T>(a_.lambda) * v_.curvature(y));
    }

    void link(T here, T next, ActionSums& sums) const {
        const double d = static_cast<double>(next) - here;
        sums.kinetic += d * d;
        if constexpr (on_links(form)) {
            const V y = V{} + T(0.5) * (here + next);
            sums.potential += v_.value(y)[0];
            if constexpr (form == Form::van_vleck) sums.correction += __builtin_log(1 - a_.lambda * v_.curvature(y)[0]);
        }
    }

    // Both ends in one vector, or the only bead.
    void ends(T first, T last, bool two, ActionSums& sums) const {
        V y{};
        y[0] = first, y[1] = last;
        const V value = v_.value(y);
        if (a_.plain.first != 0) sums.potential += a_.plain.first * value[0];
        if (two && a_.plain.last != 0) sums.potential += a_.plain.last * value[1];
        if constexpr (form == Form::corrected) {
            const V slope = v_.slope(y);
            const double s = slope[0], t = slope[1];
            if (a_.squared.first != 0) sums.correction += a_.squared.first * s * s;
            if (two && a_.squared.last != 0) sums.correction += a_.squared.last * t * t;
        }
    }

    const ActionRows& a_;
    const P& v_;
    V plain_, squared_;
};

// --- derivatives by the beads ---

template <class T, class P, Form form>
class RowGradient {
  public:
    using S = Simd<T>;
    using V = typename S::V;

    RowGradient(const ActionRows& a, const P& v) : a_(a), v_(v), plain_(alternating<T>(a.plain)), squared_(alternating<T>(a.squared)) {}

    void operator()(const T* x, const ActionSums& g, T* grad) const {
        constexpr int w = S::width;
        const std::int64_t beads = a_.beads, end = beads - 1;
        std::int64_t n = 1;
        for (; n + w <= end; n += w) S::store(grad + n, inner(S::load(x + n - 1), S::load(x + n), S::load(x + n + 1), g));
        if (n < end) {
            const typename S::Lanes rest{static_cast<int>(end - n)};
            S::store(grad + n, inner(S::load(x + n - 1, rest), S::load(x + n, rest), S::load(x + n + 1, rest), g), rest);
        }
        double first = 0, last = 0, inside = 0;
        if (beads > 1) {
            link(x[0], x[1], g, first, inside);
            link(x[end - 1], x[end], g, inside, last);
        }
        if (a_.periodic) link(x[end], x[0], g, last, first);
        if constexpr (!on_links(form)) {
            if (beads > 1 || a_.periodic) first += bead(x[0], a_.plain.first, a_.squared.first, g);
            if (beads > 1) last += bead(x[end], a_.plain.last, a_.squared.last, g);
        }
        grad[end] = static_cast<T>(last);
        grad[0] = static_cast<T>(beads > 1 ? first : first + last);
    }

  private:
    V inner(V left, V here, V right, const ActionSums& g) const {
        const T potential = static_cast<T>(g.potential);
        V sum = ((here - left) - (right - here)) * static_cast<T>(g.kinetic);
        if constexpr (form == Form::beads) return S::fma(V{} + potential, v_.slope(here), sum);
        if constexpr (form == Form::corrected) {
            V slope, curvature;
            v_.slope_curvature(here, slope, curvature);
            sum = S::fma(potential * plain_, slope, sum);
            return S::fma(static_cast<T>(2 * g.correction) * squared_, slope * curvature, sum);
        }
        if constexpr (on_links(form)) {
            const V before = T(0.5) * (left + here), after = T(0.5) * (here + right);
            sum = S::fma(V{} + T(0.5) * potential, v_.slope(before) + v_.slope(after), sum);
            if constexpr (form == Form::van_vleck) sum += static_cast<T>(0.5 * g.correction) * (log_slope(before) + log_slope(after));
        }
        return sum;
    }

    V log_slope(V y) const {
        const T lambda = static_cast<T>(a_.lambda);
        V curvature, third;
        v_.curvature_third(y, curvature, third);
        return -lambda * third / (T(1) - lambda * curvature);
    }

    void link(T from, T to, const ActionSums& g, double& left, double& right) const {
        const double push = g.kinetic * (static_cast<double>(to) - from);
        left -= push, right += push;
        if constexpr (on_links(form)) {
            const V y = V{} + T(0.5) * (from + to);
            double pull = 0.5 * g.potential * v_.slope(y)[0];
            if constexpr (form == Form::van_vleck) pull += 0.5 * g.correction * log_slope(y)[0];
            left += pull, right += pull;
        }
    }

    double bead(T x, double plain, double squared, const ActionSums& g) const {
        const V y = V{} + x;
        if constexpr (form == Form::corrected) {
            V slope, curvature;
            v_.slope_curvature(y, slope, curvature);
            double sum = plain != 0 ? g.potential * plain * slope[0] : 0;
            if (squared != 0) sum += 2 * g.correction * squared * slope[0] * curvature[0];
            return sum;
        } else {
            return plain != 0 ? g.potential * plain * v_.slope(y)[0] : 0;
        }
    }

    const ActionRows& a_;
    const P& v_;
    V plain_, squared_;
};

// --- blocks of paths ---

inline paths::Potential potential_of(const ActionRows& a, std::int64_t path) {
    paths::Potential p = a.potential;
    p.coefficients += path * a.next_potential;
    return p;
}

template <class T, class P, Form form>
QC_KERNEL void sums_of(const ActionRows& a, const T* x, std::int64_t first, std::int64_t count, ActionSums* sums) {
    if (a.next_potential == 0) {
        const P potential(a.potential);
        const RowSums<T, P, form> row(a, potential);
        for (std::int64_t i = 0; i < count; ++i) sums[i] = row(x + i * a.beads);
        return;
    }
    for (std::int64_t i = 0; i < count; ++i) {
        const P potential(potential_of(a, first + i));
        sums[i] = RowSums<T, P, form>(a, potential)(x + i * a.beads);
    }
}

template <class T, class P, Form form>
QC_KERNEL void gradient_of(const ActionRows& a, const T* x, std::int64_t first, std::int64_t count, const ActionSums* g, T* grad) {
    if (a.next_potential == 0) {
        const P potential(a.potential);
        const RowGradient<T, P, form> row(a, potential);
        for (std::int64_t i = 0; i < count; ++i) row(x + i * a.beads, g[i], grad + i * a.beads);
        return;
    }
    for (std::int64_t i = 0; i < count; ++i) {
        const P potential(potential_of(a, first + i));
        RowGradient<T, P, form>(a, potential)(x + i * a.beads, g[i], grad + i * a.beads);
    }
}

}  // namespace
}  // namespace qcore::QC_ISA
