// Langevin motion and diffusion Monte Carlo for one instruction set. Compiled once for each, with QC_ISA naming it.
#include "paths/dmc_lanes.hpp"
#include "paths/langevin_lanes.hpp"

namespace qcore::QC_ISA {

namespace {

template <class T>
void langevin_run(const LangevinTask& task) {
    if (task.g.table) LangevinLanes<T, TableLanes<T>>(task).run();
    else if (task.g.count == 5) LangevinLanes<T, PolynomialLanes<T, 5>>(task).run();
    else LangevinLanes<T, PolynomialLanes<T>>(task).run();
}

template <class T>
void dmc_run(const DmcTask& task) {
    if (task.guide) {
        if (task.potential.table) Population<T, TableLanes<T>, true>(task).run();
        else Population<T, PolynomialLanes<T>, true>(task).run();
    } else {
        if (task.potential.table) Population<T, TableLanes<T>, false>(task).run();
        else Population<T, PolynomialLanes<T>, false>(task).run();
    }
}

template <class T>
constexpr paths::WalksOf kernels{Simd<T>::width, langevin_run<T>, dmc_run<T>};

}  // namespace

extern const paths::WalkKernels walk_kernels;
constinit const paths::WalkKernels walk_kernels{kernels<float>, kernels<double>};

}  // namespace qcore::QC_ISA
