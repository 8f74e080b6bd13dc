// Rows and planes between a caller's tensors (any strides, storage types) and padded scratch memory (compute type).
#pragma once

#include "stencil/step.hpp"

namespace qcore::QC_ISA {
namespace {

using stencil::PlaneIndex;
using stencil::PlaneLayout;
using stencil::RealField;
using stencil::RowRange;

template <class T, class E>
inline T widen(E e) {
    if constexpr (std::is_same_v<E, bfloat16>) return static_cast<T>(static_cast<float>(e));
    else return static_cast<T>(e);
}

template <class T, class E>
void read_row(const E* from, std::int64_t stride, T* to, std::int64_t n, bool add) {
    if constexpr (std::is_same_v<T, E>)
        if (stride == 1 && !add)
            return each_vector<T, 0>(0, n, [&](std::int64_t x, auto kind) { Simd<T>::store(to + x, kind.load(from + x)); });
    if (add)
        for (std::int64_t x = 0; x < n; ++x) to[x] += widen<T>(from[x * stride]);
    else
        for (std::int64_t x = 0; x < n; ++x) to[x] = widen<T>(from[x * stride]);
}

template <class T, class E>
void write_row(const T* from, E* to, std::int64_t stride, std::int64_t n) {
    if constexpr (std::is_same_v<T, E>)
        if (stride == 1)
            return each_vector<T, 0>(0, n, [&](std::int64_t x, auto kind) { kind.store(to + x, Simd<T>::load(from + x)); });
    for (std::int64_t x = 0; x < n; ++x) to[x * stride] = static_cast<E>(from[x]);
}

// f(pointer to the element type) at an offset of a field.
template <class T, class F>
inline void with_element_type(const RealField& field, std::int64_t offset, F&& f) {
    if (field.dtype == DType::bf16) f(static_cast<bfloat16*>(field.data) + offset);
    else if (field.dtype == DType::f16) f(static_cast<float16*>(field.data) + offset);
    else f(static_cast<T*>(field.data) + offset);
}

// f(component, z, y, first, count) for the runs of rows of a range that follow each other in y.
template <class F>
inline void each_run(const PlaneLayout& layout, RowRange rows, F&& f) {
    if (rows.first == 0 && rows.last == layout.height) return f(0, 0, 0, 0, layout.height);  // a whole 2-D plane: no division
    for (std::int64_t r = rows.first; r < rows.last;) {
        const std::int64_t y = r % layout.height, z = r / layout.height % layout.depth;
        const std::int64_t rest = layout.height - y, count = rest < rows.last - r ? rest : rows.last - r;
        f(r / (layout.height * layout.depth), z, y, r, count);
        r += count;
    }
}

// Some rows of a plane from a tensor. With `add` the tensor is added to what is there.
template <class T>
void read_plane(const RealField& field, PlaneIndex index, const PlaneLayout& layout, T* plane, RowRange rows, bool add = false) {
    with_element_type<T>(field, index.offset(field), [&](auto* base) {
        each_run(layout, rows, [&](std::int64_t c, std::int64_t z, std::int64_t y, std::int64_t first, std::int64_t count) {
            const auto* from = base + c * field.component_stride + z * field.z_stride + y * field.y_stride;
            for (std::int64_t i = 0; i < count; ++i)
                read_row(from + i * field.y_stride, field.x_stride, plane + layout.row[first + i], layout.width, add);
        });
    });
}

template <class T>
void write_plane(const RealField& field, PlaneIndex index, const PlaneLayout& layout, const T* plane, RowRange rows) {
    with_element_type<T>(field, index.offset(field), [&](auto* base) {
        each_run(layout, rows, [&](std::int64_t c, std::int64_t z, std::int64_t y, std::int64_t first, std::int64_t count) {
            auto* to = base + c * field.component_stride + z * field.z_stride + y * field.y_stride;
            for (std::int64_t i = 0; i < count; ++i)
                write_row(plane + layout.row[first + i], to + i * field.y_stride, field.x_stride, layout.width);
        });
    });
}

// Zeroes what no step writes: the zero row, the margins and the pads between rows.
template <class T>
void clear_pads(const PlaneLayout& layout, T* plane) {
    const std::int64_t rows = layout.rows(), first = layout.row[0], tail = layout.row[rows - 1] + layout.width;
    for (std::int64_t i = 0; i < first; ++i) plane[i] = T(0);
    for (std::int64_t r = 0; r + 1 < rows; ++r)
        for (std::int64_t i = layout.row[r] + layout.width; i < layout.row[r + 1]; ++i) plane[i] = T(0);
    for (std::int64_t i = tail; i < layout.size; ++i) plane[i] = T(0);
}

}  // namespace
}  // namespace qcore::QC_ISA
