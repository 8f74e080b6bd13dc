// A potential and its derivatives at points, as the actions need them. Included by files compiled per instruction set.
#pragma once

#include "paths/potential_lanes.hpp"

namespace qcore::QC_ISA {
namespace {

// The coefficients of V' into c; those of a constant are one zero.
inline paths::Potential derivative(const paths::Potential& p, double* c) {
    c[0] = 0;
    for (std::int64_t k = 1; k < p.count; ++k) c[k - 1] = static_cast<double>(k) * p.coefficients[k];
    return {c, p.count > 1 ? p.count - 1 : 1, false, 0, 0};
}

// Horner's rule on coefficients that are vectors already: short paths would pay for every broadcast. `terms` > 0 fixes their number.
template <class T, int terms>
class Horner {
  public:
    using S = Simd<T>;
    using V = typename S::V;

    explicit Horner(const paths::Potential& p) : count_(static_cast<int>(p.count)) {
        for (int k = 0; k <= last(); ++k) c_[k] = S::set(static_cast<T>(p.coefficients[k]));
    }

    V value(V x) const {
        V v = c_[last()];
        for (int k = last() - 1; k >= 0; --k) v = S::fma(v, x, c_[k]);
        return v;
    }

    // sum + p(x) - p(0): the constant can wait, which saves an addition a point.
    V plus(V sum, V x) const {
        if (last() == 0) return sum;
        V v = c_[last()];
        for (int k = last() - 1; k > 0; --k) v = S::fma(v, x, c_[k]);
        return S::fma(v, x, sum);
    }
    double constant() const { return c_[0][0]; }

    void value_slope(V x, V& value, V& slope) const {
        value = c_[last()], slope = V{};
        for (int k = last() - 1; k >= 0; --k) {
            slope = S::fma(slope, x, value);
            value = S::fma(value, x, c_[k]);
        }
    }

  private:
    int last() const { return (terms > 0 ? terms : count_) - 1; }

    int count_;
    V c_[terms > 0 ? terms : paths::Potential::max_coefficients];
};

// V, V' and V'' each by coefficients of its own, which takes fewer operations than a jet where only one or two are asked for.
template <class T, int terms = 0>
class PolynomialPoint {
  public:
    using V = typename Simd<T>::V;

    explicit PolynomialPoint(const paths::Potential& p) : PolynomialPoint(p, Buffers{}) {}

    V value(V x) const { return value_.value(x); }
    V plus(V sum, V x) const { return value_.plus(sum, x); }
    double constant() const { return value_.constant(); }
    V slope(V x) const { return slope_.value(x); }
    void slope_curvature(V x, V& slope, V& curvature) const {
        slope_.value_slope(x, slope, curvature);
    }
    V curvature(V x) const { return curvature_.value(x); }
    void curvature_third(V x, V& curvature, V& third) const {
        curvature_.value_slope(x, curvature, third);
    }

  private:
    struct Buffers {
        double first[paths::Potential::max_coefficients], second[paths::Potential::max_coefficients];
    };
    PolynomialPoint(const paths::Potential& p, Buffers&& c) : PolynomialPoint(p, derivative(p, c.first), c.second) {}
    PolynomialPoint(const paths::Potential& p, const paths::Potential& slope, double* c)
        : value_(p), slope_(slope), curvature_(derivative(slope, c)) {}

    Horner<T, terms> value_;
    Horner<T, (terms > 1 ? terms - 1 : 0)> slope_;
    Horner<T, (terms > 2 ? terms - 2 : 0)> curvature_;
};

template <class T>
class TablePoint {
  public:
    using V = typename Simd<T>::V;

    explicit TablePoint(const paths::Potential& p) : lanes_(p) {}

    V value(V x) const { return lanes_.value(x); }
    V plus(V sum, V x) const { return sum + lanes_.value(x); }
    double constant() const { return 0; }
    V slope(V x) const { return lanes_.slope(x); }
    void slope_curvature(V x, V& slope, V& curvature) const {
        const Jet<T> j = lanes_.jet(x);
        slope = j.slope, curvature = j.curvature;
    }

  private:
    TableLanes<T> lanes_;
};

}  // namespace
}  // namespace qcore::QC_ISA
