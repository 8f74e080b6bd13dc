// All steps of planes that fit into a block's registers in one launch, and of larger planes four steps a launch, on tiles that
// overlap by as many points. A point and step of a five-point kernel takes 5 multiply-adds, the activation and half a shuffle:
// on-chip planes are bound by the rate at which warps issue, tiled ones of many bytes by memory, at 2 bytes a point and step.
#include "stencil_tile_steps.hpp"
#include "stencil_tiled.hpp"

namespace qcore::stencil {

namespace {

constexpr std::int64_t steps_of_launch = 4;

template <class T>
struct Forward {
    Tiling tiling;
    Chain<T> chain;
    int t0, t1, steps, states_every, checkpoint_every;
    StoredField from, to, states, checkpoints;
};

template <class Tile, class T = typename Tile::T>
__global__ void __launch_bounds__(32 * most_warps<T>) forward_kernel(Forward<T> f) {
    cuda::SharedMemory shared;
    const auto edges = shared.array<Four<T>>(static_cast<int>(blockDim.x) / 32 * edges_of_warp);
    for (unsigned item = blockIdx.x; item < static_cast<unsigned>(f.tiling.items()); item += gridDim.x) {
        Tile tile(f.tiling, edges, static_cast<int>(item));
        const bool star = f.chain.star(f.t0, f.t1, tile.channel);
        typename Tile::Patch u;
        tile.read(f.from, 0, u);
        for (int t = f.t0; t < f.t1;) {
            step(tile, f.chain, t, star, u);
            ++t;
            if (f.states_every && t % f.states_every == 0) tile.write(u, f.states, t / f.states_every - 1);
            if (f.checkpoint_every && t % f.checkpoint_every == 0 && t < f.steps)
                tile.write(u, f.checkpoints, t / f.checkpoint_every - 1);
        }
        if (f.to) tile.write(u, f.to, 0);
    }
}

}  // namespace

template <class T>
void tiled_steps(const Queue& queue, const Problem& p, std::int64_t t0, std::int64_t t1, const Field& from,
                 std::int64_t from_step, const Field& to, bool extras) {
    const int overlap = static_cast<int>((t1 - t0 + overlap_unit - 1) / overlap_unit) * overlap_unit;
    constexpr bool choose = sizeof(T) == 4;
    Forward<T> f{Tiling(p, most_warps<T>, overlap, choose), Chain<T>(p), static_cast<int>(t0), static_cast<int>(t1),
                 static_cast<int>(p.steps), 0, 0, StoredField(from, p.width, from_step), StoredField(to, p.width), {}, {}};
    if (extras) {
        const auto every = [&](std::int64_t n) { return n <= p.steps ? static_cast<int>(n) : 0; };
        f.states_every = every(p.options.states_every);
        f.checkpoint_every = every(p.options.checkpoint_every);
        f.states = StoredField(p.states, p.width);
        f.checkpoints = StoredField(p.checkpoints, p.width);
    }
    auto kernel = f.tiling.plain() ? forward_kernel<Tile<T, many_rows, true>> : forward_kernel<Tile<T, many_rows, false>>;
    if constexpr (choose)
        if (f.tiling.rows == fewer_rows) kernel = forward_kernel<Tile<T, fewer_rows, true>>;
    cuda::Grid grid = cuda::grid_for(f.tiling.items(), 1);
    grid.threads = dim3(static_cast<unsigned>(32 * f.tiling.warps));
    grid.shared = cuda::SharedMemory::bytes<Four<T>>(f.tiling.warps * edges_of_warp);
    launch(queue, kernel, grid, f);
}
template void tiled_steps<float>(const Queue&, const Problem&, std::int64_t, std::int64_t, const Field&, std::int64_t,
                                 const Field&, bool);
template void tiled_steps<double>(const Queue&, const Problem&, std::int64_t, std::int64_t, const Field&, std::int64_t,
                                  const Field&, bool);

template <class T>
void tiled_forward(const Problem& p) {
    const Queue queue;
    const std::int64_t depth = Tiling(p, most_warps<T>, overlap_unit, false).whole() ? p.steps : steps_of_launch;
    const std::int64_t launches = p.steps > depth ? (p.steps + depth - 1) / depth : 1;
    const std::size_t bytes = static_cast<std::size_t>(p.batch * p.channels * p.points()) * sizeof(T);
    const Workspace first(queue, launches > 1 ? bytes : 0), second(queue, launches > 2 ? bytes : 0);
    Field from = p.x;
    for (std::int64_t i = 0; i < launches; ++i) {
        const Field to = i == launches - 1 ? p.y : plane_field<T>(p, i % 2 ? second.data() : first.data());
        tiled_steps<T>(queue, p, i * depth, i == launches - 1 ? p.steps : (i + 1) * depth, from, 0, to, true);
        from = to;
    }
}
template void tiled_forward<float>(const Problem&);
template void tiled_forward<double>(const Problem&);

}  // namespace qcore::stencil
