// Metropolis sweeps on the CPU: a vector of chains for each turn of a thread.
#include "paths/metropolis_sweeps.hpp"

#include <algorithm>
#include <vector>

#include "core/parallel.hpp"

namespace qcore::paths {

namespace {

template <class T>
std::vector<BridgeStep<T>> bridge_steps(const MetropolisTask& task) {
    std::vector<BridgeStep<T>> steps;
    for (std::int64_t r = 0; r < task.segment; ++r) steps.push_back(bridge_step(r, static_cast<T>(task.link)));
    return steps;
}

template <class T>
void sweep_all(const MetropolisTask& task) {
    constexpr bool wide = sizeof(T) == 8;
    const MetropolisKernels& kernels = selected_metropolis_kernels();
    const auto sweeps = kernels.sweeps[wide][task.potential.get().table ? 2 : task.terms == few_terms ? 0 : 1];
    const std::int64_t lanes = kernels.lanes[wide], blocks = (task.chains + lanes - 1) / lanes;
    const std::vector<BridgeStep<T>> bridge = bridge_steps<T>(task);
    std::vector<double> histograms(static_cast<std::size_t>(blocks * task.bins));  // counts: their sum is exact in any order
    auto block = [&](std::int64_t b) {
        const std::int64_t first = b * lanes;
        sweeps(task, bridge.data(), first, static_cast<int>(std::min(lanes, task.chains - first)),
               histograms.data() + b * task.bins);
    };
    parallel_for(blocks, max_threads(), [](void* f, std::int64_t b) { (*static_cast<decltype(block)*>(f))(b); }, &block);
    for (std::int64_t b = 0; b < blocks; ++b)
        for (std::int64_t i = 0; i < task.bins; ++i) task.histogram[i] += histograms[static_cast<std::size_t>(b * task.bins + i)];
}

}  // namespace

void metropolis_sweeps(const MetropolisTask& task, DType dtype) {
    if (dtype == DType::f32) sweep_all<float>(task);
    else sweep_all<double>(task);
}

}  // namespace qcore::paths
