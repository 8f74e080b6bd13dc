// Paths from the weights of networks with one input, the time: a step network's weights are velocities,
//     x_n = x_ini + dt sum_{k<n} w_k,
// those of a ReLU network the jumps of the velocity, summed twice,
//     x_n = x_ini + dt sum_{k<n} (n - k) w_k,                                       n = 0 ... N, k = 0 ... N-1.
// Sums are taken in float64.
#pragma once

#include "core/tensor_view.hpp"
#include "paths/action.hpp"

namespace qcore::paths {

// w (B, N), x_ini (B,) to x (B, N + 1), or (B, N + 2) with a last bead x_fin (B,) that may be null. All of one type, float32 or
// float64, and contiguous. Throws std::invalid_argument.
void integrate(Parameters parameters, double dt, const TensorView& w, const TensorView& x_ini, const TensorView* x_fin,
               const TensorView& x);

// The transpose: gradients to w, x_ini and x_fin for a gradient to x.
void integrate_adjoint(Parameters parameters, double dt, const TensorView& grad_x, const TensorView& grad_w, const TensorView& grad_ini,
                       const TensorView* grad_fin);

}  // namespace qcore::paths
