// Rows of several systems, one system a vector lane, and their way from and to the caller's tensors.
#pragma once

#include "schrodinger/numbers.hpp"

namespace qcore::QC_ISA {
namespace {

// Exchanges the off-diagonal blocks of size Half in each 2 Half x 2 Half block.
template <class T, int Half, int... I>
inline void exchange_blocks(typename Simd<T>::V (&v)[Simd<T>::width], std::integer_sequence<int, I...>) {
    constexpr int n = Simd<T>::width;
    if constexpr (Half < n)
        for (int i = 0; i < n; ++i) {
            if (i & Half) continue;
            const auto upper = v[i], lower = v[i + Half];
            v[i] = __builtin_shufflevector(upper, lower, (I & Half ? n + I - Half : I)...);
            v[i + Half] = __builtin_shufflevector(upper, lower, (I & Half ? n + I : I + Half)...);
        }
}

// Vector i becomes lane i.
template <class T>
inline void transpose(typename Simd<T>::V (&v)[Simd<T>::width]) {
    constexpr auto lanes = std::make_integer_sequence<int, Simd<T>::width>{};
    static_assert(Simd<T>::width <= 16);
    exchange_blocks<T, 1>(v, lanes);
    exchange_blocks<T, 2>(v, lanes);
    exchange_blocks<T, 4>(v, lanes);
    exchange_blocks<T, 8>(v, lanes);
}

template <class T, class E>
inline typename Simd<T>::V load_as(const E* p) {
    if constexpr (std::is_same_v<T, E>) {
        return Simd<T>::load(p);
    } else {
        typedef E Stored __attribute__((vector_size(Simd<T>::width * sizeof(E)), aligned(alignof(E)), may_alias));
        return __builtin_convertvector(*reinterpret_cast<const Stored*>(p), typename Simd<T>::V);
    }
}

template <class T, class E>
inline void store_as(E* p, typename Simd<T>::V v) {
    if constexpr (std::is_same_v<T, E>) {
        Simd<T>::store(p, v);
    } else {
        typedef E Stored __attribute__((vector_size(Simd<T>::width * sizeof(E)), aligned(alignof(E)), may_alias));
        *reinterpret_cast<Stored*>(p) = __builtin_convertvector(v, Stored);
    }
}

// Where the numbers of one vector of systems stand: row j at data + j * pitch, its real and imaginary parts a vector each.
template <class T>
struct LaneRows {
    T* data;
    std::int64_t pitch;
    int parts;

    T* column(std::int64_t q) const { return data + q / parts * pitch + q % parts * Simd<T>::width; }
};

enum class Reading { plain, conjugate, add_conjugate };

// As many rows of `columns` real numbers (a complex number is two of them) as there are lanes.
template <Reading reading, class T, class E>
QC_KERNEL void read_lanes(const E* const (&from)[Simd<T>::width], std::int64_t columns, const LaneRows<T>& to) {
    using S = Simd<T>;
    for (std::int64_t q = 0; q < columns; q += S::width) {
        const std::int64_t left = columns - q;
        typename S::V v[S::width];
        for (int i = 0; i < S::width; ++i) {
            if (left >= S::width) {
                v[i] = load_as<T>(from[i] + q);
            } else {
                T row[S::width] = {};
                for (std::int64_t k = 0; k < left; ++k) row[k] = static_cast<T>(from[i][q + k]);
                v[i] = S::load(row);
            }
        }
        transpose<T>(v);
        for (int i = 0; i < S::width && i < left; ++i) {
            T* const p = to.column(q + i);
            if (reading != Reading::plain && to.parts == 2 && (i & 1)) v[i] = -v[i];
            S::store(p, reading == Reading::add_conjugate ? S::load(p) + v[i] : v[i]);
        }
    }
}

// The first `count` lanes to a row each.
template <bool conjugate, class T, class E>
QC_KERNEL void write_lanes(const LaneRows<T>& from, std::int64_t columns, E* const (&to)[Simd<T>::width], std::int64_t count) {
    using S = Simd<T>;
    for (std::int64_t q = 0; q < columns; q += S::width) {
        const std::int64_t left = columns - q;
        typename S::V v[S::width];
        for (int i = 0; i < S::width; ++i) {
            v[i] = i < left ? S::load(from.column(q + i)) : S::zero();
            if (conjugate && from.parts == 2 && (i & 1)) v[i] = -v[i];
        }
        transpose<T>(v);
        for (int i = 0; i < S::width && i < count; ++i) {
            if (left >= S::width) {
                store_as<T>(to[i] + q, v[i]);
            } else {
                for (std::int64_t k = 0; k < left; ++k) to[i][q + k] = static_cast<E>(v[i][k]);
            }
        }
    }
}

}  // namespace
}  // namespace qcore::QC_ISA
