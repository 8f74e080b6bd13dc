// The coefficients of the sweeps, for every stage of a run: computed once where the potential is constant, else as they are
// needed, a block of stages at a time.
#pragma once

#include "schrodinger/elimination.hpp"

namespace qcore::QC_ISA {
namespace {

using schrodinger::Memory;
using schrodinger::Rule;

// The stages of a run by their position: from the first on with c, or from the last back with c or -c.
struct Sequence {
    bool reversed = false;
    double sign = 1;
};

// Rows are [j][parts], or [j][parts][lane] per lane, with a row of zeros at both ends. Positions share a slot where they share
// their coefficients.
template <class N, bool per_lane>
class Coefficients {
  public:
    using T = typename N::Scalar;
    static constexpr int parts = N::parts, copies = per_lane ? N::width : 1, row = parts * copies;

    Coefficients(const Plan& p, Sequence sequence, Memory& memory) : p_(p), sequence_(sequence) {
        block_ = p.constant() ? p.poles : per_lane ? 2 : 2 * D::width;
        slots_ = p.constant() ? p.poles : 2 * block_;
        filled_ = p.constant() ? p.stages : 0;
        size_ = (p.n + 2) * row;
        recip_[0] = memory.take<T>(slots_ * size_);
        recip_[1] = p.constant() ? memory.take<T>(slots_ * size_) : recip_[0];
        none_ = memory.take<T>(size_);
        constant_ = memory.take<T>(slots_ * 2);
        if (general()) {
            scale_ = memory.take<T>(slots_ * size_);
            unscale_ = memory.take<T>(slots_ * size_);
            fused_ = memory.take<T>((p.constant() ? slots_ : 1) * 2 * size_);
            plain_ = p.constant() ? memory.take<T>(slots_ * 2 * size_) : fused_;
        }
        if (p.periodic) {
            border_ = memory.take<T>(slots_ * size_);
            weight_ = memory.take<T>(slots_ * row);
        }
        edge_ = memory.take<std::int64_t>(slots_ * 2);
    }

    // What is needed beside, while coefficients are computed.
    void take_work(Memory& memory) {
        const std::int64_t rows = (p_.n + 2) * parts * D::width;
        for (int task = 0; task < 2; ++task) {
            Work& w = work_[task];
            w.potential = memory.take<double>(p_.n * 2 * D::width);
            w.c = memory.take<double>(parts * D::width);
            w.recip = memory.take<double>(rows);
            if (general()) {
                w.scale = memory.take<double>(rows);
                w.unscale = memory.take<double>(rows);
            }
            if (p_.periodic) {
                w.border = memory.take<double>(rows);
                w.weight = memory.take<double>(parts * D::width);
            }
        }
    }

    // Starts a run of the systems from `first` on; those beyond the batch repeat the last.
    void start(std::int64_t first) {
        first_ = first;
        filled_ = p_.constant() ? p_.stages : 0;
        for (std::int64_t i = 0; i < size_; ++i) none_[i] = T(0);
        for (std::int64_t slot = 0; slot < slots_; ++slot)
            for (int end : {0, 1}) clear_ends(slot, end);
        if (!p_.constant()) return;
        for (std::int64_t i = 0; i < p_.poles; i += per_lane ? 1 : D::width) fill(i);
        if (!general()) return;
        for (std::int64_t i = 0; i < p_.poles; ++i) {
            combine(i, i + 1, fused_ + i * 2 * size_);
            combine(i, -1, plain_ + i * 2 * size_);
        }
    }

    // Has the coefficients of a position ready; those of the one before stay.
    void need(std::int64_t i) {
        while (i >= filled_) {
            fill(filled_);
            filled_ += block_;
        }
    }

    // Reciprocal pivots, from the top in even positions.
    const T* recip(std::int64_t i) const { return at(recip_[i & 1], i); }
    const T* none() const { return none_ + row; }
    // alpha / (c kappa), order 2
    const T* constant(std::int64_t i) const { return constant_ + slot(i) * 2; }
    // 1 / h and h, order 4
    const T* scale(std::int64_t i) const { return at(scale_, i); }
    const T* unscale(std::int64_t i) const { return at(unscale_, i); }
    // psi'/h' = G w + F psi/h, order 4: rows [j][G, F]; h' = 1 where `plain`.
    const T* update(std::int64_t i, bool plain) {
        T* const to = (plain ? plain_ : fused_) + (p_.constant() ? slot(i) * 2 * size_ : 0);
        if (!p_.constant()) combine(i, plain ? -1 : i + 1, to);
        return to;
    }
    // Periodic: v, its weight, and the rows beyond which it is zero.
    const T* border(std::int64_t i) const { return at(border_, i); }
    const T* weight(std::int64_t i) const { return weight_ + slot(i) * row; }
    std::int64_t left(std::int64_t i) const { return edge_[2 * slot(i)]; }
    std::int64_t right(std::int64_t i) const { return edge_[2 * slot(i) + 1]; }

    std::int64_t stage(std::int64_t i) const { return sequence_.reversed ? p_.stages - 1 - i : i; }
    // c of a position
    double c(std::int64_t i, int part) const {
        const std::int64_t s = stage(i) % p_.poles;
        return sequence_.sign * p_.c[2 * (s < 0 ? s + p_.poles : s) + part];
    }

  private:
    using M = typename N::template With<double>;
    using D = Simd<double>;
    static constexpr int halves = per_lane ? N::width / D::width : 1;

    struct Work {
        double *potential, *c, *recip, *scale = nullptr, *unscale = nullptr, *border = nullptr, *weight = nullptr;
    };

    bool general() const { return p_.order == 4; }
    std::int64_t slot(std::int64_t i) const { return i % slots_; }
    T* at(T* p, std::int64_t i) const { return p + slot(i) * size_ + row; }
    const T* at(const T* p, std::int64_t i) const { return p + slot(i) * size_ + row; }

    void clear_ends(std::int64_t s, int end) {
        const std::int64_t from = s * size_ + (end ? size_ - row : 0);
        for (int i = 0; i < row; ++i) recip_[0][from + i] = recip_[1][from + i] = T(0);
    }

    // The position that a lane works out coefficients for; where the potential is constant both tasks do the same, one from the
    // top and one from the bottom.
    std::int64_t position(std::int64_t i, int task, int lane) const {
        if (p_.constant()) return per_lane ? i : i + lane;
        return per_lane ? i + task : i + 2 * lane + task;
    }

    void fill(std::int64_t i) {
        for (int half = 0; half < halves; ++half) {
            Matrices m[2];
            for (int task = 0; task < 2; ++task) {
                prepare(i, task, half);
                const Work& w = work_[task];
                m[task] = {w.potential, w.c, task ? -1 : 1, w.recip + parts * D::width, w.scale, w.unscale, w.border, w.weight};
            }
            if (p_.constant()) m[1].border = nullptr;
            const double negligible = sizeof(T) == 8 ? 1e-18 : 1e-9;
            if constexpr (parts == 2) {
                if (p_.complex_potential) eliminate<M, true>(p_, m[0], m[1], negligible);
                else eliminate<M, false>(p_, m[0], m[1], negligible);
            } else {
                eliminate<M, false>(p_, m[0], m[1], negligible);
            }
            for (int task = 0; task < 2; ++task) {
                if (per_lane) {
                    emit(position(i, task, 0), task, half, 0);
                } else {
                    for (int lane = 0; lane < D::width; ++lane)
                        if (const std::int64_t k = position(i, task, lane); !p_.constant() || k < p_.poles) emit(k, task, half, lane);
                }
            }
        }
    }

    // Potentials and c of the lanes.
    void prepare(std::int64_t i, int task, int half) {
        const Work& w = work_[task];
        const int values = p_.complex_potential ? 2 : 1;
        const double* rows[D::width];
        for (int lane = 0; lane < D::width; ++lane) {
            std::int64_t k = position(i, task, lane), system = 0;
            if (k >= p_.stages) k = p_.stages - 1;
            if (per_lane) {
                system = first_ + half * D::width + lane;
                if (system >= p_.batch) system = p_.batch - 1;
            }
            const std::int64_t slice = p_.slices == 1 ? 0 : stage(k) / p_.poles;
            rows[lane] = p_.potential + (slice * p_.systems + system) * p_.n * values;
            for (int part = 0; part < parts; ++part) w.c[part * D::width + lane] = c(k, part);
        }
        read_lanes<Reading::plain>(rows, p_.n * values, LaneRows<double>{w.potential, values * D::width, values});
    }

    // From the work area to a slot.
    void emit(std::int64_t i, int task, int half, int lane) {
        const Work& w = work_[task];
        const double alpha = p_.rule == Rule::cayley ? 2 : 1, re = c(i, 0), im = parts == 2 ? c(i, 1) : 0;
        const double factor = alpha / (p_.kappa * (re * re + im * im));
        constant_[2 * slot(i)] = static_cast<T>(factor * re);
        constant_[2 * slot(i) + 1] = static_cast<T>(-factor * im);
        copy(w.recip + parts * D::width, at(recip_[p_.constant() ? task : 0], i), p_.n, half, lane);
        if (p_.constant() && task) return;
        if (general()) {
            copy(w.scale, at(scale_, i), p_.n, half, lane);
            copy(w.unscale, at(unscale_, i), p_.n, half, lane);
        }
        if (p_.periodic) {
            copy(w.border, at(border_, i), p_.n, half, lane);
            copy(w.weight, weight_ + slot(i) * row, 1, half, lane);
            find_edges(i);
        }
    }

    void copy(const double* from, T* to, std::int64_t rows, int half, int lane) const {
        for (std::int64_t q = 0; q < rows * parts; ++q) {
            if constexpr (per_lane) store_as<double>(to + q * copies + half * D::width, D::load(from + q * D::width));
            else to[q] = static_cast<T>(from[q * D::width + lane]);
        }
    }

    void find_edges(std::int64_t i) {
        const T* const v = border(i);
        std::int64_t left = 0, right = p_.n;
        for (std::int64_t j = 0; j < p_.n; ++j)
            for (int k = 0; k < row; ++k)
                if (v[j * row + k] != T(0)) {
                    if (j < p_.n / 2) left = j + 1;
                    else if (j < right) right = j;
                }
        edge_[2 * slot(i)] = left;
        edge_[2 * slot(i) + 1] = right;
    }

    // G = alpha c kappa / (h h'), F = (alpha m + beta h) / h'; the reciprocal of h' is that of `next`, or 1.
    void combine(std::int64_t i, std::int64_t next, T* to) const {
        const double alpha = p_.rule == Rule::cayley ? 2 : 1;
        const N factor = N::of(alpha * p_.kappa * c(i, 0), alpha * p_.kappa * (parts == 2 ? c(i, 1) : 0));
        const N mass = N::of(alpha * qcore::QC_ISA::mass(p_), 0), beta = N::of(1 - alpha, 0);
        for (std::int64_t j = 0; j < p_.n; j += N::width / copies) {
            N g = factor * rows(scale(i), j), f = mac(beta, rows(unscale(i), j), mass);
            if (next >= 0) {
                const N s = rows(scale(next), j);
                g = g * s;
                f = f * s;
            }
            put_rows(g, to, j, 0);
            put_rows(f, to, j, 1);
        }
    }

    // As many rows as fill a vector: one per lane, or one row of all lanes.
    N rows(const T* p, std::int64_t j) const {
        if constexpr (per_lane) {
            return N::load(p + j * row);
        } else {
            T v[parts * N::width] = {};
            for (int l = 0; l < N::width && j + l < p_.n; ++l)
                for (int part = 0; part < parts; ++part) v[part * N::width + l] = p[(j + l) * parts + part];
            return N::load(v);
        }
    }
    void put_rows(N x, T* p, std::int64_t j, int which) const {
        if constexpr (per_lane) {
            x.store(p + (2 * j + which) * row);
        } else {
            T v[parts * N::width];
            x.store(v);
            for (int l = 0; l < N::width && j + l < p_.n; ++l)
                for (int part = 0; part < parts; ++part) p[(2 * (j + l) + which) * parts + part] = v[part * N::width + l];
        }
    }

    const Plan& p_;
    Sequence sequence_;
    std::int64_t block_, slots_, size_, first_ = 0, filled_;
    T *recip_[2], *none_, *constant_, *scale_ = nullptr, *unscale_ = nullptr, *fused_ = nullptr, *plain_ = nullptr;
    T *border_ = nullptr, *weight_ = nullptr;
    std::int64_t* edge_;
    Work work_[2];
};

}  // namespace
}  // namespace qcore::QC_ISA
