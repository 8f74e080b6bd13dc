// Argument checks, and the way from tensors to a Problem.
#include "stencil/chain.hpp"

#include <string>

#include "core/check.hpp"
#include "stencil/problem.hpp"

namespace qcore::stencil {

namespace {

DType real_of(DType t) { return t == DType::c64 ? DType::f32 : t == DType::c128 ? DType::f64 : t; }

// A (..., B, C, *S) tensor as a field; `leading` is 1 where a step axis stands first.
Field field(const TensorView& t, int leading) {
    Field f;
    f.data = t.data;
    f.dtype = t.dtype;
    if (leading) f.step_stride = t.stride[0];
    f.batch_stride = t.stride[leading];
    f.channel_stride = t.stride[leading + 1];
    std::int64_t* axes[3] = {&f.x_stride, &f.y_stride, &f.z_stride};
    for (int i = 0; i < t.ndim - leading - 2; ++i) *axes[i] = t.stride[t.ndim - 1 - i];
    return f;
}

TensorView with_steps(std::int64_t steps, const TensorView& x) {
    TensorView t = x;
    t.ndim = x.ndim + 1;
    t.shape[0] = steps;
    for (int i = 0; i < x.ndim; ++i) t.shape[i + 1] = x.shape[i];
    return t;
}

Problem checked_problem(const TensorView& x, const TensorView& taps, const TensorView* bias, const ChainOptions& options) {
    check_device("x", x);
    check_device("taps", taps);
    if (x.ndim < 3 || x.ndim > 5)
        fail("x", "3 to 5 axes (B, C, *S) with 1 to 3 space axes", "shape " + x.shape_text());
    const int space = x.ndim - 2;
    if (taps.ndim != space + 2)
        fail("taps", std::to_string(space + 2) + " axes (T, C or 1, *K) for x of shape " + x.shape_text(),
             "shape " + taps.shape_text());
    if (taps.shape[1] != x.shape[1] && taps.shape[1] != 1)
        fail("taps", "axis 1 of size " + std::to_string(x.shape[1]) + " (the channels of x) or 1", "shape " + taps.shape_text());
    for (int i = 2; i < taps.ndim; ++i)
        if (taps.shape[i] < 1 || taps.shape[i] > 7 || taps.shape[i] % 2 == 0)
            fail("taps", "kernel sizes that are odd, from 1 to 7", "shape " + taps.shape_text());
    const DType compute = compute_dtype(x.dtype);
    if (taps.dtype != compute && taps.dtype != real_of(compute))
        fail("taps", std::string("dtype ") + dtype_name(compute) + " for x of dtype " + dtype_name(x.dtype), dtype_name(taps.dtype));
    if (!taps.contiguous()) fail("taps", "a contiguous tensor", "strides that are not contiguous");

    Problem p{};
    p.batch = x.shape[0];
    p.channels = x.shape[1];
    p.width = x.shape[x.ndim - 1];
    p.height = space > 1 ? x.shape[x.ndim - 2] : 1;
    p.depth = space > 2 ? x.shape[x.ndim - 3] : 1;
    p.steps = taps.shape[0];
    p.tap_channels = taps.shape[1];
    p.bias_channels = 1;
    p.kw = taps.shape[taps.ndim - 1];
    p.kh = space > 1 ? taps.shape[taps.ndim - 2] : 1;
    p.kd = space > 2 ? taps.shape[taps.ndim - 3] : 1;
    p.storage = x.dtype;
    p.complex_taps = is_complex(taps.dtype);
    p.options = options;
    p.x = field(x, 0);
    p.taps = taps.data;

    const int activation = static_cast<int>(options.activation), boundary = static_cast<int>(options.boundary);
    const int backend = static_cast<int>(options.backend);
    if (backend < 0 || backend > 1) fail("backend", "a code from 0 to 1", std::to_string(backend));
    if (activation < 0 || activation > 4) fail("activation", "a code from 0 to 4", std::to_string(activation));
    if (boundary < 0 || boundary > 3) fail("boundary", "a code from 0 to 3", std::to_string(boundary));
    if (is_complex(x.dtype) && options.activation != Activation::none)
        fail("activation", "none for a complex field", "code " + std::to_string(activation));
    if (options.activation == Activation::leaky_relu && !(options.slope >= 0))
        fail("slope", "a number >= 0", std::to_string(options.slope));
    if (options.boundary == Boundary::reflect)
        for (int i = 0; i < space; ++i) {
            const std::int64_t radius = taps.shape[taps.ndim - 1 - i] / 2, n = x.shape[x.ndim - 1 - i];
            if (radius >= n && n > 0)
                fail("x", "every space axis longer than the kernel's radius " + std::to_string(radius) + " (boundary reflect)",
                     "shape " + x.shape_text());
        }
    if (options.states_every < 0) fail("states_every", "an integer >= 0", std::to_string(options.states_every));
    if (options.checkpoint_every < 0) fail("checkpoint_every", "an integer >= 0", std::to_string(options.checkpoint_every));
    if (bias) {
        check_device("bias", *bias);
        check_dtype("bias", *bias, taps.dtype);
        if (is_complex(x.dtype) && !p.complex_taps) fail("taps", "complex taps where a complex field has a bias", dtype_name(taps.dtype));
        if (bias->ndim != 2 || bias->shape[0] != p.steps || (bias->shape[1] != p.channels && bias->shape[1] != 1))
            fail("bias", "shape " + shape_text({p.steps, p.channels}) + " or " + shape_text({p.steps, 1}), bias->shape_text());
        if (!bias->contiguous()) fail("bias", "a contiguous tensor", "strides that are not contiguous");
        p.bias = bias->data;
        p.bias_channels = bias->shape[1];
    }
    return p;
}

// The stored states or checkpoints: present when they should hold something, of the right shape and type.
Field checked_steps(const char* name, const TensorView* t, std::int64_t count, const TensorView& x, DType dtype, bool output) {
    if (!t) {
        if (count > 0) fail(name, "a tensor of shape " + with_steps(count, x).shape_text(), "None");
        return {};
    }
    check_device(name, *t);
    check_shape(name, *t, with_steps(count, x));
    check_dtype(name, *t, dtype);
    if (output) check_output(name, *t);
    return count > 0 ? field(*t, 1) : Field{};
}

void check_like(const char* name, const TensorView& t, const TensorView& expected, bool output) {
    check_device(name, t);
    check_shape(name, t, expected);
    check_dtype(name, t, expected.dtype);
    if (output) check_output(name, t);
}

}  // namespace

void residual_chain(const TensorView& x, const TensorView& taps, const TensorView* bias, const TensorView& y,
                    const TensorView* states, const TensorView* checkpoints, const ChainOptions& options) {
    Problem p = checked_problem(x, taps, bias, options);
    check_like("y", y, x, true);
    p.y = field(y, 0);
    p.states = checked_steps("states", states, p.n_states(), x, x.dtype, true);
    p.checkpoints = checked_steps("checkpoints", checkpoints, p.n_checkpoints(), x, compute_dtype(x.dtype), true);
    const TensorView* outputs[] = {&y, states, checkpoints};
    const char* names[] = {"y", "states", "checkpoints"};
    for (int i = 0; i < 3; ++i) {
        if (!outputs[i]) continue;
        check_disjoint(names[i], *outputs[i], "x", x);
        check_disjoint(names[i], *outputs[i], "taps", taps);
        if (bias) check_disjoint(names[i], *outputs[i], "bias", *bias);
        for (int j = 0; j < i; ++j)
            if (outputs[j]) check_disjoint(names[i], *outputs[i], names[j], *outputs[j]);
    }
    if (p.batch * p.channels * p.points() == 0) return;
    options.backend == Backend::reference ? reference_forward(p) : fused_forward(p);
}

void residual_chain_backward(const TensorView& grad_y, const TensorView* grad_states, const TensorView& x,
                             const TensorView* checkpoints, const TensorView& taps, const TensorView* bias,
                             const TensorView& grad_x, const TensorView& grad_taps, const TensorView* grad_bias,
                             const ChainOptions& options) {
    Problem p = checked_problem(x, taps, bias, options);
    check_like("grad_y", grad_y, x, false);
    check_like("grad_x", grad_x, x, true);
    check_like("grad_taps", grad_taps, taps, true);
    p.grad_y = field(grad_y, 0);
    p.grad_x = field(grad_x, 0);
    p.grad_taps = grad_taps.data;
    if (grad_states) p.grad_states = checked_steps("grad_states", grad_states, p.n_states(), x, x.dtype, false);
    p.checkpoints = checked_steps("checkpoints", checkpoints, p.n_checkpoints(), x, compute_dtype(x.dtype), false);
    if (grad_bias) {
        if (!bias) fail("grad_bias", "None where there is no bias", "a tensor");
        check_like("grad_bias", *grad_bias, *bias, true);
        p.grad_bias = grad_bias->data;
    }
    const TensorView* outputs[] = {&grad_x, &grad_taps, grad_bias};
    const char* output_names[] = {"grad_x", "grad_taps", "grad_bias"};
    const TensorView* inputs[] = {&grad_y, grad_states, &x, checkpoints, &taps, bias};
    const char* input_names[] = {"grad_y", "grad_states", "x", "checkpoints", "taps", "bias"};
    for (int i = 0; i < 3; ++i) {
        if (!outputs[i]) continue;
        for (int j = 0; j < 6; ++j)
            if (inputs[j]) check_disjoint(output_names[i], *outputs[i], input_names[j], *inputs[j]);
        for (int j = 0; j < i; ++j)
            if (outputs[j]) check_disjoint(output_names[i], *outputs[i], output_names[j], *outputs[j]);
    }
    if (p.batch * p.channels * p.points() == 0) {  // an empty sum
        clear_gradients(p);
        return;
    }
    options.backend == Backend::reference ? reference_backward(p) : fused_backward(p);
}

}  // namespace qcore::stencil
