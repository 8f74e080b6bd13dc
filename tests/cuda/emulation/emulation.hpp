// CUDA kernels on the CPU: launches, the schedule of their threads, and shared memory.
//
// Blocks run one after another, the threads of a block as fibers on the thread of the operating system that launched: one
// runs until it waits for others, at a barrier or in a warp operation, or returns. Only there can threads interleave, so a
// missing barrier shows as a result that depends on the schedule, and not in every one: compare a few. A thread that spins until
// another one writes would spin for ever. Launches from several threads of the operating system are independent.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>

#include "errors.hpp"
#include "memory.hpp"
#include "pointer.hpp"
#include "vectors.hpp"

namespace qcore::emulation {

// What the emulated device can do; the limits are those of compute capability 9.0.
inline constexpr unsigned max_threads_per_block = 1024;
inline constexpr std::size_t max_shared_bytes = 232448;

// The order of threads and blocks in launches to come. 0: ascending, of all threads that can go on the first one does. Any other
// number is the seed of a random choice among them, anew each time, and of an order of blocks.
void set_schedule(std::uint64_t seed);

// Runs `thread` for every thread of the grid. Dynamic shared memory is filled with 0xFF (NaN) before each block, so that a
// read before the write shows. What a thread throws ends the launch and comes out here, after every other thread has
// been unwound; a kernel that throws through a noexcept function ends the process, as anywhere.
// Throws LaunchError, AccessError or SynchronizationError, or what the kernel itself throws.
void launch(dim3 grid, dim3 block, std::size_t shared_bytes, const std::function<void()>& thread);

// The address of `bytes` in the dynamic shared memory of the current block. Throws AccessError if they aren't all in it.
std::byte* shared_memory(std::size_t offset_bytes, std::size_t bytes);

// `count` elements in dynamic shared memory, bounded by themselves and not only by the block's.
template <class T>
Pointer<T> shared_array(std::size_t offset_bytes, std::size_t count) {
    const std::byte* begin = shared_memory(offset_bytes, count * sizeof(T));
    return Pointer<T>(begin, {begin, begin + count * sizeof(T)});
}

}  // namespace qcore::emulation
