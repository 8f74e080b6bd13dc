// The loops behind the machine's ceilings, for one instruction set.
#include "core/ceiling.hpp"
#include "core/simd.hpp"

namespace qcore::QC_ISA {

namespace {

volatile float sink;

template <class T>
std::int64_t fma_loop(std::int64_t rounds) {
    using S = Simd<T>;
    using V = typename S::V;
    constexpr int chains = 12;  // hides the latency of two units and fits sixteen registers
    V sum[chains];
    for (int i = 0; i < chains; ++i) sum[i] = S::set(T(1e-9) * T(i + 1));
    const V a = S::set(T(0.999)), b = S::set(T(1e-5));
    for (std::int64_t r = 0; r < rounds; ++r)
#pragma GCC unroll 12
        for (int i = 0; i < chains; ++i) sum[i] = S::fma(sum[i], a, b);
    V total = S::zero();
    for (int i = 0; i < chains; ++i) total += sum[i];
    sink = static_cast<float>(S::sum(total));
    return rounds * chains * S::width;
}

void triad_loop(const float* a, const float* b, float* c, std::int64_t n) {
    using S = Simd<float>;
    const S::V two = S::set(2.0f);
    std::int64_t i = 0;
    for (; i + S::width <= n; i += S::width) S::store(c + i, S::fma(two, S::load(b + i), S::load(a + i)));
    for (; i < n; ++i) c[i] = a[i] + 2.0f * b[i];
}

}  // namespace

extern const CeilingLoops ceiling_loops;
constinit const CeilingLoops ceiling_loops{fma_loop<float>, fma_loop<double>, triad_loop};

}  // namespace qcore::QC_ISA
