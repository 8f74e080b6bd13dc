// The coefficients of the sweeps, for every stage of a run: computed once where the potential is constant, else as they are
// needed, a block of stages at a time.
#pragma once

#include "schrodinger/band.hpp"

namespace qcore::QC_ISA {
namespace {

using schrodinger::Memory;
using schrodinger::Rule;
using schrodinger::Use;

// Diagonals on either side of the matrices whose factors are triangles with ones on their diagonals; order 2 has its own way.
inline int reach_of(const Plan& p) { return p.order / 2 - 1; }

// Rows of zeros at both ends of factors and states.
constexpr std::int64_t pad = 2;

// Two sets of matrices from opposite ends at a time: each has to wait for its divisions.
template <class E>
QC_KERNEL void eliminate(const Plan& p, const Matrices& a, const Matrices& b, double negligible) {
    E first(p, a), second(p, b);
    for (std::int64_t k = 0; k < p.n; ++k) {
        first.step(k);
        second.step(k);
    }
    if (a.border) first.border(negligible);
    if (b.border) second.border(negligible);
}

// Rows are [j][numbers][parts], or [j][numbers][parts][lane] per lane. A stage has a position in the run, from the first stage on, or
// in the adjoint from the last one back; positions that have the same coefficients share a slot.
template <class N, bool per_lane>
class Coefficients {
  public:
    using T = typename N::Scalar;
    static constexpr int parts = N::parts, copies = per_lane ? N::width : 1, cell = parts * copies;

    Coefficients(const Plan& p, Use use, Memory& memory) : p_(p), use_(use) {
        const int reach = reach_of(p);
        row_ = (1 + 2 * reach) * cell;
        border_row_ = p.periodic ? (reach ? 2 * reach : 1) * cell : 0;
        weights_ = p.periodic ? (reach ? reach * reach : 1) * cell : 0;
        block_ = p.constant() ? p.poles : per_lane ? 2 : 2 * D::width;
        slots_ = p.constant() ? p.poles : 2 * block_;
        filled_ = p.constant() ? p.stages : 0;
        factors_[0] = memory.take<T>(slots_ * size());
        factors_[1] = p.constant() ? memory.take<T>(slots_ * size()) : factors_[0];
        none_ = memory.take<T>(size());
        gain_ = memory.take<T>(slots_ * 2);
        border_ = memory.take<T>(slots_ * p.n * border_row_);
        weight_ = memory.take<T>(slots_ * weights_);
        edge_ = memory.take<std::int64_t>(slots_ * 2);
    }

    // What is needed beside, while coefficients are computed.
    void take_work(Memory& memory) {
        const std::int64_t values = p_.complex_potential ? 2 : 1;
        for (Work& w : work_) {
            w.potential = memory.take<double>(p_.n * values * D::width);
            w.c = memory.take<double>(parts * D::width);
            w.factors = memory.take<double>((p_.n + 2 * pad) * row_ / copies * D::width);
            w.border = p_.periodic ? memory.take<double>(p_.n * border_row_ / copies * D::width) : nullptr;
            w.weight = memory.take<double>(weights_ / copies * D::width);
        }
    }

    // Starts a run of the systems from `first` on; lanes beyond the batch repeat its last system.
    void start(std::int64_t first) {
        first_ = first;
        filled_ = p_.constant() ? p_.stages : 0;
        for (std::int64_t i = 0; i < size(); ++i) none_[i] = T(0);
        for (T* factors : factors_)
            for (std::int64_t slot = 0; slot < slots_; ++slot)
                for (std::int64_t i = 0; i < pad * row_; ++i)
                    factors[slot * size() + i] = factors[(slot + 1) * size() - 1 - i] = T(0);
        if (!p_.constant()) return;
        for (std::int64_t i = 0; i < p_.poles; i += per_lane ? 1 : D::width) fill(i);
    }

    // Has the coefficients of a position ready; those of the one before stay.
    void need(std::int64_t i) {
        while (i >= filled_) {
            fill(filled_);
            filled_ += block_;
        }
    }

    // Of the matrix eliminated from the top in even positions, from the bottom in odd ones.
    const T* factors(std::int64_t i) const { return factors_[i & 1] + slot(i) * size() + pad * row_; }
    const T* none() const { return none_ + pad * row_; }
    // alpha / (c kappa), order 2
    const T* gain(std::int64_t i) const { return gain_ + slot(i) * 2; }
    // Periodic: the rows of elimination.hpp and band.hpp, weights, and the rows beyond which all are zero.
    const T* border(std::int64_t i) const { return border_ + slot(i) * p_.n * border_row_; }
    const T* weight(std::int64_t i) const { return weight_ + slot(i) * weights_; }
    std::int64_t left(std::int64_t i) const { return edge_[2 * slot(i)]; }
    std::int64_t right(std::int64_t i) const { return edge_[2 * slot(i) + 1]; }

    std::int64_t stage(std::int64_t i) const { return use_ == Use::forward ? i : p_.stages - 1 - i; }
    // c of a position
    double c(std::int64_t i, int part) const {
        const std::int64_t s = stage(i) % p_.poles;
        const double value = p_.c[2 * (s < 0 ? s + p_.poles : s) + part];
        return use_ == Use::traced ? -value : value;
    }

  private:
    using M = typename N::template With<double>;
    using D = Simd<double>;
    static constexpr int halves = per_lane ? N::width / D::width : 1;

    struct Work {
        double *potential, *c, *factors, *border, *weight;
    };

    std::int64_t size() const { return (p_.n + 2 * pad) * row_; }
    std::int64_t slot(std::int64_t i) const { return i % slots_; }

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
                read_potential(i, task, half);
                const Work& w = work_[task];
                double* const border = p_.constant() && task ? nullptr : w.border;
                m[task] = {w.potential, w.c, task ? -1 : 1, w.factors, border, w.weight};
            }
            if (parts == 2 && p_.complex_potential) eliminate_all<true>(m);
            else eliminate_all<false>(m);
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

    template <bool complex_potential>
    void eliminate_all(const Matrices (&m)[2]) const {
        const double negligible = sizeof(T) == 8 ? 1e-18 : 1e-9;
        if constexpr (parts == 2 || !complex_potential) {
            switch (reach_of(p_)) {
                case 0: return eliminate<Eliminator<M, complex_potential>>(p_, m[0], m[1], negligible);
                case 1: return eliminate<BandEliminator<M, complex_potential, 1>>(p_, m[0], m[1], negligible);
                default: return eliminate<BandEliminator<M, complex_potential, 2>>(p_, m[0], m[1], negligible);
            }
        }
    }

    // Potentials and c of the lanes.
    void read_potential(std::int64_t i, int task, int half) {
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
            rows[lane] = p_.potential + p_.potential_place(slice, system) * values;
            for (int part = 0; part < parts; ++part) w.c[part * D::width + lane] = c(k, part);
        }
        read_lanes<Reading::plain>(rows, p_.n * values, LaneRows<double>{w.potential, values * D::width, values});
    }

    // From the work area to a slot.
    void emit(std::int64_t i, int task, int half, int lane) {
        const Work& w = work_[task];
        const double alpha = p_.rule == Rule::cayley ? 2 : 1, re = c(i, 0), im = parts == 2 ? c(i, 1) : 0;
        const double factor = alpha / (p_.kappa * (re * re + im * im));
        gain_[2 * slot(i)] = static_cast<T>(factor * re);
        gain_[2 * slot(i) + 1] = static_cast<T>(-factor * im);
        T* const to = factors_[p_.constant() ? task : 0] + slot(i) * size() + pad * row_;
        copy(w.factors, to, p_.n * row_ / copies, half, lane);
        if (!p_.periodic || (p_.constant() && task)) return;
        copy(w.border, border_ + slot(i) * p_.n * border_row_, p_.n * border_row_ / copies, half, lane);
        copy(w.weight, weight_ + slot(i) * weights_, weights_ / copies, half, lane);
        if (half + 1 == halves) find_edges(i);
    }

    void copy(const double* from, T* to, std::int64_t count, int half, int lane) const {
        for (std::int64_t q = 0; q < count; ++q) {
            if constexpr (per_lane) store_as<double>(to + q * copies + half * D::width, D::load(from + q * D::width));
            else to[q] = static_cast<T>(from[q * D::width + lane]);
        }
    }

    void find_edges(std::int64_t i) {
        const T* const v = border(i);
        std::int64_t left = 1, right = p_.n - 1;  // the ends themselves always
        for (std::int64_t j = 0; j < p_.n; ++j)
            for (std::int64_t k = 0; k < border_row_; ++k)
                if (v[j * border_row_ + k] != T(0)) {
                    if (j < p_.n / 2) left = j + 1;
                    else if (j < right) right = j;
                }
        edge_[2 * slot(i)] = left;
        edge_[2 * slot(i) + 1] = right;
    }

    const Plan& p_;
    Use use_;
    std::int64_t row_, border_row_, weights_, block_, slots_, first_ = 0, filled_;
    T *factors_[2], *none_, *gain_, *border_, *weight_;
    std::int64_t* edge_;
    Work work_[2];
};

}  // namespace
}  // namespace qcore::QC_ISA
