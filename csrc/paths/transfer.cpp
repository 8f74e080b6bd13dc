// Argument checks, and the way from tensors to a Plan.
#include "paths/transfer.hpp"

#include <string>

#include "core/check.hpp"
#include "paths/transfer_plan.hpp"

namespace qcore::transfer {

namespace {

constexpr std::int64_t most_log_taps = 1 << 14;

TensorView shaped(std::initializer_list<std::int64_t> shape) {
    TensorView view;
    for (std::int64_t n : shape) view.shape[view.ndim++] = n;
    return view;
}

void check_input(const char* name, const TensorView& t, DType dtype) {
    check_device(name, t);
    check_dtype(name, t, dtype);
    if (!t.contiguous()) fail(name, "a contiguous tensor", "strides that are not contiguous");
}

void check_rows(const char* name, const TensorView& t, const Chain& c, std::int64_t last) {
    check_input(name, t, c.psi.dtype);
    const std::int64_t batch = c.psi.shape[0];
    const bool fits = t.ndim == 3 && (t.shape[0] == 1 || t.shape[0] == c.steps) && (t.shape[1] == 1 || t.shape[1] == batch) && t.shape[2] == last;
    if (!fits)
        fail(name, "shape (1 or " + std::to_string(c.steps) + ", 1 or " + std::to_string(batch) + ", " + std::to_string(last) + ")",
             t.shape_text());
}

void check_sign(const char* name, const TensorView* sign, const char* of, const TensorView* logs, const Chain& c) {
    if (!sign) return;
    if (c.semiring != Semiring::log) fail(name, "nothing but in the semiring log", "a tensor");
    if (!logs) fail(name, std::string("nothing without ") + of, "a tensor");
    check_input(name, *sign, c.psi.dtype);
    check_shape(name, *sign, *logs);
}

void check_chain(const Chain& c) {
    const int semiring = static_cast<int>(c.semiring), backend = static_cast<int>(c.backend);
    if (semiring < 0 || semiring > 2) fail("semiring", "a code from 0 to 2", std::to_string(semiring));
    if (backend < 0 || backend > 1) fail("backend", "a code from 0 to 1", std::to_string(backend));
    if (c.boundary != Boundary::zero && c.boundary != Boundary::periodic)
        fail("boundary", "code 0 (zero) or 1 (periodic)", std::to_string(static_cast<int>(c.boundary)));
    const DType dtype = c.psi.dtype;
    const bool real = dtype == DType::f32 || dtype == DType::f64;
    if (!real && (c.semiring != Semiring::linear || !is_complex(dtype)))
        fail("psi", c.semiring == Semiring::linear ? "float32, float64, complex64 or complex128" : "float32 or float64", dtype_name(dtype));
    check_input("psi", c.psi, dtype);
    if (c.psi.ndim != 2 || c.psi.shape[1] < 1) fail("psi", "shape (B, M), M >= 1", c.psi.shape_text());
    if (c.steps < 0) fail("steps", "a number >= 0", std::to_string(c.steps));
    if (c.taps.ndim != 3) fail("taps", "3 axes", c.taps.shape_text());
    const std::int64_t kernel = c.taps.shape[2];
    if (kernel < 1 || kernel % 2 == 0) fail("taps", "an odd number of taps", std::to_string(kernel));
    if (c.semiring == Semiring::log && kernel > most_log_taps)
        fail("taps", "at most " + std::to_string(most_log_taps) + " taps in the semiring log", std::to_string(kernel));
    check_rows("taps", c.taps, c, kernel);
    if (c.factor) check_rows("factor", *c.factor, c, c.psi.shape[1]);
    if (c.scaled && c.semiring != Semiring::linear) fail("scaled", "false but in the linear semiring", "true");
    check_sign("psi_sign", c.psi_sign, "psi", &c.psi, c);
    check_sign("taps_sign", c.taps_sign, "taps", &c.taps, c);
    check_sign("factor_sign", c.factor_sign, "factor", c.factor, c);
}

// A result: of the given type and shape, and clear of every argument and of the other results.
void check_result(const char* name, const TensorView& t, DType dtype, const TensorView& shape, const Chain& c,
                  std::initializer_list<const TensorView*> others) {
    check_device(name, t);
    check_dtype(name, t, dtype);
    check_shape(name, t, shape);
    check_output(name, t);
    for (const TensorView* input : {&c.psi, &c.taps, c.factor, c.psi_sign, c.taps_sign, c.factor_sign})
        if (input) check_disjoint(name, t, "an argument", *input);
    for (const TensorView* other : others)
        if (other) check_disjoint(name, t, "another argument", *other);
}

TensorView kept_shape(const Chain& c, std::int64_t keep_every) {
    const std::int64_t count = kept_states(c.steps, keep_every), parts = c.semiring == Semiring::log ? 2 : 1;
    return shaped({count, parts, c.psi.shape[0], c.psi.shape[1]});
}

const void* data(const TensorView* t) { return t ? t->data : nullptr; }

Plan make_plan(const Chain& c, std::int64_t keep_every) {
    Plan p{};
    p.batch = c.psi.shape[0];
    p.sites = c.psi.shape[1];
    p.kernel = c.taps.shape[2];
    p.steps = c.steps;
    p.periodic = c.boundary == Boundary::periodic;
    p.scaled = c.scaled;
    p.tap_steps = c.taps.shape[0];
    p.tap_batch = c.taps.shape[1];
    p.factor_steps = c.factor ? c.factor->shape[0] : 1;
    p.factor_batch = c.factor ? c.factor->shape[1] : 1;
    p.psi = c.psi.data;
    p.psi_sign = data(c.psi_sign);
    p.taps = c.taps.data;
    p.taps_sign = data(c.taps_sign);
    p.factor = data(c.factor);
    p.factor_sign = data(c.factor_sign);
    p.keep_every = keep_every;
    return p;
}

}  // namespace

void forward(const Chain& c, const TensorView& out, const TensorView* second, const TensorView* kept, std::int64_t keep_every) {
    check_chain(c);
    const std::int64_t batch = c.psi.shape[0];
    check_result("out", out, c.psi.dtype, shaped({batch, c.psi.shape[1]}), c, {second, kept});
    const bool is_signed = c.psi_sign || c.taps_sign || c.factor_sign;
    if (c.scaled || is_signed) {
        if (!second) fail("second", c.scaled ? "a tensor for exponents" : "a tensor for signs", "none");
        check_device("second", *second);
        if (c.scaled) {
            check_result("second", *second, DType::f64, shaped({batch}), c, {kept});
        } else {
            check_result("second", *second, c.psi.dtype, shaped({batch, c.psi.shape[1]}), c, {kept});
        }
    } else if (second) {
        fail("second", "none without scaling or signs", "a tensor");
    }
    if (keep_every < 0) fail("keep_every", "a number >= 0", std::to_string(keep_every));
    if (kept) check_result("kept", *kept, c.psi.dtype, kept_shape(c, keep_every), c, {});
    else if (kept_states(c.steps, keep_every)) fail("kept", "a tensor for the states", "none");
    if (batch == 0) return;
    Plan p = make_plan(c, keep_every);
    p.out = out.data;
    p.second = second ? second->data : nullptr;
    p.kept = kept ? kept->data : nullptr;
    c.backend == Backend::reference ? reference_forward(p, c.semiring, c.psi.dtype) : fused_forward(p, c.semiring, c.psi.dtype);
}

void adjoint(const Chain& c, const TensorView& grad, const TensorView* kept, std::int64_t keep_every, const TensorView& grad_psi,
             const TensorView* grad_taps, const TensorView* grad_factor) {
    check_chain(c);
    const TensorView state = shaped({c.psi.shape[0], c.psi.shape[1]});
    check_input("grad", grad, c.psi.dtype);
    check_shape("grad", grad, state);
    if (keep_every < 0) fail("keep_every", "a number >= 0", std::to_string(keep_every));
    if (kept) {
        check_input("kept", *kept, c.psi.dtype);
        check_shape("kept", *kept, kept_shape(c, keep_every));
    } else if (kept_states(c.steps, keep_every)) {
        fail("kept", "the states of the forward", "none");
    }
    check_result("grad_psi", grad_psi, c.psi.dtype, state, c, {&grad, kept, grad_taps, grad_factor});
    if (grad_taps) check_result("grad_taps", *grad_taps, c.psi.dtype, c.taps, c, {&grad, kept, grad_factor});
    if (grad_factor) {
        if (!c.factor) fail("grad_factor", "none without a factor", "a tensor");
        check_result("grad_factor", *grad_factor, c.psi.dtype, *c.factor, c, {&grad, kept});
    }
    Plan p = make_plan(c, keep_every);
    p.kept = kept ? kept->data : nullptr;
    p.grad = grad.data;
    p.grad_psi = grad_psi.data;
    p.grad_taps = grad_taps ? grad_taps->data : nullptr;
    p.grad_factor = grad_factor ? grad_factor->data : nullptr;
    c.backend == Backend::reference ? reference_adjoint(p, c.semiring, c.psi.dtype) : fused_adjoint(p, c.semiring, c.psi.dtype);
}

void best_path(const Chain& c, const TensorView& ends, const TensorView& sites) {
    check_chain(c);
    if (c.semiring != Semiring::max) fail("semiring", "max", "another");
    const std::int64_t batch = c.psi.shape[0];
    check_input("ends", ends, DType::f64);
    check_shape("ends", ends, shaped({batch}));
    check_result("sites", sites, DType::f64, shaped({batch, c.steps + 1}), c, {&ends});
    if (batch == 0) return;
    Plan p = make_plan(c, 0);
    p.ends = static_cast<const double*>(ends.data);
    p.path = static_cast<double*>(sites.data);
    fused_best_path(p, c.psi.dtype);
}

}  // namespace qcore::transfer
