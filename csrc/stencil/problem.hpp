// A checked call, with the 1-3 space axes brought to the three axes (z, y, x) that the kernels know.
#pragma once

#include <cstdint>

#include "stencil/chain.hpp"

namespace qcore::stencil {

// A (B, C, D, H, W) field; strides in elements of its type. `steps_stride` leads from one stored state to the next.
struct Field {
    void* data = nullptr;
    DType dtype = DType::f32;
    std::int64_t step_stride = 0, batch_stride = 0, channel_stride = 0, z_stride = 0, y_stride = 0, x_stride = 0;

    QC_HD explicit operator bool() const { return data != nullptr; }
};

struct Problem {
    std::int64_t batch, channels, depth, height, width;
    std::int64_t steps;
    std::int64_t kd, kh, kw;           // kernel sizes
    std::int64_t tap_channels, bias_channels;  // C, or 1 when all channels share them
    DType storage;                     // of x, y, states
    bool complex_taps;
    ChainOptions options;

    Field x, y, states, checkpoints;
    Field grad_x, grad_y, grad_states;
    const void* taps = nullptr;  // contiguous (T, tap_channels, kd, kh, kw)
    const void* bias = nullptr;  // contiguous (T, bias_channels), or null
    void* grad_taps = nullptr;
    void* grad_bias = nullptr;

    QC_HD std::int64_t kernel_size() const { return kd * kh * kw; }
    QC_HD std::int64_t points() const { return depth * height * width; }
    QC_HD std::int64_t n_states() const { return options.states_every ? steps / options.states_every : 0; }
    QC_HD std::int64_t n_checkpoints() const { return options.checkpoint_every && steps ? (steps - 1) / options.checkpoint_every : 0; }
};

// Plain loops, obviously right; the yardstick of the tests.
void reference_forward(const Problem& p);
void reference_backward(const Problem& p);

// The fast kernels, in the variant for this device.
void fused_forward(const Problem& p);
void fused_backward(const Problem& p);

// Zeros to grad_taps and grad_bias: what a call without points sums up to.
void clear_gradients(const Problem& p);

}  // namespace qcore::stencil
