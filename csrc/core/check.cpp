#include "core/check.hpp"

namespace qcore {

namespace {

#if defined(QCORE_CUDA_MODULE)
constexpr Device here = Device::cuda;
#else
constexpr Device here = Device::cpu;
#endif

const char* device_name(Device device) { return device == Device::cpu ? "CPU" : "CUDA"; }

std::string device_text(const TensorView& t) {
    return t.device == Device::cpu ? "a CPU tensor" : "a tensor on cuda:" + std::to_string(t.device_index);
}

}  // namespace

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

void check_dtype(const char* name, const TensorView& t, DType expected) {
    if (t.dtype != expected) fail(name, std::string("dtype ") + dtype_name(expected), dtype_name(t.dtype));
}

void check_shape(const char* name, const TensorView& t, const TensorView& expected) {
    bool equal = t.ndim == expected.ndim;
    for (int i = 0; equal && i < t.ndim; ++i) equal = t.shape[i] == expected.shape[i];
    if (!equal) fail(name, "shape " + expected.shape_text(), t.shape_text());
}

void check_device(const char* name, const TensorView& t) {
    if (t.device != here) fail(name, std::string("a ") + device_name(here) + " tensor", device_text(t));
}

void check_host(const char* name, const TensorView& t) {
    if (t.device != Device::cpu) fail(name, "a CPU tensor", device_text(t));
}

void check_output(const char* name, const TensorView& t) {
    check_device(name, t);
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
