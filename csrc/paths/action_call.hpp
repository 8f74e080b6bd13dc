// What the entry points of the actions share: how a batch is cut into blocks, and checks.
#pragma once

#include <algorithm>
#include <string>
#include <type_traits>

#include "core/check.hpp"
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

inline TensorView shaped(std::initializer_list<std::int64_t> shape) {
    TensorView t;
    for (std::int64_t n : shape) t.shape[t.ndim++] = n;
    return t;
}

inline void check_code(const char* name, int code, int last) {
    if (code < 0 || code > last) fail(name, "a code from 0 to " + std::to_string(last), std::to_string(code));
}

inline void check_contiguous(const char* name, const TensorView& t) {
    check_device(name, t);
    if (!t.contiguous()) fail(name, "a contiguous tensor", "strides that are not contiguous");
}

inline void check_real(const char* name, const TensorView& t) {
    if (t.dtype != DType::f32 && t.dtype != DType::f64) fail(name, "float32 or float64", dtype_name(t.dtype));
}

inline void check_input(const char* name, const TensorView& t, DType dtype, const TensorView& shape) {
    check_dtype(name, t, dtype);
    check_shape(name, t, shape);
    check_contiguous(name, t);
}

inline void check_result(const char* name, const TensorView& t, DType dtype, const TensorView& shape) {
    check_dtype(name, t, dtype);
    check_shape(name, t, shape);
    check_output(name, t);
}

}  // namespace
}  // namespace qcore::paths
