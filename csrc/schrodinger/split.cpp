#include "schrodinger/split.hpp"

#include <algorithm>
#include <string>

#include "core/check.hpp"
#include "schrodinger/split_fused.hpp"
#include "schrodinger/split_reference.hpp"

namespace qcore::schrodinger {

namespace {

void check_code(const char* name, int code, int last) {
    if (code < 0 || code > last) fail(name, "a code from 0 to " + std::to_string(last), std::to_string(code));
}

void check_input(const char* name, const TensorView& t) {
    check_device(name, t);
    if (!t.contiguous()) fail(name, "a contiguous tensor", "strides that are not contiguous");
}

TensorView with_lead(const TensorView& psi, std::int64_t lead) {
    TensorView t;
    t.ndim = psi.ndim + 1;
    t.shape[0] = lead;
    for (int i = 0; i < psi.ndim; ++i) t.shape[i + 1] = psi.shape[i];
    return t;
}

SplitProblem problem(const Split& s, const char* name, const TensorView& psi, int lead) {
    check_input(name, psi);
    check_input("phases", s.phases);
    check_host("e", s.e);
    if (!s.e.contiguous()) fail("e", "a contiguous tensor", "strides that are not contiguous");
    if (psi.dtype == DType::f16 || psi.dtype == DType::bf16)
        fail(name, "float32, float64, complex64 or complex128", dtype_name(psi.dtype));
    const bool complex = is_complex(psi.dtype);
    const int axes = psi.ndim - 1 - lead;
    if (axes < 1 || axes > 3) fail(name, "shape (B, *S) with 1 to 3 space axes", psi.shape_text());
    check_dtype("phases", s.phases, complex ? DType::c128 : DType::f64);
    check_dtype("e", s.e, DType::c128);
    if (s.phases.ndim != axes + 2 || (s.phases.shape[1] != 1 && s.phases.shape[1] != psi.shape[lead]))
        fail("phases", "shape (Q, 1 or B, *S) for " + psi.shape_text(), s.phases.shape_text());
    for (int d = 0; d < axes; ++d)
        if (s.phases.shape[2 + d] != psi.shape[lead + 1 + d])
            fail("phases", "shape (Q, 1 or B, *S) for " + psi.shape_text(), s.phases.shape_text());
    if (s.e.ndim != 3 || s.e.shape[1] != axes) fail("e", "shape (A, " + std::to_string(axes) + ", M)", s.e.shape_text());
    if (static_cast<int>(s.boundary.size()) != axes)
        fail("boundary", std::to_string(axes) + " codes, one per space axis", std::to_string(s.boundary.size()));
    for (const Boundary b : s.boundary) check_code("boundary", static_cast<int>(b), 1);
    check_code("rule", static_cast<int>(s.rule), 1);
    check_code("arithmetic", static_cast<int>(s.arithmetic), 1);
    check_code("backend", static_cast<int>(s.backend), 1);
    if (s.arithmetic == Arithmetic::f32 && compute_real(psi.dtype) != DType::f32)
        fail("arithmetic", "float64 for this dtype", std::string("float32 for ") + dtype_name(psi.dtype));
    if (s.order != 2 && s.order != 4 && s.order != 6) fail("order", "2, 4 or 6", std::to_string(s.order));
    if (s.steps < 0) fail("steps", "an integer >= 0", std::to_string(s.steps));
    for (const std::int64_t item : s.program)
        if (item >= s.phases.shape[0] || item < -s.e.shape[0])
            fail("program", "numbers from " + std::to_string(-s.e.shape[0]) + " to " + std::to_string(s.phases.shape[0] - 1),
                 std::to_string(item));

    SplitProblem p{psi.shape[lead], 1, {}, s.boundary, s.phases.shape[0], s.phases.shape[1], s.e.shape[0], s.e.shape[2], {},
                   s.program, s.steps, s.rule, s.order, s.arithmetic, psi.dtype, s.phases.data};
    for (int d = 0; d < axes; ++d) {
        p.sizes.push_back(psi.shape[lead + 1 + d]);
        p.points *= p.sizes.back();
    }
    const Number* const e = static_cast<const Number*>(s.e.data);
    p.e.assign(e, e + s.e.numel());
    if (!complex && std::any_of(p.e.begin(), p.e.end(), [](Number c) { return c.imag() != 0; }))
        fail("e", "real numbers for a real state", "imaginary parts");
    return p;
}

void check_result(const char* name, const TensorView& t, DType dtype, const TensorView& shape, const Split& s) {
    check_dtype(name, t, dtype);
    check_shape(name, t, shape);
    check_output(name, t);
    check_disjoint(name, t, "phases", s.phases);
    check_disjoint(name, t, "e", s.e);
}

}  // namespace

void split_evolve(const Split& s, const TensorView& psi, const TensorView& out, const TensorView* frames, std::int64_t save_every) {
    const SplitProblem p = problem(s, "psi", psi, 0);
    check_result("out", out, psi.dtype, psi, s);
    check_disjoint("out", out, "psi", psi);
    if (frames) {
        if (save_every < 1) fail("save_every", "an integer >= 1 with frames", std::to_string(save_every));
        check_result("frames", *frames, psi.dtype, with_lead(psi, p.steps / save_every), s);
        check_disjoint("frames", *frames, "psi", psi);
        check_disjoint("frames", *frames, "out", out);
    }
    void* const kept = frames ? frames->data : nullptr;
    if (s.backend == Backend::automatic && split_fused_evolve(p, psi.data, out.data, kept, save_every)) return;
    split_reference_evolve(p, psi.data, out.data, kept, save_every);
}

void split_adjoint(const Split& s, const TensorView& states, const TensorView& grad_out, const TensorView* grad_frames,
                   std::int64_t save_every, std::int64_t first, const TensorView& grad_psi, const TensorView* grad_phases,
                   const TensorView* grad_e) {
    check_input("grad_out", grad_out);
    const bool trace_back = states.ndim == grad_out.ndim;
    const SplitProblem p = problem(s, "states", states, trace_back ? 0 : 1);
    check_dtype("grad_out", grad_out, states.dtype);
    if (trace_back) check_shape("states", states, grad_out);
    else check_shape("states", states, with_lead(grad_out, p.steps));
    if (trace_back && p.rule == Rule::euler) fail("states", "the state before every step for rule euler", "the last state alone");
    if (first < 0) fail("first", "an integer >= 0", std::to_string(first));
    if (grad_frames) {
        check_input("grad_frames", *grad_frames);
        check_dtype("grad_frames", *grad_frames, states.dtype);
        if (save_every < 1) fail("save_every", "an integer >= 1 with grad_frames", std::to_string(save_every));
        check_shape("grad_frames", *grad_frames, with_lead(grad_out, (first + p.steps) / save_every - first / save_every));
    }
    struct Output {
        const char* name;
        const TensorView* view;
    } const outputs[] = {{"grad_psi", &grad_psi}, {"grad_phases", grad_phases}, {"grad_e", grad_e}};
    check_result("grad_psi", grad_psi, states.dtype, grad_out, s);
    if (grad_phases) check_result("grad_phases", *grad_phases, s.phases.dtype, s.phases, s);
    if (grad_e) check_result("grad_e", *grad_e, DType::c128, s.e, s);
    for (const Output& o : outputs) {
        if (!o.view) continue;
        check_disjoint(o.name, *o.view, "states", states);
        check_disjoint(o.name, *o.view, "grad_out", grad_out);
        if (grad_frames) check_disjoint(o.name, *o.view, "grad_frames", *grad_frames);
        for (const Output& other : outputs)
            if (other.view && &other < &o) check_disjoint(o.name, *o.view, other.name, *other.view);
    }
    const SplitGradients gradients{states.data, grad_out.data, grad_frames ? grad_frames->data : nullptr, trace_back, save_every, first,
                                   grad_psi.data, grad_phases ? grad_phases->data : nullptr,
                                   grad_e ? static_cast<Number*>(grad_e->data) : nullptr};
    if (s.backend == Backend::automatic && split_fused_adjoint(p, gradients)) return;
    split_reference_adjoint(p, gradients);
}

}  // namespace qcore::schrodinger
