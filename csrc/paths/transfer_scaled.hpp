// Numbers of any size as mantissa * 2^exponent, both in type T, vector by vector, to and from logarithms.
#pragma once

#include <cmath>
#include <cstdint>

#include "core/simd.hpp"

namespace qcore::QC_ISA {
namespace {

// A mantissa is in [1, 2) (of an input: [0.7, 1.5)) up to its sign, an exponent an integer below 2^reach in size: exact in T up to
// where the spacing of T is 1, beyond which a logarithm in T says nothing about the number. Zero has mantissa 0 and exponent `none`;
// inf and NaN are mantissas with exponent `special`, which wins any maximum and so makes itself known.
template <class T>
struct Scaled {
    using S = Simd<T>;
    using V = typename S::V;
    using Int = std::conditional_t<sizeof(T) == 4, std::int32_t, std::int64_t>;
    typedef Int VI __attribute__((vector_size(vector_bytes)));
    typedef std::make_unsigned_t<Int> Bits __attribute__((vector_size(vector_bytes)));

    static constexpr int width = S::width, mantissa_bits = sizeof(T) == 4 ? 23 : 52, bias = sizeof(T) == 4 ? 127 : 1023;
    static constexpr T two_to(int n) {
        T power = 1;
        for (; n > 0; --n) power *= 2;
        for (; n < 0; ++n) power /= 2;
        return power;
    }
    static constexpr int reach = sizeof(T) == 4 ? 23 : 51;
    static constexpr T most = two_to(reach), none = -two_to(reach + 2), special = two_to(reach + 3), bound = two_to(reach + 1);

    static constexpr T log2e = T(1.4426950408889634074);
    static constexpr T ln2_high = sizeof(T) == 4 ? T(0.693359375) : T(6.93147180369123816490e-01);
    static constexpr T ln2_low = sizeof(T) == 4 ? T(-2.12194440e-4) : T(1.90821492927058770002e-10);
    static constexpr T magic = sizeof(T) == 4 ? T(12582912.0) : T(6755399441055744.0);  // rounds |x| < 2^22, 2^51

    static constexpr Int exponent_field = (Int(2 * bias + 1)) << mantissa_bits;
    static VI bits(V v) { return (VI)v; }

    // 2^n, n a vector of integers from -bias + 1 to bias.
    static V pow2(V n) { return (V)(((VI)(n + (magic + T(bias)))) << mantissa_bits); }

    static V larger(V a, V b) { return a > b ? a : b; }

    // Splits v * 2^base into mantissa and exponent.
    static void split(V v, V base, V& m, V& e) {
        constexpr Int field = (Int(1) << (sizeof(T) == 4 ? 8 : 11)) - 1;
        const VI raw = bits(v), at = (raw >> mantissa_bits) & field;
        m = (V)((raw & ~(VI{} + (field << mantissa_bits))) | ((VI{} + Int(bias)) << mantissa_bits));
        e = __builtin_convertvector(at - bias, V) + base;
        const VI gone = (at == 0) | (e < -most), wild = (at == field) | (e > most);
        m = gone ? V{} : (at == field ? v : (wild ? v * T(__builtin_inf()) : m));
        e = gone ? V{} + none : (wild ? V{} + special : e);
    }

    // The same of a normal number whose exponent stays within reach.
    static void split_normal(V v, V base, V& m, V& e) {
        const VI raw = bits(v), field = raw & (VI{} + exponent_field);
        m = (V)((raw & ~(VI{} + exponent_field)) | ((VI{} + Int(bias)) << mantissa_bits));
        e = __builtin_convertvector(field >> mantissa_bits, V) + (base - T(bias));
    }

    // Whether any |v| is outside of [2^low, 2^high): NaN is, inf is, zero is.
    static VI beyond(V v, int low, int high) {
        const VI first = VI{} + (Int(low + bias) << mantissa_bits), last = VI{} + (Int(high - 1 + bias) << mantissa_bits);
        const VI field = bits(v) & (VI{} + exponent_field);
        return (VI)((Bits)(field - first) > (Bits)(last - first));
    }

    // m * 2^e = exp(x).
    static void from_log(V x, V& m, V& e) {
        constexpr T fits = sizeof(T) == 4 ? T(2.9e6) : T(1.5e15);
        const VI plain = (x < fits) & (x > -fits);
        const V bounded = plain ? x : V{};
        e = (bounded * log2e + magic) - magic;
        const V r = S::fma(e, V{} - ln2_low, S::fma(e, V{} - ln2_high, bounded));
        constexpr int degree = sizeof(T) == 4 ? 8 : 14;
        V p = V{} + T(1);
        for (int k = degree; k > 0; --k) p = S::fma(p, r * T(1.0 / k), V{} + T(1));
        m = p;
        for (int i = 0; i < width; ++i)
            if (!plain[i]) {
                T mi, ei;
                from_log(x[i], mi, ei);
                m[i] = mi;
                e[i] = ei;
            }
    }

    static void from_log(T x, T& m, T& e) {
        const double n = std::nearbyint(static_cast<double>(x) * 1.4426950408889634074);
        if (n < -static_cast<double>(most)) {
            m = 0;
            e = none;
        } else if (!(n <= static_cast<double>(most))) {
            m = x > T(0) ? T(__builtin_inf()) : x;
            e = special;
        } else {
            e = static_cast<T>(n);
            m = static_cast<T>(std::exp(std::fma(n, -1.90821492927058770002e-10, std::fma(n, -6.93147180369123816490e-01, static_cast<double>(x)))));
        }
    }

    // log |m * 2^e| for a mantissa in [1, 2), zero, inf or NaN.
    static V to_log(V m, V e) {
        const V size = m < V{} ? -m : m;
        const VI upper = size > T(1.41421356237309504880);
        const V a = upper ? size * T(0.5) : size, n = upper ? e + T(1) : e;
        // log a = 2 atanh(s), s = (a - 1) / (a + 1), |s| < 0.172
        const V s = (a - T(1)) / (a + T(1)), z = s * s;
        constexpr int terms = sizeof(T) == 4 ? 5 : 10;
        V p = V{};
        for (int k = terms; k > 0; --k) p = S::fma(p, z, V{} + T(1.0 / (2 * k + 1)));
        const V log_a = S::fma(s + s, p * z, s + s);
        const V value = S::fma(n, V{} + ln2_high, S::fma(n, V{} + ln2_low, log_a));
        const VI wild = e >= bound;
        return size == V{} ? V{} - T(__builtin_inf()) : (wild ? size : value);
    }
};

}  // namespace
}  // namespace qcore::QC_ISA
