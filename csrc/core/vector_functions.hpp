// The elementary functions of vector_math.hpp on arrays, for what tests them.
#pragma once

#include <string>

#include "core/tensor_view.hpp"

namespace qcore {

// out = f(x), float32 or float64, both contiguous and of one shape; f by name: exp, expm1, exp_bounded, tanh, sigmoid, sqrt, log,
// sin, cos, sin_turns, cos_turns. Throws std::invalid_argument.
void vector_function(const std::string& name, const TensorView& x, const TensorView& out);

}  // namespace qcore
