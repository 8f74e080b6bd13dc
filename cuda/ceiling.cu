#include "ceiling.hpp"

#include "core/check.hpp"
#include "launch.hpp"

namespace qcore::cuda {

namespace {

// Each thread loads several vectors before it stores one: with one at a time too few bytes are under way to fill the bandwidth.
__global__ void copy_kernel(Pointer<const float> x, Pointer<float> out, std::int64_t n) {
    constexpr int at_once = 4;
    const std::int64_t vectors = n / 4;
    const auto from = pointer_cast<const float4>(x);
    const auto to = pointer_cast<float4>(out);
    std::int64_t i = thread();
    for (; i + (at_once - 1) * threads() < vectors; i += at_once * threads()) {
        float4 v[at_once];
#pragma unroll
        for (int k = 0; k < at_once; ++k) v[k] = from[i + k * threads()];
#pragma unroll
        for (int k = 0; k < at_once; ++k) to[i + k * threads()] = v[k];
    }
    for (; i < vectors; i += threads()) to[i] = from[i];
    for (i = 4 * vectors + thread(); i < n; i += threads()) out[i] = x[i];
}

// Unrolled far enough that the loop's own instructions don't count: they take the same places as multiply-adds.
template <class T>
__global__ void fma_kernel(Pointer<T> out, std::int64_t n, std::int64_t steps) {
    for (std::int64_t i = thread(); i < n; i += threads()) {
        T a[8];
        for (int k = 0; k < 8; ++k) a[k] = T(k);
        const T factor = T(0.999), term = T(0.001) * T(threadIdx.x);
#pragma unroll 16
        for (std::int64_t s = 0; s < steps; ++s)
#pragma unroll
            for (int k = 0; k < 8; ++k) a[k] = a[k] * factor + term;
        T sum = 0;
        for (int k = 0; k < 8; ++k) sum += a[k];
        out[i] = sum;
    }
}

void check_aligned(const char* name, const TensorView& t) {
    const bool aligned = reinterpret_cast<std::uintptr_t>(t.data) % sizeof(float4) == 0;
    if (!aligned) fail(name, "memory that begins on 16 bytes", "an offset into it");
}

}  // namespace

void copy(const TensorView& x, const TensorView& out) {
    check_device("x", x);
    check_dtype("x", x, DType::f32);
    if (!x.contiguous()) fail("x", "a contiguous tensor", "strides that are not contiguous");
    check_output("out", out);
    check_dtype("out", out, DType::f32);
    check_shape("out", out, x);
    check_disjoint("out", out, "x", x);
    const std::int64_t n = x.numel();
    if (n == 0) return;
    check_aligned("x", x);
    check_aligned("out", out);
    launch(Queue(), copy_kernel, grid_for((n + 15) / 16, 256), pointer<const float>(x.data), pointer<float>(out.data), n);
}

void fma_chain(const TensorView& out, std::int64_t steps) {
    check_output("out", out);
    const std::int64_t n = out.numel();
    if (n == 0) return;
    const Queue queue;
    if (out.dtype == DType::f32) launch(queue, fma_kernel<float>, grid_for(n, 256), pointer<float>(out.data), n, steps);
    else if (out.dtype == DType::f64) launch(queue, fma_kernel<double>, grid_for(n, 256), pointer<double>(out.data), n, steps);
    else fail("out", "dtype float32 or float64", dtype_name(out.dtype));
}

}  // namespace qcore::cuda
