#include "schrodinger/split_reference.hpp"

#include <algorithm>
#include <type_traits>
#include <utility>

#include "core/parallel.hpp"

namespace qcore::schrodinger {

namespace {

using Line = std::vector<Number>;

std::size_t z(std::int64_t i) { return static_cast<std::size_t>(i); }

Line load(const void* data, DType dtype, std::int64_t first, std::int64_t n) {
    Line v(z(n));
    for (std::int64_t i = 0; i < n; ++i) {
        const std::int64_t k = first + i;
        switch (dtype) {
            case DType::f32: v[z(i)] = static_cast<const float*>(data)[k]; break;
            case DType::f64: v[z(i)] = static_cast<const double*>(data)[k]; break;
            case DType::c64: v[z(i)] = static_cast<const std::complex<float>*>(data)[k]; break;
            default: v[z(i)] = static_cast<const Number*>(data)[k];
        }
    }
    return v;
}

void store(void* data, DType dtype, std::int64_t first, const Line& v) {
    for (std::size_t i = 0; i < v.size(); ++i) {
        const std::size_t k = z(first) + i;
        switch (dtype) {
            case DType::f32: static_cast<float*>(data)[k] = static_cast<float>(v[i].real()); break;
            case DType::f64: static_cast<double*>(data)[k] = v[i].real(); break;
            case DType::c64: static_cast<std::complex<float>*>(data)[k] = std::complex<float>(v[i]); break;
            default: static_cast<Number*>(data)[k] = v[i];
        }
    }
}

// l x with zeros or the other end beyond the ends.
Line second_difference(const Line& x, Boundary boundary) {
    const std::size_t n = x.size();
    const bool periodic = boundary == Boundary::periodic;
    Line y(n);
    for (std::size_t i = 0; i < n; ++i) {
        const Number left = i > 0 ? x[i - 1] : periodic ? x[n - 1] : 0.0, right = i + 1 < n ? x[i + 1] : periodic ? x[0] : 0.0;
        y[i] = 2.0 * x[i] - left - right;
    }
    return y;
}

Line combine(Number a, const Line& x, Number b, const Line& y) {
    Line sum(x.size());
    for (std::size_t i = 0; i < x.size(); ++i) sum[i] = a * x[i] + b * y[i];
    return sum;
}

// Tridiagonal: diagonal d, off-diagonal g; elimination without pivots, see evolve.hpp for why.
Line thomas(const Line& d, Number g, Line x) {
    const std::size_t n = x.size();
    Line ratio(n);
    for (std::size_t i = 0; i < n; ++i) {
        const Number inverse = 1.0 / (i ? d[i] - g * ratio[i - 1] : d[i]);
        ratio[i] = g * inverse;
        x[i] = (i ? x[i] - g * x[i - 1] : x[i]) * inverse;
    }
    for (std::size_t i = n - 1; i-- > 0;) x[i] -= ratio[i] * x[i + 1];
    return x;
}

// (1 - g l)^{-1} x. Periodic: 1 - g l = T - g w w^T with w = (1, 0 ... 0, -1), T the operator with insulating ends.
Line solve(Number g, const Line& x, Boundary boundary) {
    const std::size_t n = x.size();
    Line d(n, 1.0 - 2.0 * g);
    if (boundary == Boundary::dirichlet) return thomas(d, g, x);
    d[0] += g;
    d[n - 1] += g;
    Line w(n);
    w[0] += 1.0;
    w[n - 1] -= 1.0;
    const Line y = thomas(d, g, x), v = thomas(d, g, w);
    return combine(1.0, y, g * (y[0] - y[n - 1]) / (1.0 - g * (v[0] - v[n - 1])), v);
}

// chi = (1 - e L)^{-1} psi along one line.
Line chi_of(Number e, const Line& psi, int order, Boundary boundary) {
    if (order == 2) return solve(e, psi, boundary);
    const double mass = order == 4 ? 1.0 / 12.0 : 2.0 / 15.0;
    Line x;
    if (order == 4) {
        x = solve(mass + e, psi, boundary);
    } else {
        const SixthOrderRoots roots(e);
        x = solve(roots.large, solve(roots.small, psi, boundary), boundary);
    }
    return combine(1.0, x, -mass, second_difference(x, boundary));
}

// L x along one line.
Line kinetic(const Line& x, int order, Boundary boundary) {
    const Line l = second_difference(x, boundary);
    if (order == 2) return l;
    if (order == 4) return solve(1.0 / 12.0, l, boundary);
    return solve(2.0 / 15.0, combine(1.0, l, -0.05, second_difference(l, boundary)), boundary);
}

// Calls f(line) for every line of a field along an axis, and puts back what it returns.
template <class F>
void along(const SplitProblem& p, std::int64_t axis, Line& field, F&& f) {
    std::int64_t stride = 1;
    for (std::int64_t d = axis + 1; d < p.axes(); ++d) stride *= p.sizes[z(d)];
    const std::int64_t n = p.sizes[z(axis)];
    Line line(z(n));
    for (std::int64_t i = 0; i < p.points; ++i) {
        if (i / stride % n) continue;  // not the start of a line
        for (std::int64_t j = 0; j < n; ++j) line[z(j)] = field[z(i + j * stride)];
        const Line result = f(line, i, stride);
        for (std::int64_t j = 0; j < n; ++j) field[z(i + j * stride)] = result[z(j)];
    }
}

Line stage(const SplitProblem& p, Number e, std::int64_t axis, const Line& psi) {
    const Line chi = chi_of(e, psi, p.order, p.boundary[z(axis)]);
    return p.rule == Rule::euler ? chi : combine(2.0, chi, -1.0, psi);
}

// A step as a list of elementary operations: multiply by a table, or one stage along one axis.
struct Operation {
    std::int64_t table = -1;
    std::int64_t substep = 0, axis = 0, m = 0;
};

std::vector<Operation> operations(const SplitProblem& p) {
    std::vector<Operation> list;
    for (const std::int64_t item : p.program) {
        if (item >= 0) {
            list.push_back({item});
            continue;
        }
        for (std::int64_t axis = 0; axis < p.axes(); ++axis)
            for (std::int64_t m = 0; m < p.stages; ++m) list.push_back({-1, -1 - item, axis, m});
    }
    return list;
}

Line table(const SplitProblem& p, std::int64_t q, std::int64_t b) {
    return load(p.phases, is_complex(p.dtype) ? DType::c128 : DType::f64, p.table(q, b), p.points);
}

void apply(const SplitProblem& p, const Operation& o, std::int64_t b, Line& psi, bool inverse) {
    if (o.table >= 0) {
        const Line t = table(p, o.table, b);
        for (std::size_t i = 0; i < psi.size(); ++i) psi[i] = inverse ? psi[i] / t[i] : psi[i] * t[i];
    } else {
        const Number e = p.stage(o.substep, o.axis, o.m);
        along(p, o.axis, psi, [&](const Line& x, std::int64_t, std::int64_t) { return stage(p, inverse ? -e : e, o.axis, x); });
    }
}

// What one field adds to the gradients of the coefficients. Its tables are its own, or shared and summed later.
struct FieldGradients {
    Line tables;  // (Q, points)
    Line e;
};

// G is the gradient (conjugate of the derivative) behind operation o, psi the state before it; G is pulled in front of it.
void pull(const SplitProblem& p, const Operation& o, std::int64_t b, const Line& psi, Line& grad, FieldGradients& sums) {
    if (o.table >= 0) {
        const Line t = table(p, o.table, b);
        Number* const sum = sums.tables.data() + o.table * p.points;
        for (std::size_t i = 0; i < grad.size(); ++i) {
            sum[i] += grad[i] * std::conj(psi[i]);
            grad[i] *= std::conj(t[i]);
        }
        return;
    }
    const Number e = p.stage(o.substep, o.axis, o.m);
    const Boundary boundary = p.boundary[z(o.axis)];
    const double weight = p.rule == Rule::cayley ? 2.0 : 1.0;
    Number& sum = sums.e[z((o.substep * p.axes() + o.axis) * p.stages + o.m)];
    along(p, o.axis, grad, [&](const Line& g, std::int64_t first, std::int64_t stride) {
        // The operators are complex symmetric, so their adjoints are those of conj(e).
        Line x(g.size());
        for (std::size_t j = 0; j < x.size(); ++j) x[j] = psi[z(first + static_cast<std::int64_t>(j) * stride)];
        const Line nu = chi_of(std::conj(e), g, p.order, boundary), l = kinetic(chi_of(e, x, p.order, boundary), p.order, boundary);
        for (std::size_t j = 0; j < x.size(); ++j) sum += weight * nu[j] * std::conj(l[j]);
        return p.rule == Rule::euler ? nu : combine(2.0, nu, -1.0, g);
    });
}

template <class F>
void each_field(std::int64_t n, F&& body) {
    parallel_for(n, max_threads(), [](void* f, std::int64_t i) { (*static_cast<std::remove_reference_t<F>*>(f))(i); }, &body);
}

}  // namespace

void split_reference_evolve(const SplitProblem& p, const void* psi, void* out, void* frames, std::int64_t save_every) {
    const std::vector<Operation> list = operations(p);
    each_field(p.points ? p.batch : 0, [&](std::int64_t b) {
        Line state = load(psi, p.dtype, b * p.points, p.points);
        for (std::int64_t k = 0; k < p.steps; ++k) {
            for (const Operation& o : list) apply(p, o, b, state, false);
            if (frames && (k + 1) % save_every == 0)
                store(frames, p.dtype, ((k + 1) / save_every - 1) * p.batch * p.points + b * p.points, state);
        }
        store(out, p.dtype, b * p.points, state);
    });
}

void split_reference_adjoint(const SplitProblem& p, const SplitGradients& g) {
    const std::vector<Operation> list = operations(p);
    std::vector<FieldGradients> sums(z(p.batch), FieldGradients{Line(z(p.tables * p.points)), Line(p.e.size())});
    each_field(p.points ? p.batch : 0, [&](std::int64_t b) {
        Line grad = load(g.grad_out, p.dtype, b * p.points, p.points), psi;
        if (g.trace_back) psi = load(g.states, p.dtype, b * p.points, p.points);
        for (std::int64_t k = p.steps; k-- > 0;) {
            const std::int64_t done = g.first + k + 1;
            if (g.grad_frames && done % g.save_every == 0) {
                const std::int64_t at = ((done / g.save_every - 1 - g.first / g.save_every) * p.batch + b) * p.points;
                grad = combine(1.0, grad, 1.0, load(g.grad_frames, p.dtype, at, p.points));
            }
            if (g.trace_back)
                for (std::size_t i = list.size(); i-- > 0;) apply(p, list[i], b, psi, true);
            else psi = load(g.states, p.dtype, (k * p.batch + b) * p.points, p.points);
            std::vector<Line> before;
            Line state = psi;
            for (const Operation& o : list) {
                before.push_back(state);
                apply(p, o, b, state, false);
            }
            for (std::size_t i = list.size(); i-- > 0;) pull(p, list[i], b, before[i], grad, sums[z(b)]);
        }
        store(g.grad_psi, p.dtype, b * p.points, grad);
    });
    const DType dtype = is_complex(p.dtype) ? DType::c128 : DType::f64;
    if (g.grad_phases)
        for (std::int64_t q = 0; q < p.tables; ++q)
            for (std::int64_t row = 0; row < p.phases_batch; ++row) {
                Line total(z(p.points));
                for (std::int64_t b = 0; b < p.batch; ++b)
                    for (std::int64_t i = 0; (p.phases_batch == 1 || b == row) && i < p.points; ++i)
                        total[z(i)] += sums[z(b)].tables[z(q * p.points + i)];
                store(g.grad_phases, dtype, (q * p.phases_batch + row) * p.points, total);
            }
    if (g.grad_e) {
        std::fill(g.grad_e, g.grad_e + p.e.size(), Number{});
        for (const FieldGradients& field : sums)
            for (std::size_t i = 0; i < field.e.size(); ++i) g.grad_e[i] += field.e[i];
    }
}

}  // namespace qcore::schrodinger
