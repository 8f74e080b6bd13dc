// Fixed-width vectors on the compiler's vector extension, with intrinsics where the extension has no word for the instruction.
// Included by files that are compiled once per instruction set (QC_ISA); everything here has internal linkage.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>

#if defined(__AVX512F__) || defined(__AVX2__)
#include <immintrin.h>
#elif defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace qcore::QC_ISA {
namespace {

#if defined(__AVX512F__)
constexpr int vector_bytes = 64, vector_registers = 32;
#elif defined(__AVX2__)
constexpr int vector_bytes = 32, vector_registers = 16;
#else
constexpr int vector_bytes = 16, vector_registers = 16;
#endif

template <class T>
struct Simd {
    static constexpr int width = vector_bytes / static_cast<int>(sizeof(T));
    typedef T V __attribute__((vector_size(vector_bytes)));
    typedef T Unaligned __attribute__((vector_size(vector_bytes), aligned(alignof(T)), may_alias));

    static V load(const T* p) { return *reinterpret_cast<const Unaligned*>(p); }
    static void store(T* p, V v) { *reinterpret_cast<Unaligned*>(p) = v; }
    static V zero() { return V{}; }
    static V set(T value) { return set(value, std::make_integer_sequence<int, width>{}); }

    // The first n lanes of a row's last vector, 0 < n <= width.
    struct Lanes {
        int n;
#if defined(__AVX512F__)
        auto mask() const {
            if constexpr (sizeof(T) == 4) return static_cast<__mmask16>((1u << n) - 1);
            else return static_cast<__mmask8>((1u << n) - 1);
        }
#elif defined(__AVX2__)
        __m256i mask() const {
            if constexpr (sizeof(T) == 4)
                return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
            else return _mm256_cmpgt_epi64(_mm256_set1_epi64x(n), _mm256_setr_epi64x(0, 1, 2, 3));
        }
#endif
    };

    // Lanes beyond n are not read and come back as zero.
    static V load(const T* p, Lanes lanes) {
#if defined(__AVX512F__)
        if constexpr (sizeof(T) == 4) return (V)_mm512_maskz_loadu_ps(lanes.mask(), p);
        else return (V)_mm512_maskz_loadu_pd(lanes.mask(), p);
#elif defined(__AVX2__)
        if constexpr (sizeof(T) == 4) return (V)_mm256_maskload_ps(p, lanes.mask());
        else return (V)_mm256_maskload_pd(p, lanes.mask());
#else
        V v{};
        for (int i = 0; i < lanes.n; ++i) v[i] = p[i];
        return v;
#endif
    }

    // Lanes beyond n are not written.
    static void store(T* p, V v, Lanes lanes) {
#if defined(__AVX512F__)
        if constexpr (sizeof(T) == 4) _mm512_mask_storeu_ps(p, lanes.mask(), (__m512)v);
        else _mm512_mask_storeu_pd(p, lanes.mask(), (__m512d)v);
#elif defined(__AVX2__)
        if constexpr (sizeof(T) == 4) _mm256_maskstore_ps(p, lanes.mask(), (__m256)v);
        else _mm256_maskstore_pd(p, lanes.mask(), (__m256d)v);
#else
        for (int i = 0; i < lanes.n; ++i) p[i] = v[i];
#endif
    }

    // a * b + c, in one rounding where the instruction set has it.
    static V fma(V a, V b, V c) {
#if defined(__AVX512F__)
        if constexpr (sizeof(T) == 4) return (V)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
        else return (V)_mm512_fmadd_pd((__m512d)a, (__m512d)b, (__m512d)c);
#elif defined(__AVX2__) && defined(__FMA__)
        if constexpr (sizeof(T) == 4) return (V)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
        else return (V)_mm256_fmadd_pd((__m256d)a, (__m256d)b, (__m256d)c);
#else
        return a * b + c;
#endif
    }

    // fma in the first n lanes, c in the others: what lies beyond a row's end (a NaN, say) never enters a sum.
    static V fma(V a, V b, V c, Lanes lanes) {
#if defined(__AVX512F__)
        if constexpr (sizeof(T) == 4) return (V)_mm512_mask3_fmadd_ps((__m512)a, (__m512)b, (__m512)c, lanes.mask());
        else return (V)_mm512_mask3_fmadd_pd((__m512d)a, (__m512d)b, (__m512d)c, lanes.mask());
#elif defined(__AVX2__)
        const V sum = fma(a, b, c);
        if constexpr (sizeof(T) == 4) return (V)_mm256_blendv_ps((__m256)c, (__m256)sum, (__m256)lanes.mask());
        else return (V)_mm256_blendv_pd((__m256d)c, (__m256d)sum, (__m256d)lanes.mask());
#else
        V r = c;
        for (int i = 0; i < lanes.n; ++i) r[i] = a[i] * b[i] + c[i];
        return r;
#endif
    }

    // v in the first n lanes, zero in the others.
    static V keep(V v, Lanes lanes) {
#if defined(__AVX512F__)
        if constexpr (sizeof(T) == 4) return (V)_mm512_maskz_mov_ps(lanes.mask(), (__m512)v);
        else return (V)_mm512_maskz_mov_pd(lanes.mask(), (__m512d)v);
#elif defined(__AVX2__)
        return (V)((__m256i)v & lanes.mask());
#else
        for (int i = lanes.n; i < width; ++i) v[i] = T(0);
        return v;
#endif
    }

    // max(v, 0) that keeps a NaN: the x86 instruction returns its second operand when either is NaN.
    static V relu(V v) {
#if defined(__AVX512F__)
        if constexpr (sizeof(T) == 4) return (V)_mm512_max_ps(_mm512_setzero_ps(), (__m512)v);
        else return (V)_mm512_max_pd(_mm512_setzero_pd(), (__m512d)v);
#elif defined(__AVX2__)
        if constexpr (sizeof(T) == 4) return (V)_mm256_max_ps(_mm256_setzero_ps(), (__m256)v);
        else return (V)_mm256_max_pd(_mm256_setzero_pd(), (__m256d)v);
#elif defined(__SSE2__)
        if constexpr (sizeof(T) == 4) return (V)_mm_max_ps(_mm_setzero_ps(), (__m128)v);
        else return (V)_mm_max_pd(_mm_setzero_pd(), (__m128d)v);
#else
        return v <= V{} ? V{} : v;
#endif
    }
    static V relu(V v, Lanes lanes) {
#if defined(__AVX512F__)
        if constexpr (sizeof(T) == 4) return (V)_mm512_maskz_max_ps(lanes.mask(), _mm512_setzero_ps(), (__m512)v);
        else return (V)_mm512_maskz_max_pd(lanes.mask(), _mm512_setzero_pd(), (__m512d)v);
#else
        return keep(relu(v), lanes);
#endif
    }

    // Sum of the lanes in double precision, pairwise, in a fixed order.
    static double sum(V v) {
        double s[width];
        for (int i = 0; i < width; ++i) s[i] = v[i];
        for (int half = width / 2; half > 0; half /= 2)
            for (int i = 0; i < half; ++i) s[i] += s[i + half];
        return s[0];
    }

  private:
    template <int... I>
    static V set(T value, std::integer_sequence<int, I...>) {
        return V{((void)I, value)...};
    }
};

}  // namespace
}  // namespace qcore::QC_ISA
