// What the fused kernels need to know about a call, laid out once: plain data only, because the kernel files are compiled
// per instruction set and must not instantiate library templates that other files share.
#pragma once

#include <cstddef>
#include <cstdint>

#include "stencil/problem.hpp"

namespace qcore::stencil {

// Specialised inner loops; `list` goes through any set of taps, in 1-3 D.
enum class Shape { star5, box3x3, list };

// Taps as a list: tap i reads the row that stands `relative[i]` entries behind that of the output point in a layout's table,
// shifted by `dx[i]` columns. Taps that are zero in every step and channel are left out.
struct TapList {
    std::int64_t n = 0;
    const std::ptrdiff_t* relative = nullptr;
    const std::ptrdiff_t* dx = nullptr;
    int square = 0;  // K where it is a whole planar K x K kernel, row by row, of one component; else 0
};

// A field as real numbers: complex elements are two components a real stride apart. Strides in real elements.
struct RealField {
    void* data = nullptr;
    DType dtype = DType::f32;  // a real type
    std::int64_t step_stride = 0, batch_stride = 0, channel_stride = 0, component_stride = 0;
    std::int64_t z_stride = 0, y_stride = 0, x_stride = 0;

    QC_HD explicit operator bool() const { return data != nullptr; }
};

// A padded plane in scratch memory: rows of `width` points, `pitch` apart, an all-zero row before and after them. The pad between two rows
// is the right halo of one and the left halo of the next. A plane holds the rows (component, z, y) of one image.
//   row[(component * depth + z) * height + y]       offset of a row
//   source[(component * (depth + 2 rz) + z) * (height + 2 ry) + y]   offset of the row that a tap at (z - rz, y - ry) reads:
//                                                   the boundary's image of it, or the zero row
struct PlaneLayout {
    std::int64_t width, height, depth, components;
    std::int64_t pitch, size;  // elements; size includes margins on both sides
    std::int64_t halo;         // columns a row's neighbours may read on each side
    const std::ptrdiff_t* row;
    const std::ptrdiff_t* source;
    // The same for the adjoint of a folding boundary: no images, zero rows up to 2 rz, 2 ry beyond the edge.
    const std::ptrdiff_t* zero_source;

    QC_HD std::int64_t rows() const { return components * depth * height; }
};

struct Plan {
    const Problem* problem;
    Shape shape;
    int components;  // 2 where complex taps couple the real and imaginary planes, else 1
    int split;       // 2 where a complex field with real taps is two independent real fields, else 1
    std::int64_t rz, ry, rx;
    PlaneLayout layout;

    // Taps of the compute type, skip merged into the centre: [step][channel][output component][n]. star5 has 5 (up, left,
    // centre, right, down), box3x3 nine in rows.
    const void* taps;
    const void* adjoint_taps;  // flipped, conjugated
    TapList forward, adjoint;  // places in layout.source
    TapList fold;              // as adjoint, with places in layout.zero_source
    TapList gradient;          // every tap of one input component
    const void* bias;          // [step][bias channel][component], or null

    RealField x, y, states, checkpoints, grad_x, grad_y, grad_states;

    // Independent planes of one channel: (batch, split). They are worked off in groups of fixed size, whatever the threads.
    std::int64_t planes, group;
    bool interleaved;  // as many images as a vector has lanes are stepped together, where a group has so many

    // Partial sums of the parameter gradients, [channel][part][step][gradients()], added up in order at the end.
    double* partial;
    std::int64_t parts;
    QC_HD std::int64_t gradients() const { return components * components * problem->kernel_size() + components; }

    QC_HD bool folds() const {
        return problem->options.boundary == Boundary::reflect || problem->options.boundary == Boundary::replicate;
    }
    QC_HD std::int64_t channel_of_taps(std::int64_t c) const { return problem->tap_channels == 1 ? 0 : c; }
    QC_HD std::int64_t channel_of_bias(std::int64_t c) const { return problem->bias_channels == 1 ? 0 : c; }
};

// Which plane of a tensor: stored step, image, channel, first component.
struct PlaneIndex {
    std::int64_t step, batch, channel, component;

    QC_HD std::int64_t offset(const RealField& f) const {
        return step * f.step_stride + batch * f.batch_stride + channel * f.channel_stride + component * f.component_stride;
    }
};

// Rows [first, last) of a plane, counted as (component, z, y).
struct RowRange {
    std::int64_t first, last;
};

// A part of a plane that goes through steps t0 ... t1 in one wavefront, and where it comes from and goes to.
struct Tile {
    std::int64_t channel, plane, part;  // part: place of its partial sums
    std::int64_t x0, x1, y0, y1;
    std::int64_t t0, t1;
    RealField from, to;           // state t0; state t1, or backward the gradient to state t0
    std::int64_t from_step, to_step;
    RealField gradient;           // backward: gradient to state t1
};

// The entry points of one instruction set for one compute type T; planes are T*.
struct Kernels {
    int lanes;  // of a vector

    // All steps of the planes of one group, in this thread's scratch memory.
    void (*resident_forward)(const Plan&, std::int64_t channel, std::int64_t group);
    void (*resident_backward)(const Plan&, std::int64_t channel, std::int64_t group);

    void (*wavefront_forward)(const Plan&, const Tile&);
    void (*wavefront_backward)(const Plan&, const Tile&);

    // One step, or a part of one, on some rows of a plane: for planes too large to stay on chip.
    void (*clear)(const Plan&, void* plane);
    void (*read)(const Plan&, const RealField&, PlaneIndex, void* plane, RowRange, bool add);
    void (*write)(const Plan&, const RealField&, PlaneIndex, const void* plane, RowRange);
    void (*step)(const Plan&, const void* u, void* v, std::int64_t t, std::int64_t channel, RowRange);
    // d = g * act', and the parameter gradients of these rows added to `sums` (Plan::gradients() doubles).
    void (*gate)(const Plan&, const void* u, const void* next, const void* g, void* d, std::int64_t t, std::int64_t channel, RowRange,
                 double* sums);
    void (*adjoint)(const Plan&, const void* d, void* g, std::int64_t t, std::int64_t channel, RowRange);
};

}  // namespace qcore::stencil
