// Between tensors, a system a row, and the layout of the sweeps, where the systems are what changes fastest. Sums over systems.
#pragma once

#include "launch.hpp"
#include "schrodinger_number.hpp"

namespace qcore::schrodinger {
namespace {

using cuda::launch;
using cuda::Pointer;
using cuda::pointer;
using cuda::Queue;

enum class Reading : int { plain, conjugate };

constexpr int tile = 32, tile_rows = 8;

// Tiles of a matrix, to be gone through by blocks of tile x tile_rows threads.
inline cuda::Grid tiles(std::int64_t rows, std::int64_t columns, std::size_t shared) {
    const std::int64_t count = ((rows + tile - 1) / tile) * ((columns + tile - 1) / tile), most = std::int64_t{1} << 20;
    return {dim3(static_cast<unsigned>(count < most ? count : most)), dim3(tile, tile_rows), shared};
}

// to (columns, rows) from `from` (rows, columns). Through shared memory, so that both sides are gone through in their order; its
// columns are padded against bank conflicts.
template <class E, class N>
__global__ void transpose(Pointer<const E> from, Pointer<N> to, std::int64_t rows, std::int64_t columns, Reading reading) {
    cuda::SharedMemory shared;
    const auto square = shared.array<E>(tile * (tile + 1));
    const std::int64_t across = (columns + tile - 1) / tile, count = across * ((rows + tile - 1) / tile);
    const int x = static_cast<int>(threadIdx.x), y = static_cast<int>(threadIdx.y);
    for (std::int64_t t = blockIdx.x; t < count; t += gridDim.x) {
        const std::int64_t row = t / across * tile, column = t % across * tile;
        for (int i = y; i < tile; i += tile_rows)
            if (row + i < rows && column + x < columns) square[i * (tile + 1) + x] = from[(row + i) * columns + column + x];
        __syncthreads();
        for (int i = y; i < tile; i += tile_rows)
            if (row + x < rows && column + i < columns) {
                const N value = convert<N>(square[x * (tile + 1) + i]);
                to[(column + i) * rows + row + x] = reading == Reading::conjugate ? value.conjugate() : value;
            }
        __syncthreads();
    }
}

template <class E, class N>
void launch_transpose(const Queue& queue, Pointer<const E> from, Pointer<N> to, std::int64_t rows, std::int64_t columns,
                      Reading reading = Reading::plain) {
    launch(queue, transpose<E, N>, tiles(rows, columns, cuda::SharedMemory::bytes<E>(tile * (tile + 1))), from, to, rows, columns,
           reading);
}

constexpr int sum_threads = 256;

// to_i += conj(sum of row i of a matrix), a block for each row at a time: the same order of additions on any device.
template <class N, class E>
__global__ void sum_rows(Pointer<const N> from, Pointer<E> to, std::int64_t rows, std::int64_t columns) {
    cuda::SharedMemory shared;
    const auto part = shared.array<N>(sum_threads);
    const int t = static_cast<int>(threadIdx.x);
    for (std::int64_t row = blockIdx.x; row < rows; row += gridDim.x) {
        N sum = N::of(0, 0);
        for (std::int64_t i = t; i < columns; i += sum_threads) sum = sum + from[row * columns + i];
        part[t] = sum;
        __syncthreads();
        for (int half = sum_threads / 2; half > 0; half /= 2) {
            if (t < half) part[t] = part[t] + part[t + half];
            __syncthreads();
        }
        if (t == 0) to[row] = to[row] + convert<E>(part[0].conjugate());
        __syncthreads();
    }
}

template <class N, class E>
void launch_sum_rows(const Queue& queue, Pointer<const N> from, Pointer<E> to, std::int64_t rows, std::int64_t columns) {
    const cuda::Grid grid = cuda::grid_for(rows * sum_threads, sum_threads, 1 << 16);
    launch(queue, sum_rows<N, E>, {grid.blocks, grid.threads, cuda::SharedMemory::bytes<N>(sum_threads)}, from, to, rows,
           columns);
}

// to (slices, n) = or, where they are to be added, += the sum of `from` (slices, batch, n) over the batch: the same order of
// additions on any device.
constexpr int sum_columns = 32, sum_rows_together = 16;

template <class V>
__global__ void __launch_bounds__(sum_columns* sum_rows_together)
    sum_systems(Pointer<const V> from, Pointer<V> to, std::int64_t slices, std::int64_t batch, std::int64_t n, bool added) {
    cuda::SharedMemory shared;
    const auto part = shared.array<V>(sum_columns * sum_rows_together);
    const std::int64_t across = (n + sum_columns - 1) / sum_columns;
    const int x = static_cast<int>(threadIdx.x), y = static_cast<int>(threadIdx.y);
    for (std::int64_t item = blockIdx.x; item < slices * across; item += gridDim.x) {
        const std::int64_t slice = item / across, column = item % across * sum_columns + x;
        V sum = V::of(0, 0);
        for (std::int64_t b = y; b < batch && column < n; b += sum_rows_together)
            sum = sum + from[(slice * batch + b) * n + column];
        part[y * sum_columns + x] = sum;
        __syncthreads();
        if (y == 0 && column < n) {
            for (int k = 1; k < sum_rows_together; ++k) sum = sum + part[k * sum_columns + x];
            to[slice * n + column] = added ? to[slice * n + column] + sum : sum;
        }
        __syncthreads();
    }
}

template <class V>
void launch_sum_systems(const Queue& queue, Pointer<const V> from, Pointer<V> to, std::int64_t slices, std::int64_t batch,
                        std::int64_t n, bool added = false) {
    const cuda::Grid grid = cuda::grid_for(slices * ((n + sum_columns - 1) / sum_columns), 1);
    const std::size_t room = cuda::SharedMemory::bytes<V>(sum_columns * sum_rows_together);
    launch(queue, sum_systems<V>, {grid.blocks, dim3(sum_columns, sum_rows_together), room}, from, to, slices, batch, n,
           added);
}

}  // namespace
}  // namespace qcore::schrodinger
