// Elementary functions on Simd vectors, to a few units in the last place. NaN and infinities come out as libm's.
#pragma once

#include "core/simd.hpp"

namespace qcore::QC_ISA {
namespace {

template <class T>
struct VectorMath {
    using S = Simd<T>;
    using V = typename S::V;

    // exp(x) - 1 without cancellation, for |x| below 80.
    static V expm1(V x) {
        const V n = nearest(x * T(1.4426950408889634074));
        const V p = expm1_reduced(reduce(x, n));
        const V scale = pow2(n);
        return S::fma(scale, p, scale - T(1));
    }

    static V exp(V x) {
        const T high = sizeof(T) == 4 ? T(88.7228390) : T(709.782712893384);
        const T low = sizeof(T) == 4 ? T(-103.972077) : T(-745.133219101941);
        const V bounded = x > high ? V{} + high : (x < low ? V{} + low : x);
        const V n = nearest(bounded * T(1.4426950408889634074));
        const V p = expm1_reduced(reduce(bounded, n)) + T(1);
        const V half = nearest(n * T(0.5));  // two factors, so that neither leaves the exponent's range
        const V value = p * pow2(half) * pow2(n - half);
        return x > high ? V{} + T(__builtin_inf()) : (x < low ? V{} : value);
    }

    static V tanh(V x) {
        const T limit = sizeof(T) == 4 ? T(10) : T(20);  // 1 to the last bit beyond
        const V bounded = x > limit ? V{} + limit : (x < -limit ? V{} - limit : x);
        const V e = expm1(bounded + bounded);
        return e / (e + T(2));
    }

    static V sigmoid(V x) { return T(1) / (T(1) + exp(-x)); }

  private:
    using Int = std::conditional_t<sizeof(T) == 4, std::int32_t, std::int64_t>;
    typedef Int VI __attribute__((vector_size(vector_bytes)));

    // Adding and taking away 1.5 * 2^mantissa rounds to the nearest integer.
    static constexpr T magic = sizeof(T) == 4 ? T(12582912.0) : T(6755399441055744.0);
    static V nearest(V x) { return (x + magic) - magic; }

    // 2^n for integral n: the exponent field, read off the same rounding trick.
    static V pow2(V n) {
        constexpr int mantissa = sizeof(T) == 4 ? 23 : 52;
        constexpr Int bias = sizeof(T) == 4 ? 127 : 1023;
        return (V)((((VI)(n + magic)) + bias) << mantissa);
    }

    static V reduce(V x, V n) {
        const T high = sizeof(T) == 4 ? T(0.693359375) : T(6.93147180369123816490e-01);
        const T low = sizeof(T) == 4 ? T(-2.12194440e-4) : T(1.90821492927058770002e-10);
        return S::fma(n, V{} - low, S::fma(n, V{} - high, x));
    }

    // Taylor series of exp(r) - 1 on |r| <= ln(2) / 2; the first term left out is below half a unit in the last place.
    static V expm1_reduced(V r) {
        constexpr int degree = sizeof(T) == 4 ? 8 : 14;
        V p = V{} + T(1);
        for (int k = degree; k > 1; --k) p = S::fma(p, r * T(1.0 / k), V{} + T(1));
        return p * r;
    }
};

}  // namespace
}  // namespace qcore::QC_ISA
