#include "paths/bridge.hpp"

#include <string>

#include "core/check.hpp"
#include "paths/bridge_kernels.hpp"
#include "paths/potential_check.hpp"

namespace qcore::paths {

namespace {

TensorView like(std::initializer_list<std::int64_t> shape) {
    TensorView t;
    for (std::int64_t n : shape) t.shape[t.ndim++] = n;
    return t;
}

void check_real(const char* name, const TensorView& t) {
    if (t.dtype != DType::f32 && t.dtype != DType::f64) fail(name, "dtype float32 or float64", dtype_name(t.dtype));
}

void check_input(const char* name, const TensorView& t, const TensorView& shape) {
    check_device(name, t);
    check_dtype(name, t, DType::f64);
    check_shape(name, t, shape);
    if (!t.contiguous()) fail(name, "a contiguous tensor", "strides that are not contiguous");
}

// A counter word has 32 bits.
void check_numbers(const char* name, std::int64_t first, std::int64_t count) {
    if (first < 0 || count < 0 || first > (std::int64_t{1} << 32) - count)
        fail(name, "numbers from 0 to 2^32 - 1", std::to_string(first) + " to " + std::to_string(first + count - 1));
}

// The chain, checked.
ChainTask checked(const GaussianChain& c, std::int64_t samples) {
    if (c.coefficients.ndim != 2) fail("coefficients", "shape (N, 3)", c.coefficients.shape_text());
    check_input("coefficients", c.coefficients, like({c.coefficients.shape[0], 3}));
    if (c.start.ndim != 1) fail("start", "shape (Q,)", c.start.shape_text());
    check_input("start", c.start, c.start);
    check_input("end", c.end, c.start);
    check_numbers("start", 0, c.start.shape[0]);
    check_numbers("coefficients", 0, c.coefficients.shape[0] + 1);
    check_numbers("first", c.first, samples);
    ChainTask task{};
    task.chains = c.start.shape[0];
    task.steps = c.coefficients.shape[0];
    task.samples = samples;
    task.coefficients = static_cast<const double*>(c.coefficients.data);
    task.start = static_cast<const double*>(c.start.data);
    task.end = static_cast<const double*>(c.end.data);
    task.start_sigma = c.start_sigma;
    task.closed = c.closed;
    task.purpose = c.purpose;
    task.first = static_cast<std::uint32_t>(c.first);
    task.seed = c.seed;
    return task;
}

}  // namespace

void fill_random(std::uint32_t purpose, std::uint32_t site, std::uint32_t sweep, std::uint32_t first_chain, std::uint64_t seed,
                 int kind, const TensorView& out) {
    check_real("out", out);
    const bool wide = out.dtype == DType::f64;
    if (kind < 0 || kind > 2) fail("kind", "0 (words), 1 (uniforms) or 2 (normals)", std::to_string(kind));
    if (kind == 0) check_dtype("out", out, DType::f64);
    const std::int64_t most = kind == 0 || !wide ? 4 : 2;
    if (out.ndim != 3 || out.shape[1] > most)
        fail("out", "shape (sites, draws, chains) with at most " + std::to_string(most) + " draws", out.shape_text());
    check_output("out", out);
    check_numbers("site", site, out.shape[0]);
    check_numbers("first_chain", first_chain, out.shape[2]);
    if (out.numel() > 0)
        random_numbers({purpose, site, sweep, first_chain, seed, kind, out.shape[0], out.shape[1], out.shape[2], out.data},
                       out.dtype);
}

void gaussian_chains(const GaussianChain& c, const TensorView& out) {
    check_real("out", out);
    if (out.ndim != 3) fail("out", "shape (Q, S, N + 1)", out.shape_text());
    const ChainTask chain = checked(c, out.shape[1]);
    check_shape("out", out, like({chain.chains, chain.samples, chain.steps + 1}));
    check_output("out", out);
    check_disjoint("out", out, "coefficients", c.coefficients);
    check_disjoint("out", out, "start", c.start);
    check_disjoint("out", out, "end", c.end);
    if (out.numel() > 0) sample_chains({chain, out.data}, out.dtype);
}

void chain_weights(const GaussianChain& c, const Potential& potential, const TensorView& coefficients, double scale,
                   double quadratic, bool midpoint, std::int64_t samples, const TensorView& out) {
    if (samples < 0) fail("samples", "a number >= 0", std::to_string(samples));
    const ChainTask chain = checked(c, samples);
    const HeldPotential held(checked_potential(potential, coefficients));
    const std::int64_t groups = (samples + chain_group - 1) / chain_group;
    check_dtype("out", out, DType::f64);
    check_shape("out", out, like({chain.chains, groups, 3}));
    check_output("out", out);
    check_disjoint("out", out, "coefficients", c.coefficients);
    check_disjoint("out", out, "start", c.start);
    check_disjoint("out", out, "end", c.end);
    check_disjoint("out", out, "potential", coefficients);
    if (out.numel() > 0) weigh_chains({chain, held, scale, quadratic, midpoint, groups, static_cast<double*>(out.data)});
}

}  // namespace qcore::paths
