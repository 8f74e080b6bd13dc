// The sums over a field by their formulas, one site after the other in float64.
#include <vector>

#include "paths/phi4_fields.hpp"

namespace qcore::paths {

namespace {

template <class T>
struct Field {
    const FieldShape& shape;
    const T* phi;

    double at(std::int64_t t, std::int64_t i) const { return static_cast<double>(phi[t * shape.sites + i % shape.sites]); }
    std::int64_t steps() const { return shape.slices - (shape.periodic ? 0 : 1); }
    std::int64_t next(std::int64_t t) const { return (t + 1) % shape.slices; }
    // Where potential terms are taken: on slices, or on means.
    std::int64_t layers() const { return shape.midpoint ? steps() : shape.slices; }
    double layer(std::int64_t t, std::int64_t i) const { return shape.midpoint ? (at(t, i) + at(next(t), i)) / 2 : at(t, i); }
    double weight(std::int64_t t) const {
        if (shape.midpoint || shape.periodic) return 1;
        return shape.slices == 1 ? 0 : t == 0 || t == shape.slices - 1 ? 0.5 : 1;
    }
};

template <class T>
FieldSums sums(const FieldShape& shape, const void* phi) {
    const Field<T> f{shape, static_cast<const T*>(phi)};
    FieldSums s;
    for (std::int64_t i = 0; i < shape.sites; ++i) {
        for (std::int64_t t = 0; t < f.steps(); ++t) {
            const double d = f.at(f.next(t), i) - f.at(t, i);
            s.time += d * d / 2;
        }
        for (std::int64_t t = 0; t < f.layers(); ++t) {
            const double y = f.layer(t, i), d = f.layer(t, i + 1) - y, w = f.weight(t);
            if (w == 0) continue;
            s.space += w * d * d / 2;
            s.mass += w * y * y / 2;
            s.quartic += w * y * y * y * y;
        }
    }
    return s;
}

template <class T>
void gradient(const FieldShape& shape, const void* phi, const FieldSums& g, void* out) {
    const Field<T> f{shape, static_cast<const T*>(phi)};
    const std::int64_t n = shape.sites;
    std::vector<double> grad(static_cast<std::size_t>(shape.slices * n));
    const auto at = [&](std::int64_t t, std::int64_t i) -> double& { return grad[static_cast<std::size_t>(t * n + i % n)]; };
    for (std::int64_t i = 0; i < n; ++i) {
        for (std::int64_t t = 0; t < f.steps(); ++t) {
            const double push = g.time * (f.at(f.next(t), i) - f.at(t, i));
            at(f.next(t), i) += push;
            at(t, i) -= push;
        }
        for (std::int64_t t = 0; t < f.layers(); ++t) {
            const double y = f.layer(t, i), w = f.weight(t);
            if (w == 0) continue;
            const double bend = 2 * y - f.layer(t, i + 1) - f.layer(t, i + n - 1);
            const double force = w * (g.space * bend + g.mass * y + 4 * g.quartic * y * y * y);
            if (shape.midpoint) {
                at(t, i) += force / 2;
                at(f.next(t), i) += force / 2;
            } else {
                at(t, i) += force;
            }
        }
    }
    for (std::int64_t k = 0; k < shape.slices * n; ++k) static_cast<T*>(out)[k] = static_cast<T>(grad[static_cast<std::size_t>(k)]);
}

}  // namespace

constinit const FieldKernels reference_field_kernels{{sums<float>, gradient<float>}, {sums<double>, gradient<double>}};

}  // namespace qcore::paths
