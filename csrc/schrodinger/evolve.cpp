#include "schrodinger/evolve.hpp"

#include <complex>
#include <string>

#include "core/check.hpp"
#include "schrodinger/fused.hpp"
#include "schrodinger/reference.hpp"

namespace qcore::schrodinger {

namespace {

void check_input(const char* name, const TensorView& t, int ndim) {
    check_device(name, t);
    if (t.ndim != ndim) fail(name, std::to_string(ndim) + " axes", "shape " + t.shape_text());
    if (!t.contiguous()) fail(name, "a contiguous tensor", "strides that are not contiguous");
}

void check_code(const char* name, int code, int last) {
    if (code < 0 || code > last) fail(name, "a code from 0 to " + std::to_string(last), std::to_string(code));
}

void expect_shape(const char* name, const TensorView& t, std::initializer_list<std::int64_t> shape) {
    TensorView expected;
    for (std::int64_t n : shape) expected.shape[expected.ndim++] = n;
    check_shape(name, t, expected);
}

void check_result(const char* name, const TensorView& t, DType dtype, std::initializer_list<std::int64_t> shape) {
    check_device(name, t);
    check_dtype(name, t, dtype);
    expect_shape(name, t, shape);
    check_output(name, t);
}

// All of an evolution of `batch` systems of n points in `dtype`.
void check_evolution(const Evolution& e, DType dtype, std::int64_t batch, std::int64_t n) {
    if (dtype == DType::bf16 || dtype == DType::f16)
        fail("psi", "float32, float64, complex64 or complex128", dtype_name(dtype));
    if (n < 1) fail("psi", "at least one grid point", std::to_string(n));
    check_code("rule", static_cast<int>(e.rule), 1);
    check_code("boundary", static_cast<int>(e.boundary), 1);
    check_code("arithmetic", static_cast<int>(e.arithmetic), 1);
    check_code("backend", static_cast<int>(e.backend), 1);
    if (e.order != 2 && e.order != 4 && e.order != 6) fail("order", "2, 4 or 6", std::to_string(e.order));
    if (e.arithmetic == Arithmetic::f32 && (dtype == DType::f64 || dtype == DType::c128))
        fail("arithmetic", "float64 for psi of " + std::string(dtype_name(dtype)), "float32");
    if (e.steps < 0) fail("steps", "a number >= 0", std::to_string(e.steps));
    check_host("c", e.c);
    if (e.c.ndim != 1 || !e.c.contiguous()) fail("c", "one axis, contiguous", "shape " + e.c.shape_text());
    check_dtype("c", e.c, DType::c128);
    if (e.c.shape[0] < 1) fail("c", "at least one stage", e.c.shape_text());
    const auto* c = static_cast<const std::complex<double>*>(e.c.data);
    for (std::int64_t s = 0; s < e.c.shape[0]; ++s) {
        if (c[s] == 0.0 || !(std::abs(c[s]) < HUGE_VAL)) fail("c", "finite numbers other than 0", "entry " + std::to_string(s));
        if (!is_complex(dtype) && c[s].imag() != 0) fail("c", "real numbers for real psi", "an imaginary part");
    }
    check_input("potential", e.potential, 3);
    if (e.potential.dtype != DType::f64) {
        check_dtype("potential", e.potential, DType::c128);
        if (!is_complex(dtype)) fail("potential", "float64 for real psi", "complex128");
    }
    const std::int64_t slices = e.potential.shape[0], systems = e.potential.shape[1];
    if ((slices != 1 && slices != e.steps) || (systems != 1 && systems != batch) || e.potential.shape[2] != n)
        fail("potential",
             "shape (1 or " + std::to_string(e.steps) + ", 1 or " + std::to_string(batch) + ", " + std::to_string(n) + ")",
             e.potential.shape_text());
}

std::int64_t frame_count(const Evolution& e, std::int64_t save_every) {
    if (save_every < 1) fail("save_every", "a number >= 1 when there are frames", std::to_string(save_every));
    return e.steps * e.c.shape[0] / save_every;
}

}  // namespace

void evolve(const Evolution& e, const TensorView& psi, const TensorView& out, const TensorView* frames, std::int64_t save_every) {
    check_input("psi", psi, 2);
    const std::int64_t batch = psi.shape[0], n = psi.shape[1];
    check_evolution(e, psi.dtype, batch, n);
    check_result("out", out, psi.dtype, {batch, n});
    for (const TensorView* input : {&psi, &e.potential}) check_disjoint("out", out, "an input", *input);
    if (frames) {
        check_result("frames", *frames, psi.dtype, {frame_count(e, save_every), batch, n});
        for (const TensorView* other : {&psi, &e.potential, &out}) check_disjoint("frames", *frames, "another argument", *other);
    }
    const bool fused = e.backend == Backend::automatic && fused_handles(e);
    (fused ? evolve_fused : evolve_reference)(e, psi, out, frames, save_every);
}

void adjoint(const Evolution& e, const TensorView& states, const TensorView& grad_out, const TensorView* grad_frames,
             std::int64_t save_every, const TensorView& grad_psi, const TensorView& grad_potential, const TensorView& grad_c) {
    check_input("grad_out", grad_out, 2);
    const std::int64_t batch = grad_out.shape[0], n = grad_out.shape[1];
    check_evolution(e, grad_out.dtype, batch, n);
    check_input("states", states, states.ndim == 3 ? 3 : 2);
    check_dtype("states", states, grad_out.dtype);
    if (states.ndim == 3) expect_shape("states", states, {e.steps * e.c.shape[0] + 1, batch, n});
    else expect_shape("states", states, {batch, n});
    if (states.ndim == 2 && e.rule == Rule::euler) fail("states", "every state for the rule euler, which can't be traced back", "one");
    if (grad_frames) {
        check_input("grad_frames", *grad_frames, 3);
        check_dtype("grad_frames", *grad_frames, grad_out.dtype);
        expect_shape("grad_frames", *grad_frames, {frame_count(e, save_every), batch, n});
    }
    check_result("grad_psi", grad_psi, grad_out.dtype, {batch, n});
    check_result("grad_potential", grad_potential, e.potential.dtype, {e.potential.shape[0], e.potential.shape[1], n});
    check_result("grad_c", grad_c, DType::c128, {e.c.shape[0]});
    for (const TensorView* result : {&grad_psi, &grad_potential, &grad_c})
        for (const TensorView* input : {&states, &grad_out, &e.potential, &e.c})
            check_disjoint("a gradient", *result, "an input", *input);
    const bool fused = e.backend == Backend::automatic && fused_handles(e);
    (fused ? adjoint_fused : adjoint_reference)(e, states, grad_out, grad_frames, save_every, grad_psi, grad_potential, grad_c);
}

}  // namespace qcore::schrodinger
