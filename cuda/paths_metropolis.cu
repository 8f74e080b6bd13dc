// Metropolis sampling on a GPU. A thread is a chain and runs the lane code of the CPU: its path stays in the caller's (beads,
// chains) array, whose neighbouring chains neighbouring threads read and write, so that every access of a warp is of one line;
// segments are regrown in a workspace of the same order. All sweeps of a call are one launch, and chains are those of the CPU bit
// for bit.
//
// A bead update in float32 is 122 instructions of the code for compute capability 9.0: 34 of floating point, 18 multiplications of
// integers (10 of them Philox's), 62 others of integers and comparisons, which half as many units take and which bound it, at
// 2.4e11 a second on an H200 of 132 multiprocessors and 1.755 GHz. It moves 12 bytes between L2 and registers. Faster exponentials
// and contraction would save some 10 of the 122, so chains that aren't the CPU's have no mode. Wants some 1e5 chains.
#include "paths/metropolis_chains.hpp"

#include "chains.hpp"

namespace qcore {

namespace device {
namespace {

template <class T>
__global__ void bridge_kernel(cuda::Pointer<BridgeStep<T>> out, std::int64_t segment, T link) {
    for (std::int64_t r = cuda::thread(); r < segment; r += cuda::threads()) out[r] = paths::bridge_step(r, link);
}

template <class T, class P>
__global__ void sweeps_kernel(MetropolisTask task, const void* bridge, void* histogram, const void* scratch) {
    for (std::int64_t chain = cuda::thread(); chain < task.chains; chain += cuda::threads())
        Chains<T, P>(task, P(task.potential.get()), static_cast<const BridgeStep<T>*>(bridge), chain, 1,
                     static_cast<Counter*>(histogram), Scratch(scratch, cuda::thread(), cuda::threads()))
            .run();
}

__global__ void histogram_kernel(cuda::Pointer<const Counter> counts, cuda::Pointer<double> out, std::int64_t bins) {
    for (std::int64_t i = cuda::thread(); i < bins; i += cuda::threads()) out[i] += static_cast<double>(counts[i]);
}

template <class T, class P>
void sweep(MetropolisTask task) {
    const cuda::Queue queue;
    const cuda::Integers lags(queue, task.lags, task.lag_count);
    task.lags = lags.data();
    const cuda::Workspace bridge(queue, sizeof(BridgeStep<T>) * static_cast<std::size_t>(task.segment));
    cuda::launch(queue, bridge_kernel<T>, cuda::grid_for(task.segment, 256), cuda::pointer<BridgeStep<T>>(bridge.data()),
                 task.segment, static_cast<T>(task.link));
    const std::size_t counted = sizeof(Counter) * static_cast<std::size_t>(task.bins);
    const cuda::Workspace histogram(queue, counted);
    queue.zero(histogram.data(), counted);
    const cuda::ChainGrid chains(queue, task.chains, Chains<T, P>::scratch_bytes(task));
    cuda::launch(queue, sweeps_kernel<T, P>, chains.grid(), task, bridge.data(), histogram.data(), chains.scratch());
    if (task.bins > 0)
        cuda::launch(queue, histogram_kernel, cuda::grid_for(task.bins, 256), cuda::pointer<const Counter>(histogram.data()),
                     cuda::pointer<double>(task.histogram), task.bins);
}

template <class T>
void sweep_potential(const MetropolisTask& task) {
    if (task.potential.get().table) sweep<T, TableLanes<T>>(task);
    else if (task.terms == paths::few_terms) sweep<T, PolynomialLanes<T, paths::few_terms>>(task);
    else sweep<T, PolynomialLanes<T>>(task);
}

}  // namespace
}  // namespace device

void paths::metropolis_sweeps(const MetropolisTask& task, DType dtype) {
    if (dtype == DType::f32) device::sweep_potential<float>(task);
    else device::sweep_potential<double>(task);
}

}  // namespace qcore
