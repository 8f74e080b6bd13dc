// Paths from the weights of step and ReLU networks: running sums along rows, and their transposes. Included by files compiled per
// instruction set.
#pragma once

#include "core/config.hpp"
#include "paths/action_rows.hpp"

namespace qcore::QC_ISA {
namespace {

using paths::NetworkRows;

// A running sum waits for itself; rows that go side by side fill the time.
constexpr int rows_at_once = 8;

template <int rows, bool twice, class T, class X>
void beads_side_by_side(const NetworkRows& a, std::int64_t row, const T* w, X* x) {
    const std::int64_t n = a.given, beads = n + 1 + (a.x_fin ? 1 : 0);
    const T* const ini = static_cast<const T*>(a.x_ini) + row;
    double speed[rows]{}, way[rows]{}, start[rows];
    for (int r = 0; r < rows; ++r) {
        start[r] = static_cast<double>(ini[r]);
        x[r * beads] = static_cast<X>(start[r]);
    }
    for (std::int64_t k = 0; k < n; ++k)
        for (int r = 0; r < rows; ++r) {
            const double given = static_cast<double>(w[r * n + k]);
            if constexpr (twice) way[r] += speed[r] += given;
            else way[r] += given;
            x[r * beads + k + 1] = static_cast<X>(start[r] + a.dt * way[r]);
        }
    if (a.x_fin)
        for (int r = 0; r < rows; ++r) x[r * beads + n + 1] = static_cast<X>(static_cast<const T*>(a.x_fin)[row + r]);
}

template <int rows, bool twice, class T, class X>
void adjoint_side_by_side(const NetworkRows& a, std::int64_t row, const X* grad_x, T* grad_w, T* grad_ini, T* grad_fin) {
    const std::int64_t n = a.given, beads = n + 1 + (a.x_fin ? 1 : 0);
    double sum[rows]{}, twofold[rows]{};
    for (std::int64_t k = n; k-- > 0;)
        for (int r = 0; r < rows; ++r) {
            sum[r] += static_cast<double>(grad_x[r * beads + k + 1]);
            if constexpr (twice) twofold[r] += sum[r];
            grad_w[r * n + k] = static_cast<T>(a.dt * (twice ? twofold[r] : sum[r]));
        }
    for (int r = 0; r < rows; ++r) {
        if (grad_ini) grad_ini[row + r] = static_cast<T>(sum[r] + static_cast<double>(grad_x[r * beads]));
        if (a.x_fin && grad_fin) grad_fin[row + r] = static_cast<T>(grad_x[r * beads + n + 1]);
    }
}

template <bool twice, class T, class X>
QC_KERNEL void beads_of(const NetworkRows& a, const T* w, std::int64_t count, X* x) {
    const std::int64_t beads = a.given + 1 + (a.x_fin ? 1 : 0);
    std::int64_t row = 0;
    for (; row + rows_at_once <= count; row += rows_at_once)
        beads_side_by_side<rows_at_once, twice>(a, row, w + row * a.given, x + row * beads);
    for (; row < count; ++row) beads_side_by_side<1, twice>(a, row, w + row * a.given, x + row * beads);
}

template <bool twice, class T, class X>
QC_KERNEL void adjoint_of(const NetworkRows& a, const X* grad_x, std::int64_t count, T* grad_w, T* grad_ini, T* grad_fin) {
    const std::int64_t beads = a.given + 1 + (a.x_fin ? 1 : 0);
    std::int64_t row = 0;
    for (; row + rows_at_once <= count; row += rows_at_once)
        adjoint_side_by_side<rows_at_once, twice>(a, row, grad_x + row * beads, grad_w + row * a.given, grad_ini, grad_fin);
    for (; row < count; ++row)
        adjoint_side_by_side<1, twice>(a, row, grad_x + row * beads, grad_w + row * a.given, grad_ini, grad_fin);
}

}  // namespace
}  // namespace qcore::QC_ISA
