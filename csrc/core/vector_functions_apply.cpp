// The elementary functions on the CPU.
#include "core/vector_functions_kernels.hpp"

namespace qcore {

void apply(VectorFunction f, DType dtype, std::int64_t n, const void* x, void* out) {
    selected_vector_function_kernels().apply[dtype == DType::f64](f, n, x, out);
}

}  // namespace qcore
