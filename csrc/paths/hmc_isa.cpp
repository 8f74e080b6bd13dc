// Hybrid Monte Carlo for one instruction set. Compiled once for each, with QC_ISA naming it.
#include "paths/hmc_path.hpp"
#include "paths/hmc_phi4.hpp"

namespace qcore::QC_ISA {

namespace {

constexpr int few = 5;  // coefficients of a polynomial whose number is known at compile time: quartic

template <class T>
void paths_run(const HmcTask& task) {
    if (task.path->potential.table) run_trajectories<PathLanes<T, TableLanes<T>>>(task);
    else if (task.path->potential.count == few) run_trajectories<PathLanes<T, PolynomialLanes<T, few>>>(task);
    else run_trajectories<PathLanes<T, PolynomialLanes<T>>>(task);
}

template <class T>
void paths_leapfrog(const HmcTask& task) {
    if (task.path->potential.table) run_leapfrog<PathLanes<T, TableLanes<T>>>(task);
    else if (task.path->potential.count == few) run_leapfrog<PathLanes<T, PolynomialLanes<T, few>>>(task);
    else run_leapfrog<PathLanes<T, PolynomialLanes<T>>>(task);
}

template <class T>
constexpr paths::HmcOf<T> kernels{PathLanes<T, TableLanes<T>>::lanes, FieldLanes<T>::lanes,       paths_run<T>,
                                  run_trajectories<FieldLanes<T>>,    paths_leapfrog<T>,          run_leapfrog<FieldLanes<T>>};

}  // namespace

extern const paths::HmcKernels hmc_kernels;
constinit const paths::HmcKernels hmc_kernels{kernels<float>, kernels<double>};

}  // namespace qcore::QC_ISA
