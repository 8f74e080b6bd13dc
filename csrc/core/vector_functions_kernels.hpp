// What the compiled variants of the elementary functions offer.
#pragma once

#include <cstdint>

#include "core/isa.hpp"

namespace qcore {

enum class VectorFunction { exp, expm1, exp_bounded, tanh, sigmoid, sqrt, log, sin, cos, sin_turns, cos_turns };

struct VectorFunctionKernels {
    void (*apply[2])(VectorFunction f, std::int64_t n, const void* x, void* out);  // float, double
};

QC_ISA_OBJECT(VectorFunctionKernels, vector_function_kernels)

}  // namespace qcore
