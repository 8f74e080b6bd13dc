// A potential handed over as a tensor of coefficients, checked: a table lies where the kernels can read it, a polynomial on the
// host.
#pragma once

#include <string>

#include "core/check.hpp"
#include "paths/potential.hpp"

namespace qcore::paths {

// `p` says whether the coefficients are a table's, (cells, 4), or a polynomial's, (K + 1,), and where the table lies.
inline Potential checked_potential(Potential p, const TensorView& coefficients) {
    p.table ? check_device("potential", coefficients) : check_host("potential", coefficients);
    check_dtype("potential", coefficients, DType::f64);
    const bool fits = p.table ? coefficients.ndim == 2 && coefficients.shape[0] > 0 && coefficients.shape[1] == 4
                              : coefficients.ndim == 1 && coefficients.shape[0] > 0 && coefficients.shape[0] <= Potential::max_coefficients;
    if (!fits)
        fail("potential", p.table ? std::string("shape (cells, 4)") : "1 to " + std::to_string(Potential::max_coefficients) + " coefficients",
             coefficients.shape_text());
    if (!coefficients.contiguous()) fail("potential", "a contiguous tensor", "strides that are not contiguous");
    if (p.table && !(p.inverse_spacing > 0)) fail("inverse_spacing", "a number > 0", std::to_string(p.inverse_spacing));
    p.coefficients = static_cast<const double*>(coefficients.data);
    p.count = coefficients.shape[0];
    return p;
}

}  // namespace qcore::paths
