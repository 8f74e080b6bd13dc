// Numbers of any size as mantissa * 2^exponent, both in type T: the scalar counterpart of csrc/paths/transfer_scaled.hpp, whose
// ranges and special values it shares, so that states pass from one to the other.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "core/config.hpp"

namespace qcore::transfer {

template <class T>
struct Scaled {
    using Int = std::conditional_t<sizeof(T) == 4, std::int32_t, std::int64_t>;
    using Bits = std::make_unsigned_t<Int>;
    struct Number {
        T m, e;
    };

    static constexpr int mantissa_bits = sizeof(T) == 4 ? 23 : 52, bias = sizeof(T) == 4 ? 127 : 1023;
    static constexpr int reach = sizeof(T) == 4 ? 23 : 51;
    static constexpr T power(int n) { return static_cast<T>(std::int64_t{1} << n); }
    static constexpr T most = power(reach), none = -power(reach + 2), special = power(reach + 3), bound = power(reach + 1);
    static constexpr Int field = (Int(1) << (sizeof(T) == 4 ? 8 : 11)) - 1;
    static constexpr double ln2_high = sizeof(T) == 4 ? 0.693359375 : 6.93147180369123816490e-01;
    static constexpr double ln2_low = sizeof(T) == 4 ? -2.12194440e-4 : 1.90821492927058770002e-10;

    static QC_HD Int bits(T v) {
        Int i;
        std::memcpy(&i, &v, sizeof v);
        return i;
    }
    static QC_HD T number(Int i) {
        T v;
        std::memcpy(&v, &i, sizeof v);
        return v;
    }

    // 2^n for an integer n from -bias + 1 to bias: adding 1.5 * 2^mantissa_bits leaves it in the last bits.
    static QC_HD T pow2(T n) {
        constexpr T magic = sizeof(T) == 4 ? T(12582912.0) : T(6755399441055744.0);
        return number(static_cast<Int>(static_cast<Bits>(bits(n + (magic + T(bias)))) << mantissa_bits));
    }

    // The exponent field of v less that of 2^low: from 0 to bias - low for normal numbers from 2^low on, outside of it for all
    // else.
    static QC_HD Bits distance(T v, int low) {
        return static_cast<Bits>(((bits(v) >> mantissa_bits) & field) - (low + bias));
    }

    // v * 2^base with a mantissa in [1, 2) up to its sign; zero has the exponent `none`, inf and NaN `special`.
    static QC_HD Number split(T v, T base) {
        const Int raw = bits(v), at = (raw >> mantissa_bits) & field;
        const T e = static_cast<T>(at - bias) + base;
        if (at == 0 || e < -most) return {0, none};
        if (at == field) return {v, special};
        if (e > most) return {v * T(INFINITY), special};
        return {number((raw & ~(field << mantissa_bits)) | (Int(bias) << mantissa_bits)), e};
    }

    // m * 2^e = exp(x), m in [0.7, 1.5).
    static QC_HD Number from_log(T x) {
        const double n = std::nearbyint(static_cast<double>(x) * 1.4426950408889634074);
        if (n < -static_cast<double>(most)) return {0, none};
        if (!(n <= static_cast<double>(most))) return {x > T(0) ? T(INFINITY) : x, special};
        const double r = std::fma(n, -1.90821492927058770002e-10,
                                  std::fma(n, -6.93147180369123816490e-01, static_cast<double>(x)));
        return {std::exp(static_cast<T>(r)), static_cast<T>(n)};
    }

    // log |m * 2^e| for a mantissa in [1, 2), zero, inf or NaN.
    static QC_HD T to_log(T m, T e) {
        const T size = std::fabs(m);
        if (size == T(0)) return -T(INFINITY);
        if (e >= bound) return size;
        const bool upper = size > T(1.41421356237309504880);
        const T a = upper ? size * T(0.5) : size, n = upper ? e + T(1) : e;
        return std::fma(n, T(ln2_high), std::fma(n, T(ln2_low), std::log(a)));
    }

    // v * 2^n in T.
    static QC_HD T shifted(T v, T n) {
        constexpr T limit = T(2 * bias - 4);
        const T bounded = n < -limit ? -limit : n > limit ? limit : n, half = std::nearbyint(bounded * T(0.5));
        return v * pow2(half) * pow2(bounded - half);
    }
};

}  // namespace qcore::transfer
