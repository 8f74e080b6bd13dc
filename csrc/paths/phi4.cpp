// Argument checks of the field action.
#include "paths/phi4.hpp"

#include <algorithm>

#include "paths/action_call.hpp"
#include "paths/phi4_fields.hpp"

namespace qcore::paths {

namespace {

FieldCall checked_call(const FieldAction& a, const TensorView& phi, const TensorView& f) {
    FieldCall p{};
    check_real("phi", phi);
    if (phi.ndim != 3 || phi.shape[1] < 1 || phi.shape[2] < 1)
        fail("phi", "shape (B, T, L) with at least one slice and one site", phi.shape_text());
    check_contiguous("phi", phi);
    p.batch = phi.shape[0];
    p.shape = {phi.shape[1], phi.shape[2], a.midpoint, a.periodic};
    p.single = phi.dtype == DType::f32;
    p.reference = a.reference;
    p.phi = phi.data;
    check_host("factors", f);
    check_dtype("factors", f, DType::f64);
    if (f.ndim != 2 || f.shape[0] < 1 || f.shape[0] > FieldFactors::most || f.shape[1] != 4) fail("factors", "shape (1 to 4, 4)", f.shape_text());
    if (!f.contiguous()) fail("factors", "a contiguous tensor", "strides that are not contiguous");
    p.factors.rows = static_cast<int>(f.shape[0]);
    std::copy_n(static_cast<const double*>(f.data), f.numel(), p.factors.by[0]);
    return p;
}

}  // namespace

void phi4_action(const FieldAction& a, const TensorView& phi, const TensorView& factors, const TensorView& out) {
    FieldCall p = checked_call(a, phi, factors);
    check_result("out", out, DType::f64, shaped({p.factors.rows, p.batch}));
    check_disjoint("out", out, "phi", phi);
    check_disjoint("out", out, "factors", factors);
    p.out = static_cast<double*>(out.data);
    compute_field_action(p);
}

void phi4_gradient(const FieldAction& a, const TensorView& phi, const TensorView& factors, const TensorView& grad,
                   const TensorView& grad_phi) {
    FieldCall p = checked_call(a, phi, factors);
    check_input("grad", grad, DType::f64, shaped({p.factors.rows, p.batch}));
    check_result("grad_phi", grad_phi, phi.dtype, phi);
    check_disjoint("grad_phi", grad_phi, "phi", phi);
    check_disjoint("grad_phi", grad_phi, "factors", factors);
    check_disjoint("grad_phi", grad_phi, "grad", grad);
    p.grad = static_cast<const double*>(grad.data);
    p.grad_phi = grad_phi.data;
    compute_field_gradient(p);
}

}  // namespace qcore::paths
