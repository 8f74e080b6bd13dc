// Sums of parameter gradients: in a block by a tree, then over the parts of a fixed partition in their order. No atomics, so that
// they are the same bit for bit in every run and on every device.
#pragma once

#include "stencil.hpp"

namespace qcore::stencil {

constexpr unsigned all_lanes = 0xffffffffu;

template <class S>
__device__ S shuffle_down(S a, int by) {
    if constexpr (is_complex_number<S>) return {__shfl_down_sync(all_lanes, a.re, by), __shfl_down_sync(all_lanes, a.im, by)};
    else return __shfl_down_sync(all_lanes, a, by);
}

// The sum over the lanes of a warp, in lane 0.
template <class S>
__device__ S warp_sum(S a) {
    for (int by = 16; by > 0; by /= 2) a = a + shuffle_down(a, by);
    return a;
}

// The sum over the threads of a block of whole warps, in thread 0; scratch holds one number a warp.
template <class S>
__device__ S block_sum(S a, Pointer<S> scratch) {
    a = warp_sum(a);
    __syncthreads();
    if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = a;
    __syncthreads();
    S sum(0);
    if (threadIdx.x == 0)
        for (unsigned w = 0; w < blockDim.x / 32; ++w) sum = sum + scratch[w];
    return sum;
}

// Block i sums one gradient: over the parts of its channel, or of all channels where those share it (out_channels 1).
// partial[channel][part][step][sum] -> out[step][shared channel][sum - first].
template <class P, class K>
__global__ void add_up_kernel(Pointer<const P> partial, Pointer<K> out, std::int64_t channels, std::int64_t parts,
                              std::int64_t steps, int sums, int first, int count, std::int64_t out_channels) {
    using Total = std::conditional_t<is_complex_number<P>, P, double>;
    cuda::SharedMemory shared;
    const auto scratch = shared.array<Total>(static_cast<int>(blockDim.x / 32));
    for (std::int64_t i = blockIdx.x; i < steps * out_channels * count; i += gridDim.x) {
        const std::int64_t k = first + i % count, to = i / count % out_channels, step = i / count / out_channels;
        const std::int64_t terms = channels / out_channels * parts;  // of one channel, or of all: they lie one after the other
        Total total(0);
        for (std::int64_t j = threadIdx.x; j < terms; j += blockDim.x)
            total = total + Total(partial[((to * parts + j) * steps + step) * sums + k]);
        total = block_sum(total, scratch);
        if (threadIdx.x == 0) out[i] = narrow<K>(total);
    }
}

// The gradients of steps t ... t + steps - 1 from partial[channel][part][step][kernel_size() taps, then bias].
template <class P, class K>
void add_up(const Queue& queue, const Problem& p, std::int64_t t, std::int64_t steps, Pointer<const P> partial,
            std::int64_t parts) {
    using Total = std::conditional_t<is_complex_number<P>, P, double>;
    const int taps = static_cast<int>(p.kernel_size());
    const auto run = [&](void* out, std::int64_t out_channels, int first, int count) {
        cuda::Grid grid = cuda::grid_for(steps * out_channels * count, 1);
        grid.threads = dim3(128);
        grid.shared = cuda::SharedMemory::bytes<Total>(4);
        launch(queue, add_up_kernel<P, K>, grid, partial, pointer<K>(out) + t * out_channels * count, p.channels, parts, steps,
               taps + 1, first, count, out_channels);
    };
    run(p.grad_taps, p.tap_channels, 0, taps);
    if (p.grad_bias) run(p.grad_bias, p.bias_channels, taps, 1);
}

}  // namespace qcore::stencil
