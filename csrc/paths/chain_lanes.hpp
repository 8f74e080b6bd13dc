// Chains in the lanes of vectors: sums in double precision, and moving chains between their tensor and the lanes.
// Included by files compiled per instruction set and by CUDA sources, with contraction off.
#pragma once

#include <cstring>

#include "core/random.hpp"
#include "paths/lane_memory.hpp"

namespace qcore::QC_ISA {
namespace {

// A sum for each lane, in double precision.
template <class T>
class Totals {
  public:
    using V = typename Vector<T>::V;
    using D = typename Vector<double>::V;

#if defined(QC_ON_DEVICE)
    QC_DEVICE void add(V v) { part_ += static_cast<double>(v); }

    template <class To>
    QC_DEVICE void store(To p) const {
        *p = part_;
    }

  private:
    double part_ = 0;
#else
    void add(V v) {
        if constexpr (sizeof(T) == 8) {
            part_[0] += v;
        } else {
            typedef float Half __attribute__((vector_size(vector_bytes / 2)));
            Half half[2];
            std::memcpy(half, &v, sizeof v);
            part_[0] += __builtin_convertvector(half[0], D);
            part_[1] += __builtin_convertvector(half[1], D);
        }
    }

    void store(double* p) const {
        for (int k = 0; k < parts; ++k) Simd<double>::store(p + k * Simd<double>::width, part_[k]);
    }

  private:
    static constexpr int parts = 8 / static_cast<int>(sizeof(T));
    D part_[parts] = {};
#endif
};

// [chain][site] -> [site][lane]; lanes without a chain are zero.
template <class T, int lanes>
QC_DEVICE void load_chains(Memory<const T> from, std::int64_t sites, int count, const Rows<T, lanes>& to) {
    for (int l = 0; l < lanes; ++l)
        for (std::int64_t i = 0; i < sites; ++i) to[i][l] = l < count ? from[l * sites + i] : T(0);
}

template <class T, int lanes>
QC_DEVICE void store_chains(const Rows<T, lanes>& from, std::int64_t sites, int count, Memory<T> to) {
    for (int l = 0; l < count; ++l)
        for (std::int64_t i = 0; i < sites; ++i) to[l * sites + i] = from[i][l];
}

// Standard normals for the sites of one vector of chains, which stands `at` numbers into each row.
template <class T, int lanes>
QC_LANE_KERNEL void draw_normals(const Rows<T, lanes>& out, int at, std::int64_t sites, std::uint32_t purpose,
                                 std::uint32_t sweep, std::uint32_t chain, std::uint64_t seed) {
    using S = Vector<T>;
    using R = Random<T>;
    constexpr int each = R::normals;
    const typename R::Stream stream(chain, seed);
    for (std::int64_t i = 0; i < sites; i += each) {
        const auto words = stream.words(purpose, static_cast<std::uint32_t>(i / each), sweep);
        typename S::V z[each];
        for (int k = 0; k < each / 2; ++k) R::normal(words, k, z[2 * k], z[2 * k + 1]);
        for (int k = 0; k < each && i + k < sites; ++k) S::store(out[i + k] + at, z[k]);
    }
}

}  // namespace
}  // namespace qcore::QC_ISA
