// Chains of 3 x 3 steps on planes, on the tiles of stencil_tile.hpp.
#pragma once

#include "stencil.hpp"

namespace qcore::stencil {

// Whether a call goes through the tiled kernels: real planes and the 3 x 3 kernels that those are written for, and no more steps
// and tiles than they count in 32 bits.
inline bool tileable(const Problem& p) {
    constexpr std::int64_t most = std::int64_t{1} << 30;
    const std::int64_t tiles = (p.width / 96 + 1) * (p.height / 32 + 1);  // at most; a tile's core is larger than that
    return !is_complex(p.storage) && p.depth == 1 && p.kd == 1 && p.kh == 3 && p.kw == 3 && p.steps < most &&
           p.batch * p.channels < most && p.batch * p.channels * tiles < most;
}

template <class T>
void tiled_forward(const Problem& p);
// For an activation whose derivative can be told from its value.
template <class T>
void tiled_backward(const Problem& p);

// Steps t0 ... t1 - 1, of one launch; with `extras` the states and checkpoints between are stored too.
template <class T>
void tiled_steps(const Queue& queue, const Problem& p, std::int64_t t0, std::int64_t t1, const Field& from,
                 std::int64_t from_step, const Field& to, bool extras);

// A contiguous field of x's shape in the compute type.
template <class T>
Field plane_field(const Problem& p, void* memory) {
    Field f;
    f.data = memory;
    f.dtype = sizeof(T) == 4 ? DType::f32 : DType::f64;
    f.x_stride = 1;
    f.y_stride = p.width;
    f.z_stride = p.width * p.height;
    f.channel_stride = p.points();
    f.batch_stride = p.channels * p.points();
    return f;
}

}  // namespace qcore::stencil
