// Elementary functions on vectors of lanes, to a few units in the last place. NaN and infinities come out as libm's.
#pragma once

#include "core/lanes.hpp"

namespace qcore::QC_ISA {
namespace {

template <class T>
struct VectorMath {
    using S = Vector<T>;
    using V = typename S::V;

    // exp(x) - 1 without cancellation, for |x| below 80.
    QC_DEVICE static V expm1(V x) {
        const V n = nearest(x * T(1.4426950408889634074));
        const V p = expm1_reduced(reduce(x, n));
        const V scale = pow2(n);
        return S::fma(scale, p, scale - T(1));
    }

    QC_DEVICE static V exp(V x) {
        const T high = sizeof(T) == 4 ? T(88.7228390) : T(709.782712893384);
        const T low = sizeof(T) == 4 ? T(-103.972077) : T(-745.133219101941);
        const V bounded = x > high ? V{} + high : (x < low ? V{} + low : x);
        const V n = nearest(bounded * T(1.4426950408889634074));
        const V p = expm1_reduced(reduce(bounded, n)) + T(1);
        const V half = nearest(n * T(0.5));  // two factors, so that neither leaves the exponent's range
        const V value = p * pow2(half) * pow2(n - half);
        return x > high ? V{} + T(__builtin_inf()) : (x < low ? V{} : value);
    }

    // exp for |x| below 80.
    QC_DEVICE static V exp_bounded(V x) {
        constexpr int degree = sizeof(T) == 4 ? 7 : 13;
        constexpr int mantissa = sizeof(T) == 4 ? 23 : 52;
        constexpr Int bias = sizeof(T) == 4 ? 127 : 1023;
        const V rounded = S::fma(x, V{} + T(1.4426950408889634074), V{} + magic), r = reduce(x, rounded - magic);
        V p = V{} + inverse_factorial(degree);
        for (int k = degree - 1; k >= 0; --k) p = S::fma(p, r, V{} + inverse_factorial(k));
        return p * bits<V>((bits<VI>(rounded) + bias) << mantissa);
    }

    QC_DEVICE static V tanh(V x) {
        const T limit = sizeof(T) == 4 ? T(10) : T(20);  // 1 to the last bit beyond
        const V bounded = x > limit ? V{} + limit : (x < -limit ? V{} - limit : x);
        const V e = expm1(bounded + bounded);
        return e / (e + T(2));
    }

    QC_DEVICE static V sigmoid(V x) { return T(1) / (T(1) + exp(-x)); }

    // x within [low, high]; a NaN stays one: the x86 instructions return their second operand when either is NaN.
    QC_DEVICE static V clamp(V x, T low, T high) {
        const V a = V{} + low, b = V{} + high;
#if defined(QC_ON_DEVICE)
        return x > b ? b : (x < a ? a : x);
#elif defined(__AVX512F__)
        if constexpr (sizeof(T) == 4) return (V)_mm512_maskz_max_ps(0xffff, (__m512)a, _mm512_maskz_min_ps(0xffff, (__m512)b, (__m512)x));
        else return (V)_mm512_maskz_max_pd(0xff, (__m512d)a, _mm512_maskz_min_pd(0xff, (__m512d)b, (__m512d)x));
#elif defined(__AVX2__)
        if constexpr (sizeof(T) == 4) return (V)_mm256_max_ps((__m256)a, _mm256_min_ps((__m256)b, (__m256)x));
        else return (V)_mm256_max_pd((__m256d)a, _mm256_min_pd((__m256d)b, (__m256d)x));
#elif defined(__SSE2__)
        if constexpr (sizeof(T) == 4) return (V)_mm_max_ps((__m128)a, _mm_min_ps((__m128)b, (__m128)x));
        else return (V)_mm_max_pd((__m128d)a, _mm_min_pd((__m128d)b, (__m128d)x));
#else
        return x > b ? b : (x < a ? a : x);
#endif
    }

    // Correctly rounded.
    QC_DEVICE static V sqrt(V x) {
#if defined(QC_ON_DEVICE)
        return std::sqrt(x);
#elif defined(__AVX512F__)
        if constexpr (sizeof(T) == 4) return (V)_mm512_sqrt_ps((__m512)x);
        else return (V)_mm512_sqrt_pd((__m512d)x);
#elif defined(__AVX2__)
        if constexpr (sizeof(T) == 4) return (V)_mm256_sqrt_ps((__m256)x);
        else return (V)_mm256_sqrt_pd((__m256d)x);
#elif defined(__SSE2__)
        if constexpr (sizeof(T) == 4) return (V)_mm_sqrt_ps((__m128)x);
        else return (V)_mm_sqrt_pd((__m128d)x);
#else
        for (int i = 0; i < S::width; ++i) x[i] = __builtin_sqrt(x[i]);
        return x;
#endif
    }

    QC_DEVICE static V log(V x) {
        const T smallest = sizeof(T) == 4 ? T(0x1p-126) : T(0x1p-1022), lift = sizeof(T) == 4 ? T(0x1p24) : T(0x1p54);
        const T lifted = sizeof(T) == 4 ? T(24) : T(54);
        const V infinity = V{} + T(__builtin_inf());
        V value = log_shifted(x < smallest ? x * lift : x, x < smallest ? V{} - lifted : V{});
        value = x == infinity ? infinity : value;
        value = x == T(0) ? -infinity : value;
        return x >= T(0) ? value : V{} + T(__builtin_nan(""));
    }

    // log of finite numbers that are above zero and not subnormal.
    QC_DEVICE static V log_normal(V x) { return log_shifted(x, V{}); }

    // sin and cos to a few ulp of 1 for |x| below 2^12 (float) or 2^20 (double); beyond that they lose digits.
    QC_DEVICE static void sincos(V x, V& s, V& c) {
        const V n = nearest(x * T(0.63661977236758134308));
        V r;
        if constexpr (sizeof(T) == 4)
            r = S::fma(n, V{} - T(0x1.5110b4p-22), S::fma(n, V{} - T(0x1.fbp-12), S::fma(n, V{} - T(0x1.92p0), x)));
        else
            r = S::fma(n, V{} - T(0x1.3198a2e037073p-69), S::fma(n, V{} - T(0x1.0b4611a6p-34), S::fma(n, V{} - T(0x1.921fb544p0), x)));
        sincos_quarter(n, r, s, c);
    }

    // sin(2 pi turns) and cos(2 pi turns), to a few ulp: the reduction is exact.
    QC_DEVICE static void sincos_turns(V turns, V& s, V& c) {
        const V quarters = turns * T(4), n = nearest(quarters);
        sincos_quarter(n, (quarters - n) * T(1.57079632679489661923), s, c);
    }

  private:
    using Int = typename S::Int;
    using Unsigned = typename S::Unsigned;
    using VI = typename S::VI;
    using VU = typename S::VU;

    template <class To, class From>
    QC_DEVICE static To bits(From v) {
        return S::template bits<To>(v);
    }

    // log(x 2^exponent): x = 2^k m with m in [sqrt(1/2), sqrt(2)), log m = 2 artanh((m - 1) / (m + 1)) by its Taylor series,
    // whose first term left out is below half a unit in the last place.
    QC_DEVICE static V log_shifted(V x, V exponent) {
        constexpr int mantissa = sizeof(T) == 4 ? 23 : 52, degree = sizeof(T) == 4 ? 4 : 10;
        constexpr Unsigned bias = sizeof(T) == 4 ? 127 : 1023;
        constexpr Unsigned one = bias << mantissa;
        constexpr Unsigned root = sizeof(T) == 4 ? Unsigned{0x3f3504f3} : static_cast<Unsigned>(0x3fe6a09e667f3bcd);  // of 1/2
        const VU x_bits = bits<VU>(x), power = (x_bits + (one - root)) >> mantissa;
        const V m = bits<V>(x_bits - ((power - bias) << mantissa));
        const V k = (bits<V>(bits<VI>(power) - static_cast<Int>(bias) + bits<VI>(V{} + magic)) - magic) + exponent;
        const V f = m - T(1), s = f / (f + T(2)), z = s * s;
        V p = V{} + T(1.0 / (2 * degree + 1));
        for (int i = degree - 1; i > 0; --i) p = S::fma(p, z, V{} + T(1.0 / (2 * i + 1)));
        const V twice = s + s, log_m = S::fma(twice * z, p, twice);
        const T high = sizeof(T) == 4 ? T(0.693359375) : T(6.93147180369123816490e-01);
        const T low = sizeof(T) == 4 ? T(-2.12194440e-4) : T(1.90821492927058770002e-10);
        return S::fma(k, V{} + high, S::fma(k, V{} + low, log_m));
    }

    static constexpr T inverse_factorial_of(int n) {
        double value = 1;
        for (int k = 2; k <= n; ++k) value *= k;
        return static_cast<T>(1 / value);
    }
    // And taylor(n): the coefficient of x^n of sin or cos.
#if defined(QC_ON_DEVICE)
    // nvcc works out no loop ahead of time, but picks from constants once the loop around the call is unrolled.
    template <int n>
    static constexpr T constant = inverse_factorial_of(n);
    template <int... k>
    QC_DEVICE static T pick(int n, std::integer_sequence<int, k...>) {
        T value = 0;
        ((value = n == k ? constant<k> : value), ...);
        return value;
    }
    QC_DEVICE static T inverse_factorial(int n) { return pick(n, std::make_integer_sequence<int, 20>{}); }
    QC_DEVICE static T taylor(int n) { return n / 2 % 2 ? -inverse_factorial(n) : inverse_factorial(n); }
#else
    static constexpr T inverse_factorial(int n) { return inverse_factorial_of(n); }
    static constexpr T taylor(int n) { return n / 2 % 2 ? -inverse_factorial(n) : inverse_factorial(n); }
#endif

    // sin and cos of n pi / 2 + r, |r| <= pi / 4, by their Taylor series.
    QC_DEVICE static void sincos_quarter(V n, V r, V& s, V& c) {
        constexpr int terms = sizeof(T) == 4 ? 4 : 8;  // after the first
        const V z = r * r;
        constexpr int more = sizeof(T) == 4 ? terms + 1 : terms;
        V p = V{} + taylor(2 * terms + 1), q = V{} + taylor(2 * more);
        for (int k = terms - 1; k > 0; --k) p = S::fma(p, z, V{} + taylor(2 * k + 1));
        for (int k = more - 1; k >= 0; --k) q = S::fma(q, z, V{} + taylor(2 * k));
        const V sine = S::fma(z * r, p, r);
        const VI quadrant = bits<VI>(n + magic);
        const typename S::Mask odd = (quadrant & 1) != 0;
        const V first = odd ? q : sine, second = odd ? sine : q;
        constexpr int sign = 8 * sizeof(T) - 2;  // moves bit 1 to the sign's place
        s = bits<V>(bits<VU>(first) ^ ((bits<VU>(quadrant) & 2) << sign));
        c = bits<V>(bits<VU>(second) ^ ((bits<VU>(quadrant + 1) & 2) << sign));
    }

    // Adding and taking away 1.5 * 2^mantissa rounds to the nearest integer.
    static constexpr T magic = sizeof(T) == 4 ? T(12582912.0) : T(6755399441055744.0);
    QC_DEVICE static V nearest(V x) { return (x + magic) - magic; }

    // 2^n for integral n: the exponent field, read off the same rounding trick.
    QC_DEVICE static V pow2(V n) {
        constexpr int mantissa = sizeof(T) == 4 ? 23 : 52;
        constexpr Int bias = sizeof(T) == 4 ? 127 : 1023;
        return bits<V>((bits<VI>(n + magic) + bias) << mantissa);
    }

    QC_DEVICE static V reduce(V x, V n) {
        const T high = sizeof(T) == 4 ? T(0.693359375) : T(6.93147180369123816490e-01);
        const T low = sizeof(T) == 4 ? T(-2.12194440e-4) : T(1.90821492927058770002e-10);
        return S::fma(n, V{} - low, S::fma(n, V{} - high, x));
    }

    // Taylor series of exp(r) - 1 on |r| <= ln(2) / 2; the first term left out is below half a unit in the last place.
    QC_DEVICE static V expm1_reduced(V r) {
        constexpr int degree = sizeof(T) == 4 ? 8 : 14;
        V p = V{} + T(1);
        for (int k = degree; k > 1; --k) p = S::fma(p, r * T(1.0 / k), V{} + T(1));
        return p * r;
    }
};

}  // namespace
}  // namespace qcore::QC_ISA
