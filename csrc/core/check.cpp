#include "core/check.hpp"

namespace qcore {

namespace {

struct ByteRange {
    const char* begin;
    const char* end;
};

ByteRange byte_range(const TensorView& t) {
    std::int64_t low = 0, high = 0;
    for (int i = 0; i < t.ndim; ++i) {
        const std::int64_t span = (t.shape[i] - 1) * t.stride[i];
        (span < 0 ? low : high) += span;
    }
    const char* base = static_cast<const char*>(t.data);
    const std::int64_t size = dtype_size(t.dtype);
    return {base + low * size, base + (high + 1) * size};
}

}  // namespace

void check_dtype(const char* name, const TensorView& t, DType expected) {
    if (t.dtype != expected) fail(name, std::string("dtype ") + dtype_name(expected), dtype_name(t.dtype));
}

void check_shape(const char* name, const TensorView& t, const TensorView& expected) {
    bool equal = t.ndim == expected.ndim;
    for (int i = 0; equal && i < t.ndim; ++i) equal = t.shape[i] == expected.shape[i];
    if (!equal) fail(name, "shape " + expected.shape_text(), t.shape_text());
}

void check_cpu(const char* name, const TensorView& t) {
    if (t.device != Device::cpu) fail(name, "a CPU tensor", "a tensor on device " + std::to_string(t.device_index));
}

void check_output(const char* name, const TensorView& t) {
    check_cpu(name, t);
    if (t.read_only) fail(name, "a writable array", "a read-only one");
    if (!t.contiguous()) fail(name, "a contiguous tensor (it is written to)", "strides that are not contiguous");
}

void check_disjoint(const char* name, const TensorView& output, const char* other_name, const TensorView& other) {
    if (output.numel() == 0 || other.numel() == 0) return;
    const ByteRange a = byte_range(output), b = byte_range(other);
    if (a.begin < b.end && b.begin < a.end)
        fail(name, std::string("memory of its own"), std::string("memory that overlaps ") + other_name);
}

}  // namespace qcore
