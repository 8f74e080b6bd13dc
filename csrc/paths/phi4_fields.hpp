// What phi4.cpp and its kernels agree on.
#pragma once

#include <cstdint>

#include "core/isa.hpp"

namespace qcore::paths {

struct FieldShape {
    std::int64_t slices, sites;
    bool midpoint, periodic;
};

// The four sums of a field, or what their derivatives are multiplied by.
struct FieldSums {
    double time = 0, space = 0, mass = 0, quartic = 0;
};

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
