// Planes of several images, one image a vector lane, and their way from and to the caller's tensors.
#pragma once

#include "stencil/row_io.hpp"

namespace qcore::QC_ISA {
namespace {

// One round of a transposition: swaps the off-diagonal blocks of each 2x2 blocks of Half x Half.
template <class T, int Half, int... I>
inline void transpose_blocks(typename Simd<T>::V (&rows)[Simd<T>::width], std::integer_sequence<int, I...>) {
    constexpr int n = Simd<T>::width;
    if constexpr (Half < n)
        for (int i = 0; i < n; ++i) {
            if (i & Half) continue;
            const auto a = rows[i], b = rows[i + Half];
            rows[i] = __builtin_shufflevector(a, b, (I & Half ? n + I - Half : I)...);
            rows[i + Half] = __builtin_shufflevector(a, b, (I & Half ? n + I : I + Half)...);
        }
}

// As many rows as a vector has lanes: row r becomes lane r.
template <class T>
inline void transpose(typename Simd<T>::V (&rows)[Simd<T>::width]) {
    constexpr auto lanes = std::make_integer_sequence<int, Simd<T>::width>{};
    static_assert(Simd<T>::width <= 16);
    transpose_blocks<T, 1>(rows, lanes);
    transpose_blocks<T, 2>(rows, lanes);
    transpose_blocks<T, 4>(rows, lanes);
    transpose_blocks<T, 8>(rows, lanes);
}

// A plane of as many images as a vector has lanes: point (y, x) of all of them is one vector. Each row has a halo of one
// vector on both sides; behind the last stands a row of zeros, and what a transposition may read past it.
struct LanesLayout {
    std::int64_t height, width, lanes;

    std::int64_t pitch() const { return (width + 2) * lanes; }
    std::int64_t size() const { return (height + 1) * pitch() + lanes * lanes; }
    std::ptrdiff_t row(std::int64_t y) const { return y * pitch() + lanes; }
    std::ptrdiff_t zero_row() const { return row(height); }
};

// Between a field's rows and lanes. `index` is the first image's; the others follow it in the batch.
template <class T>
class LanesIo {
  public:
    using S = Simd<T>;
    using V = typename S::V;

    LanesIo(const LanesLayout& layout, T* staging) : layout_(layout), staging_(staging) {}

    static std::int64_t staging_size(const LanesLayout& layout) { return S::width * stage_pitch(layout); }

    // With `add` the tensor is added to what is there.
    void read(const RealField& field, PlaneIndex index, T* plane, bool add = false) const {
        const bool direct = is_direct(field);
        with_element_type<T>(field, index.offset(field), [&](const auto* base) {
            for (std::int64_t y = 0; y < layout_.height; ++y) {
                const T* rows[S::width];
                for (int i = 0; i < S::width; ++i) {
                    const auto* from = base + i * field.batch_stride + y * field.y_stride;
                    if constexpr (std::is_same_v<std::remove_cv_t<std::remove_pointer_t<decltype(from)>>, T>) rows[i] = from;
                    if (direct) continue;
                    T* const stage = staging_ + i * stage_pitch(layout_);
                    read_row(from, field.x_stride, stage, layout_.width, false);
                    rows[i] = stage;
                }
                T* const to = plane + layout_.row(y);
                add ? gather<true>(rows, to) : gather<false>(rows, to);
            }
        });
    }

    void write(const RealField& field, PlaneIndex index, const T* plane) const {
        const bool direct = is_direct(field);
        with_element_type<T>(field, index.offset(field), [&](auto* base) {
            for (std::int64_t y = 0; y < layout_.height; ++y) {
                T* rows[S::width];
                for (int i = 0; i < S::width; ++i) {
                    auto* to = base + i * field.batch_stride + y * field.y_stride;
                    rows[i] = staging_ + i * stage_pitch(layout_);
                    if constexpr (std::is_same_v<decltype(to), T*>)
                        if (direct) rows[i] = to;
                }
                scatter(plane + layout_.row(y), rows);
                if (direct) continue;
                for (int i = 0; i < S::width; ++i)
                    write_row(rows[i], base + i * field.batch_stride + y * field.y_stride, field.x_stride, layout_.width);
            }
        });
    }

  private:
    static std::int64_t stage_pitch(const LanesLayout& layout) { return (layout.width + S::width - 1) / S::width * S::width; }

    static bool is_direct(const RealField& field) { return field.x_stride == 1 && field.dtype == (sizeof(T) == 4 ? DType::f32 : DType::f64); }

    template <bool Add>
    QC_KERNEL void gather(const T* const* rows, T* to) const {
        each_vector<T, 0>(0, layout_.width, [&](std::int64_t x, auto kind) {
            V v[S::width];
            for (int i = 0; i < S::width; ++i) v[i] = kind.load(rows[i] + x);
            transpose<T>(v);
            const std::int64_t n = layout_.width - x;
            for (int i = 0; i < S::width; ++i) {
                if (i >= n) break;
                T* const p = to + (x + i) * S::width;
                S::store(p, Add ? S::load(p) + v[i] : v[i]);
            }
        });
    }

    QC_KERNEL void scatter(const T* from, T* const* rows) const {
        each_vector<T, 0>(0, layout_.width, [&](std::int64_t x, auto kind) {
            V v[S::width];
            for (int i = 0; i < S::width; ++i) v[i] = S::load(from + (x + i) * S::width);  // past the row's end too, unused
            transpose<T>(v);
            for (int i = 0; i < S::width; ++i) kind.store(rows[i] + x, v[i]);
        });
    }

    const LanesLayout& layout_;
    T* staging_;
};

}  // namespace
}  // namespace qcore::QC_ISA
