// The sweeps that split_isa.cpp compiles for each instruction set, and what they take: plain numbers and pointers.
//
// A factor (1 - below l) (1 - g l)^{-1} along an axis, divided by g, is a tridiagonal system T phi = psi with off-diagonals 1:
//     elimination       y_j = r_j (psi_j - y_{j-1})
//     back-substitution phi_j = y_j - r_j phi_{j+1},  psi_j = p_j y_j + y_{j-1} (p = 1 / r),  psi'_j = alpha psi_j + beta phi_j.
// It may begin at either end, so that the back-substitution of a factor, pointwise work and the elimination for the next factor
// are one sweep through the field, and what is stored between two sweeps is y.
#pragma once

#include <cstdint>

#include "core/isa.hpp"

namespace qcore::schrodinger {

// Coefficients of a factor along an axis of n points; complex ones (re, im) where the state is complex. T is symmetric under
// reflection: r and p count from the end where the elimination began.
// Periodic: T - w w^T with w = (1, 0 ... 0, -1); v = T^{-1} w, correction = v / (1 - w^T v). Since w^T T^{-1} psi = v^T psi, the sum
// that the correction needs is taken while eliminating.
template <class R>
struct SweepFactor {
    std::int64_t n;
    const R *r, *p, *v, *correction;  // v and correction: null where the ends are walls
    R alpha[2], beta[2];
};

// Along an axis whose neighbours are `stride` numbers apart, for `columns` adjacent numbers at once: rows [first, last) in
// `direction` (1 or -1). In each row, as far as there: back-substitution of `in`, phase, frame or add, late phase, elimination for
// `out`. Pointers are to row 0 and to the first column, but for `zeros`; in a pass the rows of a block follow those of the last.
template <class R>
struct RowSweep {
    const void* source;
    void* target;
    std::int64_t stride, columns, first, last;
    int direction;
    const SweepFactor<R>* in;
    const SweepFactor<R>* out;
    R *carry, *in_sum, *out_sum;  // one number per column: phi of the row before; v^T psi
    const R *phase, *late_phase;
    std::int64_t phase_stride;
    void* frame;        // the state is stored there
    const void* add;    // and this added to it
    const void* zeros;  // a row of zeros
    // What `in` changes, psi' - psi, goes to `delta`; or is read from there, with sum of psi' conj(delta) and of psi conj(delta) added to
    // sums (4). Rows of delta follow each other as the columns do, beginning with row `first`.
    R* delta;
    double* sums;
};

// Lines that lie along memory, `stride` numbers apart: all factors applied one after another, in place.
template <class R>
struct LineSweep {
    void* lines;
    std::int64_t stride, count, n;
    const SweepFactor<R>* factors;
    std::int64_t factor_count;
    R* scratch;  // line_scratch numbers
    // As above, factor k at delta + k * delta_stride and sums + 4 k.
    R* delta;
    std::int64_t delta_stride;
    double* sums;
};

template <class R>
struct SweepTable {
    void (*rows)(const RowSweep<R>&);
    void (*lines)(const LineSweep<R>&);
    // sum += grad conj(psi), n points.
    void (*accumulate)(double* sum, const void* grad, const void* psi, std::int64_t n);
};

struct SplitKernels {
    SweepTable<double> wide[4];  // storage float32, float64, complex64, complex128, arithmetic float64
    SweepTable<float> fast[2];   // storage float32, complex64, arithmetic float32
    int vector_bytes;

    // Lines of one LineSweep at most, and scratch and delta (of one factor) numbers that it takes.
    std::int64_t tile(std::size_t real) const { return 2 * vector_bytes / static_cast<std::int64_t>(real); }
    std::int64_t line_delta(std::int64_t n, std::size_t real, bool complex) const { return n * tile(real) * (complex ? 2 : 1); }
    std::int64_t line_scratch(std::int64_t n, std::size_t real, bool complex) const { return line_delta(n + 2, real, complex); }
};

}  // namespace qcore::schrodinger

namespace qcore {
QC_ISA_OBJECT(schrodinger::SplitKernels, split_kernels)
}
