// Checks that the entry points of the actions share.
#pragma once

#include <string>

#include "core/check.hpp"

namespace qcore::paths {
namespace {

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
