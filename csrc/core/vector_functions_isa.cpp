// The elementary functions on arrays for one instruction set. Compiled once for each, with QC_ISA naming it.
#include "core/vector_functions_kernels.hpp"
#include "core/vector_math.hpp"

namespace qcore::QC_ISA {

namespace {

template <class T>
typename Simd<T>::V value(VectorFunction f, typename Simd<T>::V x) {
    using Math = VectorMath<T>;
    typename Simd<T>::V s, c;
    switch (f) {
        case VectorFunction::exp: return Math::exp(x);
        case VectorFunction::expm1: return Math::expm1(x);
        case VectorFunction::exp_bounded: return Math::exp_bounded(x);
        case VectorFunction::tanh: return Math::tanh(x);
        case VectorFunction::sigmoid: return Math::sigmoid(x);
        case VectorFunction::sqrt: return Math::sqrt(x);
        case VectorFunction::log: return Math::log(x);
        case VectorFunction::sin: Math::sincos(x, s, c); return s;
        case VectorFunction::cos: Math::sincos(x, s, c); return c;
        case VectorFunction::sin_turns: Math::sincos_turns(x, s, c); return s;
        case VectorFunction::cos_turns: Math::sincos_turns(x, s, c); return c;
    }
    return x;
}

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
