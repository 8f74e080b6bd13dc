// How the kernels of the CPU cut a batch of rows into blocks.
#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "core/parallel.hpp"

namespace qcore::paths {
namespace {

template <class F>
void in_parallel(std::int64_t n, int threads, F&& body) {
    parallel_for(n, threads, [](void* f, std::int64_t i) { (*static_cast<std::remove_reference_t<F>*>(f))(i); }, &body);
}

// A block of rows for one thread, by their length alone; of short ones a whole number of the eight that go side by side.
constexpr std::int64_t block_numbers = 16384;
inline std::int64_t block_rows(std::int64_t length) {
    const std::int64_t rows = std::clamp<std::int64_t>(block_numbers / std::max<std::int64_t>(length, 1), 1, 2048);
    return rows < 8 ? rows : rows / 8 * 8;
}

inline int threads_for(std::int64_t rows, std::int64_t length) {
    return static_cast<int>(std::min<std::int64_t>(max_threads(), 1 + rows * std::max<std::int64_t>(length, 1) / block_numbers));
}

}  // namespace
}  // namespace qcore::paths
