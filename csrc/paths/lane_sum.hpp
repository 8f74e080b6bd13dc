// Sums of many terms on vectors: lanes of float32 hold a few terms at a time, totals are kept in float64. Included by files compiled
// per instruction set.
#pragma once

#include <cstring>
#include <utility>

#include "core/simd.hpp"

namespace qcore::QC_ISA {
namespace {

template <class T>
class LaneSum {
  public:
    using V = typename Simd<T>::V;
    using D = typename Simd<double>::V;

    // A vector of partial sums, of few terms a lane.
    void add(V v) {
        if constexpr (sizeof(T) == 8) {
            total_ += v;
        } else {
            typedef float Half __attribute__((vector_size(vector_bytes / 2)));
            Half half[2];
            std::memcpy(half, &v, sizeof v);
            total_ += __builtin_convertvector(half[0], D) + __builtin_convertvector(half[1], D);
        }
    }

    // Of all lanes, pairwise, in a fixed order.
    double sum() const { return fold<Simd<double>::width / 2>(total_); }

  private:
    template <int half>
    static double fold(D v) {
        if constexpr (half == 0) return v[0];
        else return fold<half / 2>(v + shifted<half>(v, std::make_integer_sequence<int, Simd<double>::width>{}));
    }
    template <int by, int... I>
    static D shifted(D v, std::integer_sequence<int, I...>) {
        return __builtin_shufflevector(v, v, ((I + by) % Simd<double>::width)...);
    }

    D total_{};
};

}  // namespace
}  // namespace qcore::QC_ISA
