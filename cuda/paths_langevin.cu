// Langevin motion on a GPU. A thread is a chain and runs the lane code of the CPU; the places of a sweep, which correlators look
// back to, lie in a workspace, [step][thread]. All sweeps of a call are one launch, and chains are those of the CPU bit for bit.
//
// A step writes its place and reads it once more for the averages; its normal and the force bound it, some 100 instructions.
#include "paths/langevin_lanes.hpp"

#include "chains.hpp"

namespace qcore {

namespace device {
namespace {

template <class T, class P>
__global__ void langevin_kernel(LangevinTask task, const void* scratch) {
    for (std::int64_t chain = cuda::thread(); chain < task.chains; chain += cuda::threads())
        LangevinLanes<T, P>(task, chain, 1, Scratch(scratch, cuda::thread(), cuda::threads())).run();
}

template <class T, class P>
void walk(LangevinTask task) {
    const cuda::Queue queue;
    const cuda::Integers lags(queue, task.lags, task.lag_count);
    task.lags = lags.data();
    const cuda::ChainGrid chains(queue, task.chains, LangevinLanes<T, P>::scratch_bytes(task));
    cuda::launch(queue, langevin_kernel<T, P>, chains.grid(), task, chains.scratch());
}

template <class T>
void walk_potential(const LangevinTask& task) {
    if (task.g.get().table) walk<T, TableLanes<T>>(task);
    else if (task.terms == paths::few_terms) walk<T, PolynomialLanes<T, paths::few_terms>>(task);
    else walk<T, PolynomialLanes<T>>(task);
}

}  // namespace
}  // namespace device

void paths::langevin_sweeps(const LangevinTask& task, DType dtype) {
    if (dtype == DType::f32) device::walk_potential<float>(task);
    else device::walk_potential<double>(task);
}

}  // namespace qcore
