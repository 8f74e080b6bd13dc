// Gradients on the tiles of stencil_tile.hpp. A block recomputes the trajectory of its tile in segments: the states of one segment
// lie in shared memory, those that the segments start from in a workspace that stays in the second-level cache and is as large as
// the blocks at work need, however many images and however many steps there are. Then it goes back through the segment.
//
// Readers. The gradient to point p gathers, for every tap, the points whose tap reads p: `readers` of that tap. The tap's own
// gradient is the sum over p of u(p) times the same readers, so that one set of shuffles serves both, whatever the boundary.
//
// A point and step of a five-point kernel takes some 27 instructions, 20 of them multiply-adds (5 to recompute, 5 back, 9 for the
// taps, 1 for the bias), and where the trajectory needs two levels 7 more: the rate at which warps issue bounds it.
#include "stencil_sums.hpp"
#include "stencil_tile.hpp"
#include "stencil_tiled.hpp"

namespace qcore::stencil {

namespace {

constexpr std::int64_t steps_of_launch = 4;
constexpr int warps_wanted = 12;  // of a multiprocessor, among which its shared memory is divided
constexpr int sums = 10;          // nine taps and the bias

template <class T>
struct Backward {
    Tiling tiling;
    Chain<T> chain;
    std::int64_t t0, t1, states_every, checkpoint_every, stride, segments;
    StoredField from, checkpoints, gradient, grad_states, to;
    Pointer<T> partial;
    Pointer<Four<T>> starts;
};

// A thread's own patches, rows as wide as the block.
template <class T>
struct Kept {
    Pointer<Four<T>> rows;

    __device__ Kept(Pointer<Four<T>> memory, std::int64_t i) : rows(memory + i * rows_of_lane * blockDim.x + threadIdx.x) {}
    __device__ Four<T> row(int y) const { return rows[static_cast<std::int64_t>(y) * blockDim.x]; }
    __device__ void put(const T (&u)[rows_of_lane][columns_of_lane]) const {
#pragma unroll
        for (int y = 0; y < rows_of_lane; ++y) {
            Four<T> f;
#pragma unroll
            for (int c = 0; c < columns_of_lane; ++c) f.v[c] = u[y][c];
            rows[static_cast<std::int64_t>(y) * blockDim.x] = f;
        }
    }
    __device__ void get(T (&u)[rows_of_lane][columns_of_lane]) const {
#pragma unroll
        for (int y = 0; y < rows_of_lane; ++y) {
            const Four<T> f = row(y);
#pragma unroll
            for (int c = 0; c < columns_of_lane; ++c) u[y][c] = f.v[c];
        }
    }
};

// g times the derivative of the activation, told from its value u.
template <class T>
__device__ void gate(T (&g)[columns_of_lane], const Four<T>& u, const Chain<T>& chain) {
    if (chain.activation == Activation::relu) {
#pragma unroll
        for (int c = 0; c < columns_of_lane; ++c) g[c] = u.v[c] <= T(0) ? T(0) : g[c];
    } else if (chain.activation == Activation::leaky_relu) {
#pragma unroll
        for (int c = 0; c < columns_of_lane; ++c) g[c] = u.v[c] > T(0) ? g[c] : g[c] * chain.slope;
    } else if (chain.activation == Activation::tanh) {
#pragma unroll
        for (int c = 0; c < columns_of_lane; ++c) g[c] = g[c] * (T(1) - u.v[c] * u.v[c]);
    }
}

// Points of a row, and those to their left and right.
template <class T>
struct Row {
    T left[columns_of_lane], here[columns_of_lane], right[columns_of_lane];

    __device__ void add(const Row& other) {
#pragma unroll
        for (int c = 0; c < columns_of_lane; ++c) {
            left[c] += other.left[c];
            here[c] += other.here[c];
            right[c] += other.right[c];
        }
    }
};

// d, the gradient to a step's pre-activation, becomes that to the state u before it; times act'(u) if `gates`. Adds to the sums of
// the lane: of the corners too where their taps are zero (`star`).
template <class T, bool Plain>
__device__ void readers_step(Tile<T, Plain>& tile, const StepTaps<T>& taps, const Kept<T>& kept, const Chain<T>& chain, bool star,
                             bool gates, T (&d)[rows_of_lane][columns_of_lane], T (&sum)[sums]) {
    constexpr int R = rows_of_lane, C = columns_of_lane;
    T above[C], below[C];
    tile.beyond(d, above, below, true);
    const auto row_of = [&](const T(&v)[C]) {
        Row<T> row;
        const auto beside = tile.beside(v, true);
#pragma unroll
        for (int c = 0; c < C; ++c) {
            row.left[c] = beside.left[c];
            row.here[c] = v[c];
            row.right[c] = beside.right[c];
        }
        return row;
    };
    Row<T> before = row_of(above), here = row_of(d[0]);
#pragma unroll
    for (int y = 0; y < R; ++y) {
        T next[C];
#pragma unroll
        for (int c = 0; c < C; ++c) next[c] = y < R - 1 ? d[(y + 1) % R][c] : below[c];
        const Row<T> after = row_of(next);
        const int line = tile.warp * R + y;
        Row<T> up = after, down = before;  // readers by the taps that look up and down
        if constexpr (!Plain) {
            if (tile.reads_itself(tile.lines, line, -1)) up.add(here);
            if (tile.reads_back(tile.lines, line, -1)) up.add(before);
            if (tile.reads_itself(tile.lines, line, 1)) down.add(here);
            if (tile.reads_back(tile.lines, line, 1)) down.add(after);
        }
        const bool counts = line >= tile.lines.core && line < tile.lines.core_end;
        const Four<T> u = kept.row(y);
#pragma unroll
        for (int c = 0; c < C; ++c) {
            const int x = tile.column + c;
            // Readers by a row's taps that look left and right.
            const auto left = [&](const Row<T>& r) {
                T value = r.right[c];
                if constexpr (!Plain) {
                    if (tile.reads_itself(tile.columns, x, -1)) value += r.here[c];
                    if (tile.reads_back(tile.columns, x, -1)) value += r.left[c];
                }
                return value;
            };
            const auto right = [&](const Row<T>& r) {
                T value = r.left[c];
                if constexpr (!Plain) {
                    if (tile.reads_itself(tile.columns, x, 1)) value += r.here[c];
                    if (tile.reads_back(tile.columns, x, 1)) value += r.right[c];
                }
                return value;
            };
            const T by[9] = {left(up), up.here[c], right(up), left(here), here.here[c], right(here), left(down), down.here[c], right(down)};
            T g = taps.k[4] * by[4];
#pragma unroll
            for (int k = 1; k < 9; k += 2) g = taps.k[k] * by[k] + g;
            if (!star)
#pragma unroll
                for (int k = 0; k < 9; k += 2)
                    if (k != 4) g = taps.k[k] * by[k] + g;
            if (counts && (Plain || x < tile.columns.core_end)) {
#pragma unroll
                for (int k = 0; k < 9; ++k) sum[k] = by[k] * u.v[c] + sum[k];
                sum[9] += by[4];
            }
            d[y][c] = g;
        }
        if (gates) gate(d[y], u, chain);
        before = here;
        here = after;
    }
}

// Sums over the lanes of a warp, one value each: after log2(32) halvings lane 2 i holds some of them alone. Returns which value a
// lane holds, or -1.
template <class T>
__device__ int warp_sums(T (&a)[sums]) {
    const unsigned lane = threadIdx.x % 32;
    int n = sums, first = 0, count = sums;
#pragma unroll
    for (int by = 16; by > 1; by /= 2) {
        const int half = (n + 1) / 2;
        const bool upper = (lane & static_cast<unsigned>(by)) != 0;
#pragma unroll
        for (int i = 0; i < half; ++i) {
            const T high = i + half < n ? a[i + half < sums ? i + half : 0] : T(0);
            const T mine = upper ? high : a[i], other = upper ? a[i] : high;
            a[i] = mine + __shfl_xor_sync(all_lanes, other, by);
        }
        first += upper ? half : 0;
        count = upper ? count - half : count < half ? count : half;
        n = half;
    }
    a[0] += __shfl_xor_sync(all_lanes, a[0], 1);
    return count > 0 && lane % 2 == 0 ? first : -1;
}

template <class T, bool Plain>
__global__ void __launch_bounds__(32 * most_warps<T>) backward_kernel(Backward<T> b) {
    const int threads = static_cast<int>(blockDim.x), warps = threads / 32;
    cuda::SharedMemory shared;
    const auto edges = shared.array<Four<T>>(edges_of(warps));
    const auto states = shared.array<Four<T>>(static_cast<int>(b.stride - 1) * rows_of_lane * threads);
    const auto starts = b.starts + static_cast<std::int64_t>(blockIdx.x) * b.segments * rows_of_lane * threads;
    const std::int64_t m = b.states_every, k = b.checkpoint_every;
    for (std::int64_t item = blockIdx.x; item < b.tiling.items(); item += gridDim.x) {
        Tile<T, Plain> tile(b.tiling, edges, item);
        const bool star = b.chain.star(b.t0, b.t1, tile.channel);
        const bool summed = !tile.idle && tile.column >= tile.columns.core && tile.column < tile.columns.core_end;
        const std::int64_t part = item % (b.tiling.groups * b.tiling.tiles()) * warps + tile.warp;
        const auto partial = b.partial + (tile.channel * b.tiling.parts() + part) * (b.t1 - b.t0) * sums;
        typename Tile<T, Plain>::Patch u, d;
        tile.read(b.gradient, 0, d);
        for (std::int64_t end = b.t1; end > b.t0;) {
            const std::int64_t checkpoint = (end - 1) / k * k, begin = checkpoint > b.t0 ? checkpoint : b.t0;
            tile.read(begin == b.t0 ? b.from : b.checkpoints, begin == b.t0 ? 0 : begin / k - 1, u);
            Kept<T>(starts, 0).put(u);
            // Once through all to the last segment's start, then from segment to segment, last first.
            const std::int64_t last_start = begin + (end - 1 - begin) / b.stride * b.stride;
            bool surveys = true;
            for (std::int64_t first = last_start; first >= begin;) {
                const std::int64_t last = first + b.stride < end ? first + b.stride : end;
                const Kept<T> start(starts, (first - begin) / b.stride);
                if (!surveys) start.get(u);
                const std::int64_t from = surveys ? begin : first, to = surveys ? last_start : last == b.t1 ? last : last - 1;
                for (std::int64_t t = from; t < to;) {
                    step(tile, b.chain, t, star, u);
                    ++t;
                    if (!surveys && t < last) Kept<T>(states, t - first - 1).put(u);
                    if (surveys && (t - begin) % b.stride == 0) Kept<T>(starts, (t - begin) / b.stride).put(u);
                }
                if (surveys) {
                    surveys = false;
                    continue;
                }
                if (last == b.t1) {
                    if (m && last % m == 0) tile.read(b.grad_states, last / m - 1, d, true);
#pragma unroll
                    for (int y = 0; y < rows_of_lane; ++y) {
                        Four<T> after;
#pragma unroll
                        for (int c = 0; c < columns_of_lane; ++c) after.v[c] = u[y][c];
                        gate(d[y], after, b.chain);
                    }
                }
                for (std::int64_t t = last - 1; t >= first; --t) {
                    const bool gates = t > b.t0, adds = gates && m && t % m == 0;
                    const Kept<T> state = t == first ? start : Kept<T>(states, t - first - 1);
                    const StepTaps<T> taps = b.chain.step(t, tile.channel);
                    T sum[sums] = {};
                    readers_step(tile, taps, state, b.chain, star, gates && !adds, d, sum);
#pragma unroll
                    for (int i = 0; i < sums; ++i) sum[i] = summed ? sum[i] : T(0);
                    const int which = warp_sums(sum);
                    if (which >= 0) partial[(t - b.t0) * sums + which] = sum[0];
                    if (!adds) continue;
                    tile.read(b.grad_states, t / m - 1, d, true);
#pragma unroll
                    for (int y = 0; y < rows_of_lane; ++y) gate(d[y], state.row(y), b.chain);
                }
                first -= b.stride;
            }
            end = begin;
        }
        tile.write(d, b.to, 0);
    }
}

// The gradient to the state before steps t0 ... t1 - 1, from that to the state after them, and the parameters' own. `from` holds
// the state before them; between them it is taken from p's checkpoints, where k of them are fewer steps.
template <class T>
void tiled_steps_back(const Queue& queue, const Problem& p, std::int64_t t0, std::int64_t t1, std::int64_t k,
                      const Field& from, std::int64_t from_step, const Field& gradient, const Field& to) {
    const int overlap = 2 * static_cast<int>((t1 - t0 + overlap_unit - 1) / overlap_unit) * overlap_unit;
    const Tiling tiling(p, most_warps<T>, overlap);
    const std::int64_t length = std::min(k, t1 - t0);
    const std::size_t threads = static_cast<std::size_t>(32 * tiling.warps), state = threads * rows_of_lane * sizeof(Four<T>);
    const std::size_t edges = cuda::SharedMemory::bytes<Four<T>>(edges_of(tiling.warps)), most = queue.shared_per_block();
    const std::size_t share = tiling.warps < warps_wanted ? most * tiling.warps / warps_wanted : most;
    const std::int64_t fit = static_cast<std::int64_t>(share > edges + 1024 ? (share - edges - 1024) / state : 0);
    const std::int64_t stride = std::max<std::int64_t>(1, std::min(length, fit + 1));
    const std::int64_t segments = std::max<std::int64_t>(1, (length + stride - 1) / stride);

    cuda::Grid grid;
    grid.threads = dim3(static_cast<unsigned>(threads));
    grid.shared = edges + cuda::SharedMemory::bytes<Four<T>>(static_cast<int>(stride - 1) * rows_of_lane * static_cast<int>(threads));
    const std::int64_t resident = queue.multiprocessors() * std::max<std::int64_t>(1, static_cast<std::int64_t>(most / (grid.shared + 1024)));
    grid.blocks = dim3(static_cast<unsigned>(std::min(tiling.items(), resident)));
    const Workspace starts(queue, grid.blocks.x * static_cast<std::size_t>(segments) * state);
    const Workspace partial(queue, static_cast<std::size_t>(tiling.channels * tiling.parts() * (t1 - t0) * sums) * sizeof(T));
    const Backward<T> b{tiling, Chain<T>(p), t0, t1, p.grad_states ? p.options.states_every : 0, k, stride, segments,
                        StoredField(from, from_step), StoredField(p.checkpoints), StoredField(gradient), StoredField(p.grad_states),
                        StoredField(to), pointer<T>(partial.data()), pointer<Four<T>>(starts.data())};
    launch(queue, tiling.plain() ? backward_kernel<T, true> : backward_kernel<T, false>, grid, b);
    if (t1 > t0) add_up<T, T>(queue, p, t0, t1 - t0, pointer<const T>(partial.data()), tiling.parts());
}

}  // namespace

template <class T>
void tiled_backward(const Problem& p) {
    const Queue queue;
    const std::int64_t k = p.options.checkpoint_every && p.options.checkpoint_every < p.steps ? p.options.checkpoint_every : std::max<std::int64_t>(1, p.steps);
    if (p.steps == 0 || Tiling(p, most_warps<T>, overlap_unit).whole())
        return tiled_steps_back<T>(queue, p, 0, p.steps, k, p.x, 0, p.grad_y, p.grad_x);

    // Segment by segment, last first: forward from its checkpoint to the states that launches start from, then back.
    const std::size_t bytes = static_cast<std::size_t>(p.batch * p.channels * p.points()) * sizeof(T);
    const std::int64_t starts = (k + steps_of_launch - 1) / steps_of_launch - 1;
    const Workspace states(queue, static_cast<std::size_t>(starts) * bytes), first(queue, bytes), second(queue, bytes);
    const auto state = [&](std::int64_t i) { return plane_field<T>(p, static_cast<char*>(states.data()) + static_cast<std::size_t>(i) * bytes); };
    Field gradient = p.grad_y;
    bool odd = false;
    for (std::int64_t end = p.steps; end > 0;) {
        const std::int64_t begin = (end - 1) / k * k;
        const Field start = begin ? p.checkpoints : p.x;
        const std::int64_t start_step = begin ? begin / k - 1 : 0;
        const std::int64_t launches = (end - begin + steps_of_launch - 1) / steps_of_launch;
        for (std::int64_t i = 0; i < launches - 1; ++i)
            tiled_steps<T>(queue, p, begin + i * steps_of_launch, begin + (i + 1) * steps_of_launch, i ? state(i - 1) : start,
                           i ? 0 : start_step, state(i), false);
        for (std::int64_t i = launches - 1; i >= 0; --i) {
            const std::int64_t t0 = begin + i * steps_of_launch, t1 = std::min(t0 + steps_of_launch, end);
            const Field to = t0 == 0 ? p.grad_x : plane_field<T>(p, odd ? second.data() : first.data());
            tiled_steps_back<T>(queue, p, t0, t1, t1, i ? state(i - 1) : start, i ? 0 : start_step, gradient, to);
            gradient = to;
            odd = !odd;
        }
        end = begin;
    }
}
template void tiled_backward<float>(const Problem&);
template void tiled_backward<double>(const Problem&);

}  // namespace qcore::stencil
