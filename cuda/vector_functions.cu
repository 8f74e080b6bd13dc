// The elementary functions of the samplers on a GPU, for what tests them.
#include "core/vector_functions_value.hpp"

#include "launch.hpp"

namespace qcore {

namespace device {
namespace {

template <class T>
__global__ void value_kernel(VectorFunction f, std::int64_t n, cuda::Pointer<const T> x, cuda::Pointer<T> out) {
    for (std::int64_t i = cuda::thread(); i < n; i += cuda::threads()) out[i] = value<T>(f, x[i]);
}

template <class T>
void values(VectorFunction f, std::int64_t n, const void* x, void* out) {
    const cuda::Queue queue;
    cuda::launch(queue, value_kernel<T>, cuda::grid_for(n, 256), f, n, cuda::pointer<const T>(x), cuda::pointer<T>(out));
}

}  // namespace
}  // namespace device

void apply(VectorFunction f, DType dtype, std::int64_t n, const void* x, void* out) {
    if (dtype == DType::f32) device::values<float>(f, n, x, out);
    else device::values<double>(f, n, x, out);
}

}  // namespace qcore
