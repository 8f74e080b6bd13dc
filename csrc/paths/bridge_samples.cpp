// Random numbers and Gaussian chains on the CPU.
#include "paths/bridge_samples.hpp"

#include <algorithm>
#include <type_traits>
#include <vector>

#include "core/parallel.hpp"

namespace qcore::paths {

namespace {

template <class F>
void each(std::int64_t n, F&& body) {
    parallel_for(n, max_threads(), [](void* f, std::int64_t i) { (*static_cast<std::remove_reference_t<F>*>(f))(i); }, &body);
}

}  // namespace

void random_numbers(const RandomTask& task, DType dtype) {
    const auto kernel = selected_bridge_kernels().random[dtype == DType::f64];
    each(task.sites, [&](std::int64_t site) { kernel(task, site); });
}

void sample_chains(const PathsTask& task, DType dtype) {
    const bool wide = dtype == DType::f64;
    const ChainTask& chain = task.chain;
    std::vector<float> narrow;
    if (!wide) narrow.assign(chain.coefficients, chain.coefficients + 3 * chain.steps);
    const void* const coefficients = wide ? static_cast<const void*>(chain.coefficients) : narrow.data();
    const auto kernel = selected_bridge_kernels().paths[wide];
    const std::int64_t part = 256, parts = (chain.samples + part - 1) / part;
    each(chain.chains * parts, [&](std::int64_t i) {
        const std::int64_t begin = i % parts * part;
        kernel(task, coefficients, i / parts, begin, std::min(part, chain.samples - begin));
    });
}

void weigh_chains(const WeightsTask& task) {
    const auto kernel = selected_bridge_kernels().weights[task.potential.get().table];
    each(task.groups, [&](std::int64_t group) { kernel(task, group); });
}

}  // namespace qcore::paths
