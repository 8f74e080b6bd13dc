// Threads: one parallel loop on the OpenMP runtime that torch uses, and scratch memory per thread.
#pragma once

#include <cstddef>
#include <cstdint>

namespace qcore {

// Threads a region started here would get: torch.set_num_threads / OMP_NUM_THREADS, but 1 inside a parallel region
// and in a forked child (libgomp's worker threads don't survive a fork and the child would wait for them forever).
int max_threads();

// Calls body(context, i) for i in [0, n), handing out items in turn to at most `threads` threads.
// Which thread runs an item must not change what it computes: results then are the same for any number of threads.
// An exception thrown by a body is rethrown here after all threads have stopped.
void parallel_for(std::int64_t n, int threads, void (*body)(void* context, std::int64_t i), void* context);

// Uninitialised scratch of this thread, 64-byte aligned, valid until this thread's next call. Kept between calls, because
// faulting in fresh pages costs more than a small kernel; blocks above 64 MiB are not kept past the next call.
void* thread_scratch(std::size_t bytes);

}  // namespace qcore
