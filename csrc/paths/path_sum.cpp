// Argument checks of the gated path sums, and the way from tensors to a GatedCall.
#include "paths/path_sum.hpp"

#include <cstdlib>
#include <limits>
#include <string>

#include "core/check.hpp"
#include "paths/path_sum_call.hpp"

namespace qcore::paths {

namespace {

TensorView expected(std::initializer_list<std::int64_t> shape) {
    TensorView t;
    for (std::int64_t n : shape) t.shape[t.ndim++] = n;
    return t;
}

void check_input(const char* name, const TensorView& t, int ndim) {
    check_device(name, t);
    check_dtype(name, t, DType::f64);
    if (t.ndim != ndim) fail(name, std::to_string(ndim) + " axes", "shape " + t.shape_text());
    if (!t.contiguous()) fail(name, "a contiguous tensor", "strides that are not contiguous");
}

GatedCall checked_call(const Chain& c) {
    check_input("taps", c.taps, 2);
    check_input("gates", c.gates, 4);
    GatedCall p{};
    p.steps = c.taps.shape[0];
    p.kernel = c.taps.shape[1];
    p.batch = c.gates.shape[1];
    p.height = c.gates.shape[2];
    p.width = c.gates.shape[3];
    p.outputs = static_cast<std::int64_t>(c.outputs.size());
    if (static_cast<std::int64_t>(c.offsets.size()) != 2 * p.kernel)
        fail("offsets", std::to_string(2 * p.kernel) + " numbers, two for each tap", std::to_string(c.offsets.size()));
    check_shape("gates", c.gates, expected({p.steps, p.batch, p.height, p.width}));
    if (c.bias) {
        check_input("bias", *c.bias, 1);
        check_shape("bias", *c.bias, expected({p.steps}));
    }
    p.taps = static_cast<const double*>(c.taps.data);
    p.gates = static_cast<const double*>(c.gates.data);
    p.bias = c.bias ? static_cast<const double*>(c.bias->data) : nullptr;
    p.offsets = c.offsets.data();
    p.output = c.outputs.data();
    p.boundary = c.boundary;
    if (p.sites() > std::numeric_limits<std::int32_t>::max()) fail("gates", "fewer than 2^31 sites", c.gates.shape_text());
    const int code = static_cast<int>(p.boundary);
    if (code < 0 || code > 3) fail("boundary", "a code from 0 to 3", std::to_string(code));
    for (std::int64_t r = 0; r < p.outputs; ++r)
        if (p.output[r] < 0 || p.output[r] >= p.sites())
            fail("outputs", "sites from 0 to " + std::to_string(p.sites() - 1), std::to_string(p.output[r]));
    for (std::int64_t k = 0; k < p.kernel; ++k)
        for (int axis = 0; axis < 2; ++axis) {
            const std::int64_t offset = p.offsets[2 * k + axis], size = axis ? p.width : p.height;
            if (offset < -1000 || offset > 1000 || (p.boundary == Boundary::reflect && std::abs(offset) >= size && size > 0))
                fail("offsets", "steps shorter than the lattice", std::to_string(offset));
        }
    return p;
}

void check_result(const char* name, const TensorView& t, const TensorView& shape, const Chain& chain) {
    check_device(name, t);
    check_dtype(name, t, DType::f64);
    check_shape(name, t, shape);
    check_output(name, t);
    check_disjoint(name, t, "taps", chain.taps);
    check_disjoint(name, t, "gates", chain.gates);
    if (chain.bias) check_disjoint(name, t, "bias", *chain.bias);
}

double* data(const TensorView& t) { return static_cast<double*>(t.data); }

}  // namespace

void transfer(const Chain& chain, const TensorView& weights, const TensorView& from_bias, const TensorView* exponents) {
    const GatedCall p = checked_call(chain);
    check_result("weights", weights, expected({p.batch, p.outputs, p.sites()}), chain);
    check_result("from_bias", from_bias, expected({p.batch, p.outputs}), chain);
    check_disjoint("from_bias", from_bias, "weights", weights);
    if (exponents) check_result("exponents", *exponents, expected({p.batch, p.outputs, 2}), chain);
    gated_transfer(p, data(weights), data(from_bias), exponents ? data(*exponents) : nullptr);
}

void enumerate(const Chain& chain, const TensorView& weights, const TensorView& starts) {
    const GatedCall p = checked_call(chain);
    std::int64_t count = 1;
    for (std::int64_t t = 0; t < p.steps; ++t) {
        if (p.kernel > 0 && count > (std::int64_t{1} << 40) / p.kernel) fail("taps", "fewer than 2^40 paths", "more");
        count *= p.kernel;
    }
    check_result("weights", weights, expected({p.batch, p.outputs, count}), chain);
    check_result("starts", starts, expected({p.outputs, count}), chain);
    check_disjoint("starts", starts, "weights", weights);
    gated_enumerate(p, count, data(weights), data(starts));
}

void sample(const Chain& chain, const TensorView& psi0, std::int64_t samples, std::uint64_t seed, std::int64_t first,
            const TensorView& mean, const TensorView& variance) {
    const GatedCall p = checked_call(chain);
    check_input("psi0", psi0, 3);
    check_shape("psi0", psi0, expected({p.batch, p.height, p.width}));
    check_result("mean", mean, expected({p.batch, p.outputs}), chain);
    check_result("variance", variance, expected({p.batch, p.outputs}), chain);
    check_disjoint("mean", mean, "psi0", psi0);
    check_disjoint("variance", variance, "psi0", psi0);
    check_disjoint("variance", variance, "mean", mean);
    if (samples < 2 || samples > std::numeric_limits<std::uint32_t>::max()) fail("samples", "2 to 2^32 - 1", std::to_string(samples));
    if (first < 0) fail("first", "an integer >= 0", std::to_string(first));
    gated_sample(p, static_cast<const double*>(psi0.data), samples, seed, first, data(mean), data(variance));
}

}  // namespace qcore::paths
