// T fused residual stencil steps  u <- act(skip * u + corr(u, taps_t) + bias_t)  and their vector-Jacobian product.
#pragma once

#include <cstdint>

#include "core/boundary.hpp"
#include "core/tensor_view.hpp"
#include "stencil/activation.hpp"

namespace qcore::stencil {

enum class Backend : int { automatic = 0, reference = 1 };

struct ChainOptions {
    double skip = 1.0;  // added to the centre tap of every step
    Activation activation = Activation::relu;
    double slope = 0.01;  // of leaky_relu, >= 0
    Boundary boundary = Boundary::zero;
    std::int64_t states_every = 0;      // m: store the state after every m steps (0: none)
    std::int64_t checkpoint_every = 0;  // k: store the state after steps k, 2k, ... < T in compute precision (0: none)
    Backend backend = Backend::automatic;
};

// Shapes, with S standing for 1 to 3 space axes and K for as many odd kernel sizes from 1 to 7:
//   x, y (B, C, *S)     any storage type; y contiguous, x with any strides
//   taps (T, C | 1, *K) compute type of x, or its real part's type for complex x; cross-correlation as torch's conv
//   bias (T, C | 1)     type of taps
//   states (T / m, B, C, *S)           storage type
//   checkpoints ((T - 1) / k, B, C, *S) compute type
// Between steps a state is held in compute precision (float32 for half storage): it is rounded when stored only.
// Throws std::invalid_argument naming the argument that doesn't fit.
void residual_chain(const TensorView& x, const TensorView& taps, const TensorView* bias, const TensorView& y,
                    const TensorView* states, const TensorView* checkpoints, const ChainOptions& options);

// Gradients of a scalar whose gradient to y is grad_y and to the states is grad_states. The trajectory is recomputed, bit for
// bit, from x or from the checkpoints. grad_x as x, grad_taps as taps, grad_bias as bias; each is overwritten. Complex
// gradients follow torch: dL/dRe + i dL/dIm. Sums run in float64 in an order that doesn't depend on the number of threads.
void residual_chain_backward(const TensorView& grad_y, const TensorView* grad_states, const TensorView& x,
                             const TensorView* checkpoints, const TensorView& taps, const TensorView* bias,
                             const TensorView& grad_x, const TensorView& grad_taps, const TensorView* grad_bias,
                             const ChainOptions& options);

}  // namespace qcore::stencil
