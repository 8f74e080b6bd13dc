// Path networks on the CPU, a batch in blocks.
#include "paths/action_blocks.hpp"
#include "paths/action_rows.hpp"

namespace qcore::paths {

namespace {

template <class F>
void each_block(const NetworkCall& p, F&& f) {
    const std::int64_t beads = p.given + 1 + (p.pinned ? 1 : 0), block = block_rows(beads);
    const auto at = [&](void* data, std::int64_t element) -> void* {
        return data ? static_cast<char*>(data) + element * (p.single ? 4 : 8) : nullptr;
    };
    in_parallel((p.batch + block - 1) / block, threads_for(p.batch, beads), [&](std::int64_t i) {
        const std::int64_t first = i * block, count = std::min(block, p.batch - first);
        f(NetworkCall{count, p.given, p.twice, p.single, p.pinned, p.dt, at(p.w, first * p.given), at(p.x, first * beads),
                      at(p.x_ini, first), at(p.x_fin, first)});
    });
}

const NetworkKernels& kernels_for(const NetworkCall& p) {
    const PathKernels& kernels = selected_action_kernels();
    return p.single ? kernels.network_f32 : kernels.network_f64;
}

}  // namespace

void compute_beads(const NetworkCall& p) {
    const NetworkKernels& kernels = kernels_for(p);
    each_block(p, [&](const NetworkCall& b) { kernels.beads({b.given, b.twice, b.dt, b.x_ini, b.x_fin}, b.w, b.batch, b.x); });
}

void compute_beads_adjoint(const NetworkCall& p) {
    const NetworkKernels& kernels = kernels_for(p);
    each_block(p, [&](const NetworkCall& b) {
        kernels.adjoint({b.given, b.twice, b.dt, nullptr, b.x_fin}, b.x, b.batch, b.w, b.x_ini, b.x_fin);
    });
}

}  // namespace qcore::paths
