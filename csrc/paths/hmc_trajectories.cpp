// HMC on the CPU: a block of chains for each turn of a thread.
#include "paths/hmc_trajectories.hpp"

#include <algorithm>
#include <vector>

#include "core/parallel.hpp"

namespace qcore::paths {

namespace {

void in_blocks(const HmcTask& task, int lanes, HmcKernel kernel) {
    auto block = [&](std::int64_t b) {
        const std::int64_t first = b * lanes;
        kernel(task, first, static_cast<int>(std::min<std::int64_t>(lanes, task.chains - first)));
    };
    parallel_for((task.chains + lanes - 1) / lanes, max_threads(),
                 [](void* f, std::int64_t b) { (*static_cast<decltype(block)*>(f))(b); }, &block);
}

void run(HmcTask task, DType dtype, HmcKernel HmcKernels::Of::*paths, HmcKernel HmcKernels::Of::*fields) {
    const HmcKernels& all = selected_hmc_kernels();
    const HmcKernels::Of& kernels = dtype == DType::f32 ? all.f32 : all.f64;
    if (task.of == HmcTask::Of::fields) return in_blocks(task, kernels.field_lanes, kernels.*fields);
    std::vector<double> powers(task.frequency > 0 ? static_cast<std::size_t>(task.rows) : 0);
    if (task.frequency > 0) kernels.powers(task, powers.data());
    task.powers = powers.data();
    in_blocks(task, kernels.path_lanes, kernels.*paths);
}

}  // namespace

void hmc_trajectories(const HmcTask& task, DType dtype) { run(task, dtype, &HmcKernels::Of::paths, &HmcKernels::Of::phi4); }
void hmc_leapfrog(const HmcTask& task, DType dtype) {
    run(task, dtype, &HmcKernels::Of::leapfrog_paths, &HmcKernels::Of::leapfrog_phi4);
}

}  // namespace qcore::paths
