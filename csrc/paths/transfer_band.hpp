// Banded products: sums over taps of shifted vectors, several neighbouring vectors at once.
#pragma once

#include <cstdint>

#include "core/simd.hpp"

namespace qcore::QC_ISA {
namespace {

// Has v in a register for all its uses: compilers otherwise read it again with each, and reads across cache lines bind.
template <class V>
__attribute__((always_inline)) inline void once(V& v) {
#if defined(__AVX512F__)
    __asm__("" : "+v"(v));
#elif defined(__SSE2__)
    __asm__("" : "+x"(v));
#elif defined(__aarch64__)
    __asm__("" : "+w"(v));
#endif
}

// Taps that are a vector's width apart read the same vectors of neighbouring outputs: up to `most` blocks of `width` taps share
// each load, so that multiply-adds bind and not loads. The order of a sum depends on neither place nor number of vectors.
template <class T, bool is_complex>
struct Band;

template <class T>
struct Band<T, false> {
    using S = Simd<T>;
    using V = typename S::V;
    static constexpr int parts = 1, tile = 8, width = S::width;

    // sum[u] = sum_k taps[k] line[k + u * width].
    template <int U>
    static void products(V (&sum)[U], const T* line, std::int64_t, const T* taps, std::int64_t kernel) {
        constexpr int most = 4;
        for (int u = 0; u < U; ++u) sum[u] = S::zero();
        for (std::int64_t k = 0; k < kernel; k += most * width) {
            const std::int64_t left = kernel - k, blocks = left >= most * width ? most : (left + width - 1) / width;
            const std::int64_t in_last = left >= blocks * width ? width : left - (blocks - 1) * width;
            switch (blocks) {
                case 1: slice<U, 1>(sum, line + k, taps + k, 0, in_last); break;
                case 2:
                    slice<U, 2>(sum, line + k, taps + k, 0, in_last);
                    slice<U, 1>(sum, line + k, taps + k, in_last, width);
                    break;
                case 3:
                    slice<U, 3>(sum, line + k, taps + k, 0, in_last);
                    slice<U, 2>(sum, line + k, taps + k, in_last, width);
                    break;
                default:
                    slice<U, 4>(sum, line + k, taps + k, 0, in_last);
                    slice<U, 3>(sum, line + k, taps + k, in_last, width);
            }
        }
    }

    // sum[k] += sum over n vectors of a line[k + i]: gradients to U taps.
    template <int U>
    static void correlate(double* sum, const T* a, const T* line, std::int64_t, std::int64_t n) {
        V part[U];
        for (int k = 0; k < U; ++k) part[k] = S::zero();
        for (std::int64_t i = 0; i < n; ++i) {
            const V v = S::load(a + i * width);
#pragma GCC unroll 8
            for (int k = 0; k < U; ++k) part[k] = S::fma(v, S::load(line + i * width + k), part[k]);
        }
        for (int k = 0; k < U; ++k) sum[k] += S::sum(part[k]);
    }

  private:
    template <int U, int Q>
    static void slice(V (&sum)[U], const T* line, const T* taps, std::int64_t from, std::int64_t to) {
        for (std::int64_t r = from; r < to; ++r) {
            V tap[Q];
#pragma GCC unroll 8
            for (int q = 0; q < Q; ++q) tap[q] = S::set(taps[r + q * width]);
#pragma GCC unroll 16
            for (int j = 0; j < U + Q - 1; ++j) {
                V v = S::load(line + r + j * width);
                if (Q > 1) once(v);
#pragma GCC unroll 8
                for (int q = 0; q < Q; ++q)
                    if (j >= q && j - q < U) sum[j - q] = S::fma(tap[q], v, sum[j - q]);
            }
        }
    }
};

// Complex numbers as two lines, real and imaginary parts, `plane` apart; taps likewise, `kernel` apart. Sums: U real parts, then
// U imaginary ones.
template <class T>
struct Band<T, true> {
    using S = Simd<T>;
    using V = typename S::V;
    static constexpr int parts = 2, tile = 4, width = S::width;

    template <int W>
    static void products(V (&sum)[W], const T* line, std::int64_t plane, const T* taps, std::int64_t kernel) {
        for (int u = 0; u < W; ++u) sum[u] = S::zero();
        std::int64_t k = 0;
        for (; k + 2 * width <= kernel; k += 2 * width) slice<W / 2, 2>(sum, line + k, plane, taps + k, kernel, 0, width);
        if (const std::int64_t left = kernel - k; left > width) {
            slice<W / 2, 2>(sum, line + k, plane, taps + k, kernel, 0, left - width);
            slice<W / 2, 1>(sum, line + k, plane, taps + k, kernel, left - width, width);
        } else {
            slice<W / 2, 1>(sum, line + k, plane, taps + k, kernel, 0, left);
        }
    }

    // sum[2 k] + i sum[2 k + 1] += sum over n vectors of a conj(line[k + i]).
    template <int U>
    static void correlate(double* sum, const T* a, const T* line, std::int64_t plane, std::int64_t n) {
        V re[U], im[U];
        for (int k = 0; k < U; ++k) re[k] = im[k] = S::zero();
        for (std::int64_t i = 0; i < n; ++i) {
            const V ar = S::load(a + i * width), ai = S::load(a + plane + i * width), minus = -ar;
#pragma GCC unroll 8
            for (int k = 0; k < U; ++k) {
                V lr = S::load(line + i * width + k), li = S::load(line + plane + i * width + k);
                once(lr);
                once(li);
                re[k] = S::fma(ai, li, S::fma(ar, lr, re[k]));
                im[k] = S::fma(minus, li, S::fma(ai, lr, im[k]));
            }
        }
        for (int k = 0; k < U; ++k) {
            sum[2 * k] += S::sum(re[k]);
            sum[2 * k + 1] += S::sum(im[k]);
        }
    }

  private:
    template <int U, int Q, int W>
    static void slice(V (&sum)[W], const T* line, std::int64_t plane, const T* taps, std::int64_t kernel, std::int64_t from,
                      std::int64_t to) {
        for (std::int64_t r = from; r < to; ++r) {
            V re[Q], im[Q];
#pragma GCC unroll 8
            for (int q = 0; q < Q; ++q) {
                re[q] = S::set(taps[r + q * width]);
                im[q] = S::set(taps[kernel + r + q * width]);
            }
#pragma GCC unroll 16
            for (int j = 0; j < U + Q - 1; ++j) {
                V a = S::load(line + r + j * width), b = S::load(line + plane + r + j * width);
                once(a);
                once(b);
#pragma GCC unroll 8
                for (int q = 0; q < Q; ++q)
                    if (j >= q && j - q < U) {
                        sum[j - q] = S::fma(-im[q], b, S::fma(re[q], a, sum[j - q]));
                        sum[U + j - q] = S::fma(re[q], b, S::fma(im[q], a, sum[U + j - q]));
                    }
            }
        }
    }
};

}  // namespace
}  // namespace qcore::QC_ISA
