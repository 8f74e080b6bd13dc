// Paths from the weights of step and ReLU networks, and the transpose: bound by 8 bytes of memory a bead (float32).
#include "paths_network.hpp"

namespace qcore::paths {

namespace {

template <class T, class X>
__global__ void beads_kernel(Share share, std::int64_t given, bool twice, bool pinned, double dt, Pointer<const T> w,
                             Pointer<const T> x_ini, Pointer<const T> x_fin, Pointer<X> x) {
    const std::int64_t beads = given + 1 + (pinned ? 1 : 0);
    for (std::int64_t first = blockIdx.x * share.slots(); first < share.batch; first += gridDim.x * share.slots()) {
        const std::int64_t path = first + share.slot();
        const bool here = path < share.batch;  // lanes without a path go along, for the shuffles
        const std::int64_t row = here ? path : share.batch - 1;
        Integration<T> path_of(share, w + row * given, given, twice, dt, static_cast<double>(x_ini[row]));
        if (here && share.lane() == 0) {
            x[row * beads] = static_cast<X>(x_ini[row]);
            if (pinned) x[row * beads + given + 1] = static_cast<X>(x_fin[row]);
        }
        for (std::int64_t begin = 0; begin < given; begin += share.lanes) {
            double from, to;
            path_of.next(from, to);
            if (const std::int64_t n = begin + share.lane(); here && n < given) x[row * beads + n + 1] = static_cast<X>(to);
        }
    }
}

// From the last bead to the first: sums of what comes after.
template <class T, class X>
__global__ void adjoint_kernel(Share share, std::int64_t given, bool twice, bool pinned, double dt, Pointer<const X> grad_x,
                               Pointer<T> grad_w, Pointer<T> grad_ini, Pointer<T> grad_fin) {
    const std::int64_t beads = given + 1 + (pinned ? 1 : 0);
    for (std::int64_t first = blockIdx.x * share.slots(); first < share.batch; first += gridDim.x * share.slots()) {
        const std::int64_t path = first + share.slot();
        const bool here = path < share.batch;
        const Pointer<const X> g = grad_x + (here ? path : share.batch - 1) * beads;
        double total = 0, twofold = 0;
        for (std::int64_t end = given; end > 0; end -= share.lanes) {
            const std::int64_t k = end - 1 - share.lane();
            double sum = total + share.running(k >= 0 ? static_cast<double>(g[k + 1]) : 0.0);
            total = share.last(sum);
            if (twice) {
                sum = twofold + share.running(k >= 0 ? sum : 0.0);
                twofold = share.last(sum);
            }
            if (here && k >= 0) grad_w[path * given + k] = static_cast<T>(dt * sum);
        }
        if (here && share.lane() == 0) {
            if (grad_ini) grad_ini[path] = static_cast<T>(total + static_cast<double>(g[0]));
            if (pinned && grad_fin) grad_fin[path] = static_cast<T>(g[given + 1]);
        }
    }
}

template <class T, class X>
void beads(const cuda::Queue& queue, const NetworkCall& p) {
    using cuda::pointer;
    const Share share = share_of(p.batch, p.given, 1, true);
    cuda::launch(queue, beads_kernel<T, X>, grid_of(share, 0), share, p.given, p.twice, p.pinned, p.dt, pointer<const T>(p.w),
                 pointer<const T>(p.x_ini), pointer<const T>(p.x_fin), pointer<X>(p.x));
}

template <class T, class X>
void adjoint(const cuda::Queue& queue, const NetworkCall& p) {
    using cuda::pointer;
    const Share share = share_of(p.batch, p.given, 1, true);
    cuda::launch(queue, adjoint_kernel<T, X>, grid_of(share, 0), share, p.given, p.twice, p.pinned, p.dt, pointer<const X>(p.x),
                 pointer<T>(p.w), pointer<T>(p.x_ini), pointer<T>(p.x_fin));
}

}  // namespace

void integrate_rows(const cuda::Queue& queue, const NetworkCall& p, bool in_double) {
    if (!p.single) beads<double, double>(queue, p);
    else if (in_double) beads<float, double>(queue, p);
    else beads<float, float>(queue, p);
}

void integrate_rows_adjoint(const cuda::Queue& queue, const NetworkCall& p, bool in_double) {
    if (!p.single) adjoint<double, double>(queue, p);
    else if (in_double) adjoint<float, double>(queue, p);
    else adjoint<float, float>(queue, p);
}

void compute_beads(const NetworkCall& p) {
    if (p.batch) integrate_rows(cuda::Queue(), p, false);
}
void compute_beads_adjoint(const NetworkCall& p) {
    if (p.batch) integrate_rows_adjoint(cuda::Queue(), p, false);
}

}  // namespace qcore::paths
