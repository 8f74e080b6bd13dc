// The action of scalar fields phi(t, i) on T slices of L sites, space periodic, as a linear form in four sums:
//     time  sum (phi(t+1, i) - phi(t, i))^2 / 2        over the steps between slices
//     space sum w_t (phi(t, i+1) - phi(t, i))^2 / 2
//     mass  sum w_t phi(t, i)^2 / 2
//     quartic sum w_t phi(t, i)^4
// The last three are taken on the slices, with half the weight on the first and last one of an open field (trapezoid), or on the
// means of neighbouring slices (midpoint). A field periodic in time has a step from its last slice to the first.
#pragma once

#include "core/tensor_view.hpp"

namespace qcore::paths {

struct FieldAction {
    bool midpoint, periodic;
    bool reference;  // the plain kernel
};

// phi (B, T, L), float32 or float64; factors (R, 4) float64, R from 1 to 4; out (R, B) float64: out_{rb} = sum_j factors_{rj} sum_{jb}.
// Throws std::invalid_argument.
void phi4_action(const FieldAction& a, const TensorView& phi, const TensorView& factors, const TensorView& out);

// The derivatives of sum_{rb} grad_{rb} out_{rb} by the field.
void phi4_gradient(const FieldAction& a, const TensorView& phi, const TensorView& factors, const TensorView& grad,
                   const TensorView& grad_phi);

}  // namespace qcore::paths
