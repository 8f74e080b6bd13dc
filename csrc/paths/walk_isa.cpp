// Langevin motion and diffusion Monte Carlo for one instruction set. Compiled once for each, with QC_ISA naming it.
#include "paths/dmc_lanes.hpp"
#include "paths/langevin_lanes.hpp"
#include "paths/walks.hpp"

namespace qcore::QC_ISA {

namespace {

template <class T, class P>
void walk(const LangevinTask& task, std::int64_t first_chain, int count) {
    using Lanes = LangevinLanes<T, P>;
    Lanes(task, first_chain, count, Scratch(Lanes::scratch_bytes(task) * Lanes::lanes)).run();
}

template <class T>
void langevin_run(const LangevinTask& task, std::int64_t first_chain, int count) {
    if (task.g.get().table) walk<T, TableLanes<T>>(task, first_chain, count);
    else if (task.terms == paths::few_terms) walk<T, PolynomialLanes<T, paths::few_terms>>(task, first_chain, count);
    else walk<T, PolynomialLanes<T>>(task, first_chain, count);
}

template <class T>
void dmc_run(const DmcTask& task, std::int64_t population) {
    const bool table = task.potential.get().table;
    if (task.guided) {
        if (table) Population<T, TableLanes<T>, true>(task, population).run();
        else Population<T, PolynomialLanes<T>, true>(task, population).run();
    } else {
        if (table) Population<T, TableLanes<T>, false>(task, population).run();
        else Population<T, PolynomialLanes<T>, false>(task, population).run();
    }
}

template <class T>
constexpr paths::WalkKernels::Of kernels{Simd<T>::width, langevin_run<T>, dmc_run<T>};

}  // namespace

extern const paths::WalkKernels walk_kernels;
constinit const paths::WalkKernels walk_kernels{kernels<float>, kernels<double>};

}  // namespace qcore::QC_ISA
