// Simd and the words that it has no word for, so that the same code runs with many lanes in a vector on the CPU and, compiled for
// a GPU, with one lane in each thread. Included by files compiled per instruction set, and by CUDA sources (QC_ISA device).
#pragma once

#include "core/config.hpp"

#if defined(__CUDACC__) || defined(QCORE_EMULATION)
#define QC_ON_DEVICE
#define QC_ISA device
#endif

// Before every function that runs in a thread of a device: of any kind, one out of line (rarely called, or long), and one out of
// line whose calls the CPU inlines.
#if defined(__CUDACC__)
#define QC_DEVICE __device__
#else
#define QC_DEVICE
#endif
#if defined(QC_ON_DEVICE)
#define QC_APART QC_DEVICE __attribute__((noinline))
#define QC_LANE_KERNEL QC_APART
#else
#define QC_APART __attribute__((noinline))
#define QC_LANE_KERNEL QC_KERNEL
#endif

#if defined(QC_ON_DEVICE)
#include "core/lanes_device.hpp"
#else

#include "core/simd.hpp"

namespace qcore::QC_ISA {
namespace {

template <class T>
struct Vector : Simd<T> {
    using typename Simd<T>::V;
    using Simd<T>::width;
    template <class U>
    struct Of {
        typedef U type __attribute__((vector_size(vector_bytes)));
    };
    using Int = std::conditional_t<sizeof(T) == 4, std::int32_t, std::int64_t>;
    using Unsigned = std::make_unsigned_t<Int>;
    using VI = typename Of<Int>::type;
    using VU = typename Of<Unsigned>::type;
    using Mask = VI;  // what comparisons give

    // The same bits, and the same numbers, of another type.
    template <class To, class From>
    static To bits(From v) {
        return (To)v;
    }
    template <class To, class From>
    static To convert(From v) {
        return __builtin_convertvector(v, To);
    }

    static Mask everywhere() { return Mask{} - 1; }
    static VI count(VI n, Mask yes) { return n - yes; }  // one more where yes

    template <class W>
    static auto lane(const W& v, int i) {
        return v[i];
    }
    static void set_lane(V& v, int i, T value) { v[i] = value; }
};

}  // namespace
}  // namespace qcore::QC_ISA

#endif
