// An elementary function chosen when called. Included by files compiled per instruction set and by CUDA sources.
#pragma once

#include "core/vector_functions_kernels.hpp"
#include "core/vector_math.hpp"

namespace qcore::QC_ISA {
namespace {

template <class T>
QC_DEVICE typename Vector<T>::V value(VectorFunction f, typename Vector<T>::V x) {
    using Math = VectorMath<T>;
    typename Vector<T>::V s, c;
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

}  // namespace
}  // namespace qcore::QC_ISA
