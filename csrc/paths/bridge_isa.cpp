// Random numbers in bulk and Gaussian chains for one instruction set. Compiled once for each, with QC_ISA naming it.
#include "core/config.hpp"
#include "core/parallel.hpp"
#include "core/random.hpp"
#include "paths/bridge_kernels.hpp"
#include "paths/potential_lanes.hpp"

namespace qcore::QC_ISA {

namespace {

using paths::ChainTask;
using paths::PathsTask;
using paths::RandomTask;
using paths::WeightsTask;

// The first `n` lanes of a vector, which may be all.
template <class T>
void store_some(T* p, typename Simd<T>::V v, std::int64_t n) {
    using S = Simd<T>;
    if (n >= S::width) S::store(p, v);
    else S::store(p, v, {static_cast<int>(n)});
}

template <class T>
QC_KERNEL void random_numbers(const RandomTask& t) {
    using R = Random<T>;
    using S = Simd<T>;
    using V = typename S::V;
    for (std::int64_t c = 0; c < t.chains; c += S::width) {
        const auto w = R::words(t.purpose, t.site, t.sweep, t.first_chain + static_cast<std::uint32_t>(c), t.seed);
        V v[4];
        if (t.kind == 0) {
            if constexpr (sizeof(T) == 8)
                for (int i = 0; i < 4; ++i) v[i] = __builtin_convertvector(w.w[i], V);
        } else if (t.kind == 1) {
            for (int i = 0; i < R::uniforms; ++i) v[i] = R::uniform(w, i);
        } else {
            for (int i = 0; i < R::normals / 2; ++i) R::normal(w, i, v[2 * i], v[2 * i + 1]);
        }
        for (std::int64_t i = 0; i < t.draws; ++i)
            store_some(static_cast<T*>(t.out) + i * t.chains + c, v[i], t.chains - c);
    }
}

// One normal per site, steps + 1 of them, for the chains from `first` on.
template <class T>
void fill_normals(const ChainTask& t, std::uint32_t sweep, std::uint32_t first, T* z) {
    using R = Random<T>;
    using S = Simd<T>;
    const typename R::Stream stream(first, t.seed);
    typename S::V a, b;
    for (std::int64_t n = 0; n <= t.steps; n += R::normals) {
        const auto w = stream.words(t.purpose, static_cast<std::uint32_t>(n / R::normals), sweep);
        for (int i = 0; i < R::normals / 2; ++i) {
            R::normal(w, i, a, b);
            S::store(z + (n + 2 * i) * S::width, a);
            S::store(z + (n + 2 * i + 1) * S::width, b);
        }
    }
}

template <class T>
T* normals_scratch(const ChainTask& t) {
    return static_cast<T*>(thread_scratch(static_cast<std::size_t>((t.steps + 1 + 4) * Simd<T>::width) * sizeof(T)));
}

template <class T>
QC_KERNEL void sample_paths(const PathsTask& t) {
    using S = Simd<T>;
    using V = typename S::V;
    const ChainTask& chain = t.chain;
    const T* const k = static_cast<const T*>(chain.coefficients);
    T* const z = normals_scratch<T>(chain);
    const std::int64_t points = chain.steps + 1;
    for (std::int64_t c = 0; c < chain.samples; c += S::width) {
        fill_normals<T>(chain, t.sweep, chain.first + static_cast<std::uint32_t>(c), z);
        V x = S::fma(V{} + static_cast<T>(chain.start_sigma), S::load(z), V{} + static_cast<T>(t.start));
        const V end = chain.closed ? x : V{} + static_cast<T>(t.end);
        S::store(z, x);
        for (std::int64_t n = 0; n < chain.steps; ++n) {
            T* const next = z + (n + 1) * S::width;
            x = S::fma(V{} + k[3 * n + 2], S::load(next), S::fma(V{} + k[3 * n + 1], end, x * k[3 * n]));
            S::store(next, x);
        }
        const std::int64_t lanes = chain.samples - c < S::width ? chain.samples - c : S::width;
        T* const out = static_cast<T*>(t.out) + c * points;
        for (std::int64_t i = 0; i < lanes; ++i)
            for (std::int64_t n = 0; n < points; ++n) out[i * points + n] = z[n * S::width + i];
    }
}

template <class P>
QC_KERNEL void path_weights(const WeightsTask& t) {
    using S = Simd<double>;
    using V = S::V;
    const ChainTask& chain = t.chain;
    const double* const k = static_cast<const double*>(chain.coefficients);
    double* const z = normals_scratch<double>(chain);
    const P potential(t.potential);
    const V scale = V{} - t.scale, quadratic = V{} + t.quadratic;
    const auto log_weight = [&](V x) { return S::fma(scale, potential.value(x), quadratic * x * x); };
    for (std::int64_t c = 0; c < chain.samples; c += S::width) {
        fill_normals<double>(chain, 0, chain.first + static_cast<std::uint32_t>(c), z);
        for (std::int64_t q = 0; q < t.chains; ++q) {
            const V first = S::fma(V{} + chain.start_sigma, S::load(z), V{} + t.start[q]);
            const V end = chain.closed ? first : V{} + t.end[q];
            V x = first, sum{};
            for (std::int64_t n = 0; n < chain.steps; ++n) {
                const V before = x;
                x = S::fma(V{} + k[3 * n + 2], S::load(z + (n + 1) * S::width), S::fma(V{} + k[3 * n + 1], end, x * k[3 * n]));
                sum += t.midpoint ? log_weight((before + x) * 0.5) : log_weight(x);
            }
            if (!t.midpoint) sum += (log_weight(first) - log_weight(x)) * 0.5;
            store_some(t.log_weights + q * chain.samples + c, sum, chain.samples - c);
        }
    }
}

}  // namespace

extern const paths::BridgeKernels bridge_kernels;
constinit const paths::BridgeKernels bridge_kernels{{random_numbers<float>, random_numbers<double>},
                                                    {sample_paths<float>, sample_paths<double>},
                                                    {path_weights<PolynomialLanes<double>>, path_weights<TableLanes<double>>},
                                                    {Simd<float>::width, Simd<double>::width}};

}  // namespace qcore::QC_ISA
