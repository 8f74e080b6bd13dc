// The entries of the stencil family on a device.
#include "stencil.hpp"
#include "stencil_tiled.hpp"

namespace qcore::stencil {

void reference_forward(const Problem& p) { stepwise_forward(p); }
void reference_backward(const Problem& p) { stepwise_backward(p); }

void fused_forward(const Problem& p) {
    if (!tileable(p)) return stepwise_forward(p);
    p.storage == DType::f64 ? tiled_forward<double>(p) : tiled_forward<float>(p);
}
void fused_backward(const Problem& p) {
    const bool told_by_output = p.options.activation != Activation::silu;
    if (!tileable(p) || !told_by_output) return stepwise_backward(p);
    p.storage == DType::f64 ? tiled_backward<double>(p) : tiled_backward<float>(p);
}

void clear_gradients(const Problem& p) {
    const Queue queue;
    const std::int64_t size = dtype_size(compute_real(p.storage)) * (p.complex_taps ? 2 : 1);
    queue.zero(p.grad_taps, static_cast<std::size_t>(p.steps * p.tap_channels * p.kernel_size() * size));
    if (p.grad_bias) queue.zero(p.grad_bias, static_cast<std::size_t>(p.steps * p.bias_channels * size));
}

}  // namespace qcore::stencil
