// Value, slope and curvature of a potential on vectors of coordinates. Included by files compiled per instruction set and
// by CUDA sources.
#pragma once

#include "paths/lane_memory.hpp"
#include "paths/potential.hpp"

namespace qcore::QC_ISA {
namespace {

template <class T>
struct Jet {
    typename Vector<T>::V value, slope, curvature;
};

// Horner's rule; `terms` > 0 fixes the number of coefficients at compile time.
template <class T, int terms = 0>
class PolynomialLanes {
  public:
    using S = Vector<T>;
    using V = typename S::V;

    QC_DEVICE explicit PolynomialLanes(const paths::Potential& p) : count_(static_cast<int>(p.count)) {
        for (int k = 0; k <= last(); ++k) c_[k] = static_cast<T>(p.coefficients[k]);
    }

    QC_DEVICE V value(V x) const {
        V v = V{} + c_[last()];
        for (int k = last() - 1; k >= 0; --k) v = S::fma(v, x, V{} + c_[k]);
        return v;
    }

    QC_DEVICE V slope(V x) const { return jet(x).slope; }

    // The three together; what isn't used costs nothing once inlined.
    QC_DEVICE Jet<T> jet(V x) const {
        V v = V{} + c_[last()], d{}, h{};
        for (int k = last() - 1; k >= 0; --k) {
            h = S::fma(h, x, d);
            d = S::fma(d, x, v);
            v = S::fma(v, x, V{} + c_[k]);
        }
        return {v, d, h + h};
    }

  private:
    QC_DEVICE int last() const { return (terms > 0 ? terms : count_) - 1; }

    int count_;
    T c_[paths::Potential::max_coefficients];
};

template <class T>
class TableLanes {
  public:
    using S = Vector<T>;
    using V = typename S::V;

    QC_DEVICE explicit TableLanes(const paths::Potential& p) : p_(p), cells_(memory<const double>(p.coefficients)) {}

    QC_DEVICE V value(V x) const { return jet(x).value; }
    QC_DEVICE V slope(V x) const { return jet(x).slope; }

    QC_DEVICE Jet<T> jet(V x) const {
        Jet<T> j;
        for (int i = 0; i < S::width; ++i) {
            const double u = (static_cast<double>(S::lane(x, i)) - p_.start) * p_.inverse_spacing;
            std::int64_t cell = u > 0 ? (u < static_cast<double>(p_.count) ? static_cast<std::int64_t>(u) : p_.count - 1) : 0;
            const double f = u - static_cast<double>(cell);
            const double in = f > 1 ? 1 : f < 0 ? 0 : f;
            const Memory<const double> c = cells_ + 4 * cell;
            const double d = c[1] + in * (2 * c[2] + in * 3 * c[3]);
            const bool outside = in != f;
            S::set_lane(j.value, i, static_cast<T>(c[0] + in * (c[1] + in * (c[2] + in * c[3])) + (f - in) * d));
            S::set_lane(j.slope, i, static_cast<T>(d * p_.inverse_spacing));
            S::set_lane(j.curvature, i,
                        static_cast<T>(outside ? 0 : (2 * c[2] + in * 6 * c[3]) * p_.inverse_spacing * p_.inverse_spacing));
        }
        return j;
    }

  private:
    paths::Potential p_;
    Memory<const double> cells_;
};

}  // namespace
}  // namespace qcore::QC_ISA
