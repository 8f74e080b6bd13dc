// A Gaussian chain's points and weights on vectors of samples. Included by files compiled per instruction set and by CUDA
// sources, with contraction off.
#pragma once

#include <limits>

#include "core/random.hpp"
#include "core/scalar_math.hpp"
#include "paths/bridge_kernels.hpp"
#include "paths/potential_lanes.hpp"

namespace qcore::QC_ISA {
namespace {

using paths::ChainTask;
using paths::PathsTask;
using paths::RandomTask;
using paths::WeightsTask;

// All numbers of one block of words, as many as a vector of kind 0, 1 or 2 has.
template <class T>
QC_DEVICE void numbers(const typename Random<T>::Words& w, int kind, typename Vector<T>::V (&v)[4]) {
    using R = Random<T>;
    using S = Vector<T>;
    if (kind == 0) {
        if constexpr (sizeof(T) == 8)
            for (int i = 0; i < 4; ++i) v[i] = S::template convert<typename S::V>(w.w[i]);
    } else if (kind == 1) {
        for (int i = 0; i < R::uniforms; ++i) v[i] = R::uniform(w, i);
    } else {
        for (int i = 0; i < R::normals / 2; ++i) R::normal(w, i, v[2 * i], v[2 * i + 1]);
    }
}

template <class T>
QC_DEVICE typename Vector<T>::V first_point(const ChainTask& t, typename Vector<T>::V xi, double start) {
    using V = typename Vector<T>::V;
    return Vector<T>::fma(V{} + static_cast<T>(t.start_sigma), xi, V{} + static_cast<T>(start));
}

// From x_n, with a, b, s of n.
template <class T, class A>
QC_DEVICE typename Vector<T>::V next_point(const A& k, typename Vector<T>::V x, typename Vector<T>::V end,
                                           typename Vector<T>::V xi) {
    using S = Vector<T>;
    using V = typename S::V;
    return S::fma(V{} + static_cast<T>(k[2]), xi, S::fma(V{} + static_cast<T>(k[1]), end, x * static_cast<T>(k[0])));
}

// Log of what a point counts.
template <class P>
class LogWeight {
  public:
    using S = Vector<double>;
    using V = typename S::V;

    QC_DEVICE explicit LogWeight(const WeightsTask& t)
        : potential_(t.potential.get()), scale_(V{} - t.scale), quadratic_(V{} + t.quadratic), midpoint_(t.midpoint) {}

    QC_DEVICE V of_step(V before, V x) const { return at(midpoint_ ? (before + x) * 0.5 : x); }
    // What the ends count beside the steps.
    QC_DEVICE V of_ends(V first, V last) const { return midpoint_ ? V{} : (at(first) - at(last)) * 0.5; }

  private:
    QC_DEVICE V at(V x) const { return S::fma(scale_, potential_.value(x), quadratic_ * x * x); }

    P potential_;
    V scale_, quadratic_;
    bool midpoint_;
};

// In units of the largest, whose log may be minus infinity.
QC_DEVICE inline double weight_of(double log_weight, double largest) {
    return largest == -std::numeric_limits<double>::infinity() ? 0 : exp_of(log_weight - largest);
}

}  // namespace
}  // namespace qcore::QC_ISA
