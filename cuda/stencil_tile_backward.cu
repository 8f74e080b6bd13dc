// Gradients on the tiles of stencil_tile.hpp. A block recomputes the trajectory of its tile in segments: the states of one
// segment lie in shared memory, those that the segments start from in a workspace that is as large as the blocks at work need,
// however many images there are, and stays in the second-level cache. Then it goes back through the segment.
//
// Readers. The gradient to point p gathers, for every tap, the points whose tap reads p: `readers` of that tap. The tap's own
// gradient is the sum over p of u(p) times the same readers, so that one set of shuffles serves both, whatever the boundary.
//
// What binds it is the rate at which warps issue. A point and step of a five-point kernel takes 14 multiply-adds on the way back,
// 5 of the adjoint and 9 of the taps, and 5 for each of its recomputations, of which there are nearly two where the trajectory
// needs two levels; with everything else about 43 instructions. So the gradient's registers are lent to the state while that is
// recomputed: both at once would not fit beside the sums, and sixteen warps of a multiprocessor hide more than twelve.
#include <algorithm>

#include "stencil_sums.hpp"
#include "stencil_tile_steps.hpp"
#include "stencil_tiled.hpp"

namespace qcore::stencil {

namespace {

constexpr std::int64_t steps_of_launch = 4;
constexpr int sums = 10;  // nine taps and the bias
constexpr std::size_t most_starts = std::size_t{1} << 30;  // bytes of segments' first states, of all blocks together

template <class T>
struct Backward {
    Tiling tiling;
    Chain<T> chain;
    int t0, t1, states_every, checkpoint_every, stride, segments;
    StoredField from, checkpoints, gradient, grad_states, to;
    Pointer<T> partial;
    Pointer<Four<T>> starts;
};

// A thread's own patches. Rows of a warp lie one after the other, a constant step apart.
template <class Tile>
struct Kept {
    using T = typename Tile::T;
    static constexpr int R = Tile::R, C = Tile::C;
    Pointer<Four<T>> rows;

    __device__ Kept(Pointer<Four<T>> memory, std::int64_t i)
        : rows(memory + i * R * blockDim.x + threadIdx.x / 32 * 32 * R + threadIdx.x % 32) {}
    __device__ Four<T> row(int y) const { return rows[y * 32]; }
    __device__ void put(const T (&u)[R][C]) const {
#pragma unroll
        for (int y = 0; y < R; ++y) {
            Four<T> f;
#pragma unroll
            for (int c = 0; c < C; ++c) f.v[c] = u[y][c];
            rows[y * 32] = f;
        }
    }
    __device__ void get(T (&u)[R][C]) const {
#pragma unroll
        for (int y = 0; y < R; ++y) {
            const Four<T> f = row(y);
#pragma unroll
            for (int c = 0; c < C; ++c) u[y][c] = f.v[c];
        }
    }
};

// g times the derivative of the activation, told from its value u.
template <class T>
__device__ void gate(T (&g)[columns_of_lane], const T (&u)[columns_of_lane], const Chain<T>& chain) {
    if (chain.activation == Activation::relu) {
#pragma unroll
        for (int c = 0; c < columns_of_lane; ++c) g[c] = u[c] <= T(0) ? T(0) : g[c];
    } else if (chain.activation == Activation::leaky_relu) {
#pragma unroll
        for (int c = 0; c < columns_of_lane; ++c) g[c] = u[c] > T(0) ? g[c] : g[c] * chain.slope;
    } else if (chain.activation == Activation::tanh) {
#pragma unroll
        for (int c = 0; c < columns_of_lane; ++c) g[c] = g[c] * (T(1) - u[c] * u[c]);
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

// Adds to what stands right and left of a row's points, which is what the taps that look left and right are read by, what the
// boundary's folds add.
template <class Tile>
__device__ void fold(const Tile& tile, Row<typename Tile::T>& row) {
    using T = typename Tile::T;
#pragma unroll
    for (int c = 0; c < columns_of_lane; ++c) {
        const int x = tile.column + c;
        const T left = row.left[c], right = row.right[c];
        if (tile.reads_itself(tile.columns, x, -1)) row.right[c] += row.here[c];
        if (tile.reads_back(tile.columns, x, -1)) row.right[c] += left;
        if (tile.reads_itself(tile.columns, x, 1)) row.left[c] += row.here[c];
        if (tile.reads_back(tile.columns, x, 1)) row.left[c] += right;
    }
}

// d, the gradient to a step's pre-activation, becomes that to the state u before it; times act'(u) if `gates`. Adds to the sums
// of the lane, those of the corners as well where their taps are zero (Star).
template <bool Star, bool Cut, class Tile, class T = typename Tile::T>
__device__ void readers_step(Tile& tile, const StepTaps<T>& taps, const Kept<Tile>& kept, const Chain<T>& chain, bool gates,
                             typename Tile::Patch& d, T (&sum)[sums]) {
    // Of a cut: what u has to be above for the gradient to stay; nothing compares with a NaN.
    const T bound = gates && chain.activation == Activation::relu ? T(0) : T(NAN);
    constexpr int R = Tile::R, C = Tile::C;
    constexpr bool Plain = Tile::Plain;
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
    const auto line_answers = [&](int y) {
        const int line = tile.warp * R + y;
        return line >= tile.lines.core && line < tile.lines.core_end;
    };
    const auto column_answers = [&](int c) { return Plain || tile.column + c < tile.columns.core_end; };
    if (chain.bias)
#pragma unroll
        for (int y = 0; y < R; ++y)
            if (line_answers(y))
#pragma unroll
                for (int c = 0; c < C; ++c) sum[9] += column_answers(c) ? d[y][c] : T(0);
    Row<T> before = row_of(above), here = row_of(d[0]);
#pragma unroll
    for (int y = 0; y < R; ++y) {
        T next[C];
#pragma unroll
        for (int c = 0; c < C; ++c) next[c] = y < R - 1 ? d[(y + 1) % R][c] : below[c];
        const Row<T> after = row_of(next);
        Row<T> up = after, middle = here, down = before;  // readers by the taps that look up, nowhere, down
        if constexpr (!Plain) {
            const int line = tile.warp * R + y;
            if (tile.reads_itself(tile.lines, line, -1)) up.add(here);
            if (tile.reads_back(tile.lines, line, -1)) up.add(before);
            if (tile.reads_itself(tile.lines, line, 1)) down.add(here);
            if (tile.reads_back(tile.lines, line, 1)) down.add(after);
            fold(tile, up), fold(tile, middle), fold(tile, down);
        }
        const Four<T> u = kept.row(y);
#pragma unroll
        for (int c = 0; c < C; ++c) {
            T g = taps.k[4] * middle.here[c];
            g = taps.k[1] * up.here[c] + g;
            g = taps.k[3] * middle.right[c] + g;
            g = taps.k[5] * middle.left[c] + g;
            d[y][c] = taps.k[7] * down.here[c] + g;
        }
        if constexpr (!Star)
#pragma unroll
            for (int c = 0; c < C; ++c) {
                T g = taps.k[0] * up.right[c] + d[y][c];
                g = taps.k[2] * up.left[c] + g;
                g = taps.k[6] * down.right[c] + g;
                d[y][c] = taps.k[8] * down.left[c] + g;
            }
        if (line_answers(y))
#pragma unroll
            for (int c = 0; c < C; ++c) {
                if (!column_answers(c)) continue;
                const Row<T>* const rows[3] = {&up, &middle, &down};
#pragma unroll
                for (int k = 0; k < 3; ++k) {
                    sum[3 * k] = rows[k]->right[c] * u.v[c] + sum[3 * k];
                    sum[3 * k + 1] = rows[k]->here[c] * u.v[c] + sum[3 * k + 1];
                    sum[3 * k + 2] = rows[k]->left[c] * u.v[c] + sum[3 * k + 2];
                }
            }
        if constexpr (Cut) {
#pragma unroll
            for (int c = 0; c < C; ++c) d[y][c] = u.v[c] <= bound ? T(0) : d[y][c];
        } else if (gates) {
            gate(d[y], u.v, chain);
        }
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

template <class Tile, bool Cut, class T = typename Tile::T>
__global__ void __launch_bounds__(32 * most_warps<T>) backward_kernel(Backward<T> b) {
    const int threads = static_cast<int>(blockDim.x), warps = threads / 32;
    cuda::SharedMemory shared;
    const auto edges = shared.array<Four<T>>(warps * edges_of_warp);
    const auto states = shared.array<Four<T>>(static_cast<int>(b.stride - 1) * Tile::R * threads);
    const int m = b.states_every, k = b.checkpoint_every;
    // The states that segments start from, and the gradient while states are recomputed.
    const auto start = [&](int segment) {
        return Kept<Tile>(b.starts, std::int64_t{here(static_cast<int>(blockIdx.x))} * (b.segments + 1) + segment);
    };
    const auto parked = [&] { return start(b.segments); };
    const auto state = [&](int i) { return Kept<Tile>(states, here(i)); };
    for (unsigned item = blockIdx.x; item < static_cast<unsigned>(b.tiling.items()); item += gridDim.x) {
        Tile tile(b.tiling, edges, static_cast<int>(item));
        const bool star = b.chain.star(b.t0, b.t1, tile.channel);
        const bool summed = !tile.idle && tile.column >= tile.columns.core && tile.column < tile.columns.core_end;
        const int part = static_cast<int>(item) % (b.tiling.groups * b.tiling.tiles()) * warps + tile.warp;
        // The state on the way forward, the gradient on the way back: there are registers for one of them.
        typename Tile::Patch v;
        tile.read(b.gradient, 0, v);
        if (m && b.t1 % m == 0) tile.read(b.grad_states, b.t1 / m - 1, v, true);
        parked().put(v);
        for (int end = b.t1; end > b.t0;) {
            const int checkpoint = (end - 1) / k * k, begin = checkpoint > b.t0 ? checkpoint : b.t0;
            tile.read(begin == b.t0 ? b.from : b.checkpoints, begin == b.t0 ? 0 : begin / k - 1, v);
            start(0).put(v);
            // Once through to the last segment's start, then from segment to segment, last first.
            int segment = 0, first = begin;
            while (first + b.stride < end) {
                for (const int next = first + b.stride; first < next; ++first) step(tile, b.chain, first, star, v);
                start(++segment).put(v);
            }
            for (; segment >= 0; --segment, first -= b.stride) {
                const int last = first + b.stride < end ? first + b.stride : end;
                if (last < end) start(segment).get(v);
                for (int t = first; t < (last == b.t1 ? last : last - 1);) {
                    step(tile, b.chain, t, star, v);
                    ++t;
                    if (t < last) state(t - first - 1).put(v);
                }
                const Kept<Tile> parking = parked();
#pragma unroll
                for (int y = 0; y < Tile::R; ++y) {
                    Four<T> d = parking.row(y);
                    if (last == b.t1) gate(d.v, v[y], b.chain);
#pragma unroll
                    for (int c = 0; c < columns_of_lane; ++c) v[y][c] = d.v[c];
                }
                for (int t = last - 1; t >= first; --t) {
                    const bool gates = t > b.t0, adds = gates && m && t % m == 0;
                    const Kept<Tile> before = t == first ? start(segment) : state(t - first - 1);
                    const StepTaps<T> taps = b.chain.step(t, tile.channel);
                    T sum[sums] = {};
                    if (star) readers_step<true, Cut>(tile, taps, before, b.chain, gates && !adds, v, sum);
                    else readers_step<false, Cut>(tile, taps, before, b.chain, gates && !adds, v, sum);
#pragma unroll
                    for (int i = 0; i < sums; ++i) sum[i] = summed ? sum[i] : T(0);
                    const int which = warp_sums(sum);
                    const std::int64_t place = tile.channel * b.tiling.parts() + here(part);
                    if (which >= 0) b.partial[(place * (b.t1 - b.t0) + t - b.t0) * sums + which] = sum[0];
                    if (!adds) continue;
                    tile.read(b.grad_states, t / m - 1, v, true);
#pragma unroll
                    for (int y = 0; y < Tile::R; ++y) gate(v[y], before.row(y).v, b.chain);
                }
                parked().put(v);
            }
            end = begin;
        }
        tile.write(v, b.to, 0);
    }
}

// The gradient to the state before steps t0 ... t1 - 1, from that to the state after them, and the parameters' own. `from` holds
// the state before them; between them it is taken from p's checkpoints, where k of them are fewer steps.
template <class T>
void tiled_steps_back(const Queue& queue, const Problem& p, std::int64_t t0, std::int64_t t1, std::int64_t k,
                      const Field& from, std::int64_t from_step, const Field& gradient, const Field& to) {
    const int overlap = 2 * static_cast<int>((t1 - t0 + overlap_unit - 1) / overlap_unit) * overlap_unit;
    const bool cut = p.options.activation == Activation::none || p.options.activation == Activation::relu;
    constexpr bool choose = sizeof(T) == 4;
    const Tiling tiling(p, most_warps<T>, overlap, choose && cut);
    const std::int64_t length = std::min(k, t1 - t0);
    const std::size_t threads = static_cast<std::size_t>(32 * tiling.warps), state = threads * tiling.rows * sizeof(Four<T>);
    const std::size_t edges = cuda::SharedMemory::bytes<Four<T>>(tiling.warps * edges_of_warp), most = queue.shared_per_block();
    const std::size_t share = most * tiling.warps / most_warps<T>;  // as many warps as registers suffice for
    const std::int64_t fit = static_cast<std::int64_t>(share > edges + 1024 ? (share - edges - 1024) / state : 0);
    const std::int64_t stride = std::max<std::int64_t>(1, std::min(length, fit + 1));
    const std::int64_t segments = std::max<std::int64_t>(1, (length + stride - 1) / stride);

    cuda::Grid grid;
    grid.threads = dim3(static_cast<unsigned>(threads));
    grid.shared = edges + static_cast<std::size_t>(stride - 1) * state;
    const std::int64_t together = std::max<std::int64_t>(1, static_cast<std::int64_t>(most / (grid.shared + 1024)));
    const std::size_t starts_of_block = static_cast<std::size_t>(segments + 1) * state;
    const auto affordable = std::max<std::int64_t>(1, static_cast<std::int64_t>(most_starts / starts_of_block));
    grid.blocks = dim3(static_cast<unsigned>(
        std::min({std::int64_t{tiling.items()}, queue.multiprocessors() * together, affordable})));
    const Workspace starts(queue, grid.blocks.x * starts_of_block);
    const Workspace partial(queue, static_cast<std::size_t>(tiling.channels * tiling.parts() * (t1 - t0) * sums) * sizeof(T));
    const Backward<T> b{tiling,
                        Chain<T>(p),
                        static_cast<int>(t0),
                        static_cast<int>(t1),
                        p.grad_states ? static_cast<int>(p.options.states_every) : 0,
                        static_cast<int>(k),
                        static_cast<int>(stride),
                        static_cast<int>(segments),
                        StoredField(from, p.width, from_step),
                        StoredField(p.checkpoints, p.width),
                        StoredField(gradient, p.width),
                        StoredField(p.grad_states, p.width),
                        StoredField(to, p.width),
                        pointer<T>(partial.data()),
                        pointer<Four<T>>(starts.data())};
    auto kernel = backward_kernel<Tile<T, many_rows, false>, false>;
    if (tiling.plain()) kernel = backward_kernel<Tile<T, many_rows, true>, false>;
    if constexpr (choose)
        if (cut && tiling.plain())
            kernel = tiling.rows == fewer_rows ? backward_kernel<Tile<T, fewer_rows, true>, true>
                                               : backward_kernel<Tile<T, many_rows, true>, true>;
    launch(queue, kernel, grid, b);
    if (t1 > t0) add_up<T, T>(queue, p, t0, t1 - t0, pointer<const T>(partial.data()), tiling.parts());
}

}  // namespace

template <class T>
void tiled_backward(const Problem& p) {
    const Queue queue;
    const std::int64_t every = p.options.checkpoint_every, k = every ? std::min(every, p.steps) : p.steps;
    if (p.steps == 0 || Tiling(p, most_warps<T>, overlap_unit, false).whole())
        return tiled_steps_back<T>(queue, p, 0, p.steps, std::max<std::int64_t>(1, k), p.x, 0, p.grad_y, p.grad_x);

    // Segment by segment, last first: forward from its checkpoint to the states that launches start from, then back.
    const std::size_t bytes = static_cast<std::size_t>(p.batch * p.channels * p.points()) * sizeof(T);
    const std::int64_t starts = (k + steps_of_launch - 1) / steps_of_launch - 1;
    const Workspace states(queue, static_cast<std::size_t>(starts) * bytes), first(queue, bytes), second(queue, bytes);
    const auto state = [&](std::int64_t i) {
        return plane_field<T>(p, static_cast<char*>(states.data()) + static_cast<std::size_t>(i) * bytes);
    };
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
