// The steps of a chain on a tile of stencil_tile.hpp.
#pragma once

#include "stencil_tile.hpp"

namespace qcore::stencil {

// One step's taps, skip in the centre.
template <class T>
struct StepTaps {
    T k[9], bias;
};

// Settings and parameters of a chain of 3 x 3 steps.
template <class T>
struct Chain {
    Pointer<const T> taps, bias;
    std::int64_t tap_channels, bias_channels;
    Activation activation;
    T slope, skip;

    explicit Chain(const Problem& p)
        : taps(pointer<const T>(p.taps)), bias(pointer<const T>(p.bias)), tap_channels(p.tap_channels),
          bias_channels(p.bias_channels), activation(p.options.activation), slope(static_cast<T>(p.options.slope)),
          skip(static_cast<T>(p.options.skip)) {}

    __device__ Pointer<const T> taps_of(int t, int channel) const {
        return taps + (t * tap_channels + (tap_channels > 1 ? channel : 0)) * 9;
    }
    __device__ StepTaps<T> step(int t, int channel) const {
        StepTaps<T> step;
        const auto at = taps_of(t, channel);
#pragma unroll
        for (int i = 0; i < 9; ++i) step.k[i] = at[i];
        step.k[4] += skip;
        step.bias = bias ? bias[t * bias_channels + (bias_channels > 1 ? channel : 0)] : T(0);
        return step;
    }

    // Whether the corners of the kernels are zero in all of some steps, so that five taps do. A barrier of the block.
    __device__ bool star(int t0, int t1, int channel) const {
        bool corner = false;
        for (int t = t0 + static_cast<int>(threadIdx.x); t < t1; t += static_cast<int>(blockDim.x)) {
            const auto at = taps_of(t, channel);
            if (at[0] != T(0) || at[2] != T(0) || at[6] != T(0) || at[8] != T(0)) corner = true;
        }
        return __syncthreads_or(corner) == 0;
    }
};

QC_HD float relu(float z) {
#if defined(__CUDA_ARCH__)
    float result;  // fmaxf would turn a NaN into 0
    asm("max.NaN.f32 %0, %1, 0f00000000;" : "=f"(result) : "f"(z));
    return result;
#else
    return z <= 0.0f ? 0.0f : z;
#endif
}
QC_HD double relu(double z) { return z <= 0.0 ? 0.0 : z; }

// u = act(k * u + bias), the same expressions whether on the way forward or once more on the way back.
template <bool Star, class Tile>
__device__ void correlate(Tile& tile, const StepTaps<typename Tile::T>& taps, typename Tile::Patch& u) {
    constexpr int R = Tile::R, C = Tile::C;
    using T = typename Tile::T;
    using Beside = typename Tile::Beside;
    T above[C], below[C];
    tile.beyond(u, above, below, false);
    Beside row = tile.beside(u[0], false), before{}, after{};
    if constexpr (!Star) before = tile.beside(above, false);
#pragma unroll
    for (int y = 0; y < R; ++y) {
        T next[C];
#pragma unroll
        for (int c = 0; c < C; ++c) next[c] = y < R - 1 ? u[(y + 1) % R][c] : below[c];
        if (!Star || y < R - 1) after = tile.beside(next, false);
        T z[C];
#pragma unroll
        for (int c = 0; c < C; ++c) {
            T sum = taps.bias;
            if constexpr (!Star) sum = taps.k[0] * before.left[c] + sum;
            sum = taps.k[1] * above[c] + sum;
            if constexpr (!Star) sum = taps.k[2] * before.right[c] + sum;
            sum = taps.k[3] * row.left[c] + sum;
            sum = taps.k[4] * u[y][c] + sum;
            sum = taps.k[5] * row.right[c] + sum;
            if constexpr (!Star) sum = taps.k[6] * after.left[c] + sum;
            sum = taps.k[7] * next[c] + sum;
            if constexpr (!Star) sum = taps.k[8] * after.right[c] + sum;
            z[c] = sum;
        }
#pragma unroll
        for (int c = 0; c < C; ++c) {
            above[c] = u[y][c];
            u[y][c] = z[c];
        }
        before = row;
        row = after;
    }
}

template <class Tile>
__device__ void step(Tile& tile, const Chain<typename Tile::T>& chain, int t, bool star, typename Tile::Patch& u) {
    constexpr int points = Tile::R * Tile::C, C = Tile::C;
    using T = typename Tile::T;
    const StepTaps<T> taps = chain.step(t, tile.channel);
    star ? correlate<true>(tile, taps, u) : correlate<false>(tile, taps, u);
    if (chain.activation == Activation::relu) {
#pragma unroll
        for (int i = 0; i < points; ++i) u[i / C][i % C] = relu(u[i / C][i % C]);
    } else if (chain.activation != Activation::none) {
        volatile T staged[points];  // in local memory: a loop that is not unrolled
#pragma unroll
        for (int i = 0; i < points; ++i) staged[i] = u[i / C][i % C];
#pragma unroll 1
        for (int i = 0; i < points; ++i) staged[i] = activate(T(staged[i]), chain.activation, chain.slope);
#pragma unroll
        for (int i = 0; i < points; ++i) u[i / C][i % C] = staged[i];
    }
}

}  // namespace qcore::stencil
