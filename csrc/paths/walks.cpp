// Langevin motion and diffusion Monte Carlo on the CPU: a vector of chains, or a population, for each turn of a thread.
#include "paths/walks.hpp"

#include <algorithm>

#include "core/parallel.hpp"

namespace qcore::paths {

namespace {

const WalkKernels::Of& kernels_of(DType dtype) {
    const WalkKernels& kernels = selected_walk_kernels();
    return dtype == DType::f32 ? kernels.f32 : kernels.f64;
}

template <class F>
void each(std::int64_t n, F&& body) {
    parallel_for(n, max_threads(), [](void* f, std::int64_t i) { (*static_cast<std::remove_reference_t<F>*>(f))(i); }, &body);
}

}  // namespace

void langevin_sweeps(const LangevinTask& task, DType dtype) {
    const WalkKernels::Of& kernels = kernels_of(dtype);
    each((task.chains + kernels.lanes - 1) / kernels.lanes, [&](std::int64_t block) {
        const std::int64_t first = block * kernels.lanes;
        kernels.langevin(task, first, static_cast<int>(std::min<std::int64_t>(kernels.lanes, task.chains - first)));
    });
}

void dmc_sweeps(const DmcTask& task, DType dtype) {
    const WalkKernels::Of& kernels = kernels_of(dtype);
    each(task.populations, [&](std::int64_t population) { kernels.dmc(task, population); });
}

}  // namespace qcore::paths
