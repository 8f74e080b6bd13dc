#include "paths/phi4.hpp"

#include "paths/action_call.hpp"
#include "paths/phi4_fields.hpp"

namespace qcore::paths {

namespace {

struct Problem {
    FieldShape shape;
    std::int64_t batch, outputs;
    const double* factors;
    const FieldKernels::Functions& kernel;

    Problem(const FieldAction& a, const TensorView& phi, const TensorView& f) : kernel(functions(a, phi)) {
        if (phi.ndim != 3 || phi.shape[1] < 1 || phi.shape[2] < 1)
            fail("phi", "shape (B, T, L) with at least one slice and one site", phi.shape_text());
        check_contiguous("phi", phi);
        batch = phi.shape[0];
        shape = {phi.shape[1], phi.shape[2], a.midpoint, a.periodic};
        check_dtype("factors", f, DType::f64);
        if (f.ndim != 2 || f.shape[0] < 1 || f.shape[0] > 4 || f.shape[1] != 4) fail("factors", "shape (1 to 4, 4)", f.shape_text());
        check_contiguous("factors", f);
        outputs = f.shape[0];
        factors = static_cast<const double*>(f.data);
    }

    static const FieldKernels::Functions& functions(const FieldAction& a, const TensorView& phi) {
        check_real("phi", phi);
        const FieldKernels& kernels = a.reference ? reference_field_kernels : selected_field_kernels();
        return phi.dtype == DType::f32 ? kernels.f32 : kernels.f64;
    }

    // A factor of zero leaves its sum out, whatever that is.
    double combined(std::int64_t r, const FieldSums& s) const {
        const double sums[] = {s.time, s.space, s.mass, s.quartic};
        double total = 0;
        for (int j = 0; j < 4; ++j)
            if (factors[4 * r + j] != 0) total += factors[4 * r + j] * sums[j];
        return total;
    }
    FieldSums pulled(const double* grad, std::int64_t b) const {
        double g[4]{};
        for (std::int64_t r = 0; r < outputs; ++r)
            for (int j = 0; j < 4; ++j)
                if (factors[4 * r + j] != 0) g[j] += factors[4 * r + j] * grad[r * batch + b];
        return {g[0], g[1], g[2], g[3]};
    }
    std::int64_t points() const { return shape.slices * shape.sites; }
};

const char* field(const TensorView& t, std::int64_t element) { return static_cast<const char*>(t.data) + element * dtype_size(t.dtype); }

// Calls f(b) for every field, several small ones for a thread at a time.
template <class F>
void each_field(const Problem& p, F&& f) {
    const std::int64_t block = std::max<std::int64_t>(1, block_numbers / p.points());
    in_parallel((p.batch + block - 1) / block, threads_for(p.batch, p.points()), [&](std::int64_t i) {
        for (std::int64_t b = i * block; b < std::min((i + 1) * block, p.batch); ++b) f(b);
    });
}

}  // namespace

void phi4_action(const FieldAction& a, const TensorView& phi, const TensorView& factors, const TensorView& out) {
    const Problem p(a, phi, factors);
    check_result("out", out, DType::f64, shaped({p.outputs, p.batch}));
    check_disjoint("out", out, "phi", phi);
    check_disjoint("out", out, "factors", factors);
    double* const result = static_cast<double*>(out.data);
    each_field(p, [&](std::int64_t b) {
        const FieldSums s = p.kernel.sums(p.shape, field(phi, b * p.points()));
        for (std::int64_t r = 0; r < p.outputs; ++r) result[r * p.batch + b] = p.combined(r, s);
    });
}

void phi4_gradient(const FieldAction& a, const TensorView& phi, const TensorView& factors, const TensorView& grad,
                   const TensorView& grad_phi) {
    const Problem p(a, phi, factors);
    check_input("grad", grad, DType::f64, shaped({p.outputs, p.batch}));
    check_result("grad_phi", grad_phi, phi.dtype, phi);
    check_disjoint("grad_phi", grad_phi, "phi", phi);
    check_disjoint("grad_phi", grad_phi, "factors", factors);
    check_disjoint("grad_phi", grad_phi, "grad", grad);
    const double* const g = static_cast<const double*>(grad.data);
    each_field(p, [&](std::int64_t b) {
        p.kernel.gradient(p.shape, field(phi, b * p.points()), p.pulled(g, b), const_cast<char*>(field(grad_phi, b * p.points())));
    });
}

}  // namespace qcore::paths
