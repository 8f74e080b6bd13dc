#include "core/vector_functions.hpp"

#include <algorithm>
#include <array>
#include <string_view>

#include "core/check.hpp"
#include "core/vector_functions_kernels.hpp"

namespace qcore {

namespace {

constexpr std::array<std::string_view, 11> names{"exp",  "expm1", "exp_bounded", "tanh",      "sigmoid",  "sqrt",
                                                 "log",  "sin",   "cos",         "sin_turns", "cos_turns"};

}  // namespace

void vector_function(const std::string& name, const TensorView& x, const TensorView& out) {
    const auto found = std::find(names.begin(), names.end(), name);
    if (found == names.end()) fail("name", "that of an elementary function", name);
    check_device("x", x);
    if (x.dtype != DType::f32 && x.dtype != DType::f64) fail("x", "dtype float32 or float64", dtype_name(x.dtype));
    if (!x.contiguous()) fail("x", "a contiguous tensor", "strides that are not contiguous");
    check_dtype("out", out, x.dtype);
    check_shape("out", out, x);
    check_output("out", out);
    check_disjoint("out", out, "x", x);
    if (x.numel() > 0) apply(static_cast<VectorFunction>(found - names.begin()), x.dtype, x.numel(), x.data, out.data);
}

}  // namespace qcore
