// The path kernels for one instruction set. Compiled once for each, with QC_ISA naming it.
#include "core/config.hpp"
#include "core/simd.hpp"
#include "paths/row_step.hpp"

namespace qcore::QC_ISA {

namespace {

using paths::lanes;

template <bool measured>
QC_KERNEL void row_step(const paths::RowStep& a) {
    using S = Simd<double>;
    using V = S::V;
    constexpr int n = lanes / S::width;
    V total[n], largest[n], factor[n];
    for (int j = 0; j < n; ++j) {
        total[j] = largest[j] = S::zero();
        factor[j] = S::load(a.factor + j * S::width);
    }
    for (std::int64_t y = a.first; y < a.last; ++y) {
        double* const next = a.next + y * lanes;
        const double gate = a.gate ? a.gate[y] : 1.0;
        if (gate == 0) {
            for (int j = 0; j < n; ++j) S::store(next + j * S::width, S::zero());
            continue;
        }
        V sum[n];
        for (int j = 0; j < n; ++j) sum[j] = S::zero();
        for (std::int64_t e = a.begin[y]; e < a.begin[y + 1]; ++e) {
            const V tap = S::set(a.taps[a.tap[e]]);
            const double* const r = a.row + std::int64_t{a.site[e]} * lanes;
            for (int j = 0; j < n; ++j) sum[j] = S::fma(tap, S::load(r + j * S::width), sum[j]);
        }
        const V open = S::set(gate);
        for (int j = 0; j < n; ++j) {
            sum[j] *= open * factor[j];
            total[j] += sum[j];
            if constexpr (measured) {
                const V size = sum[j] < 0.0 ? -sum[j] : sum[j];
                largest[j] = size > largest[j] ? size : largest[j];
            }
            S::store(next + j * S::width, sum[j]);
        }
    }
    for (int j = 0; j < n; ++j) {
        S::store(a.sum + j * S::width, total[j]);
        if constexpr (measured) S::store(a.largest + j * S::width, largest[j]);
    }
}

void any_row_step(const paths::RowStep& a) {
    if (a.largest) row_step<true>(a);
    else row_step<false>(a);
}

}  // namespace

extern const paths::Kernels path_kernels;
constinit const paths::Kernels path_kernels{any_row_step};

}  // namespace qcore::QC_ISA
