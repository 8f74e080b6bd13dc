#include "paths/bridge.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "core/check.hpp"
#include "core/parallel.hpp"
#include "paths/bridge_kernels.hpp"
#include "paths/potential_check.hpp"

namespace qcore::paths {

namespace {

template <class F>
void each(std::int64_t n, F&& body) {
    parallel_for(n, max_threads(), [](void* f, std::int64_t i) { (*static_cast<std::remove_reference_t<F>*>(f))(i); }, &body);
}

TensorView like(std::initializer_list<std::int64_t> shape) {
    TensorView t;
    for (std::int64_t n : shape) t.shape[t.ndim++] = n;
    return t;
}

bool is_double(const char* name, const TensorView& t) {
    if (t.dtype != DType::f32 && t.dtype != DType::f64) fail(name, "dtype float32 or float64", dtype_name(t.dtype));
    return t.dtype == DType::f64;
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

// The chain, checked, but for its number of samples and coefficients.
ChainTask checked(const GaussianChain& c) {
    if (c.coefficients.ndim != 2) fail("coefficients", "shape (N, 3)", c.coefficients.shape_text());
    check_input("coefficients", c.coefficients, like({c.coefficients.shape[0], 3}));
    if (c.start.ndim != 1) fail("start", "shape (Q,)", c.start.shape_text());
    check_input("start", c.start, c.start);
    check_input("end", c.end, c.start);
    check_numbers("start", 0, c.start.shape[0]);
    check_numbers("coefficients", 0, c.coefficients.shape[0] + 1);
    ChainTask task{};
    task.steps = c.coefficients.shape[0];
    task.coefficients = c.coefficients.data;
    task.start_sigma = c.start_sigma;
    task.closed = c.closed;
    task.purpose = c.purpose;
    task.seed = c.seed;
    return task;
}

}  // namespace

void fill_random(std::uint32_t purpose, std::uint32_t site, std::uint32_t sweep, std::uint32_t first_chain, std::uint64_t seed,
                 int kind, const TensorView& out) {
    const bool wide = is_double("out", out);
    if (kind < 0 || kind > 2) fail("kind", "0 (words), 1 (uniforms) or 2 (normals)", std::to_string(kind));
    if (kind == 0) check_dtype("out", out, DType::f64);
    const std::int64_t most = kind == 0 || !wide ? 4 : 2;
    if (out.ndim != 3 || out.shape[1] > most)
        fail("out", "shape (sites, draws, chains) with at most " + std::to_string(most) + " draws", out.shape_text());
    check_output("out", out);
    check_numbers("site", site, out.shape[0]);
    check_numbers("first_chain", first_chain, out.shape[2]);
    const std::int64_t size = out.shape[1] * out.shape[2];
    if (size == 0) return;
    each(out.shape[0], [&](std::int64_t i) {
        selected_bridge_kernels().random[wide]({purpose, site + static_cast<std::uint32_t>(i), sweep, first_chain, seed, kind, out.shape[1],
                                                out.shape[2], static_cast<char*>(out.data) + i * size * dtype_size(out.dtype)});
    });
}

void gaussian_chains(const GaussianChain& c, const TensorView& out) {
    const ChainTask shared = checked(c);
    const bool wide = is_double("out", out);
    if (out.ndim != 3) fail("out", "shape (Q, S, N + 1)", out.shape_text());
    const std::int64_t chains = c.start.shape[0], samples = out.shape[1];
    check_shape("out", out, like({chains, samples, shared.steps + 1}));
    check_output("out", out);
    check_disjoint("out", out, "coefficients", c.coefficients);
    check_disjoint("out", out, "start", c.start);
    check_disjoint("out", out, "end", c.end);
    check_numbers("first", c.first, samples);
    std::vector<float> narrow;
    if (!wide) {
        const double* const k = static_cast<const double*>(c.coefficients.data);
        narrow.assign(k, k + 3 * shared.steps);
    }
    const BridgeKernels& kernels = selected_bridge_kernels();
    const std::int64_t part = 256, parts = (samples + part - 1) / part, row = shared.steps + 1;
    each(chains * parts, [&](std::int64_t i) {
        const std::int64_t q = i / parts, begin = i % parts * part;
        PathsTask t{shared, static_cast<const double*>(c.start.data)[q], static_cast<const double*>(c.end.data)[q],
                    static_cast<std::uint32_t>(q), static_cast<char*>(out.data) + (q * samples + begin) * row * dtype_size(out.dtype)};
        if (!wide) t.chain.coefficients = narrow.data();
        t.chain.first = static_cast<std::uint32_t>(c.first + begin);
        t.chain.samples = std::min(part, samples - begin);
        kernels.paths[wide](t);
    });
}

void chain_weights(const GaussianChain& c, const Potential& potential, const TensorView& coefficients, double scale,
                   double quadratic, bool midpoint, std::int64_t samples, const TensorView& out) {
    const ChainTask shared = checked(c);
    const Potential v = checked_potential(potential, coefficients);
    if (samples < 0) fail("samples", "a number >= 0", std::to_string(samples));
    const std::int64_t chains = c.start.shape[0], groups = (samples + chain_group - 1) / chain_group;
    check_dtype("out", out, DType::f64);
    check_shape("out", out, like({chains, groups, 3}));
    check_output("out", out);
    check_disjoint("out", out, "coefficients", c.coefficients);
    check_disjoint("out", out, "start", c.start);
    check_disjoint("out", out, "end", c.end);
    check_disjoint("out", out, "potential", coefficients);
    check_numbers("first", c.first, samples);
    if (chains == 0) return;
    const BridgeKernels& kernels = selected_bridge_kernels();
    double* const sums = static_cast<double*>(out.data);
    each(groups, [&](std::int64_t g) {
        const std::int64_t begin = g * chain_group, count = std::min(chain_group, samples - begin);
        const std::unique_ptr<double[]> log_weights(new double[static_cast<std::size_t>(chains * count)]);
        WeightsTask t{shared, static_cast<const double*>(c.start.data), static_cast<const double*>(c.end.data), chains, v, scale,
                      quadratic, midpoint, log_weights.get()};
        t.chain.first = static_cast<std::uint32_t>(c.first + begin);
        t.chain.samples = count;
        kernels.weights[v.table](t);
        for (std::int64_t q = 0; q < chains; ++q) {
            const double* const l = log_weights.get() + q * count;
            double largest = -std::numeric_limits<double>::infinity(), sum = 0, squares = 0;
            for (std::int64_t i = 0; i < count; ++i) largest = l[i] > largest || l[i] != l[i] ? l[i] : largest;
            for (std::int64_t i = 0; i < count; ++i) {
                const double w = std::isinf(largest) && largest < 0 ? 0 : std::exp(l[i] - largest);
                sum += w;
                squares += w * w;
            }
            double* const row = sums + (q * groups + g) * 3;
            row[0] = largest;
            row[1] = sum;
            row[2] = squares;
        }
    });
}

}  // namespace qcore::paths
