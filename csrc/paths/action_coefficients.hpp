// Derivatives of the sums by the coefficients of the potential, in float64. Included by files compiled per instruction set.
#pragma once

#include "paths/action_lanes.hpp"

namespace qcore::QC_ISA {
namespace {

using Doubles = Simd<double>::V;

// The first n of a vector of coordinates; the others are zero.
template <class T>
Doubles widened(const T* p, int n) {
    Doubles v{};
    for (int i = 0; i < n; ++i) v[i] = static_cast<double>(p[i]);
    return v;
}

// Calls f(y, plain, squared) for all points where a path meets the potential, a vector at a time; spare lanes have weight 0.
template <Form form, class T, class F>
void each_point(const ActionRows& a, const T* x, F&& f) {
    constexpr int w = Simd<double>::width;
    const std::int64_t end = a.beads - 1;
    Doubles one{};
    one[0] = 1;
    if constexpr (on_links(form)) {
        for (std::int64_t n = 0; n < end; n += w) {
            const int lanes = end - n < w ? static_cast<int>(end - n) : w;
            Doubles weight{};
            for (int i = 0; i < lanes; ++i) weight[i] = 1;
            f(0.5 * (widened(x + n, lanes) + widened(x + n + 1, lanes)), weight, weight);
        }
        if (a.periodic) f(Doubles{} + 0.5 * (static_cast<double>(x[end]) + static_cast<double>(x[0])), one, one);
    } else {
        const Doubles plain = alternating<double>(a.plain), squared = alternating<double>(a.squared);
        for (std::int64_t n = 1; n < end; n += w) {
            const int lanes = end - n < w ? static_cast<int>(end - n) : w;
            const Simd<double>::Lanes kept{lanes};
            f(widened(x + n, lanes), Simd<double>::keep(plain, kept), Simd<double>::keep(squared, kept));
        }
        if (end > 0 || a.periodic) f(Doubles{} + static_cast<double>(x[0]), a.plain.first * one, a.squared.first * one);
        if (end > 0) f(Doubles{} + static_cast<double>(x[end]), a.plain.last * one, a.squared.last * one);
    }
}

// Moments of the points: with p_k = y^k the derivative by c_k is sum u p_k + k sum v p_{k-1} + k (k-1) sum z p_{k-2}, where u, v
// and z are what V, V' and V'' at a point are multiplied by.
template <class T, Form form>
void polynomial_gradient(const ActionRows& a, const paths::Potential& p, const T* x, const ActionSums& g, double* grad) {
    constexpr int most = paths::Potential::max_coefficients;
    const PolynomialPoint<double> potential(p);
    const int count = static_cast<int>(p.count);
    Doubles of_value[most]{}, of_slope[most]{}, of_curvature[most]{};
    each_point<form>(a, x, [&](Doubles y, Doubles plain, Doubles squared) {
        const Doubles u = g.potential * plain;
        Doubles v{}, z{};
        if constexpr (form == Form::corrected) v = 2 * g.correction * squared * potential.slope(y);
        if constexpr (form == Form::van_vleck) z = -a.lambda * g.correction * squared / (1 - a.lambda * potential.curvature(y));
        Doubles power = Doubles{} + 1.0;
        for (int k = 0; k < count; ++k, power *= y) {
            of_value[k] += u * power;
            if constexpr (form == Form::corrected) of_slope[k] += v * power;
            if constexpr (form == Form::van_vleck) of_curvature[k] += z * power;
        }
    });
    const auto total = [](Doubles v) { return Simd<double>::sum(v); };
    for (int k = 0; k < count; ++k) {
        grad[k] += total(of_value[k]);
        if (form == Form::corrected && k > 0) grad[k] += k * total(of_slope[k - 1]);
        if (form == Form::van_vleck && k > 1) grad[k] += k * (k - 1) * total(of_curvature[k - 2]);
    }
}

template <class T, Form form>
void table_gradient(const ActionRows& a, const paths::Potential& p, const T* x, const ActionSums& g, double* grad) {
    const TablePoint<double> potential(p);
    each_point<form>(a, x, [&](Doubles y, Doubles plain, Doubles squared) {
        const Doubles u = g.potential * plain;
        Doubles v{};
        if constexpr (form == Form::corrected) v = 2 * g.correction * squared * potential.slope(y) * p.inverse_spacing;
        for (int i = 0; i < Simd<double>::width; ++i) {
            if (plain[i] == 0 && squared[i] == 0) continue;
            const double at = (y[i] - p.start) * p.inverse_spacing;
            const std::int64_t cell = at > 0 ? (at < static_cast<double>(p.count) ? static_cast<std::int64_t>(at) : p.count - 1) : 0;
            const double f = at - static_cast<double>(cell), in = f > 1 ? 1 : f < 0 ? 0 : f, beyond = f - in;
            double* const c = grad + 4 * cell;
            c[0] += u[i];
            c[1] += u[i] * f + v[i];
            c[2] += u[i] * (in * in + 2 * beyond * in) + v[i] * 2 * in;
            c[3] += u[i] * (in * in * in + 3 * beyond * in * in) + v[i] * 3 * in * in;
        }
    });
}

template <class T, Form form>
QC_KERNEL void coefficients_of(const ActionRows& a, const T* x, std::int64_t first, std::int64_t count, const ActionSums* g,
                               double* grad) {
    for (std::int64_t i = 0; i < count; ++i, grad += a.next_potential) {
        const paths::Potential p = potential_of(a, first + i);
        if constexpr (form != Form::van_vleck) {
            if (p.table) {
                table_gradient<T, form>(a, p, x + i * a.beads, g[i], grad);
                continue;
            }
        }
        polynomial_gradient<T, form>(a, p, x + i * a.beads, g[i], grad);
    }
}

}  // namespace
}  // namespace qcore::QC_ISA
