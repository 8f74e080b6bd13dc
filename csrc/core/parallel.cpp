#include "core/parallel.hpp"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <exception>
#include <new>

#include <omp.h>
#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif

namespace qcore {

namespace {

std::atomic<bool> forked{false};

#if defined(__unix__) || defined(__APPLE__)
const int at_fork = pthread_atfork(nullptr, nullptr, [] { forked.store(true, std::memory_order_relaxed); });
#endif

constexpr std::size_t alignment = 64;
constexpr std::size_t keep_bytes = std::size_t{64} << 20;

struct Scratch {
    void* data = nullptr;
    std::size_t size = 0;

    ~Scratch() { std::free(data); }
};

thread_local Scratch scratch;

}  // namespace

int max_threads() {
    if (forked.load(std::memory_order_relaxed) || omp_in_parallel()) return 1;
    return omp_get_max_threads();
}

void parallel_for(std::int64_t n, int threads, void (*body)(void*, std::int64_t), void* context) {
    threads = static_cast<int>(std::min<std::int64_t>({n, threads, max_threads()}));
    if (threads <= 1) {
        for (std::int64_t i = 0; i < n; ++i) body(context, i);
        return;
    }
    std::exception_ptr error;
    std::atomic<bool> failed{false};
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads)
    for (std::int64_t i = 0; i < n; ++i) {
        if (failed.load(std::memory_order_relaxed)) continue;
        try {
            body(context, i);
        } catch (...) {
            if (!failed.exchange(true)) error = std::current_exception();
        }
    }
    if (error) std::rethrow_exception(error);
}

void* thread_scratch(std::size_t bytes) {
    bytes = (std::max<std::size_t>(bytes, 1) + alignment - 1) / alignment * alignment;
    if (bytes > scratch.size || scratch.size > keep_bytes) {
        std::free(scratch.data);
        scratch.size = 0;
        scratch.data = std::aligned_alloc(alignment, bytes);
        if (!scratch.data) throw std::bad_alloc();
        scratch.size = bytes;
    }
    return scratch.data;
}

}  // namespace qcore
