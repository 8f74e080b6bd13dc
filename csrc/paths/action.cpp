#include "paths/action.hpp"

#include <vector>

#include "paths/action_call.hpp"
#include "paths/action_reference.hpp"
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

// The arguments as plain pointers, checked.
struct Problem {
    ActionRows rows;
    NetworkRows network;
    std::int64_t batch, given, outputs;
    bool from_beads, single;
    const double* factors;
    const PathKernels& kernels;

    Problem(const Action& a, const TensorView& x, const TensorView& f)
        : kernels(a.backend == ActionBackend::reference ? reference_action_kernels : selected_action_kernels()) {
        check_code("scheme", static_cast<int>(a.scheme), 6);
        check_code("parameters", static_cast<int>(a.parameters), 2);
        check_code("backend", static_cast<int>(a.backend), 1);
        check_real("x", x);
        if (x.ndim != 2) fail("x", "shape (B, M)", x.shape_text());
        check_contiguous("x", x);
        from_beads = a.parameters == Parameters::beads;
        single = x.dtype == DType::f32;
        batch = x.shape[0], given = x.shape[1];
        if (from_beads && (a.x_ini || a.x_fin)) fail("x_ini", "none for a path given by its beads", "one");
        if (!from_beads && !a.x_ini) fail("x_ini", "shape (" + std::to_string(batch) + ",)", "none");
        if (!from_beads && a.hold_ends) fail("hold_ends", "a path given by its beads", "parameters");
        if (a.x_ini) check_input("x_ini", *a.x_ini, x.dtype, shaped({batch}));
        if (a.x_fin) check_input("x_fin", *a.x_fin, x.dtype, shaped({batch}));
        network = {given, a.parameters == Parameters::acceleration, a.dt, nullptr, nullptr};

        rows.beads = from_beads ? given : given + 1 + (a.x_fin ? 1 : 0);
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
            if (rows.form == Form::van_vleck)
                fail("scheme", "another one for a table, whose curvature jumps", "midpoint_van_vleck");
            rows.potential = {static_cast<const double*>(c.data), c.shape[0], true, a.start, 1 / a.spacing};
            rows.next_potential = 0;
        } else {
            const bool shared = c.ndim == 1;
            const std::int64_t count = shared ? c.shape[0] : c.shape[1];
            if (c.ndim < 1 || c.ndim > 2 || (!shared && c.shape[0] != batch) || count < 1 || count > Potential::max_coefficients)
                fail("coefficients", "shape (K,) or (" + std::to_string(batch) + ", K), K from 1 to 16", c.shape_text());
            rows.potential = {static_cast<const double*>(c.data), count, false, 0, 0};
            rows.next_potential = shared ? 0 : count;
        }

        check_dtype("factors", f, DType::f64);
        if (f.ndim != 2 || f.shape[0] < 1 || f.shape[0] > 3 || f.shape[1] != 3) fail("factors", "shape (1 to 3, 3)", f.shape_text());
        check_contiguous("factors", f);
        outputs = f.shape[0];
        factors = static_cast<const double*>(f.data);
    }

    const ActionKernels& of_beads() const { return single && from_beads ? kernels.f32 : kernels.f64; }
    const NetworkKernels& of_network() const { return single ? kernels.network_f32 : kernels.network_f64; }
    std::int64_t bytes() const { return single ? 4 : 8; }

    // A factor of zero leaves its sum out, whatever that is.
    double combined(std::int64_t r, const ActionSums& s) const {
        const double* const f = factors + 3 * r;
        double sum = 0;
        if (f[0] != 0) sum += f[0] * s.kinetic;
        if (f[1] != 0) sum += f[1] * s.potential;
        if (f[2] != 0) sum += f[2] * s.correction;
        return sum;
    }
    ActionSums pulled(const double* grad, std::int64_t path) const {
        ActionSums g;
        for (std::int64_t r = 0; r < outputs; ++r) {
            const double* const f = factors + 3 * r;
            const double by = grad[r * batch + path];
            if (f[0] != 0) g.kinetic += f[0] * by;
            if (f[1] != 0) g.potential += f[1] * by;
            if (f[2] != 0) g.correction += f[2] * by;
        }
        return g;
    }
};

char* at(const TensorView* t, std::int64_t offset) { return t ? static_cast<char*>(t->data) + offset : nullptr; }

// Rows of parameters become beads in scratch, so many at once.
constexpr std::int64_t fused_rows = 8;

void check_apart(const char* name, const TensorView& out, const Action& a, const TensorView& x, const TensorView& factors) {
    check_disjoint(name, out, "x", x);
    check_disjoint(name, out, "coefficients", a.coefficients);
    check_disjoint(name, out, "factors", factors);
    if (a.x_ini) check_disjoint(name, out, "x_ini", *a.x_ini);
    if (a.x_fin) check_disjoint(name, out, "x_fin", *a.x_fin);
}

}  // namespace

void action(const Action& a, const TensorView& x, const TensorView& factors, const TensorView& out) {
    const Problem p(a, x, factors);
    check_result("out", out, DType::f64, shaped({p.outputs, p.batch}));
    check_apart("out", out, a, x, factors);

    double* const result = static_cast<double*>(out.data);
    const std::int64_t block = block_rows(p.rows.beads), beads = p.rows.beads;
    const std::size_t of_sums = static_cast<std::size_t>(block) * sizeof(ActionSums);
    const std::size_t of_beads = p.from_beads ? 0 : static_cast<std::size_t>(fused_rows * beads) * sizeof(double);
    in_parallel((p.batch + block - 1) / block, threads_for(p.batch, beads), [&](std::int64_t i) {
        const std::int64_t first = i * block, count = std::min(block, p.batch - first);
        double* const path = static_cast<double*>(thread_scratch(of_sums + of_beads));
        ActionSums* const sums = reinterpret_cast<ActionSums*>(path + of_beads / sizeof(double));
        if (p.from_beads) {
            p.of_beads().sums(p.rows, at(&x, first * beads * p.bytes()), first, count, sums);
        } else {
            for (std::int64_t done = 0; done < count; done += fused_rows) {
                const std::int64_t row = first + done, some = std::min(fused_rows, count - done);
                NetworkRows here = p.network;
                here.x_ini = at(a.x_ini, row * p.bytes()), here.x_fin = at(a.x_fin, row * p.bytes());
                p.of_network().beads_double(here, at(&x, row * p.given * p.bytes()), some, path);
                p.of_beads().sums(p.rows, path, row, some, sums + done);
            }
        }
        for (std::int64_t r = 0; r < p.outputs; ++r)
            for (std::int64_t b = 0; b < count; ++b) result[r * p.batch + first + b] = p.combined(r, sums[b]);
    });
}

void action_gradient(const Action& a, const TensorView& x, const TensorView& factors, const TensorView& grad, const TensorView& grad_x,
                     const TensorView* grad_ini, const TensorView* grad_fin, const TensorView* grad_coefficients) {
    const Problem p(a, x, factors);
    check_input("grad", grad, DType::f64, shaped({p.outputs, p.batch}));
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

    const double* const g = static_cast<const double*>(grad.data);
    const std::int64_t beads = p.rows.beads, length = p.from_beads ? beads : p.given;
    // At most 64 chunks, by the batch alone: each sums its paths' derivatives by a shared potential apart, in order.
    const std::int64_t chunk = std::max(block_rows(beads), (p.batch + 63) / 64), chunks = (p.batch + chunk - 1) / chunk;
    const std::int64_t numbers = a.coefficients.numel();
    const bool shared = p.rows.next_potential == 0;
    std::vector<double> partial(grad_coefficients && shared ? static_cast<std::size_t>(chunks * numbers) : 0);
    double* const of_coefficients = grad_coefficients ? static_cast<double*>(grad_coefficients->data) : nullptr;
    if (of_coefficients) std::fill_n(of_coefficients, numbers, 0.0);

    const std::size_t of_beads = p.from_beads ? 0 : static_cast<std::size_t>(fused_rows * beads);
    in_parallel(chunks, threads_for(p.batch, beads), [&](std::int64_t i) {
        const std::int64_t first = i * chunk, end = std::min(first + chunk, p.batch);
        double* const path = static_cast<double*>(thread_scratch(2 * of_beads * sizeof(double)));
        double* const grad_path = path + of_beads;
        ActionSums pulled[fused_rows];
        for (std::int64_t row = first; row < end; row += fused_rows) {
            const std::int64_t some = std::min(fused_rows, end - row);
            for (std::int64_t k = 0; k < some; ++k) pulled[k] = p.pulled(g, row + k);
            const void* here = at(&x, row * length * p.bytes());
            void* const out = at(&grad_x, row * length * p.bytes());
            NetworkRows network = p.network;
            network.x_ini = at(a.x_ini, row * p.bytes()), network.x_fin = at(a.x_fin, row * p.bytes());
            if (!p.from_beads) {
                p.of_network().beads_double(network, here, some, path);
                here = path;
            }
            p.of_beads().gradient(p.rows, here, row, some, pulled, p.from_beads ? out : grad_path);
            if (of_coefficients)
                p.of_beads().coefficients(p.rows, here, row, some, pulled,
                                          shared ? partial.data() + i * numbers : of_coefficients + row * p.rows.next_potential);
            if (!p.from_beads)
                p.of_network().adjoint_double(network, grad_path, some, out, at(grad_ini, row * p.bytes()), at(grad_fin, row * p.bytes()));
            if (a.hold_ends)
                for (std::int64_t k = 0; k < some; ++k)
                    for (const std::int64_t bead : {std::int64_t{0}, beads - 1}) {
                        if (p.single) static_cast<float*>(out)[k * beads + bead] = 0;
                        else static_cast<double*>(out)[k * beads + bead] = 0;
                    }
        }
    });
    if (of_coefficients && shared)
        for (std::int64_t i = 0; i < chunks; ++i)
            for (std::int64_t k = 0; k < numbers; ++k) of_coefficients[k] += partial[static_cast<std::size_t>(i * numbers + k)];
}

}  // namespace qcore::paths
