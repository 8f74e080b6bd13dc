// Argument checks of the path networks.
#include "paths/network.hpp"

#include "paths/action_call.hpp"
#include "paths/action_rows.hpp"

namespace qcore::paths {

namespace {

void check_parameters(Parameters parameters) {
    if (parameters != Parameters::velocity && parameters != Parameters::acceleration)
        fail("parameters", "velocity (1) or acceleration (2)", std::to_string(static_cast<int>(parameters)));
}

}  // namespace

void integrate(Parameters parameters, double dt, const TensorView& w, const TensorView& x_ini, const TensorView* x_fin,
               const TensorView& x) {
    check_parameters(parameters);
    check_real("w", w);
    if (w.ndim != 2) fail("w", "shape (B, N)", w.shape_text());
    check_contiguous("w", w);
    const std::int64_t batch = w.shape[0], given = w.shape[1], beads = given + 1 + (x_fin ? 1 : 0);
    check_input("x_ini", x_ini, w.dtype, shaped({batch}));
    if (x_fin) check_input("x_fin", *x_fin, w.dtype, shaped({batch}));
    check_result("x", x, w.dtype, shaped({batch, beads}));
    check_disjoint("x", x, "w", w);
    check_disjoint("x", x, "x_ini", x_ini);
    if (x_fin) check_disjoint("x", x, "x_fin", *x_fin);
    compute_beads({batch, given, parameters == Parameters::acceleration, w.dtype == DType::f32, x_fin != nullptr, dt, w.data, x.data,
                   x_ini.data, x_fin ? x_fin->data : nullptr});
}

void integrate_adjoint(Parameters parameters, double dt, const TensorView& grad_x, const TensorView& grad_w, const TensorView& grad_ini,
                       const TensorView* grad_fin) {
    check_parameters(parameters);
    check_real("grad_x", grad_x);
    if (grad_x.ndim != 2) fail("grad_x", "shape (B, M)", grad_x.shape_text());
    check_contiguous("grad_x", grad_x);
    const std::int64_t batch = grad_x.shape[0], beads = grad_x.shape[1], given = beads - 1 - (grad_fin ? 1 : 0);
    if (given < 0) fail("grad_x", "at least " + std::to_string(grad_fin ? 2 : 1) + " beads", grad_x.shape_text());
    check_result("grad_w", grad_w, grad_x.dtype, shaped({batch, given}));
    check_result("grad_ini", grad_ini, grad_x.dtype, shaped({batch}));
    if (grad_fin) check_result("grad_fin", *grad_fin, grad_x.dtype, shaped({batch}));
    check_disjoint("grad_w", grad_w, "grad_x", grad_x);
    check_disjoint("grad_ini", grad_ini, "grad_x", grad_x);
    check_disjoint("grad_ini", grad_ini, "grad_w", grad_w);
    if (grad_fin) {
        check_disjoint("grad_fin", *grad_fin, "grad_x", grad_x);
        check_disjoint("grad_fin", *grad_fin, "grad_w", grad_w);
        check_disjoint("grad_fin", *grad_fin, "grad_ini", grad_ini);
    }
    compute_beads_adjoint({batch, given, parameters == Parameters::acceleration, grad_x.dtype == DType::f32, grad_fin != nullptr, dt,
                           grad_w.data, grad_x.data, grad_ini.data, grad_fin ? grad_fin->data : nullptr});
}

}  // namespace qcore::paths
