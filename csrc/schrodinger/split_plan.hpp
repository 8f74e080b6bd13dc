// What a run of the split-operator scheme looks like before it meets a field: the factors of every axis with their elimination
// done, and the tables of pointwise factors.
#pragma once

#include <cmath>
#include <cstdint>
#include <utility>
#include <vector>

#include "schrodinger/split_kernels.hpp"
#include "schrodinger/split_reference.hpp"
#include "schrodinger/split_sequence.hpp"

namespace qcore::schrodinger {

inline std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }

// The factors of one kinetic substep along one axis.
template <class R>
struct AxisFactors {
    std::vector<SweepFactor<R>> sweeps;
    std::vector<std::vector<R>> storage;
    std::vector<Factor> factors;
    std::vector<std::int64_t> stage;  // which of the M stages each belongs to

    std::int64_t count() const { return static_cast<std::int64_t>(sweeps.size()); }

    void add(const Factor& f, std::int64_t m, std::int64_t n, Boundary boundary, bool complex) {
        const bool periodic = boundary == Boundary::periodic;
        if (f.g == f.below || (periodic && n == 1)) return;  // the identity
        std::vector<Number> p(at(n)), r(at(n)), v;
        for (std::int64_t j = 0; j < n; ++j) {
            const double ends = periodic ? (j == 0) + (j == n - 1) : 0;
            p[at(j)] = (1.0 - 2.0 * f.g) / f.g + ends - (j ? r[at(j - 1)] : 0.0);
            r[at(j)] = 1.0 / p[at(j)];
        }
        Number scale = 0;
        if (periodic) {
            v.assign(at(n), 0.0);
            v[0] = r[0];
            for (std::int64_t j = 1; j < n; ++j) v[at(j)] = r[at(j)] * ((j == n - 1 ? -1.0 : 0.0) - v[at(j - 1)]);
            for (std::int64_t j = n - 1; j-- > 0;) v[at(j)] -= r[at(j)] * v[at(j + 1)];
            scale = 1.0 / (1.0 - (v[0] - v[at(n - 1)]));
        }
        const std::int64_t parts = complex ? 2 : 1, length = n * parts;
        std::vector<R> numbers(at(length * (periodic ? 4 : 2)));
        const auto put = [&](std::int64_t place, std::int64_t j, Number value) {
            R* const to = numbers.data() + place * length + j * parts;
            to[0] = static_cast<R>(value.real());
            if (complex) to[1] = static_cast<R>(value.imag());
        };
        for (std::int64_t j = 0; j < n; ++j) {
            put(0, j, r[at(j)]);
            put(1, j, p[at(j)]);
            if (!periodic) continue;
            put(2, j, v[at(j)]);
            put(3, j, v[at(j)] * scale);
        }
        const Number alpha = f.below / f.g, beta = (f.g - f.below) / f.g / f.g;
        const R* const base = numbers.data();
        sweeps.push_back({n, base, base + length, periodic ? base + 2 * length : nullptr, periodic ? base + 3 * length : nullptr,
                          {static_cast<R>(alpha.real()), static_cast<R>(alpha.imag())},
                          {static_cast<R>(beta.real()), static_cast<R>(beta.imag())}});
        storage.push_back(std::move(numbers));
        factors.push_back(f);
        stage.push_back(m);
    }
};

// Those of all substeps and axes. The inverse of a stage of rule cayley is that of -e, the adjoint of any that of conj(e).
enum class Variant { forward, inverse, adjoint };

template <class R>
struct FactorSet {
    std::vector<AxisFactors<R>> axes;  // (A, D)
    std::int64_t dimensions;

    FactorSet(const SplitProblem& p, Variant variant, bool reversed) : dimensions(p.axes()) {
        for (std::int64_t a = 0; a < p.substeps; ++a)
            for (std::int64_t d = 0; d < p.axes(); ++d) {
                AxisFactors<R>& list = axes.emplace_back();
                for (std::int64_t i = 0; i < p.stages; ++i) {
                    const std::int64_t m = reversed ? p.stages - 1 - i : i;
                    Number e = p.stage(a, d, m);
                    e = variant == Variant::inverse ? -e : variant == Variant::adjoint ? std::conj(e) : e;
                    std::vector<Factor> factors = stage_factors(e, p.order, p.rule);
                    if (reversed && factors.size() == 2) std::swap(factors[0], factors[1]);
                    for (const Factor& f : factors) list.add(f, m, p.sizes[at(d)], p.boundary[at(d)], is_complex(p.dtype));
                }
            }
    }
    const AxisFactors<R>& of(std::int64_t substep, std::int64_t axis) const { return axes[at(substep * dimensions + axis)]; }
};

// The largest alpha: how much rounding errors grow in psi' = alpha psi + beta phi. Only large for order 4 near e = -1/12.
inline double largest_alpha(const SplitProblem& p) {
    double largest = 0;
    for (const Number e : p.e)
        for (const Factor& f : stage_factors(e, p.order, p.rule))
            if (f.g != f.below) largest = std::fmax(largest, f.g == 0.0 ? HUGE_VAL : std::abs(f.below / f.g));
    return largest;
}

// The pointwise factors: Q given ones and, where a step both begins and ends with one, behind them their product.
template <class R>
struct Tables {
    std::vector<const R*> data;  // each (P, points)
    std::vector<std::vector<R>> storage;
};

}  // namespace qcore::schrodinger
