#include "paths/path_sum.hpp"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "core/check.hpp"
#include "core/isa.hpp"
#include "core/parallel.hpp"
#include "core/philox.hpp"
#include "paths/row_step.hpp"

namespace qcore {
QC_ISA_OBJECT(paths::Kernels, path_kernels)
}

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

// A chain as plain pointers, checked.
struct Problem {
    std::int64_t steps, kernel, batch, height, width, outputs;
    const double *taps, *gates, *bias;
    const std::int64_t *offsets, *output;
    Boundary boundary;

    explicit Problem(const Chain& c) {
        check_input("taps", c.taps, 2);
        check_input("gates", c.gates, 4);
        steps = c.taps.shape[0];
        kernel = c.taps.shape[1];
        batch = c.gates.shape[1];
        height = c.gates.shape[2];
        width = c.gates.shape[3];
        outputs = static_cast<std::int64_t>(c.outputs.size());
        if (static_cast<std::int64_t>(c.offsets.size()) != 2 * kernel)
            fail("offsets", std::to_string(2 * kernel) + " numbers, two for each tap", std::to_string(c.offsets.size()));
        check_shape("gates", c.gates, expected({steps, batch, height, width}));
        if (c.bias) {
            check_input("bias", *c.bias, 1);
            check_shape("bias", *c.bias, expected({steps}));
        }
        taps = static_cast<const double*>(c.taps.data);
        gates = static_cast<const double*>(c.gates.data);
        bias = c.bias ? static_cast<const double*>(c.bias->data) : nullptr;
        offsets = c.offsets.data();
        output = c.outputs.data();
        boundary = c.boundary;
        if (sites() > std::numeric_limits<std::int32_t>::max()) fail("gates", "fewer than 2^31 sites", c.gates.shape_text());
        const int code = static_cast<int>(boundary);
        if (code < 0 || code > 3) fail("boundary", "a code from 0 to 3", std::to_string(code));
        for (std::int64_t r = 0; r < outputs; ++r)
            if (output[r] < 0 || output[r] >= sites())
                fail("outputs", "sites from 0 to " + std::to_string(sites() - 1), std::to_string(output[r]));
        for (std::int64_t k = 0; k < kernel; ++k)
            for (int axis = 0; axis < 2; ++axis) {
                const std::int64_t offset = offsets[2 * k + axis], size = axis ? width : height;
                if (offset < -1000 || offset > 1000 || (boundary == Boundary::reflect && std::abs(offset) >= size && size > 0))
                    fail("offsets", "steps shorter than the lattice", std::to_string(offset));
            }
    }

    std::int64_t sites() const { return height * width; }

    // Where tap k reads from at `site`, or -1.
    std::int64_t source(std::int64_t site, std::int64_t k) const {
        const std::int64_t y = source_index(site / width + offsets[2 * k], height, boundary);
        const std::int64_t x = source_index(site % width + offsets[2 * k + 1], width, boundary);
        return y < 0 || x < 0 ? -1 : y * width + x;
    }
    std::vector<std::int64_t> sources() const {
        std::vector<std::int64_t> table(static_cast<std::size_t>(sites() * kernel));
        for (std::int64_t s = 0; s < sites(); ++s)
            for (std::int64_t k = 0; k < kernel; ++k) table[static_cast<std::size_t>(s * kernel + k)] = source(s, k);
        return table;
    }
    const double* gate(std::int64_t t, std::int64_t b) const { return gates + (t * batch + b) * sites(); }
};

void check_result(const char* name, const TensorView& t, const TensorView& shape, const Chain& chain) {
    check_device(name, t);
    check_dtype(name, t, DType::f64);
    check_shape(name, t, shape);
    check_output(name, t);
    check_disjoint(name, t, "taps", chain.taps);
    check_disjoint(name, t, "gates", chain.gates);
    if (chain.bias) check_disjoint(name, t, "bias", *chain.bias);
}

template <class F>
void parallel(std::int64_t n, F&& body) {
    parallel_for(n, max_threads(), [](void* f, std::int64_t i) { (*static_cast<std::remove_reference_t<F>*>(f))(i); }, &body);
}

// A sum of terms of any size, as value * 2^exponent.
struct Scaled {
    double value = 0;
    std::int64_t exponent = 0;

    void add(double term, std::int64_t e) {
        if (term == 0) return;
        if (value == 0 || e > exponent) {
            value = shift(value, exponent - e);
            exponent = e;
        }
        value += shift(term, e - exponent);
    }
    static double shift(double v, std::int64_t e) { return e < -2200 ? 0.0 * v : std::ldexp(v, static_cast<int>(e)); }
};

// Mean of numbers and the sum of their squared distances from it, by Welford's recurrence.
struct Spread {
    double count = 0, mean = 0, squares = 0;

    void add(double value) { add(Spread{1, value, 0}); }
    void add(const Spread& other) {
        const double off = other.mean - mean, both = count + other.count;
        mean += off * other.count / both;
        squares += other.squares + off * off * count * other.count / both;
        count = both;
    }
};

// For every site the sites and taps that read it.
struct Readers {
    std::vector<std::int64_t> begin;
    std::vector<std::int32_t> site, tap;
    std::int64_t reach = 0;  // the farthest that any of them stands from what it reads

    explicit Readers(const Problem& p) : begin(static_cast<std::size_t>(p.sites() + 1)) {
        const std::vector<std::int64_t> sources = p.sources();
        for (const std::int64_t from : sources)
            if (from >= 0) ++begin[static_cast<std::size_t>(from + 1)];
        for (std::size_t i = 1; i < begin.size(); ++i) begin[i] += begin[i - 1];
        site.resize(static_cast<std::size_t>(begin.back()));
        tap.resize(site.size());
        std::vector<std::int64_t> end(begin.begin(), begin.end() - 1);
        for (std::size_t i = 0; i < sources.size(); ++i) {
            if (sources[i] < 0) continue;
            const std::size_t place = static_cast<std::size_t>(end[static_cast<std::size_t>(sources[i])]++);
            const std::int64_t x = static_cast<std::int64_t>(i) / p.kernel;
            site[place] = static_cast<std::int32_t>(x);
            reach = std::max(reach, std::abs(x - sources[i]));
            tap[place] = static_cast<std::int32_t>(static_cast<std::int64_t>(i) % p.kernel);
        }
    }
};

// The taps, with `scale` as taps * 2^exponent per layer, the largest of them in [1, 2): a row that is rescaled layer by layer then
// stays in range whatever the taps are.
struct Taps {
    std::vector<double> scaled;
    std::vector<std::int64_t> exponent;
    const double* data;

    Taps(const Problem& p, bool scale) : exponent(static_cast<std::size_t>(p.steps)), data(p.taps) {
        if (!scale) return;
        scaled.assign(p.taps, p.taps + p.steps * p.kernel);
        data = scaled.data();
        for (std::int64_t t = 0; t < p.steps; ++t) {
            double largest = 0;
            for (std::int64_t k = 0; k < p.kernel; ++k) largest = std::max(largest, std::fabs(p.taps[t * p.kernel + k]));
            if (!(largest > 0) || !std::isfinite(largest)) continue;
            const int e = std::ilogb(largest);
            exponent[static_cast<std::size_t>(t)] = e;
            for (std::int64_t k = 0; k < p.kernel; ++k) {
                double& tap = scaled[static_cast<std::size_t>(t * p.kernel + k)];
                tap = std::ldexp(tap, -e);
            }
        }
    }
};

// The rows r_t of up to `lanes` outputs of one input, from r_N = e_x down to r_0. What is kept of r_t is g_t r_t: nothing else
// of it is read by the layers before.
class Rows {
  public:
    Rows(const Problem& p, const Taps& taps, const Readers& readers)
        : p_(p), taps_(taps), readers_(readers), kernels_(selected_path_kernels()) {
        row_ = static_cast<double*>(thread_scratch(static_cast<std::size_t>(2 * p.sites() * lanes) * sizeof(double)));
        next_ = row_ + p.sites() * lanes;
    }

    void run(std::int64_t b, const std::int64_t* outputs, std::int64_t count, bool scale) {
        for (std::int64_t i = 0; i < p_.sites() * lanes; ++i) row_[i] = next_[i] = 0;
        for (std::int64_t l = 0; l < lanes; ++l) {
            exponent[l] = 0;
            from_bias[l] = Scaled{};
            factor_[l] = 1;
            sum_[l] = largest_[l] = 0;
            if (l < count) row_[outputs[l] * lanes + l] = sum_[l] = p_.steps ? p_.gate(p_.steps - 1, b)[outputs[l]] : 1.0;
        }
        const auto [least, most] = std::minmax_element(outputs, outputs + count);
        first_ = *least;
        last_ = *most + 1;
        for (std::int64_t t = p_.steps - 1; t >= 0; --t) step(t, b, scale);
    }

    double at(std::int64_t site, std::int64_t lane) const { return row_[site * lanes + lane]; }
    std::int64_t exponent[lanes];
    Scaled from_bias[lanes];

  private:
    // g_{t-1}(y) r_{t-1}(y) = g_{t-1}(y) sum over x, k with x + offset_k = y of T_t(k) g_t(x) r_t(x).
    void step(std::int64_t t, std::int64_t b, bool scale) {
        if (p_.bias)
            for (std::int64_t l = 0; l < lanes; ++l) from_bias[l].add(p_.bias[t] * sum_[l], exponent[l]);
        if (scale) rescale();
        // Beyond [first_, last_) both rows are still zero.
        first_ = std::max<std::int64_t>(first_ - readers_.reach, 0);
        last_ = std::min(last_ + readers_.reach, p_.sites());
        kernels_.step({first_, last_, readers_.begin.data(), readers_.site.data(), readers_.tap.data(), t ? p_.gate(t - 1, b) : nullptr,
                       taps_.data + t * p_.kernel, factor_, row_, next_, sum_, scale ? largest_ : nullptr});
        for (std::int64_t l = 0; l < lanes; ++l) exponent[l] += taps_.exponent[static_cast<std::size_t>(t)];
        std::swap(row_, next_);
    }

    // Has the next step bring the largest weight of every row to [1, 2).
    void rescale() {
        for (std::int64_t l = 0; l < lanes; ++l) {
            const bool usable = largest_[l] > 0 && std::isfinite(largest_[l]);
            const int e = usable ? std::clamp(std::ilogb(largest_[l]), -1000, 1000) : 0;  // 2^-e is to be a normal number
            factor_[l] = std::ldexp(1.0, -e);
            exponent[l] += e;
        }
    }

    const Problem& p_;
    const Taps& taps_;
    const Readers& readers_;
    const Kernels& kernels_;
    double *row_, *next_;
    std::int64_t first_, last_;
    double factor_[lanes], sum_[lanes], largest_[lanes];
};

}  // namespace

void transfer(const Chain& chain, const TensorView& weights, const TensorView& from_bias, const TensorView* exponents) {
    const Problem p(chain);
    check_result("weights", weights, expected({p.batch, p.outputs, p.sites()}), chain);
    check_result("from_bias", from_bias, expected({p.batch, p.outputs}), chain);
    check_disjoint("from_bias", from_bias, "weights", weights);
    if (exponents) check_result("exponents", *exponents, expected({p.batch, p.outputs, 2}), chain);
    const Readers readers(p);
    const Taps taps(p, exponents != nullptr);
    const std::int64_t blocks = (p.outputs + lanes - 1) / lanes;
    parallel(p.batch * blocks, [&](std::int64_t task) {
        const std::int64_t b = task / blocks, first = task % blocks * lanes;
        const std::int64_t count = p.outputs - first < lanes ? p.outputs - first : lanes;
        Rows rows(p, taps, readers);
        rows.run(b, p.output + first, count, exponents != nullptr);
        for (std::int64_t l = 0; l < count; ++l) {
            const std::int64_t row = b * p.outputs + first + l;
            double* const out = static_cast<double*>(weights.data) + row * p.sites();
            for (std::int64_t s = 0; s < p.sites(); ++s) out[s] = rows.at(s, l);
            const Scaled& sum = rows.from_bias[l];
            static_cast<double*>(from_bias.data)[row] = exponents ? sum.value : Scaled::shift(sum.value, sum.exponent);
            if (exponents) {
                static_cast<double*>(exponents->data)[2 * row] = static_cast<double>(rows.exponent[l]);
                static_cast<double*>(exponents->data)[2 * row + 1] = static_cast<double>(sum.exponent);
            }
        }
    });
}

void enumerate(const Chain& chain, const TensorView& weights, const TensorView& starts) {
    const Problem p(chain);
    std::int64_t count = 1;
    for (std::int64_t t = 0; t < p.steps; ++t) {
        if (p.kernel > 0 && count > (std::int64_t{1} << 40) / p.kernel) fail("taps", "fewer than 2^40 paths", "more");
        count *= p.kernel;
    }
    check_result("weights", weights, expected({p.batch, p.outputs, count}), chain);
    check_result("starts", starts, expected({p.outputs, count}), chain);
    check_disjoint("starts", starts, "weights", weights);
    const std::vector<std::int64_t> sources = p.sources();
    parallel(p.outputs, [&](std::int64_t r) {
        for (std::int64_t path = 0; path < count; ++path) {
            // The first digit of the path's number is the step of layer 1, the last taken on the way back: digits from the top.
            std::int64_t place = count, site = p.output[r];
            for (std::int64_t b = 0; b < p.batch; ++b)
                static_cast<double*>(weights.data)[(b * p.outputs + r) * count + path] = 1.0;
            for (std::int64_t t = p.steps - 1; t >= 0; --t) {
                place /= p.kernel;
                const std::int64_t k = path / place % p.kernel, from = site < 0 ? -1 : sources[static_cast<std::size_t>(site * p.kernel + k)];
                for (std::int64_t b = 0; b < p.batch; ++b) {
                    double& w = static_cast<double*>(weights.data)[(b * p.outputs + r) * count + path];
                    w = from < 0 ? 0.0 : w * (p.gate(t, b)[site] * p.taps[t * p.kernel + k]);
                }
                site = from;
            }
            static_cast<double*>(starts.data)[r * count + path] = static_cast<double>(site);
        }
    });
}

void sample(const Chain& chain, const TensorView& psi0, std::int64_t samples, std::uint64_t seed, std::int64_t first,
            const TensorView& mean, const TensorView& variance) {
    const Problem p(chain);
    check_input("psi0", psi0, 3);
    check_shape("psi0", psi0, expected({p.batch, p.height, p.width}));
    check_result("mean", mean, expected({p.batch, p.outputs}), chain);
    check_result("variance", variance, expected({p.batch, p.outputs}), chain);
    check_disjoint("mean", mean, "psi0", psi0);
    check_disjoint("variance", variance, "psi0", psi0);
    check_disjoint("variance", variance, "mean", mean);
    if (samples < 2 || samples > std::numeric_limits<std::uint32_t>::max()) fail("samples", "2 to 2^32 - 1", std::to_string(samples));
    if (first < 0) fail("first", "an integer >= 0", std::to_string(first));
    const std::vector<std::int64_t> sources = p.sources();
    std::vector<double> total(static_cast<std::size_t>(p.steps));
    for (std::int64_t t = 0; t < p.steps; ++t)
        for (std::int64_t k = 0; k < p.kernel; ++k) total[static_cast<std::size_t>(t)] += std::fabs(p.taps[t * p.kernel + k]);

    auto path = [&](std::int64_t b, std::int64_t site, std::uint32_t number) {
        const std::uint32_t end = static_cast<std::uint32_t>(site), input = static_cast<std::uint32_t>(first + b);
        double weight = 1.0, value = 0.0;
        for (std::int64_t t = p.steps - 1, draw = 0; t >= 0; --t, ++draw) {
            weight *= p.gate(t, b)[site];
            if (weight == 0) return value;
            if (p.bias) value += weight * p.bias[t];
            // Two draws share a block of random bits.
            const std::uint32_t purpose = static_cast<std::uint32_t>(Purpose::path_sum) << 24 | static_cast<std::uint32_t>(draw / 2);
            const auto bits = philox({purpose, end, number, input}, seed);
            const double u = draw % 2 ? uniform(bits[2], bits[3]) : uniform(bits[0], bits[1]);
            const double* const taps = p.taps + t * p.kernel;
            double left = u * total[static_cast<std::size_t>(t)];
            std::int64_t k = -1;
            for (std::int64_t i = 0; i < p.kernel; ++i) {
                if (taps[i] == 0) continue;
                k = i;
                left -= std::fabs(taps[i]);
                if (left < 0) break;
            }
            if (k < 0) return value;  // no step leads on
            weight *= std::copysign(total[static_cast<std::size_t>(t)], taps[k]);
            site = sources[static_cast<std::size_t>(site * p.kernel + k)];
            if (site < 0) return value;
        }
        return value + weight * static_cast<const double*>(psi0.data)[b * p.sites() + site];
    };
    // Parts that don't depend on the number of threads, so that one output keeps all of them busy.
    const std::int64_t part = std::max<std::int64_t>(1024, (samples + 63) / 64), parts = (samples + part - 1) / part;
    std::vector<Spread> spread(static_cast<std::size_t>(p.batch * p.outputs * parts));
    parallel(p.batch * p.outputs * parts, [&](std::int64_t task) {
        const std::int64_t i = task / parts, b = i / p.outputs, site = p.output[i % p.outputs], begin = task % parts * part;
        Spread s;
        for (std::int64_t number = begin; number < std::min(begin + part, samples); ++number)
            s.add(path(b, site, static_cast<std::uint32_t>(number)));
        spread[static_cast<std::size_t>(task)] = s;
    });
    for (std::int64_t i = 0; i < p.batch * p.outputs; ++i) {
        Spread all;
        for (std::int64_t j = 0; j < parts; ++j) all.add(spread[static_cast<std::size_t>(i * parts + j)]);
        static_cast<double*>(mean.data)[i] = all.mean;
        static_cast<double*>(variance.data)[i] = all.squares / (all.count - 1) / all.count;
    }
}

}  // namespace qcore::paths
