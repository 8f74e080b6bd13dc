// The action of fields for one instruction set, lanes along space. Compiled once for each, with QC_ISA naming it.
#include "core/config.hpp"
#include "paths/lane_sum.hpp"
#include "paths/phi4_fields.hpp"

namespace qcore::QC_ISA {

namespace {

using paths::FieldShape;
using paths::FieldSums;

// A slice, or the mean of two.
template <class T, bool mean>
struct Layer {
    const T *a, *b;

    T at(std::int64_t i) const { return mean ? T(0.5) * (a[i] + b[i]) : a[i]; }
    template <class... L>
    typename Simd<T>::V load(std::int64_t i, L... lanes) const {
        using S = Simd<T>;
        if constexpr (mean) return T(0.5) * (S::load(a + i, lanes...) + S::load(b + i, lanes...));
        else return S::load(a + i, lanes...);
    }
};

template <class T>
struct FieldTotals {
    LaneSum<T> time, space, mass, quartic;
    FieldSums edges;  // of the last sites, whose right neighbour is the first
};

// One layer with the step from slice `from` to slice `to`; where `to` is null there is none.
template <class T, bool mean>
void add_layer(std::int64_t sites, const T* from, const T* to, double weight, FieldTotals<T>& totals) {
    using S = Simd<T>;
    using V = typename S::V;
    constexpr std::int64_t w = S::width, tile = 16 * w;
    const Layer<T, mean> y{from, to};
    const T factor = static_cast<T>(weight);
    const std::int64_t end = sites - 1;
    const auto site = [&](V here, V right, V& space, V& mass, V& quartic) {
        const V d = right - here, square = here * here;
        space = S::fma(d, d, space);
        mass += square;
        quartic = S::fma(square, square, quartic);
    };
    for (std::int64_t i = 0; i < end;) {
        const std::int64_t stop = i + tile < end ? i + tile : end;
        V time{}, space{}, mass{}, quartic{};
        for (; i + w <= stop; i += w) {
            site(y.load(i), y.load(i + 1), space, mass, quartic);
            if (to) {
                const V d = S::load(to + i) - S::load(from + i);
                time = S::fma(d, d, time);
            }
        }
        if (i < stop) {
            const typename S::Lanes rest{static_cast<int>(stop - i)};
            site(y.load(i, rest), y.load(i + 1, rest), space, mass, quartic);  // spare lanes are zero and bring nothing
            if (to) {
                const V d = S::load(to + i, rest) - S::load(from + i, rest);
                time = S::fma(d, d, time);
            }
            i = stop;
        }
        if (to) totals.time.add(time);
        totals.space.add(factor * space), totals.mass.add(factor * mass), totals.quartic.add(factor * quartic);
    }
    const double here = y.at(end), d = static_cast<double>(y.at(0)) - here;
    totals.edges.space += weight * d * d;
    totals.edges.mass += weight * here * here;
    totals.edges.quartic += weight * here * here * here * here;
    if (to) {
        const double step = static_cast<double>(to[end]) - static_cast<double>(from[end]);
        totals.edges.time += step * step;
    }
}

template <class T, bool midpoint>
QC_KERNEL FieldSums sums_of(const FieldShape& f, const T* phi) {
    FieldTotals<T> totals;
    const std::int64_t last = f.slices - 1;
    for (std::int64_t t = 0; t <= last; ++t) {
        const T* const from = phi + t * f.sites;
        const T* const to = t < last ? from + f.sites : f.periodic ? phi : nullptr;
        if constexpr (midpoint) {
            if (to) add_layer<T, true>(f.sites, from, to, 1, totals);
        } else if (last > 0 || f.periodic) {
            add_layer<T, false>(f.sites, from, to, !f.periodic && (t == 0 || t == last) ? 0.5 : 1, totals);
        }
    }
    return {0.5 * (totals.time.sum() + totals.edges.time), 0.5 * (totals.space.sum() + totals.edges.space),
            0.5 * (totals.mass.sum() + totals.edges.mass), totals.quartic.sum() + totals.edges.quartic};
}

// What a layer's potential terms push a site with, here and its neighbours given.
template <class T, class V>
V force(V left, V here, V right, const FieldSums& g) {
    const V cubic = here * here * here;
    const V bend = (here - left) - (right - here);
    return static_cast<T>(g.space) * bend + static_cast<T>(g.mass) * here + static_cast<T>(4 * g.quartic) * cubic;
}

// The gradient on one slice; before and after are its neighbours in time, or null.
template <class T, bool midpoint>
void gradient_slice(std::int64_t sites, const T* before, const T* here, const T* after, const FieldSums& g, T weight, T* grad) {
    using S = Simd<T>;
    using V = typename S::V;
    const T push = static_cast<T>(g.time);
    const Layer<T, true> behind{before, here}, ahead{here, after};
    const Layer<T, false> slice{here, nullptr};

    const auto inner = [&](std::int64_t i, auto... lanes) {
        V sum{};
        if (before) sum += push * (S::load(here + i, lanes...) - S::load(before + i, lanes...));
        if (after) sum += push * (S::load(here + i, lanes...) - S::load(after + i, lanes...));
        const auto of = [&](const auto& layer) {
            return force<T>(layer.load(i - 1, lanes...), layer.load(i, lanes...), layer.load(i + 1, lanes...), g);
        };
        if constexpr (midpoint) {
            if (before) sum += T(0.5) * of(behind);
            if (after) sum += T(0.5) * of(ahead);
        } else {
            sum += weight * of(slice);
        }
        return sum;
    };
    std::int64_t i = 1;
    for (; i + S::width <= sites - 1; i += S::width) S::store(grad + i, inner(i));
    if (i < sites - 1) {
        const typename S::Lanes rest{static_cast<int>(sites - 1 - i)};
        S::store(grad + i, inner(i, rest), rest);
    }
    const auto edge = [&](std::int64_t k) {
        const std::int64_t left = k == 0 ? sites - 1 : k - 1, right = k + 1 == sites ? 0 : k + 1;
        T sum = 0;
        if (before) sum += push * (here[k] - before[k]);
        if (after) sum += push * (here[k] - after[k]);
        const auto of = [&](const auto& layer) { return force<T>(layer.at(left), layer.at(k), layer.at(right), g); };
        if constexpr (midpoint) {
            if (before) sum += T(0.5) * of(behind);
            if (after) sum += T(0.5) * of(ahead);
        } else {
            sum += weight * of(slice);
        }
        grad[k] = sum;
    };
    edge(0);
    if (sites > 1) edge(sites - 1);
}

template <class T, bool midpoint>
QC_KERNEL void gradient_of(const FieldShape& f, const T* phi, const FieldSums& g, T* grad) {
    const std::int64_t last = f.slices - 1;
    for (std::int64_t t = 0; t <= last; ++t) {
        const T* const here = phi + t * f.sites;
        const T* const before = t > 0 ? here - f.sites : f.periodic ? phi + last * f.sites : nullptr;
        const T* const after = t < last ? here + f.sites : f.periodic ? phi : nullptr;
        const bool end = t == 0 || t == last;
        const T weight = f.periodic ? T(1) : last == 0 ? T(0) : end ? T(0.5) : T(1);
        gradient_slice<T, midpoint>(f.sites, before, here, after, g, weight, grad + t * f.sites);
    }
}

template <class T>
FieldSums sums(const FieldShape& f, const void* phi) {
    const T* const p = static_cast<const T*>(phi);
    return f.midpoint ? sums_of<T, true>(f, p) : sums_of<T, false>(f, p);
}

template <class T>
void gradient(const FieldShape& f, const void* phi, const FieldSums& g, void* grad) {
    const T* const p = static_cast<const T*>(phi);
    if (f.midpoint) gradient_of<T, true>(f, p, g, static_cast<T*>(grad));
    else gradient_of<T, false>(f, p, g, static_cast<T*>(grad));
}

}  // namespace

extern const paths::FieldKernels field_kernels;
constinit const paths::FieldKernels field_kernels{{sums<float>, gradient<float>}, {sums<double>, gradient<double>}};

}  // namespace qcore::QC_ISA
