// The gated path sums on the CPU.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <type_traits>
#include <utility>
#include <vector>

#include "core/isa.hpp"
#include "core/parallel.hpp"
#include "core/philox.hpp"
#include "paths/path_sum_call.hpp"
#include "paths/row_step.hpp"

namespace qcore {
QC_ISA_OBJECT(paths::Kernels, path_kernels)
}

namespace qcore::paths {

namespace {

// A call with what the kernels of the CPU ask of it.
struct Problem : GatedCall {
    explicit Problem(const GatedCall& call) : GatedCall(call) {}

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

void gated_transfer(const GatedCall& call, double* weights, double* from_bias, double* exponents) {
    const Problem p(call);
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
            double* const out = weights + row * p.sites();
            for (std::int64_t s = 0; s < p.sites(); ++s) out[s] = rows.at(s, l);
            const Scaled& sum = rows.from_bias[l];
            from_bias[row] = exponents ? sum.value : Scaled::shift(sum.value, sum.exponent);
            if (exponents) {
                exponents[2 * row] = static_cast<double>(rows.exponent[l]);
                exponents[2 * row + 1] = static_cast<double>(sum.exponent);
            }
        }
    });
}

void gated_enumerate(const GatedCall& call, std::int64_t count, double* weights, double* starts) {
    const Problem p(call);
    const std::vector<std::int64_t> sources = p.sources();
    parallel(p.outputs, [&](std::int64_t r) {
        for (std::int64_t path = 0; path < count; ++path) {
            // The first digit of the path's number is the step of layer 1, the last taken on the way back: digits from the top.
            std::int64_t place = count, site = p.output[r];
            for (std::int64_t b = 0; b < p.batch; ++b)
                weights[(b * p.outputs + r) * count + path] = 1.0;
            for (std::int64_t t = p.steps - 1; t >= 0; --t) {
                place /= p.kernel;
                const std::int64_t k = path / place % p.kernel, from = site < 0 ? -1 : sources[static_cast<std::size_t>(site * p.kernel + k)];
                for (std::int64_t b = 0; b < p.batch; ++b) {
                    double& w = weights[(b * p.outputs + r) * count + path];
                    w = from < 0 ? 0.0 : w * (p.gate(t, b)[site] * p.taps[t * p.kernel + k]);
                }
                site = from;
            }
            starts[r * count + path] = static_cast<double>(site);
        }
    });
}

void gated_sample(const GatedCall& call, const double* psi0, std::int64_t samples, std::uint64_t seed, std::int64_t first, double* mean,
                  double* variance) {
    const Problem p(call);
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
        return value + weight * psi0[b * p.sites() + site];
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
        mean[i] = all.mean;
        variance[i] = all.squares / (all.count - 1) / all.count;
    }
}

}  // namespace qcore::paths
