// Argument checks of Cayley steps.
#include "schrodinger/cayley.hpp"

#include <algorithm>
#include <string>

#include "core/check.hpp"
#include "schrodinger/cayley_prepare.hpp"

namespace qcore::schrodinger {

namespace {

TensorView shaped(std::initializer_list<std::int64_t> shape) {
    TensorView t;
    for (std::int64_t n : shape) t.shape[t.ndim++] = n;
    return t;
}

void check_input(const char* name, const TensorView& t, DType dtype, const TensorView& shape) {
    check_device(name, t);
    check_dtype(name, t, dtype);
    check_shape(name, t, shape);
    if (!t.contiguous()) fail(name, "a contiguous tensor", "strides that are not contiguous");
}

void check_result(const char* name, const TensorView& t, DType dtype, const TensorView& shape) {
    check_dtype(name, t, dtype);
    check_shape(name, t, shape);
    check_output(name, t);
}

// Sets of an axis that is 1 or the batch.
std::int64_t sets(const char* name, const TensorView& t, int axis, std::int64_t batch) {
    const std::int64_t count = axis < t.ndim ? t.shape[axis] : -1;
    if (count != 1 && count != batch)
        fail(name, "axis " + std::to_string(axis) + " of size 1 or " + std::to_string(batch), "shape " + t.shape_text());
    return count;
}

CayleyRun checked(const Cayley& c, const TensorView& psi, std::int64_t save_every, std::int64_t checkpoint_every) {
    check_device("psi", psi);
    if (psi.ndim != 2) fail("psi", "2 axes (B, n)", "shape " + psi.shape_text());
    if (psi.dtype == DType::bf16 || psi.dtype == DType::f16)
        fail("psi", "dtype float32, float64, complex64 or complex128", dtype_name(psi.dtype));
    if (!psi.contiguous()) fail("psi", "a contiguous tensor", "strides that are not contiguous");
    const DType wide = is_complex(psi.dtype) ? DType::c128 : DType::f64;
    CayleyRun run{};
    run.batch = psi.shape[0];
    run.n = psi.shape[1];
    run.steps = c.steps;
    run.parts = is_complex(psi.dtype) ? 2 : 1;
    run.single = psi.dtype == DType::f32 || psi.dtype == DType::c64;
    run.bands_count = sets("bands", c.bands, 1, run.batch);
    check_input("bands", c.bands, wide, shaped({3, run.bands_count, run.n}));
    run.bands = static_cast<const double*>(c.bands.data);
    if (c.mass) {
        run.mass_count = sets("mass", *c.mass, 1, run.batch);
        check_input("mass", *c.mass, wide, shaped({3, run.mass_count, run.n}));
        run.mass = static_cast<const double*>(c.mass->data);
    }
    run.z_count = sets("z", c.z, 0, run.batch);
    check_input("z", c.z, wide, shaped({run.z_count}));
    run.z = static_cast<const double*>(c.z.data);
    run.lanewise = run.bands_count > 1 || run.mass_count > 1 || run.z_count > 1;
    if (c.steps < 0) fail("steps", "an integer >= 0", std::to_string(c.steps));
    if (save_every < 0) fail("save_every", "an integer >= 0", std::to_string(save_every));
    if (checkpoint_every < 0) fail("checkpoint_every", "an integer >= 0", std::to_string(checkpoint_every));
    if (c.backend != Backend::automatic && c.backend != Backend::reference)
        fail("backend", "a code 0 or 1", std::to_string(static_cast<int>(c.backend)));
    return run;
}

TensorView kept_shape(const CayleyRun& run, std::int64_t every) {
    return shaped({every ? std::max<std::int64_t>(run.steps - 1, 0) / every : 1, run.batch, run.n});
}

TensorView frames_shape(const CayleyRun& run, std::int64_t every) { return shaped({every ? run.steps / every : 0, run.batch, run.n}); }

}  // namespace

void cayley(const Cayley& c, const TensorView& psi, const TensorView& out, const TensorView* frames, std::int64_t save_every,
            const TensorView* kept, std::int64_t checkpoint_every) {
    const CayleyRun run = checked(c, psi, save_every, checkpoint_every);
    const DType wide = run.parts == 2 ? DType::c128 : DType::f64;
    check_result("out", out, psi.dtype, psi);
    check_disjoint("out", out, "psi", psi);
    CayleyForward io{};
    if (frames) {
        check_result("frames", *frames, psi.dtype, frames_shape(run, save_every));
        check_disjoint("frames", *frames, "psi", psi);
        check_disjoint("frames", *frames, "out", out);
        io.frames = frames->data;
        io.save_every = save_every;
    }
    if (kept) {
        check_result("kept", *kept, wide, kept_shape(run, checkpoint_every));
        check_disjoint("kept", *kept, "psi", psi);
        check_disjoint("kept", *kept, "out", out);
        io.kept = static_cast<double*>(kept->data);
        io.checkpoint_every = checkpoint_every;
    }
    io.psi = psi.data;
    io.out = out.data;
    advance(run, io, c.backend);
}

void cayley_adjoint(const Cayley& c, const TensorView& psi, const TensorView& kept, std::int64_t checkpoint_every,
                    const TensorView& grad_out, const TensorView* grad_frames, std::int64_t save_every, const TensorView& grad_psi,
                    const TensorView* grad_bands, const TensorView* grad_mass, const TensorView* grad_z) {
    const CayleyRun run = checked(c, psi, save_every, checkpoint_every);
    const DType wide = run.parts == 2 ? DType::c128 : DType::f64;
    check_input("kept", kept, wide, kept_shape(run, checkpoint_every));
    check_input("grad_out", grad_out, psi.dtype, psi);
    check_result("grad_psi", grad_psi, psi.dtype, psi);
    check_disjoint("grad_psi", grad_psi, "grad_out", grad_out);
    check_disjoint("grad_psi", grad_psi, "psi", psi);
    CayleyAdjoint io{};
    if (grad_frames) {
        check_input("grad_frames", *grad_frames, psi.dtype, frames_shape(run, save_every));
        if (save_every) io.grad_frames = grad_frames->data;
        io.save_every = save_every;
    }
    if (!grad_bands != !grad_z || (run.mass && !grad_bands != !grad_mass) || (!run.mass && grad_mass))
        fail("grad_bands, grad_mass, grad_z", "all that have a coefficient, or none", "some of them");
    if (grad_bands) {
        check_result("grad_bands", *grad_bands, wide, c.bands);
        check_result("grad_z", *grad_z, wide, c.z);
        if (grad_mass) check_result("grad_mass", *grad_mass, wide, *c.mass);
    }
    io.psi = psi.data;
    io.kept = static_cast<const double*>(kept.data);
    io.checkpoint_every = checkpoint_every;
    io.grad_out = grad_out.data;
    io.grad_psi = grad_psi.data;
    const auto numbers = [](const TensorView* t) { return t ? static_cast<double*>(t->data) : nullptr; };
    pull_back(run, io, c.backend, {numbers(grad_bands), numbers(grad_mass), numbers(grad_z)});
}

}  // namespace qcore::schrodinger
