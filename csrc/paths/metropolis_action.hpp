// The action of Metropolis sampling on vectors of chains, and sums over beads. Included by files compiled per instruction set and by
// CUDA sources.
#pragma once

#include <type_traits>

#include "paths/metropolis_kernels.hpp"
#include "paths/potential_lanes.hpp"

namespace qcore::QC_ISA {
namespace {

using paths::MetropolisTask;

// Sums of vectors in double precision: in the vector's own over a few terms, then added to the double.
template <class T>
struct LaneSum {
    using S = Vector<T>;
    using V = typename S::V;

    QC_DEVICE void add(V v) { part += v; }
    QC_DEVICE void flush() {
        for (int i = 0; i < S::width; ++i) total[i] += static_cast<double>(S::lane(part, i));
        part = V{};
    }

    V part{};
    double total[S::width] = {};
};

// U of the action and its derivatives, at beads or midpoints.
template <class T, class P>
class Action {
  public:
    using S = Vector<T>;
    using V = typename S::V;

    QC_DEVICE Action(const MetropolisTask& t, const P& potential)
        : potential_(potential), scale_(static_cast<T>(t.potential_scale)), correction_(static_cast<T>(t.correction)) {}

    QC_DEVICE V value(V x) const {
        if (!plain()) return corrected(x);
        return plain_value(x);
    }

    QC_DEVICE bool plain() const { return correction_ == T(0); }

    QC_DEVICE V plain_value(V x) const {
        if constexpr (table) return value_apart(x);
        else return potential_.value(x);
    }

    // What the two estimators of the energy add up: U + x U' / 2 for the virial, U for the thermodynamic one, both with the
    // correction's own dependence on the step, which is one power of beta more each time.
    QC_APART void energies(V x, V& virial, V& thermodynamic) const {
        const Jet<T> j = jet(x);
        const V corrected_slope = correction_ * j.slope;
        thermodynamic = S::fma(corrected_slope * T(3), j.slope, j.value);
        const V force = S::fma(corrected_slope * T(2), j.curvature, j.slope);
        virial = S::fma(x * T(0.5), force, thermodynamic);
    }

  private:
    static constexpr bool table = std::is_same_v<P, TableLanes<T>>;

    QC_DEVICE Jet<T> jet(V x) const {
        Jet<T> j = potential_.jet(x);
        if constexpr (table) j = {j.value * scale_, j.slope * scale_, j.curvature * scale_};
        return j;
    }

    QC_APART V value_apart(V x) const { return potential_.value(x) * scale_; }

    QC_APART V corrected(V x) const {
        const Jet<T> j = jet(x);
        return S::fma(j.slope * j.slope, V{} + correction_, j.value);
    }

    P potential_;  // a polynomial comes scaled
    T scale_, correction_;
};

}  // namespace
}  // namespace qcore::QC_ISA
