// Argument checks, and the way from tensors to an ActionCall.
#include "paths/action.hpp"

#include <algorithm>

#include "paths/action_call.hpp"
#include "paths/action_rows.hpp"

namespace qcore::paths {

namespace {

// How the schemes carry the potential along N links. Takahashi-Imada: V + dt^2 V'^2 / (24 m) on every bead. Chin 4A with steps of
// 2 dt: a third of V at the ends of a step, and in its middle two thirds of V + dt^2 V'^2 / (12 m).
void set_weights(ActionRows& rows, Scheme scheme) {
    const bool open = !rows.periodic;
    rows.form = scheme == Scheme::midpoint ? Form::middles
                : scheme == Scheme::midpoint_van_vleck ? Form::van_vleck
                : scheme == Scheme::takahashi_imada || scheme == Scheme::chin4 ? Form::corrected
                                                                               : Form::beads;
    switch (scheme) {
        case Scheme::trapezoid:
            if (open) rows.plain = {1, 1, 0.5, 0.5};
            break;
        case Scheme::endpoint:
            if (open) rows.plain = {1, 1, 0, 1};
            break;
        case Scheme::startpoint:
            if (open) rows.plain = {1, 1, 1, 0};
            break;
        case Scheme::takahashi_imada:
            rows.squared = {1.0 / 24, 1.0 / 24, 1.0 / 24, 1.0 / 24};
            if (open) rows.plain = {1, 1, 0.5, 0.5}, rows.squared = {1.0 / 24, 1.0 / 24, 1.0 / 48, 1.0 / 48};
            break;
        case Scheme::chin4:
            rows.plain = {2.0 / 3, 4.0 / 3, 2.0 / 3, 4.0 / 3};
            rows.squared = {0, 1.0 / 9, 0, 1.0 / 9};
            if (open) rows.plain.first = rows.plain.last = 1.0 / 3, rows.squared.last = 0;
            break;
        case Scheme::midpoint:
        case Scheme::midpoint_van_vleck: break;
    }
}

ActionCall checked_call(const Action& a, const TensorView& x, const TensorView& f) {
    ActionCall p{};
    check_code("scheme", static_cast<int>(a.scheme), 6);
    check_code("parameters", static_cast<int>(a.parameters), 2);
    check_code("backend", static_cast<int>(a.backend), 1);
    check_real("x", x);
    if (x.ndim != 2) fail("x", "shape (B, M)", x.shape_text());
    check_contiguous("x", x);
    p.from_beads = a.parameters == Parameters::beads;
    p.single = x.dtype == DType::f32;
    p.reference = a.backend == ActionBackend::reference;
    p.hold_ends = a.hold_ends;
    p.batch = x.shape[0], p.given = x.shape[1];
    p.x = x.data;
    if (p.from_beads && (a.x_ini || a.x_fin)) fail("x_ini", "none for a path given by its beads", "one");
    if (!p.from_beads && !a.x_ini) fail("x_ini", "shape (" + std::to_string(p.batch) + ",)", "none");
    if (!p.from_beads && a.hold_ends) fail("hold_ends", "a path given by its beads", "parameters");
    if (a.x_ini) check_input("x_ini", *a.x_ini, x.dtype, shaped({p.batch}));
    if (a.x_fin) check_input("x_fin", *a.x_fin, x.dtype, shaped({p.batch}));
    p.network = {p.given, a.parameters == Parameters::acceleration, a.dt, a.x_ini ? a.x_ini->data : nullptr,
                 a.x_fin ? a.x_fin->data : nullptr};

    ActionRows& rows = p.rows;
    rows.beads = p.from_beads ? p.given : p.given + 1 + (a.x_fin ? 1 : 0);
    rows.periodic = a.periodic;
    rows.lambda = a.lambda;
    if (rows.beads < 1) fail("x", "at least one bead", x.shape_text());
    const std::int64_t links = rows.beads - (a.periodic ? 0 : 1);
    if (a.scheme == Scheme::chin4 && links % 2) fail("x", "an even number of steps for chin4", std::to_string(links));
    set_weights(rows, a.scheme);

    const TensorView& c = a.coefficients;
    check_dtype("coefficients", c, DType::f64);
    check_contiguous("coefficients", c);
    if (a.table) {
        if (c.ndim != 2 || c.shape[0] < 1 || c.shape[1] != 4) fail("coefficients", "cells of shape (n, 4), n >= 1", c.shape_text());
        if (!(a.spacing > 0)) fail("spacing", "a number > 0", std::to_string(a.spacing));
        if (rows.form == Form::van_vleck) fail("scheme", "another one for a table, whose curvature jumps", "midpoint_van_vleck");
        rows.potential = {static_cast<const double*>(c.data), c.shape[0], true, a.start, 1 / a.spacing};
        rows.next_potential = 0;
    } else {
        const bool shared = c.ndim == 1;
        const std::int64_t count = shared ? c.shape[0] : c.shape[1];
        if (c.ndim < 1 || c.ndim > 2 || (!shared && c.shape[0] != p.batch) || count < 1 || count > Potential::max_coefficients)
            fail("coefficients", "shape (K,) or (" + std::to_string(p.batch) + ", K), K from 1 to 16", c.shape_text());
        rows.potential = {static_cast<const double*>(c.data), count, false, 0, 0};
        rows.next_potential = shared ? 0 : count;
    }
    p.coefficients = c.numel();

    check_host("factors", f);
    check_dtype("factors", f, DType::f64);
    if (f.ndim != 2 || f.shape[0] < 1 || f.shape[0] > ActionFactors::most || f.shape[1] != 3) fail("factors", "shape (1 to 3, 3)", f.shape_text());
    if (!f.contiguous()) fail("factors", "a contiguous tensor", "strides that are not contiguous");
    p.factors.rows = static_cast<int>(f.shape[0]);
    std::copy_n(static_cast<const double*>(f.data), f.numel(), p.factors.by[0]);
    return p;
}

void check_apart(const char* name, const TensorView& out, const Action& a, const TensorView& x, const TensorView& factors) {
    check_disjoint(name, out, "x", x);
    check_disjoint(name, out, "coefficients", a.coefficients);
    check_disjoint(name, out, "factors", factors);
    if (a.x_ini) check_disjoint(name, out, "x_ini", *a.x_ini);
    if (a.x_fin) check_disjoint(name, out, "x_fin", *a.x_fin);
}

}  // namespace

void action(const Action& a, const TensorView& x, const TensorView& factors, const TensorView& out) {
    ActionCall p = checked_call(a, x, factors);
    check_result("out", out, DType::f64, shaped({p.factors.rows, p.batch}));
    check_apart("out", out, a, x, factors);
    p.out = static_cast<double*>(out.data);
    compute_action(p);
}

void action_gradient(const Action& a, const TensorView& x, const TensorView& factors, const TensorView& grad, const TensorView& grad_x,
                     const TensorView* grad_ini, const TensorView* grad_fin, const TensorView* grad_coefficients) {
    ActionCall p = checked_call(a, x, factors);
    check_input("grad", grad, DType::f64, shaped({p.factors.rows, p.batch}));
    if (!grad_ini != !a.x_ini) fail("grad_ini", "one where x_ini is given", grad_ini ? "one" : "none");
    if (!grad_fin != !a.x_fin) fail("grad_fin", "one where x_fin is given", grad_fin ? "one" : "none");
    struct Result {
        const char* name;
        const TensorView* view;
        DType dtype;
        TensorView shape;
    };
    const Result results[] = {{"grad_x", &grad_x, x.dtype, x},
                              {"grad_ini", grad_ini, x.dtype, shaped({p.batch})},
                              {"grad_fin", grad_fin, x.dtype, shaped({p.batch})},
                              {"grad_coefficients", grad_coefficients, DType::f64, a.coefficients}};
    for (const Result& r : results) {
        if (!r.view) continue;
        check_result(r.name, *r.view, r.dtype, r.shape);
        check_apart(r.name, *r.view, a, x, factors);
        check_disjoint(r.name, *r.view, "grad", grad);
        for (const Result& other : results)
            if (other.view && other.view != r.view) check_disjoint(r.name, *r.view, other.name, *other.view);
    }
    p.grad = static_cast<const double*>(grad.data);
    p.grad_x = grad_x.data;
    p.grad_ini = grad_ini ? grad_ini->data : nullptr;
    p.grad_fin = grad_fin ? grad_fin->data : nullptr;
    p.grad_coefficients = grad_coefficients ? static_cast<double*>(grad_coefficients->data) : nullptr;
    compute_action_gradient(p);
}

}  // namespace qcore::paths
