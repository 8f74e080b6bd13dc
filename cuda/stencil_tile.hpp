// A plane, or a part of one, in the registers of a block: what the fast kernels do their steps on.
//
// A lane holds 8 rows of 4 columns. Lanes lie side by side, so many as a row needs; where that leaves lanes of a warp, further
// images lie beside the first. Warps lie one above the other, so many as a column needs. Neighbours across come by two shuffles
// for four points, neighbours up and down from the warps next to it through shared memory, with one barrier a step.
#pragma once

#include "stencil.hpp"

namespace qcore::stencil {

constexpr int rows_of_lane = 8, columns_of_lane = 4;
constexpr int overlap_unit = columns_of_lane;

// Warps of a block, for which registers suffice.
template <class T>
constexpr int most_warps = sizeof(T) == 4 ? 16 : 8;

// Where an axis is cut: tile i has the core [i pitch, (i + 1) pitch) and reads `overlap` points beyond it.
struct Cut {
    std::int64_t size, pitch, tiles;
    int overlap;

    Cut() = default;
    Cut(std::int64_t n, int capacity, int beyond) : size(n), pitch(n), tiles(1), overlap(0) {
        if (n <= capacity) return;
        overlap = beyond;
        pitch = capacity - 2 * beyond;
        tiles = (n + pitch - 1) / pitch;
    }
};

// How planes are dealt to blocks: item = ((channel, group of images), tile row, tile column).
struct Tiling {
    Cut x, y;
    int lanes, pack, warps;  // lanes of an image, images side by side, warps of a block
    std::int64_t batch, channels, groups;
    Boundary boundary;

    Tiling() = default;
    Tiling(const Problem& p, int warps_at_most, int overlap)
        : x(p.width, 32 * columns_of_lane, overlap), y(p.height, warps_at_most * rows_of_lane, overlap), lanes(32), pack(1),
          batch(p.batch), channels(p.channels), boundary(p.options.boundary) {
        if (whole())
            while (lanes > 1 && lanes / 2 * columns_of_lane >= p.width) lanes /= 2;
        pack = 32 / lanes;
        groups = (batch + pack - 1) / pack;
        const std::int64_t most_rows = y.tiles == 1 ? y.size : warps_at_most * rows_of_lane;
        warps = static_cast<int>((most_rows + rows_of_lane - 1) / rows_of_lane);
    }

    QC_HD bool whole() const { return x.tiles == 1 && y.tiles == 1; }
    QC_HD std::int64_t tiles() const { return x.tiles * y.tiles; }
    QC_HD std::int64_t items() const { return channels * groups * tiles(); }
    QC_HD std::int64_t parts() const { return groups * tiles() * warps; }  // partial sums of a channel
    // Whether the columns beyond a lane's own are always a neighbour's, a zero or, periodically, the other end's.
    QC_HD bool plain() const {
        return x.size % columns_of_lane == 0 && (boundary == Boundary::zero || boundary == Boundary::periodic);
    }
};

// A tile's place on an axis: it holds [origin, origin + extent) and answers for [core, core_end), counted from its origin.
struct Span {
    std::int64_t origin;
    int extent, core, core_end;
    bool first, last;  // whether it begins and ends where the axis does
    bool wraps;        // whether its own ends are neighbours

    QC_HD Span(const Cut& cut, std::int64_t i, Boundary boundary) {
        const std::int64_t begin = i * cut.pitch, end = begin + cut.pitch < cut.size ? begin + cut.pitch : cut.size;
        std::int64_t from = begin - cut.overlap, to = end + cut.overlap;
        if (boundary != Boundary::periodic) {
            from = from < 0 ? 0 : from;
            to = to > cut.size ? cut.size : to;
        }
        origin = from;
        extent = static_cast<int>(to - from);
        core = static_cast<int>(begin - from);
        core_end = static_cast<int>(end - from);
        first = cut.tiles == 1 || (from == 0 && boundary != Boundary::periodic);
        last = cut.tiles == 1 || (to == cut.size && boundary != Boundary::periodic);
        wraps = cut.tiles == 1 && boundary == Boundary::periodic;
    }
};

template <class T>
struct alignas(16) Four {
    T v[columns_of_lane];
};

// A field of any storage type of compute type T.
struct StoredField {
    Elements<char> bytes;
    DType dtype;

    StoredField() = default;
    explicit StoredField(const Field& f, std::int64_t step = 0) : bytes(f), dtype(f.dtype) {
        if (f.data) bytes.data = pointer<char>(static_cast<char*>(f.data) + step * f.step_stride * dtype_size(f.dtype));
    }
    QC_HD explicit operator bool() const { return static_cast<bool>(bytes.data); }
};

// f(an element of the storage type's, for its type)
template <class T, class F>
__device__ void with_storage(DType dtype, F&& f) {
    if constexpr (sizeof(T) == 8) f(double{});
    else if (dtype == DType::f32) f(float{});
    else if (dtype == DType::bf16) f(bfloat16(0.0f));
    else f(float16(0.0f));
}

// A thread's patch of a tile, and the ways to its neighbours.
template <class T, bool Plain>
class Tile {
  public:
    static constexpr int R = rows_of_lane, C = columns_of_lane;
    using Patch = T[R][C];

    __device__ Tile(const Tiling& tiling, Pointer<Four<T>> edges, std::int64_t item)
        : boundary(tiling.boundary), columns(tiling.x, item % tiling.x.tiles, tiling.boundary),
          lines(tiling.y, item / tiling.x.tiles % tiling.y.tiles, tiling.boundary), edges_(edges) {
        const int thread = static_cast<int>(threadIdx.x), lane = thread % 32;
        warps_ = static_cast<int>(blockDim.x) / 32;
        width_ = tiling.x.size;
        height_ = tiling.y.size;
        warp = thread / 32;
        const int image = lane / tiling.lanes, first_lane = image * tiling.lanes, lane_x = lane - first_lane;
        const std::int64_t plane = item / tiling.tiles();
        channel = plane / tiling.groups;
        batch = plane % tiling.groups * tiling.pack + image;
        column = lane_x * C;
        const int used = (columns.extent + C - 1) / C;
        idle = batch >= tiling.batch || lane_x >= used;
        const int full = lines.extent - warp * R;
        rows = full < 0 ? 0 : full < R ? full : R;
        last_warp_ = (lines.extent + R - 1) / R - 1;
        left_lane_ = lane_x > 0 ? lane - 1 : columns.wraps ? first_lane + used - 1 : lane;
        right_lane_ = lane_x < used - 1 ? lane + 1 : columns.wraps ? first_lane : lane;
        left_end_ = lane_x == 0 && !columns.wraps;
        right_end_ = lane_x >= used - 1 && !columns.wraps;
        last_column_ = columns.extent - 1 - column;
    }

    // What lies beside each point of a row, according to the boundary, or (adjoint) zero beyond the ends of a folding one.
    struct Beside {
        T left[C], right[C];
    };
    __device__ Beside beside(const T (&v)[C], bool adjoint) const {
        Beside b;
        const T far_right = v[C - 1];
        T from_left = far_right;
        if constexpr (!Plain) {
            if (columns.wraps && last_column_ >= 0)
#pragma unroll
                for (int c = 0; c < C - 1; ++c)
                    if (c == last_column_) from_left = v[c];
        }
        from_left = __shfl_sync(all, from_left, left_lane_);
        const T from_right = __shfl_sync(all, v[0], right_lane_);
#pragma unroll
        for (int c = 0; c < C; ++c) {
            b.left[c] = c > 0 ? v[c - 1] : from_left;
            b.right[c] = c < C - 1 ? v[c + 1] : from_right;
        }
        if constexpr (Plain) {
            if (left_end_) b.left[0] = T(0);
            if (right_end_) b.right[C - 1] = T(0);
        } else {
            const bool fold = !adjoint && boundary != Boundary::zero;
            if (left_end_) {
                b.left[0] = !fold || !columns.first ? T(0) : boundary == Boundary::reflect ? b.right[0] : v[0];
            }
#pragma unroll
            for (int c = 0; c < C; ++c) {
                if (c != last_column_) continue;
                if (columns.wraps) b.right[c] = from_right;
                else b.right[c] = !fold || !columns.last ? T(0) : boundary == Boundary::reflect ? b.left[c] : v[c];
            }
        }
        return b;
    }

    // The rows above and below the patch, from the warps there or as the boundary has it. A patch that isn't filled has the
    // latter in its own rows. Every thread of the block takes part.
    __device__ void beyond(Patch& u, T (&above)[C], T (&below)[C], bool adjoint) {
        const auto mine = edges_ + ((parity_ * warps_ + warp) * 2) * 32 + threadIdx.x % 32;
        const auto edge = [&](int w, int bottom) { return edges_ + ((parity_ * warps_ + w) * 2 + bottom) * 32 + threadIdx.x % 32; };
        Four<T> top, bottom;
#pragma unroll
        for (int c = 0; c < C; ++c) {
            top.v[c] = u[0][c];
            bottom.v[c] = u[R - 1][c];
        }
        if (rows < R)
#pragma unroll
            for (int y = 0; y < R - 1; ++y)
                if (y == rows - 1)
#pragma unroll
                    for (int c = 0; c < C; ++c) bottom.v[c] = u[y][c];
        mine[0] = top;
        mine[32] = bottom;
        __syncthreads();
        const bool fold = !adjoint && (boundary == Boundary::reflect || boundary == Boundary::replicate);
        Four<T> far{};
        if (warp > 0) far = *edge(warp - 1, 1);
        else if (lines.wraps) far = *edge(last_warp_, 1);
        else if (fold && lines.first)
#pragma unroll
            for (int c = 0; c < C; ++c) far.v[c] = boundary == Boundary::reflect ? u[1][c] : u[0][c];
#pragma unroll
        for (int c = 0; c < C; ++c) above[c] = far.v[c];
        far = {};
        if (warp < last_warp_) far = *edge(warp + 1, 0);
        else if (lines.wraps) far = *edge(0, 0);
        else if (fold && lines.last) {
            far = bottom;
            if (boundary == Boundary::reflect) {
#pragma unroll
                for (int c = 0; c < C; ++c) far.v[c] = above[c];
#pragma unroll
                for (int y = 0; y < R - 1; ++y)
                    if (y == rows - 2)
#pragma unroll
                        for (int c = 0; c < C; ++c) far.v[c] = u[y][c];
            }
        }
#pragma unroll
        for (int c = 0; c < C; ++c) below[c] = far.v[c];
        if (rows < R)
#pragma unroll
            for (int y = 0; y < R; ++y)
                if (y == rows)
#pragma unroll
                    for (int c = 0; c < C; ++c) u[y][c] = below[c];
        parity_ ^= 1;
    }

    // u = the field's points of the tile, zero outside, or u += them. Staged in local memory, so that the loops stay loops and
    // their addresses don't crowd the registers of the steps.
    __device__ void read(const StoredField& field, std::int64_t step, Patch& u, bool add = false) const {
        T staged[R * C];
#pragma unroll
        for (int i = 0; i < R * C; ++i) staged[i] = T(0);
        with_storage<T>(field.dtype, [&](auto element) {
            const auto data = cuda::pointer_cast<const decltype(element)>(field.bytes.data);
            each_point(field.bytes, step, false, [&](int i, std::int64_t at) { staged[i] = from_storage<T>(data[at]); });
        });
#pragma unroll
        for (int i = 0; i < R * C; ++i) u[i / C][i % C] = add ? u[i / C][i % C] + staged[i] : staged[i];
    }
    // The points of the core.
    __device__ void write(const Patch& u, const StoredField& field, std::int64_t step) const {
        T staged[R * C];
#pragma unroll
        for (int i = 0; i < R * C; ++i) staged[i] = u[i / C][i % C];
        with_storage<T>(field.dtype, [&](auto element) {
            using E = decltype(element);
            const auto data = cuda::pointer_cast<E>(field.bytes.data);
            each_point(field.bytes, step, true, [&](int i, std::int64_t at) { data[at] = E(staged[i]); });
        });
    }

    // A tap that looks towards -1 (left or up) or +1 reads point i from the neighbour on the other side and, by a fold at the end
    // of the axis: from i itself (replicate), from the neighbour on this side (reflect).
    __device__ bool reads_itself(const Span& axis, int i, int towards) const {
        return boundary == Boundary::replicate && (towards < 0 ? axis.first && i == 0 : axis.last && i == axis.extent - 1);
    }
    __device__ bool reads_back(const Span& axis, int i, int towards) const {
        return boundary == Boundary::reflect && (towards < 0 ? axis.first && i == 1 : axis.last && i == axis.extent - 2);
    }

    Boundary boundary;
    Span columns, lines;
    std::int64_t channel, batch;
    int warp, column, rows;
    bool idle;

  private:
    static constexpr unsigned all = 0xffffffffu;

    // f(place in the patch, offset of the element) for the points of the patch that lie in the plane or in the tile's core.
    template <class F>
    __device__ void each_point(const Elements<char>& e, std::int64_t step, bool core, F&& f) const {
        if (idle) return;
        const std::int64_t plane = step * e.step_stride + batch * e.batch_stride + channel * e.channel_stride;
        const int begin = core ? lines.core : 0, end = core ? lines.core_end : lines.extent;
        const int left = core ? columns.core : 0, right = core ? columns.core_end : columns.extent;
#pragma unroll 1
        for (int y = 0; y < R; ++y) {
            const int line = warp * R + y;
            if (line < begin || line >= end) continue;
            const std::int64_t row = plane + wrapped(lines.origin + line, height_) * e.y_stride;
#pragma unroll
            for (int c = 0; c < C; ++c) {
                const int x = column + c;
                if (x >= left && x < right) f(y * C + c, row + wrapped(columns.origin + x, width_) * e.x_stride);
            }
        }
    }
    __device__ static std::int64_t wrapped(std::int64_t i, std::int64_t n) { return i < 0 ? i + n : i >= n ? i - n : i; }

    Pointer<Four<T>> edges_;
    int warps_, last_warp_, left_lane_, right_lane_, last_column_;
    bool left_end_, right_end_;
    std::int64_t width_, height_;
    int parity_ = 0;
};

// Four<T>s of shared memory that a tile's edges take: of every warp the first and last row, for this step and the next.
QC_HD int edges_of(int warps) { return 2 * warps * 2 * 32; }

// One step's taps, skip in the centre.
template <class T>
struct StepTaps {
    T k[9], bias;

    __device__ StepTaps(Pointer<const T> taps, Pointer<const T> biases, T skip) {
#pragma unroll
        for (int i = 0; i < 9; ++i) k[i] = taps[i];
        k[4] += skip;
        bias = biases ? biases[0] : T(0);
    }
};

// Settings and parameters of a chain of 3 x 3 steps.
template <class T>
struct Chain {
    Pointer<const T> taps, bias;
    std::int64_t tap_channels, bias_channels;
    Activation activation;
    T slope, skip;

    explicit Chain(const Problem& p)
        : taps(pointer<const T>(p.taps)), bias(pointer<const T>(p.bias)), tap_channels(p.tap_channels), bias_channels(p.bias_channels),
          activation(p.options.activation), slope(static_cast<T>(p.options.slope)), skip(static_cast<T>(p.options.skip)) {}

    __device__ StepTaps<T> step(std::int64_t t, std::int64_t c) const {
        return {taps + (t * tap_channels + (tap_channels == 1 ? 0 : c)) * 9,
                bias ? bias + t * bias_channels + (bias_channels == 1 ? 0 : c) : Pointer<const T>(nullptr), skip};
    }

    // Whether the corners of a channel's kernels are zero in all of some steps, so that five taps do. A barrier of the block.
    __device__ bool star(std::int64_t t0, std::int64_t t1, std::int64_t c) const {
        bool corner = false;
        for (std::int64_t i = threadIdx.x; i < 4 * (t1 - t0); i += blockDim.x) {
            const int corners[4] = {0, 2, 6, 8};
            if (taps[((t0 + i / 4) * tap_channels + (tap_channels == 1 ? 0 : c)) * 9 + corners[i % 4]] != T(0)) corner = true;
        }
        return __syncthreads_or(corner) == 0;
    }
};

QC_HD float relu(float z) {
#if defined(__CUDA_ARCH__)
    float result;  // fmaxf would turn a NaN into 0
    asm("max.NaN.f32 %0, %1, 0f00000000;" : "=f"(result) : "f"(z));
    return result;
#else
    return z <= 0.0f ? 0.0f : z;
#endif
}
QC_HD double relu(double z) { return z <= 0.0 ? 0.0 : z; }

// u = act(k * u + bias), the same expressions whether on the way forward or once more on the way back.
template <bool Star, class T, bool Plain>
__device__ void correlate(Tile<T, Plain>& tile, const StepTaps<T>& taps, T (&u)[rows_of_lane][columns_of_lane]) {
    constexpr int R = rows_of_lane, C = columns_of_lane;
    using Beside = typename Tile<T, Plain>::Beside;
    T above[C], below[C];
    tile.beyond(u, above, below, false);
    Beside row = tile.beside(u[0], false), before{}, after{};
    if constexpr (!Star) before = tile.beside(above, false);
#pragma unroll
    for (int y = 0; y < R; ++y) {
        T next[C];
#pragma unroll
        for (int c = 0; c < C; ++c) next[c] = y < R - 1 ? u[(y + 1) % R][c] : below[c];
        if (!Star || y < R - 1) after = tile.beside(next, false);
        T z[C];
#pragma unroll
        for (int c = 0; c < C; ++c) {
            T sum = taps.bias;
            if constexpr (!Star) sum = taps.k[0] * before.left[c] + sum;
            sum = taps.k[1] * above[c] + sum;
            if constexpr (!Star) sum = taps.k[2] * before.right[c] + sum;
            sum = taps.k[3] * row.left[c] + sum;
            sum = taps.k[4] * u[y][c] + sum;
            sum = taps.k[5] * row.right[c] + sum;
            if constexpr (!Star) sum = taps.k[6] * after.left[c] + sum;
            sum = taps.k[7] * next[c] + sum;
            if constexpr (!Star) sum = taps.k[8] * after.right[c] + sum;
            z[c] = sum;
        }
#pragma unroll
        for (int c = 0; c < C; ++c) {
            above[c] = u[y][c];
            u[y][c] = z[c];
        }
        before = row;
        row = after;
    }
}

template <class T, bool Plain>
__device__ void step(Tile<T, Plain>& tile, const Chain<T>& chain, std::int64_t t, bool star,
                     T (&u)[rows_of_lane][columns_of_lane]) {
    constexpr int points = rows_of_lane * columns_of_lane, C = columns_of_lane;
    const StepTaps<T> taps = chain.step(t, tile.channel);
    star ? correlate<true>(tile, taps, u) : correlate<false>(tile, taps, u);
    if (chain.activation == Activation::relu) {
#pragma unroll
        for (int i = 0; i < points; ++i) u[i / C][i % C] = relu(u[i / C][i % C]);
    } else if (chain.activation != Activation::none) {
        T staged[points];  // in local memory: a loop that is not unrolled
#pragma unroll
        for (int i = 0; i < points; ++i) staged[i] = u[i / C][i % C];
#pragma unroll 1
        for (int i = 0; i < points; ++i) staged[i] = activate(staged[i], chain.activation, chain.slope);
#pragma unroll
        for (int i = 0; i < points; ++i) u[i / C][i % C] = staged[i];
    }
}

}  // namespace qcore::stencil
