// What every kernel is written with and every launch goes through. The same sources are compiled by nvcc and, against
// tests/cuda/emulation, as plain C++ (QCORE_EMULATION).
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

#include "queue.hpp"

#if defined(QCORE_EMULATION)
#include "emulation.hpp"
#endif

namespace qcore::cuda {

// Elements in the device's memory, as kernels take them. The emulation's check their bounds.
#if defined(QCORE_EMULATION)
template <class T>
using Pointer = emulation::Pointer<T>;
template <class T>
Pointer<T> pointer(const void* memory) {
    return emulation::pointer<T>(memory);
}
using emulation::pointer_cast;
#else
template <class T>
using Pointer = T*;
template <class T>
Pointer<T> pointer(const void* memory) {
    return static_cast<T*>(const_cast<void*>(memory));
}
// The same memory as elements of another type, such as float4, for whose alignment the caller vouches.
template <class U, class T>
__host__ __device__ U* pointer_cast(T* p) {
    return reinterpret_cast<U*>(p);
}
#endif

// Hands out the block's dynamic shared memory, of which there is no other kind. Every thread of a block asks for the same arrays
// in the same order; they begin on 16 bytes and hold anything. Declare it once, at the top of a kernel.
class SharedMemory {
  public:
    template <class T>
    __device__ Pointer<T> array(int count) {
        const std::size_t begin = used_;
        used_ += bytes<T>(count);
#if defined(QCORE_EMULATION)
        return emulation::shared_array<T>(begin, static_cast<std::size_t>(count));
#elif defined(__CUDA_ARCH__)
        extern __shared__ uint4 qcore_shared[];
        return reinterpret_cast<T*>(reinterpret_cast<char*>(qcore_shared) + begin);
#else
        return nullptr;
#endif
    }

    // What such an array takes of Grid::shared.
    template <class T>
    static __host__ __device__ constexpr std::size_t bytes(int count) {
        return (sizeof(T) * static_cast<std::size_t>(count) + 15) / 16 * 16;
    }

  private:
    std::size_t used_ = 0;
};

// Threads of a launch.
struct Grid {
    dim3 blocks, threads;
    std::size_t shared = 0;  // bytes of dynamic shared memory of a block
};

// As many blocks as n items need, and no more than some: kernels go over the rest in grid strides.
inline Grid grid_for(std::int64_t items, int threads, std::int64_t most = std::int64_t{1} << 20) {
    const std::int64_t blocks = (items + threads - 1) / threads;
    return {dim3(static_cast<unsigned>(blocks < 1 ? 1 : blocks < most ? blocks : most)), dim3(static_cast<unsigned>(threads)), 0};
}

// This thread among all of a one-dimensional grid, and how many there are: for (i = thread(); i < n; i += threads()).
__device__ inline std::int64_t thread() { return static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; }
__device__ inline std::int64_t threads() { return static_cast<std::int64_t>(gridDim.x) * blockDim.x; }

// Runs kernel(arguments...) on the queue. Settings go by value, as arguments (up to 4 KiB in all): a copy from host memory could
// not be captured in a graph.
template <class... P, class... A>
void launch(const Queue& queue, void (*kernel)(P...), const Grid& grid, A&&... arguments) {
#if defined(QCORE_EMULATION)
    static_cast<void>(queue);
    emulation::launch(grid.blocks, grid.threads, grid.shared, [&] { kernel(static_cast<P>(arguments)...); });
#else
    // Always the most there is: the limit is the kernel's in all threads, and one must not lower it before another's launch.
    if (grid.shared > 48 * 1024)
        check(cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel), cudaFuncAttributeMaxDynamicSharedMemorySize,
                                   static_cast<int>(queue.shared_per_block())),
              "asking for shared memory");
    kernel<<<grid.blocks, grid.threads, grid.shared, queue.stream()>>>(static_cast<P>(arguments)...);
    check(cudaGetLastError(), "a launch");
#endif
}

}  // namespace qcore::cuda
