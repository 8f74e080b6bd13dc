// A plane, or a part of one, in the registers of a block: what the fast kernels do their steps on.
//
// A lane holds some rows of 4 columns. Lanes lie side by side, so many as a row needs; where that leaves lanes of a warp, further
// images lie beside the first. Warps lie one above the other, so many as a column needs. Neighbours across come by two shuffles
// for four points, neighbours up and down from the warps next to it through shared memory, with one barrier a step.
#pragma once

#include <algorithm>

#include "stencil_tiling.hpp"

namespace qcore::stencil {

template <class T>
struct alignas(16) Four {
    T v[columns_of_lane];
};

// Four stored elements that lie side by side, in one access where their memory allows it.
template <class E>
struct alignas(4 * sizeof(E) < 16 ? 4 * sizeof(E) : 16) Quad {
    E v[columns_of_lane];
};

// A field of any storage type of compute type T.
struct StoredField {
    Elements<char> bytes;
    DType dtype;
    bool quads = false;  // whether every lane's columns are a Quad

    StoredField() = default;
    explicit StoredField(const Field& f, std::int64_t width, std::int64_t step = 0) : bytes(f), dtype(f.dtype) {
        if (!f.data) return;
        const std::int64_t size = dtype_size(f.dtype), quad = std::min<std::int64_t>(columns_of_lane * size, 16);
        char* const data = static_cast<char*>(f.data) + step * f.step_stride * size;
        bytes.data = pointer<char>(data);
        const auto whole = [&](std::int64_t stride) { return stride * size % quad == 0; };
        quads = f.x_stride == 1 && width % columns_of_lane == 0 && reinterpret_cast<std::uintptr_t>(data) % quad == 0 &&
                whole(f.y_stride) && whole(f.channel_stride) && whole(f.batch_stride) && whole(f.step_stride);
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

// Four<T>s of shared memory that a tile's edges take: of every warp the first and the last row, of this step and of the next.
constexpr int edges_of_turn = 2 * 32, edges_of_warp = 2 * edges_of_turn;

// By value: a choice between elements of an array in registers must not become one of addresses, which registers don't have.
template <class T>
QC_HD T pick(bool first, T a, T b) {
    return first ? a : b;
}

// i, so that what is computed from it is computed here: held over the steps, addresses would crowd their registers.
__device__ inline int here(int i) {
#if defined(__CUDA_ARCH__)
    asm volatile("" : "+r"(i));
#endif
    return i;
}

// A thread's patch of a tile, R rows of it, and the ways to its neighbours.
template <class T_, int R_, bool Plain_>
class Tile {
  public:
    using T = T_;
    static constexpr int R = R_, C = columns_of_lane;
    static constexpr bool Plain = Plain_;
    using Patch = T[R][C];

    __device__ Tile(const Tiling& tiling, Pointer<Four<T>> edges, int item)
        : boundary(tiling.boundary), columns(tiling.x, item % tiling.x.tiles, boundary),
          lines(tiling.y, item / tiling.x.tiles % tiling.y.tiles, boundary), tiling_(tiling), column_tile_(item % tiling.x.tiles),
          line_tile_(item / tiling.x.tiles % tiling.y.tiles) {
        const int thread = static_cast<int>(threadIdx.x), lane = thread % 32;
        warp = thread / 32;
        edge_ = edges + warp * edges_of_warp + lane;
        const int image = lane / tiling.lanes, first_lane = image * tiling.lanes, lane_x = lane - first_lane;
        const int plane = item / tiling.tiles();
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
                for (int c = 0; c < C - 1; ++c) from_left = pick(c == last_column_, v[c], from_left);
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
        Four<T> top, bottom;
#pragma unroll
        for (int c = 0; c < C; ++c) {
            top.v[c] = u[0][c];
            bottom.v[c] = u[R - 1][c];
        }
        if (rows < R)
#pragma unroll
            for (int y = 0; y < R - 1; ++y)
#pragma unroll
                for (int c = 0; c < C; ++c) bottom.v[c] = pick(y == rows - 1, u[y][c], bottom.v[c]);
        // What this warp shows, in turn in one place and in another, so that a barrier a step is enough: the first row, the last.
        constexpr int last_row = 32;
        const auto edge = edge_ + turn_;
        turn_ ^= edges_of_turn;
        edge[0] = top;
        edge[last_row] = bottom;
        __syncthreads();
        const bool fold = !Plain && !adjoint && (boundary == Boundary::reflect || boundary == Boundary::replicate);
        Four<T> far{};
        if (warp > 0) far = edge[last_row - edges_of_warp];
        else if (lines.wraps) far = edge[last_row + last_warp_ * edges_of_warp];
        else if (fold && lines.first)
#pragma unroll
            for (int c = 0; c < C; ++c) far.v[c] = pick(boundary == Boundary::reflect, u[1][c], u[0][c]);
#pragma unroll
        for (int c = 0; c < C; ++c) above[c] = far.v[c];
        far = {};
        if (warp < last_warp_) far = edge[edges_of_warp];
        else if (lines.wraps) far = edge[-warp * edges_of_warp];
        else if (fold && lines.last) {
            far = bottom;
            if (boundary == Boundary::reflect) {
#pragma unroll
                for (int c = 0; c < C; ++c) far.v[c] = above[c];
#pragma unroll
                for (int y = 0; y < R - 1; ++y)
#pragma unroll
                    for (int c = 0; c < C; ++c) far.v[c] = pick(y == rows - 2, u[y][c], far.v[c]);
            }
        }
#pragma unroll
        for (int c = 0; c < C; ++c) below[c] = far.v[c];
        if (rows < R)
#pragma unroll
            for (int y = 0; y < R; ++y)
#pragma unroll
                for (int c = 0; c < C; ++c) u[y][c] = pick(y == rows, below[c], u[y][c]);
    }

    // u = the field's points of the tile, zero outside, or u += them.
    __device__ void read(const StoredField& field, std::int64_t step, Patch& u, bool add = false) const {
        if (!add)
#pragma unroll
            for (int i = 0; i < R * C; ++i) u[i / C][i % C] = T(0);
        if (field.quads)
            return each_row(field.bytes, step, false, [&](int y, std::int64_t at) {
                with_storage<T>(field.dtype, [&](auto element) {
                    using E = decltype(element);
                    const auto data = cuda::pointer_cast<const E>(field.bytes.data);
                    const Quad<E> quad = *cuda::pointer_cast<const Quad<E>>(data + at);
#pragma unroll
                    for (int c = 0; c < C; ++c) u[y][c] = u[y][c] + from_storage<T>(quad.v[c]);
                });
            });
        // Staged in local memory, so that the loops stay loops; volatile, or the steps would keep the copy up to date.
        volatile T staged[R * C];
#pragma unroll
        for (int i = 0; i < R * C; ++i) staged[i] = T(0);
        each_point(field.bytes, step, false, [&](int i, std::int64_t at) {
            with_storage<T>(field.dtype, [&](auto element) {
                staged[i] = from_storage<T>(cuda::pointer_cast<const decltype(element)>(field.bytes.data)[at]);
            });
        });
#pragma unroll
        for (int i = 0; i < R * C; ++i) u[i / C][i % C] = u[i / C][i % C] + staged[i];
    }
    // The points of the core.
    __device__ void write(const Patch& u, const StoredField& field, std::int64_t step) const {
        if (field.quads)
            return each_row(field.bytes, step, true, [&](int y, std::int64_t at) {
                with_storage<T>(field.dtype, [&](auto element) {
                    using E = decltype(element);
                    Quad<E> quad;
#pragma unroll
                    for (int c = 0; c < C; ++c) quad.v[c] = E(u[y][c]);
                    *cuda::pointer_cast<Quad<E>>(cuda::pointer_cast<E>(field.bytes.data) + at) = quad;
                });
            });
        volatile T staged[R * C];
#pragma unroll
        for (int i = 0; i < R * C; ++i) staged[i] = u[i / C][i % C];
        each_point(field.bytes, step, true, [&](int i, std::int64_t at) {
            with_storage<T>(field.dtype, [&](auto element) {
                using E = decltype(element);
                cuda::pointer_cast<E>(field.bytes.data)[at] = E(T(staged[i]));
            });
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
    int channel, batch, warp, column, rows;
    bool idle;

  private:
    static constexpr unsigned all = 0xffffffffu;

    // Where the lane's patch lies in a field, or in the core of the tile.
    struct Place {
        Span columns, lines;
        int first_line, first_column, begin, end, left, right;

        __device__ Place(const Tile& tile, bool core)
            : columns(tile.tiling_.x, here(tile.column_tile_), tile.boundary),
              lines(tile.tiling_.y, here(tile.line_tile_), tile.boundary), first_line(here(tile.warp * R)),
              first_column(here(tile.column)), begin(core ? lines.core : 0), end(core ? lines.core_end : lines.extent),
              left(core ? columns.core : 0), right(core ? columns.core_end : columns.extent) {}
        __device__ bool holds_line(int y) const { return first_line + y >= begin && first_line + y < end; }
        __device__ bool holds_column(int c) const { return first_column + c >= left && first_column + c < right; }
    };
    __device__ std::int64_t plane_of(const Elements<char>& e, std::int64_t step) const {
        return step * e.step_stride + std::int64_t{here(batch)} * e.batch_stride + std::int64_t{here(channel)} * e.channel_stride;
    }
    // f(row of the patch, offset of its first element) for the rows that lie in the plane or in the tile's core.
    template <class F>
    __device__ void each_row(const Elements<char>& e, std::int64_t step, bool core, F&& f) const {
        const Place place(*this, core);
        if (idle || !place.holds_column(0)) return;
        const std::int64_t height = tiling_.y.size, line = wrapped(place.lines.origin + place.first_line, height);
        const int to_end = height - line < R ? static_cast<int>(height - line) : R;
        const std::int64_t x = wrapped(place.columns.origin + place.first_column, tiling_.x.size);
        std::int64_t at = plane_of(e, step) + line * e.y_stride + x;
#pragma unroll
        for (int y = 0; y < R; ++y) {
            if (y == to_end) at -= height * e.y_stride;
            if (place.holds_line(y)) f(y, at);
            at += e.y_stride;
        }
    }
    // f(place in the patch, offset of the element) for the points there.
    template <class F>
    __device__ void each_point(const Elements<char>& e, std::int64_t step, bool core, F&& f) const {
        if (idle) return;
        const Place place(*this, core);
        const std::int64_t plane = plane_of(e, step);
#pragma unroll 1
        for (int y = 0; y < R; ++y) {
            if (!place.holds_line(y)) continue;
            const std::int64_t row = plane + wrapped(place.lines.origin + place.first_line + y, tiling_.y.size) * e.y_stride;
#pragma unroll
            for (int c = 0; c < C; ++c)
                if (place.holds_column(c))
                    f(y * C + c, row + wrapped(place.columns.origin + place.first_column + c, tiling_.x.size) * e.x_stride);
        }
    }
    __device__ static std::int64_t wrapped(std::int64_t i, std::int64_t n) { return i < 0 ? i + n : i >= n ? i - n : i; }

    const Tiling& tiling_;
    int column_tile_, line_tile_;
    Pointer<Four<T>> edge_;
    int last_warp_, left_lane_, right_lane_, last_column_;
    bool left_end_, right_end_;
    int turn_ = 0;
};

}  // namespace qcore::stencil
