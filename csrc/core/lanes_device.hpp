// Vectors of one lane, for lanes.hpp.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <type_traits>
#include <utility>

namespace qcore::QC_ISA {
namespace {

constexpr int vector_bytes = 8;  // that arrays of lanes are aligned to

template <class T>
struct Vector {
    using V = T;
    static constexpr int width = 1;
    template <class U>
    struct Of {
        using type = U;
    };
    using Int = std::conditional_t<sizeof(T) == 4, std::int32_t, std::int64_t>;
    using Unsigned = std::make_unsigned_t<Int>;
    using VI = Int;
    using VU = Unsigned;
    using Mask = bool;

    template <class P>
    QC_DEVICE static V load(P p) {
        return *p;
    }
    template <class P>
    QC_DEVICE static void store(P p, V v) {
        *p = v;
    }
    QC_DEVICE static V fma(V a, V b, V c) { return std::fma(a, b, c); }

    template <class To, class From>
    QC_DEVICE static To bits(From v) {
        return std::bit_cast<To>(v);
    }
    template <class To, class From>
    QC_DEVICE static To convert(From v) {
        return static_cast<To>(v);
    }

    QC_DEVICE static Mask everywhere() { return true; }
    QC_DEVICE static VI count(VI n, Mask yes) { return n + yes; }

    template <class W>
    QC_DEVICE static W lane(W v, int) {
        return v;
    }
    QC_DEVICE static void set_lane(V& v, int, T value) { v = value; }
};

}  // namespace
}  // namespace qcore::QC_ISA
