// Hybrid Monte Carlo on a GPU. A thread is a chain and runs the lane code of the CPU: path or lattice, momenta and the state to
// go back to lie in a workspace, [site][thread], so that every access of a warp is of one line. All trajectories of a call are
// one launch, and chains are those of the CPU bit for bit.
//
// A leapfrog step reads and writes 16 bytes a site in float32 and reads the neighbours from L1: memory bounds it, L2 where the
// chains in flight fit there. Wants some 1e4 chains; few or large lattices have blocks instead, see paths_hmc_lattice.cu.
#include "paths/hmc_path.hpp"
#include "paths/hmc_phi4.hpp"

#include "chains.hpp"
#include "paths_hmc.hpp"

namespace qcore {

namespace device {
namespace {

template <class Model>
__global__ void trajectories_kernel(HmcTask task, const void* scratch) {
    for (std::int64_t chain = cuda::thread(); chain < task.chains; chain += cuda::threads())
        run_trajectories<Model>(task, chain, 1, Scratch(scratch, cuda::thread(), cuda::threads()));
}

template <class Model>
__global__ void leapfrog_kernel(HmcTask task, const void* scratch) {
    for (std::int64_t chain = cuda::thread(); chain < task.chains; chain += cuda::threads())
        run_leapfrog<Model>(task, chain, 1, Scratch(scratch, cuda::thread(), cuda::threads()));
}

template <class T>
__global__ void powers_kernel(HmcTask task, cuda::Pointer<T> out) {
    for (std::int64_t n = cuda::thread(); n < task.rows; n += cuda::threads()) out[n] = power_of_r<T>(task, n);
}

template <class Model>
void run(HmcTask task, void (*kernel)(HmcTask, const void*)) {
    using T = typename Model::Real;
    const cuda::Queue queue;
    const cuda::Integers lags(queue, task.lags, task.lag_count);
    task.lags = lags.data();
    const bool massive = task.frequency > 0;
    const cuda::Workspace powers(queue, massive ? sizeof(T) * static_cast<std::size_t>(task.rows) : 0);
    task.powers = powers.data();
    if (massive) cuda::launch(queue, powers_kernel<T>, cuda::grid_for(task.rows, 256), task, cuda::pointer<T>(powers.data()));
    const cuda::ChainGrid chains(queue, task.chains, Model::scratch_bytes(task));
    cuda::launch(queue, kernel, chains.grid(), task, chains.scratch());
}

template <class Model>
void trajectories(const HmcTask& task) {
    run<Model>(task, trajectories_kernel<Model>);
}
template <class Model>
void leapfrog(const HmcTask& task) {
    run<Model>(task, leapfrog_kernel<Model>);
}

template <class T>
using Table = PathLanes<T, TableLanes<T>>;
template <class T>
using Few = PathLanes<T, PolynomialLanes<T, paths::few_terms>>;
template <class T>
using Any = PathLanes<T, PolynomialLanes<T>>;

template <class T>
void field_trajectories(const HmcTask& task) {
    constexpr DType dtype = sizeof(T) == 4 ? DType::f32 : DType::f64;
    const cuda::Queue queue;
    if (cuda::lattice_blocks(queue, task, dtype)) cuda::lattice_trajectories(queue, task, dtype);
    else trajectories<FieldLanes<T>>(task);
}

template <class T>
void all_trajectories(const HmcTask& task) {
    if (task.of == HmcTask::Of::fields) field_trajectories<T>(task);
    else if (task.potential.get().table) trajectories<Table<T>>(task);
    else if (task.terms == paths::few_terms) trajectories<Few<T>>(task);
    else trajectories<Any<T>>(task);
}

template <class T>
void one_leapfrog(const HmcTask& task) {
    if (task.of == HmcTask::Of::fields) leapfrog<FieldLanes<T>>(task);
    else if (task.potential.get().table) leapfrog<Table<T>>(task);
    else leapfrog<Any<T>>(task);
}

}  // namespace
}  // namespace device

void paths::hmc_trajectories(const HmcTask& task, DType dtype) {
    if (dtype == DType::f32) device::all_trajectories<float>(task);
    else device::all_trajectories<double>(task);
}

void paths::hmc_leapfrog(const HmcTask& task, DType dtype) {
    if (dtype == DType::f32) device::one_leapfrog<float>(task);
    else device::one_leapfrog<double>(task);
}

}  // namespace qcore
