// What the entry points of the field action and its kernels agree on.
#pragma once

#include <cstdint>

#include "core/config.hpp"
#include "core/isa.hpp"

namespace qcore::paths {

struct FieldShape {
    std::int64_t slices, sites;
    bool midpoint, periodic;

    QC_HD std::int64_t points() const { return slices * sites; }
};

// The four sums of a field, or what their derivatives are multiplied by.
struct FieldSums {
    double time = 0, space = 0, mass = 0, quartic = 0;
};

// factors (R, 4): out_r = sum_j by[r][j] (time, space, mass, quartic)_j. A factor of zero leaves its sum out, whatever that is.
struct FieldFactors {
    static constexpr int most = 4;
    double by[most][4];
    int rows;

    QC_HD double combined(int r, const FieldSums& s) const {
        double total = 0;
        if (by[r][0] != 0) total += by[r][0] * s.time;
        if (by[r][1] != 0) total += by[r][1] * s.space;
        if (by[r][2] != 0) total += by[r][2] * s.mass;
        if (by[r][3] != 0) total += by[r][3] * s.quartic;
        return total;
    }
    // What a gradient to the rows of out, `stride` apart, is to the four sums.
    template <class P>
    QC_HD FieldSums pulled(P grad, std::int64_t stride) const {
        FieldSums g;
        for (int r = 0; r < rows; ++r) {
            const double of = grad[r * stride];
            if (by[r][0] != 0) g.time += by[r][0] * of;
            if (by[r][1] != 0) g.space += by[r][1] * of;
            if (by[r][2] != 0) g.mass += by[r][2] * of;
            if (by[r][3] != 0) g.quartic += by[r][3] * of;
        }
        return g;
    }
};

// A call of `phi4_action` or `phi4_gradient`, checked.
struct FieldCall {
    FieldShape shape;
    FieldFactors factors;
    std::int64_t batch;
    bool single, reference;
    const void* phi;
    double* out;
    const double* grad;
    void* grad_phi;
};
void compute_field_action(const FieldCall& p);
void compute_field_gradient(const FieldCall& p);

struct FieldKernels {
    struct Functions {
        FieldSums (*sums)(const FieldShape& shape, const void* phi);
        void (*gradient)(const FieldShape& shape, const void* phi, const FieldSums& grad, void* grad_phi);
    } f32, f64;
};

extern const FieldKernels reference_field_kernels;

}  // namespace qcore::paths

namespace qcore {
QC_ISA_OBJECT(paths::FieldKernels, field_kernels)
}
