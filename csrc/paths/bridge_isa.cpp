// Random numbers in bulk and Gaussian chains for one instruction set. Compiled once for each, with QC_ISA naming it.
#include <limits>

#include "core/parallel.hpp"
#include "paths/bridge_lanes.hpp"
#include "paths/bridge_samples.hpp"

namespace qcore::QC_ISA {

namespace {

// The first `n` lanes of a vector, which may be all.
template <class T>
void store_some(T* p, typename Simd<T>::V v, std::int64_t n) {
    using S = Simd<T>;
    if (n >= S::width) S::store(p, v);
    else S::store(p, v, {static_cast<int>(n)});
}

template <class T>
QC_KERNEL void random_numbers(const RandomTask& t, std::int64_t site) {
    using S = Simd<T>;
    T* const out = static_cast<T*>(t.out) + site * t.draws * t.chains;
    for (std::int64_t c = 0; c < t.chains; c += S::width) {
        const auto w = Random<T>::words(t.purpose, t.site + static_cast<std::uint32_t>(site), t.sweep,
                                        t.first_chain + static_cast<std::uint32_t>(c), t.seed);
        typename S::V v[4];
        numbers<T>(w, t.kind, v);
        for (std::int64_t i = 0; i < t.draws; ++i) store_some(out + i * t.chains + c, v[i], t.chains - c);
    }
}

// One normal per site, steps + 1 of them, for the samples from number `first` on.
template <class T>
void fill_normals(const ChainTask& t, std::uint32_t sweep, std::int64_t first, T* z) {
    using R = Random<T>;
    using S = Simd<T>;
    const typename R::Stream stream(t.first + static_cast<std::uint32_t>(first), t.seed);
    for (std::int64_t n = 0; n <= t.steps; n += R::normals) {
        typename S::V v[4];
        numbers<T>(stream.words(t.purpose, static_cast<std::uint32_t>(n / R::normals), sweep), 2, v);
        for (int i = 0; i < R::normals; ++i) S::store(z + (n + i) * S::width, v[i]);
    }
}

template <class T>
std::int64_t normals_room(const ChainTask& t) {
    return (t.steps + 1 + 4) * Simd<T>::width;
}

template <class T>
QC_KERNEL void sample_paths(const PathsTask& t, const void* coefficients, std::int64_t q, std::int64_t begin,
                            std::int64_t count) {
    using S = Simd<T>;
    using V = typename S::V;
    const ChainTask& chain = t.chain;
    const T* const k = static_cast<const T*>(coefficients);
    T* const z = static_cast<T*>(thread_scratch(static_cast<std::size_t>(normals_room<T>(chain)) * sizeof(T)));
    const std::int64_t points = chain.steps + 1;
    for (std::int64_t c = 0; c < count; c += S::width) {
        fill_normals<T>(chain, static_cast<std::uint32_t>(q), begin + c, z);
        V x = first_point<T>(chain, S::load(z), chain.start[q]);
        const V end = chain.closed ? x : V{} + static_cast<T>(chain.end[q]);
        S::store(z, x);
        for (std::int64_t n = 0; n < chain.steps; ++n) {
            T* const next = z + (n + 1) * S::width;
            x = next_point<T>(k + 3 * n, x, end, S::load(next));
            S::store(next, x);
        }
        const std::int64_t lanes = count - c < S::width ? count - c : S::width;
        T* const out = static_cast<T*>(t.out) + (q * chain.samples + begin + c) * points;
        for (std::int64_t i = 0; i < lanes; ++i)
            for (std::int64_t n = 0; n < points; ++n) out[i * points + n] = z[n * S::width + i];
    }
}

template <class P>
QC_KERNEL void path_weights(const WeightsTask& t, std::int64_t group) {
    using S = Simd<double>;
    using V = S::V;
    const ChainTask& chain = t.chain;
    const std::int64_t begin = group * paths::chain_group, left = chain.samples - begin;
    const std::int64_t count = left < paths::chain_group ? left : paths::chain_group;
    const std::int64_t normals = normals_room<double>(chain);
    const std::size_t numbers = static_cast<std::size_t>(normals + chain.chains * count);
    double* const z = static_cast<double*>(thread_scratch(numbers * sizeof(double)));
    double* const log_weights = z + normals;
    const LogWeight<P> weight(t);
    for (std::int64_t c = 0; c < count; c += S::width) {
        fill_normals<double>(chain, 0, begin + c, z);
        for (std::int64_t q = 0; q < chain.chains; ++q) {
            const V first = first_point<double>(chain, S::load(z), chain.start[q]);
            const V end = chain.closed ? first : V{} + chain.end[q];
            V x = first, sum{};
            for (std::int64_t n = 0; n < chain.steps; ++n) {
                const V before = x;
                x = next_point<double>(chain.coefficients + 3 * n, x, end, S::load(z + (n + 1) * S::width));
                sum += weight.of_step(before, x);
            }
            sum += weight.of_ends(first, x);
            store_some(log_weights + q * count + c, sum, count - c);
        }
    }
    for (std::int64_t q = 0; q < chain.chains; ++q) {
        const double* const l = log_weights + q * count;
        double largest = -std::numeric_limits<double>::infinity(), sum = 0, squares = 0;
        for (std::int64_t i = 0; i < count; ++i) largest = l[i] > largest || l[i] != l[i] ? l[i] : largest;
        for (std::int64_t i = 0; i < count; ++i) {
            const double w = weight_of(l[i], largest);
            sum += w;
            squares += w * w;
        }
        double* const row = t.out + (q * t.groups + group) * 3;
        row[0] = largest;
        row[1] = sum;
        row[2] = squares;
    }
}

}  // namespace

extern const paths::BridgeKernels bridge_kernels;
constinit const paths::BridgeKernels bridge_kernels{{random_numbers<float>, random_numbers<double>},
                                                    {sample_paths<float>, sample_paths<double>},
                                                    {path_weights<PolynomialLanes<double>>, path_weights<TableLanes<double>>}};

}  // namespace qcore::QC_ISA
