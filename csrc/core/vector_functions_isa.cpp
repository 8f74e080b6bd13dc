// The elementary functions on arrays for one instruction set. Compiled once for each, with QC_ISA naming it.
#include "core/vector_functions_value.hpp"

namespace qcore::QC_ISA {

namespace {

template <class T>
void apply(VectorFunction f, std::int64_t n, const void* x, void* out) {
    using S = Simd<T>;
    for (std::int64_t i = 0; i < n; i += S::width) {
        const T* const from = static_cast<const T*>(x) + i;
        T* const to = static_cast<T*>(out) + i;
        if (n - i >= S::width) S::store(to, value<T>(f, S::load(from)));
        else S::store(to, value<T>(f, S::load(from, {static_cast<int>(n - i)})), {static_cast<int>(n - i)});
    }
}

}  // namespace

extern const VectorFunctionKernels vector_function_kernels;
constinit const VectorFunctionKernels vector_function_kernels{{apply<float>, apply<double>}};

}  // namespace qcore::QC_ISA
