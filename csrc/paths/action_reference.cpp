#include "paths/action_reference.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

namespace qcore::paths {

namespace {

struct Point {
    double value = 0, slope = 0, curvature = 0, third = 0;
};

// Where x lies in a table: the cell, how far into it, and how far past the table's ends.
struct Place {
    std::int64_t cell;
    double in, beyond;
};

Place place(const Potential& p, double x) {
    const double u = (x - p.start) * p.inverse_spacing;
    const std::int64_t cell = u > 0 ? (u < static_cast<double>(p.count) ? static_cast<std::int64_t>(u) : p.count - 1) : 0;
    const double f = u - static_cast<double>(cell), in = f > 1 ? 1 : f < 0 ? 0 : f;
    return {cell, in, f - in};
}

Point evaluate(const Potential& p, double x) {
    Point v;
    if (p.table) {
        const Place at = place(p, x);
        const double* const c = p.coefficients + 4 * at.cell;
        const double slope = c[1] + at.in * (2 * c[2] + at.in * 3 * c[3]), scale = p.inverse_spacing;
        v.value = c[0] + at.in * (c[1] + at.in * (c[2] + at.in * c[3])) + at.beyond * slope;
        v.slope = slope * scale;
        v.curvature = at.beyond == 0 ? (2 * c[2] + 6 * c[3] * at.in) * scale * scale : 0;
        v.third = at.beyond == 0 ? 6 * c[3] * scale * scale * scale : 0;
        return v;
    }
    for (std::int64_t k = p.count; k-- > 0;) {
        const double c = p.coefficients[k], n = static_cast<double>(k);
        v.value = v.value * x + c;
        if (k > 0) v.slope = v.slope * x + n * c;
        if (k > 1) v.curvature = v.curvature * x + n * (n - 1) * c;
        if (k > 2) v.third = v.third * x + n * (n - 1) * (n - 2) * c;
    }
    return v;
}

// Adds u dV/dc + v dV'/dc + z dV''/dc at x.
void add_coefficients(const Potential& p, double x, double u, double v, double z, double* grad) {
    if (p.table) {
        const Place at = place(p, x);
        double* const g = grad + 4 * at.cell;
        for (int k = 0; k < 4; ++k) {
            const double slope = k ? k * std::pow(at.in, k - 1) : 0;
            g[k] += u * (std::pow(at.in, k) + at.beyond * slope) + v * p.inverse_spacing * slope;
        }
        return;
    }
    for (std::int64_t k = 0; k < p.count; ++k) {
        const double n = static_cast<double>(k);
        grad[k] += u * std::pow(x, n);
        if (k > 0) grad[k] += v * n * std::pow(x, n - 1);
        if (k > 1) grad[k] += z * n * (n - 1) * std::pow(x, n - 2);
    }
}

// A path with its potential: f(i, j) for every link from bead i to bead j; g(i, w, q) for every bead with its weights.
struct Row {
    const ActionRows& a;
    Potential potential;
    std::int64_t beads;

    Row(const ActionRows& rows, std::int64_t path) : a(rows), potential(rows.potential), beads(rows.beads) {
        potential.coefficients += path * rows.next_potential;
    }
    bool on_links() const { return a.form == Form::middles || a.form == Form::van_vleck; }
    std::int64_t links() const { return beads - (a.periodic ? 0 : 1); }
    std::int64_t right(std::int64_t i) const { return i + 1 < beads ? i + 1 : 0; }
    static double weight(const BeadWeights& w, std::int64_t i, std::int64_t last) {
        return i == 0 ? w.first : i == last ? w.last : i % 2 ? w.odd : w.even;
    }
    double plain(std::int64_t i) const { return links() ? weight(a.plain, i, beads - 1) : 0; }
    double squared(std::int64_t i) const { return links() ? weight(a.squared, i, beads - 1) : 0; }
};

template <class T>
ActionSums sums_of_path(const Row& row, const T* x) {
    ActionSums s;
    for (std::int64_t i = 0; i < row.links(); ++i) {
        const double from = static_cast<double>(x[i]), to = static_cast<double>(x[row.right(i)]);
        s.kinetic += (to - from) * (to - from) / 2;
        if (!row.on_links()) continue;
        const Point v = evaluate(row.potential, (from + to) / 2);
        s.potential += v.value;
        if (row.a.form == Form::van_vleck) s.correction += std::log(1 - row.a.lambda * v.curvature);
    }
    if (row.on_links()) return s;
    for (std::int64_t i = 0; i < row.beads; ++i) {
        const Point v = evaluate(row.potential, static_cast<double>(x[i]));
        if (row.plain(i) != 0) s.potential += row.plain(i) * v.value;
        if (row.a.form == Form::corrected && row.squared(i) != 0) s.correction += row.squared(i) * v.slope * v.slope;
    }
    return s;
}

template <class T>
void gradient_of_path(const Row& row, const T* x, const ActionSums& g, T* out) {
    std::vector<double> grad(static_cast<std::size_t>(row.beads));
    const auto at = [&](std::int64_t i) -> double& { return grad[static_cast<std::size_t>(i)]; };
    for (std::int64_t i = 0; i < row.links(); ++i) {
        const std::int64_t j = row.right(i);
        const double from = static_cast<double>(x[i]), to = static_cast<double>(x[j]);
        at(i) -= g.kinetic * (to - from);
        at(j) += g.kinetic * (to - from);
        if (!row.on_links()) continue;
        const Point v = evaluate(row.potential, (from + to) / 2);
        double pull = g.potential * v.slope;
        if (row.a.form == Form::van_vleck) pull -= g.correction * row.a.lambda * v.third / (1 - row.a.lambda * v.curvature);
        at(i) += pull / 2;
        at(j) += pull / 2;
    }
    for (std::int64_t i = 0; i < row.beads; ++i) {
        if (!row.on_links()) {
            const Point v = evaluate(row.potential, static_cast<double>(x[i]));
            if (row.plain(i) != 0) at(i) += g.potential * row.plain(i) * v.slope;
            if (row.a.form == Form::corrected && row.squared(i) != 0) at(i) += 2 * g.correction * row.squared(i) * v.slope * v.curvature;
        }
        out[i] = static_cast<T>(at(i));
    }
}

template <class T>
void coefficients_of_path(const Row& row, const T* x, const ActionSums& g, double* grad) {
    if (row.on_links()) {
        for (std::int64_t i = 0; i < row.links(); ++i) {
            const double y = (static_cast<double>(x[i]) + static_cast<double>(x[row.right(i)])) / 2;
            const double curvature = evaluate(row.potential, y).curvature, lambda = row.a.lambda;
            const double z = row.a.form == Form::van_vleck ? -g.correction * lambda / (1 - lambda * curvature) : 0;
            add_coefficients(row.potential, y, g.potential, 0, z, grad);
        }
        return;
    }
    for (std::int64_t i = 0; i < row.beads; ++i) {
        const double y = static_cast<double>(x[i]);
        const double v = row.a.form == Form::corrected ? 2 * g.correction * row.squared(i) * evaluate(row.potential, y).slope : 0;
        add_coefficients(row.potential, y, g.potential * row.plain(i), v, 0, grad);
    }
}

template <class T>
void sums(const ActionRows& a, const void* x, std::int64_t first, std::int64_t count, ActionSums* out) {
    for (std::int64_t i = 0; i < count; ++i) out[i] = sums_of_path(Row(a, first + i), static_cast<const T*>(x) + i * a.beads);
}

template <class T>
void gradient(const ActionRows& a, const void* x, std::int64_t first, std::int64_t count, const ActionSums* g, void* grad) {
    for (std::int64_t i = 0; i < count; ++i)
        gradient_of_path(Row(a, first + i), static_cast<const T*>(x) + i * a.beads, g[i], static_cast<T*>(grad) + i * a.beads);
}

template <class T>
void coefficients(const ActionRows& a, const void* x, std::int64_t first, std::int64_t count, const ActionSums* g, double* grad) {
    for (std::int64_t i = 0; i < count; ++i)
        coefficients_of_path(Row(a, first + i), static_cast<const T*>(x) + i * a.beads, g[i], grad + i * a.next_potential);
}

template <class T, class X>
void beads(const NetworkRows& a, const void* given, std::int64_t count, void* path) {
    const std::int64_t n = a.given, length = n + 1 + (a.x_fin ? 1 : 0);
    for (std::int64_t i = 0; i < count; ++i) {
        const T* const w = static_cast<const T*>(given) + i * n;
        X* const x = static_cast<X*>(path) + i * length;
        for (std::int64_t m = 0; m <= n; ++m) {
            double way = 0;
            for (std::int64_t k = 0; k < m; ++k) way += static_cast<double>(a.twice ? m - k : 1) * static_cast<double>(w[k]);
            x[m] = static_cast<X>(static_cast<double>(static_cast<const T*>(a.x_ini)[i]) + a.dt * way);
        }
        if (a.x_fin) x[n + 1] = static_cast<X>(static_cast<const T*>(a.x_fin)[i]);
    }
}

template <class T, class X>
void adjoint(const NetworkRows& a, const void* grad_x, std::int64_t count, void* grad_w, void* grad_ini, void* grad_fin) {
    const std::int64_t n = a.given, length = n + 1 + (a.x_fin ? 1 : 0);
    for (std::int64_t i = 0; i < count; ++i) {
        const X* const g = static_cast<const X*>(grad_x) + i * length;
        double ini = 0;
        for (std::int64_t m = 0; m <= n; ++m) ini += static_cast<double>(g[m]);
        for (std::int64_t k = 0; k < n; ++k) {
            double sum = 0;
            for (std::int64_t m = k + 1; m <= n; ++m) sum += static_cast<double>(a.twice ? m - k : 1) * static_cast<double>(g[m]);
            static_cast<T*>(grad_w)[i * n + k] = static_cast<T>(a.dt * sum);
        }
        if (grad_ini) static_cast<T*>(grad_ini)[i] = static_cast<T>(ini);
        if (a.x_fin && grad_fin) static_cast<T*>(grad_fin)[i] = static_cast<T>(g[n + 1]);
    }
}

}  // namespace

constinit const PathKernels reference_action_kernels{
    {sums<float>, gradient<float>, coefficients<float>},
    {sums<double>, gradient<double>, coefficients<double>},
    {beads<float, float>, beads<float, double>, adjoint<float, float>, adjoint<float, double>},
    {beads<double, double>, beads<double, double>, adjoint<double, double>, adjoint<double, double>}};

}  // namespace qcore::paths
