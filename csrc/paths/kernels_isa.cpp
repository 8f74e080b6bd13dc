// The path kernels for one instruction set. Compiled once for each, with QC_ISA naming it.
#include "core/config.hpp"
#include "core/simd.hpp"
#include "paths/row_step.hpp"

namespace qcore::QC_ISA {

namespace {

using paths::lanes;

QC_KERNEL void row_step(const paths::RowStep& a) {
    using S = Simd<double>;
    using V = S::V;
    constexpr int n = lanes / S::width;
    V opened[n];
    for (int j = 0; j < n; ++j) opened[j] = S::zero();
    for (std::int64_t x = 0; x < a.sites; ++x) {
        const V gate = S::set(a.gate[x]);
        double* const r = a.row + x * lanes;
        for (int j = 0; j < n; ++j) {
            const V q = gate * S::load(r + j * S::width);
            opened[j] += q;
            S::store(r + j * S::width, q);
        }
    }
    for (int j = 0; j < n; ++j) S::store(a.opened + j * S::width, opened[j]);
    for (std::int64_t y = 0; y < a.sites; ++y) {
        V sum[n];
        for (int j = 0; j < n; ++j) sum[j] = S::zero();
        for (std::int64_t e = a.begin[y]; e < a.begin[y + 1]; ++e) {
            const V tap = S::set(a.taps[a.tap[e]]);
            const double* const r = a.row + std::int64_t{a.site[e]} * lanes;
            for (int j = 0; j < n; ++j) sum[j] = S::fma(tap, S::load(r + j * S::width), sum[j]);
        }
        for (int j = 0; j < n; ++j) S::store(a.next + y * lanes + j * S::width, sum[j]);
    }
}

}  // namespace

extern const paths::Kernels path_kernels;
constinit const paths::Kernels path_kernels{row_step};

}  // namespace qcore::QC_ISA
