// What the elementary functions' entry point calls, and what its compiled variants for the CPU offer.
#pragma once

#include <cstdint>

#include "core/dtype.hpp"
#include "core/isa.hpp"

namespace qcore {

enum class VectorFunction { exp, expm1, exp_bounded, tanh, sigmoid, sqrt, log, sin, cos, sin_turns, cos_turns };

// out = f(x) of n numbers, float32 or float64.
void apply(VectorFunction f, DType dtype, std::int64_t n, const void* x, void* out);

struct VectorFunctionKernels {
    void (*apply[2])(VectorFunction f, std::int64_t n, const void* x, void* out);  // float, double
};

QC_ISA_OBJECT(VectorFunctionKernels, vector_function_kernels)

}  // namespace qcore
