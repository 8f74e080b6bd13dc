// Hybrid Monte Carlo for one instruction set. Compiled once for each, with QC_ISA naming it.
#include "paths/hmc_path.hpp"
#include "paths/hmc_phi4.hpp"
#include "paths/hmc_trajectories.hpp"

namespace qcore::QC_ISA {

namespace {

template <class Model>
void trajectories(const HmcTask& task, std::int64_t first_chain, int count) {
    run_trajectories<Model>(task, first_chain, count, Scratch(Model::scratch_bytes(task) * Model::lanes));
}

template <class Model>
void leapfrog(const HmcTask& task, std::int64_t first_chain, int count) {
    run_leapfrog<Model>(task, first_chain, count, Scratch(Model::scratch_bytes(task) * Model::lanes));
}

template <class T>
using Table = PathLanes<T, TableLanes<T>>;
template <class T>
using Few = PathLanes<T, PolynomialLanes<T, paths::few_terms>>;
template <class T>
using Any = PathLanes<T, PolynomialLanes<T>>;

template <class T>
void paths_run(const HmcTask& task, std::int64_t first_chain, int count) {
    if (task.potential.get().table) trajectories<Table<T>>(task, first_chain, count);
    else if (task.terms == paths::few_terms) trajectories<Few<T>>(task, first_chain, count);
    else trajectories<Any<T>>(task, first_chain, count);
}

template <class T>
void paths_leapfrog(const HmcTask& task, std::int64_t first_chain, int count) {
    if (task.potential.get().table) leapfrog<Table<T>>(task, first_chain, count);
    else if (task.terms == paths::few_terms) leapfrog<Few<T>>(task, first_chain, count);
    else leapfrog<Any<T>>(task, first_chain, count);
}

template <class T>
void powers(const HmcTask& task, void* out) {
    for (std::int64_t n = 0; n < task.rows; ++n) static_cast<T*>(out)[n] = power_of_r<T>(task, n);
}

template <class T>
constexpr paths::HmcKernels::Of kernels{Table<T>::lanes,   FieldLanes<T>::lanes,    paths_run<T>, trajectories<FieldLanes<T>>,
                                        paths_leapfrog<T>, leapfrog<FieldLanes<T>>, powers<T>};

}  // namespace

extern const paths::HmcKernels hmc_kernels;
constinit const paths::HmcKernels hmc_kernels{kernels<float>, kernels<double>};

}  // namespace qcore::QC_ISA
