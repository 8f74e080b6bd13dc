// What happens to a walker of diffusion Monte Carlo in a step. Included by files compiled per instruction set and by CUDA
// sources, with contraction off.
#pragma once

#include <cmath>

#include "core/scalar_math.hpp"
#include "paths/potential_lanes.hpp"
#include "paths/walk_kernels.hpp"

namespace qcore::QC_ISA {
namespace {

using paths::dmc_purpose;
using paths::DmcTask;

template <class T, class P, bool guided>
class Walkers {
  public:
    using S = Vector<T>;
    using V = typename S::V;

    QC_DEVICE explicit Walkers(const DmcTask& task)
        : rate(task.run.dt / task.run.hbar), potential_(task.potential.get()), guide_(task.guide.get()),
          spread_(static_cast<T>(std::sqrt(task.run.hbar * task.run.dt / task.run.mass))),
          push_(static_cast<T>(task.run.hbar * task.run.dt / task.run.mass)),
          kinetic_(static_cast<T>(-task.run.hbar * task.run.hbar / (2 * task.run.mass))) {}

    // Local energy of the guiding function, or V without one.
    QC_DEVICE V energy(V x) const {
        const V v = potential_.value(x);
        if constexpr (guided) {
            const Jet<T> u = guide_.jet(x);
            return S::fma(V{} + kinetic_, S::fma(u.slope, u.slope, u.curvature), v);
        } else {
            return v;
        }
    }

    QC_DEVICE V moved(V x, V noise) const {
        const V y = S::fma(V{} + spread_, noise, x);
        if constexpr (guided) return S::fma(V{} + push_, guide_.slope(x), y);
        else return y;
    }

    // exp(-dt ((f(x) + f(y)) / 2 - E) / hbar), the symmetric splitting.
    QC_DEVICE V weight(V before, V after, T reference) const {
        return VectorMath<T>::exp(static_cast<T>(-rate) * (T(0.5) * (before + after) - reference));
    }

    const double rate;

  private:
    P potential_;
    PolynomialLanes<T> guide_;
    T spread_, push_, kinetic_;
};

}  // namespace
}  // namespace qcore::QC_ISA
