// Argument checks whose messages name the argument, what was expected and what came.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <stdexcept>
#include <string>

#include "core/tensor_view.hpp"

namespace qcore {

// Becomes ValueError in Python.
[[noreturn]] inline void fail(const std::string& argument, const std::string& expected, const std::string& got) {
    throw std::invalid_argument(argument + ": expected " + expected + ", got " + got);
}

inline std::string shape_text(std::initializer_list<std::int64_t> shape) {
    TensorView view;
    for (std::int64_t n : shape) view.shape[view.ndim++] = n;
    return view.shape_text();
}

void check_dtype(const char* name, const TensorView& t, DType expected);
void check_shape(const char* name, const TensorView& t, const TensorView& expected);

// The memory that the kernels of this module work on, or, for small settings that are read before a launch, the host's.
void check_device(const char* name, const TensorView& t);
void check_host(const char* name, const TensorView& t);

// From the first to past the last byte that the elements of a tensor lie in.
struct ByteRange {
    const char* begin;
    const char* end;
};
ByteRange byte_range(const TensorView& t);

// An output must be writable, contiguous and free of overlap with `other` (an input or another output).
void check_output(const char* name, const TensorView& t);
void check_disjoint(const char* name, const TensorView& output, const char* other_name, const TensorView& other);

}  // namespace qcore
