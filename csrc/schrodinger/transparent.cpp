// Argument checks of Crank-Nicolson steps with transparent ends.
#include "schrodinger/transparent.hpp"

#include <algorithm>
#include <cmath>
#include <string>

#include "core/check.hpp"
#include "schrodinger/transparent_run.hpp"

namespace qcore::schrodinger {

namespace {

// Sizes and types; what the factors are made of comes later.
CayleyRun checked(const Transparent& t, const TensorView& psi) {
    check_device("psi", psi);
    if (psi.ndim != 2) fail("psi", "2 axes (B, n)", "shape " + psi.shape_text());
    if (!is_complex(psi.dtype)) fail("psi", "dtype complex64 or complex128", dtype_name(psi.dtype));
    if (!psi.contiguous()) fail("psi", "a contiguous tensor", "strides that are not contiguous");
    if (t.steps < 0) fail("steps", "an integer >= 0", std::to_string(t.steps));
    if (!(std::isfinite(t.kappa) && t.kappa != 0)) fail("kappa", "a finite number other than 0", std::to_string(t.kappa));
    if (!(std::isfinite(t.tau) && t.tau != 0)) fail("tau", "a finite number other than 0", std::to_string(t.tau));
    if (t.backend != Backend::automatic && t.backend != Backend::reference)
        fail("backend", "a code 0 or 1", std::to_string(static_cast<int>(t.backend)));
    CayleyRun run{};
    run.batch = psi.shape[0];
    run.n = psi.shape[1];
    run.steps = t.steps;
    run.parts = 2;
    run.single = psi.dtype == DType::c64;
    check_device("potential", t.potential);
    check_dtype("potential", t.potential, DType::f64);
    const TensorView& v = t.potential;
    if (v.ndim != 2 || (v.shape[0] != 1 && v.shape[0] != run.batch) || v.shape[1] != run.n)
        fail("potential", "shape (1 or " + std::to_string(run.batch) + ", " + std::to_string(run.n) + ")", "shape " + v.shape_text());
    if (!v.contiguous()) fail("potential", "a contiguous tensor", "strides that are not contiguous");
    return run;
}

TensorView shaped(std::initializer_list<std::int64_t> shape) {
    TensorView t;
    for (std::int64_t n : shape) t.shape[t.ndim++] = n;
    return t;
}

void check_plain(const char* name, const TensorView& t, DType dtype, const TensorView& shape, bool output) {
    check_device(name, t);
    check_dtype(name, t, dtype);
    check_shape(name, t, shape);
    if (output) check_output(name, t);
    else if (!t.contiguous()) fail(name, "a contiguous tensor", "strides that are not contiguous");
}

TensorView frames_shape(const CayleyRun& run, std::int64_t every) {
    if (every < 0) fail("save_every", "an integer >= 0", std::to_string(every));
    return shaped({every ? run.steps / every : 0, run.batch, run.n});
}
void check_kept(const CayleyRun& run, const TensorView& kept, std::int64_t every, const TensorView& trace, bool output) {
    if (every < 1) fail("checkpoint_every", "an integer >= 1", std::to_string(every));
    check_plain("kept", kept, DType::c128, shaped({std::max<std::int64_t>(run.steps - 1, 0) / every, run.batch, run.n}), output);
    check_plain("trace", trace, DType::c128, shaped({2, run.steps, 2, run.batch}), output);
}

}  // namespace

void transparent(const Transparent& t, const TensorView& psi, const TensorView& out, const TensorView* frames,
                 std::int64_t save_every, const TensorView* kept, std::int64_t checkpoint_every, const TensorView* trace) {
    const CayleyRun run = checked(t, psi);
    check_plain("out", out, psi.dtype, psi, true);
    check_disjoint("out", out, "psi", psi);
    CayleyForward io{};
    if (frames) {
        check_plain("frames", *frames, psi.dtype, frames_shape(run, save_every), true);
        check_disjoint("frames", *frames, "psi", psi);
        check_disjoint("frames", *frames, "out", out);
        io.frames = frames->data;
        io.save_every = save_every;
    }
    if (!kept != !trace) fail("kept, trace", "both or neither", "one of them");
    if (kept) {
        check_kept(run, *kept, checkpoint_every, *trace, true);
        io.kept = static_cast<double*>(kept->data);
        io.trace = static_cast<double*>(trace->data);
        io.checkpoint_every = checkpoint_every;
    }
    io.psi = psi.data;
    io.out = out.data;
    advance_transparent(t, run, io);
}

void transparent_adjoint(const Transparent& t, const TensorView& psi, const TensorView& kept, std::int64_t checkpoint_every,
                         const TensorView& trace, const TensorView& grad_out, const TensorView* grad_frames, std::int64_t save_every,
                         const TensorView& grad_psi, const TensorView* grad_potential, const TensorView* grad_constants) {
    const CayleyRun run = checked(t, psi);
    check_kept(run, kept, checkpoint_every, trace, false);
    check_plain("grad_out", grad_out, psi.dtype, psi, false);
    check_plain("grad_psi", grad_psi, psi.dtype, psi, true);
    check_disjoint("grad_psi", grad_psi, "grad_out", grad_out);
    CayleyAdjoint io{};
    if (grad_frames) {
        check_plain("grad_frames", *grad_frames, psi.dtype, frames_shape(run, save_every), false);
        if (save_every) io.grad_frames = grad_frames->data;
        io.save_every = save_every;
    }
    if (!grad_potential != !grad_constants) fail("grad_potential, grad_constants", "both or neither", "one of them");
    if (grad_potential) {
        check_plain("grad_potential", *grad_potential, DType::f64, t.potential, true);
        check_plain("grad_constants", *grad_constants, DType::f64, shaped({2, t.potential.shape[0]}), true);
    }
    io.psi = psi.data;
    io.kept = static_cast<const double*>(kept.data);
    io.trace = static_cast<const double*>(trace.data);
    io.checkpoint_every = checkpoint_every;
    io.grad_out = grad_out.data;
    io.grad_psi = grad_psi.data;
    pull_transparent(t, run, io, grad_potential, grad_constants);
}

}  // namespace qcore::schrodinger
