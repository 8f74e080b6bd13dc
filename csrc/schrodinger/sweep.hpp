// The sweep that ends one stage and begins the next.
//
// Between stages the state is kept in the eliminated form of the stage to come. In a sweep against the direction of that elimination,
// in order 2 with the reciprocal pivots r of this stage and r' of the next,
//     w_j = y_j - r_j w_{j+1},           y_j = r_j d_j                the stage's solution by back substitution
//     psi_j = d_j + y_{j-1}                                           its right-hand side, recovered
//     psi'_j = G w_j - psi_j                                          that of the next stage
//     d'_j = psi'_j - r'_{j+1} d'_{j+1}                               eliminated from this end
// so that a stage reads and writes the state once. The next sweep goes the other way. The compact orders have one or two diagonals on
// either side, and chi = (1 - m l) w there: w is kept one row ahead.
#pragma once

#include "schrodinger/coefficients.hpp"

namespace qcore::QC_ISA {
namespace {

// State rows are [j][group][parts][lane] with rows of zeros at both ends; pointers are to row 0.
template <class T>
struct Sweep {
    std::int64_t n;
    int direction;  // of the sweep
    T* state;
    const T *back, *ahead;  // factors of this stage and of the next
    const T* gain;          // G, order 2
    double mass;            // m, compact orders
    // Periodic: borders of this stage and of the next, zero between left and right; the corrections of this stage by number,
    // [number][group][parts][lane], which are replaced by the dot products for those of the next.
    const T *back_border, *ahead_border;
    std::int64_t left, right;
    T* corrections;
    std::int64_t corrections_pitch;  // between numbers
};

// What all systems share in a row. `reach` is 0 in order 2.
template <class N, bool per_lane, int reach>
struct Row {
    using T = typename N::Scalar;
    static constexpr int numbers = 1 + 2 * reach;

    N next[1 + reach];               // r, s of the row to come
    N recip;                         // r of this row, order 2
    N below[reach ? reach : 1];      // e of this row, compact
    N ahead[reach ? reach : 1];      // r' of the row before, order 2; e' of this row
    bool border;

    Row(const Sweep<T>& a, std::int64_t first) { look(a, first); }
    void look(const Sweep<T>& a, std::int64_t j) {
        for (int i = 0; i <= reach; ++i) next[i] = coefficient<N, per_lane>(a.back, j * numbers + i);
    }
    void enter(const Sweep<T>& a, std::int64_t j, std::int64_t step) {
        recip = next[0];
        look(a, j + step);
        if constexpr (reach == 0) {
            ahead[0] = coefficient<N, per_lane>(a.ahead, j - step);
        } else {
            for (int i = 0; i < reach; ++i) {
                below[i] = coefficient<N, per_lane>(a.back, j * numbers + 1 + reach + i);
                ahead[i] = coefficient<N, per_lane>(a.ahead, j * numbers + 1 + reach + i);
            }
        }
        border = a.corrections && (j < a.left || j >= a.right);
    }
};

// One vector of systems on its way through a sweep.
template <class N, bool per_lane, int reach>
struct Track {
    using T = typename N::Scalar;
    static constexpr int corrections = reach ? reach : 1;

    N w, y;                      // w_j; order 2: y_j
    N before;                    // compact: w of the row before
    N d[reach ? reach : 1];      // d' of the rows before
    N g[corrections], dot[corrections];

    void start(const Sweep<T>& a, const Row<N, per_lane, reach>& row, const T* state, std::int64_t offset) {
        for (int i = 0; i < corrections; ++i) {
            dot[i] = N::zero();
            g[i] = a.corrections ? N::load(a.corrections + i * a.corrections_pitch + offset) : N::zero();
        }
        for (N& x : d) x = N::zero();
        before = N::zero();
        y = row.next[0] * N::load(state);
        w = reach ? y : N::zero();
    }

    // chi of row j; c kappa chi in order 2. `state` is row j of these systems, `pitch` leads to the next row of the sweep.
    N solve(const Sweep<T>& a, const Row<N, per_lane, reach>& row, std::int64_t j, const T* state, std::int64_t pitch) {
        N chi;
        if constexpr (reach == 0) {
            w = nmac(row.recip, w, y);
            chi = w;
            if (row.border) [[unlikely]] chi = mac(g[0], coefficient<N, per_lane>(a.back_border, j), chi);
        } else {
            const auto m = N::S::set(static_cast<T>(a.mass)), rest = N::S::set(static_cast<T>(1 - 2 * a.mass));
            N after = nmac(row.next[1], w, row.next[0] * N::load(state + pitch));
            if constexpr (reach == 2) after = nmac(row.next[2], before, after);
            chi = (before + after).times_plus(m, w.times(rest));
            if (row.border) [[unlikely]] {
                if (j == 0 || j == a.n - 1) chi = w.times_plus(m, chi);
                for (int i = 0; i < reach; ++i) chi = mac(g[i], coefficient<N, per_lane>(a.back_border, 2 * reach * j + i), chi);
            }
            before = w;
            w = after;
        }
        return chi;
    }

    // psi of row j, if wanted.
    template <bool wanted>
    N recover(const Row<N, per_lane, reach>& row, const T* state, std::int64_t pitch) {
        if constexpr (reach == 0) {
            y = row.next[0] * N::load(state + pitch);
            if constexpr (wanted) return N::load(state) + y;
            else return N::zero();
        } else {
            N psi = N::zero();
            if constexpr (wanted) {
                psi = mac(row.below[0], N::load(state + pitch), N::load(state));
                if constexpr (reach == 2) psi = mac(row.below[1], N::load(state + 2 * pitch), psi);
            }
            return psi;
        }
    }

    void eliminate(const Sweep<T>& a, const Row<N, per_lane, reach>& row, std::int64_t j, N psi, T* state) {
        if (row.border) [[unlikely]] {
            if constexpr (reach == 0) dot[0] = mac(coefficient<N, per_lane>(a.ahead_border, j), psi, dot[0]);
            else
                for (int i = 0; i < reach; ++i)
                    dot[i] = mac(coefficient<N, per_lane>(a.ahead_border, 2 * reach * j + reach + i), psi, dot[i]);
        }
        N now = nmac(row.ahead[0], d[0], psi);
        if constexpr (reach == 2) {
            now = nmac(row.ahead[1], d[1], now);
            d[1] = d[0];
        }
        d[0] = now;
        now.store(state);
    }

    void end(const Sweep<T>& a, std::int64_t offset) const {
        if (!a.corrections) return;
        for (int i = 0; i < corrections; ++i) dot[i].store(a.corrections + i * a.corrections_pitch + offset);
    }
};

// psi' from what solve gives and psi. Order 2, real time: G is imaginary.
template <class N>
struct ImaginaryCayley {
    using S = typename N::S;
    static constexpr bool needs_psi = true;
    typename S::V gain;
    explicit ImaginaryCayley(const typename N::Scalar* g) : gain(S::set(g[1])) {}
    N operator()(N w, N psi) const { return {S::fma(-w.im, gain, -psi.re), S::fma(w.re, gain, -psi.im)}; }
};

template <class N>
struct Cayley {
    static constexpr bool needs_psi = true;
    N gain;
    explicit Cayley(const typename N::Scalar* g) : gain(N::broadcast(g)) {}
    N operator()(N w, N psi) const { return mac(gain, w, -psi); }
};

template <class N>
struct Euler {
    static constexpr bool needs_psi = false;
    N gain;
    explicit Euler(const typename N::Scalar* g) : gain(N::broadcast(g)) {}
    N operator()(N w, N) const { return gain * w; }
};

// Compact orders: chi itself is at hand.
template <class N>
struct CompactCayley {
    static constexpr bool needs_psi = true;
    explicit CompactCayley(const typename N::Scalar*) {}
    N operator()(N chi, N psi) const { return chi.times_plus(N::S::set(typename N::Scalar(2)), -psi); }
};

template <class N>
struct CompactEuler {
    static constexpr bool needs_psi = false;
    explicit CompactEuler(const typename N::Scalar*) {}
    N operator()(N chi, N) const { return chi; }
};

template <class N, bool per_lane, int groups, int reach, template <class> class Update>
QC_KERNEL void sweep(const Sweep<typename N::Scalar>& arguments) {
    using T = typename N::Scalar;
    constexpr std::int64_t lanes = N::parts * N::width, pitch = groups * lanes;
    const Sweep<T> a = arguments;  // which the stores can't change
    const std::int64_t step = a.direction, first = step > 0 ? 0 : a.n - 1;
    const Update<N> update(a.gain);
    Row<N, per_lane, reach> row(a, first);
    Track<N, per_lane, reach> track[groups];
    for (int g = 0; g < groups; ++g) track[g].start(a, row, a.state + first * pitch + g * lanes, g * lanes);
    for (std::int64_t k = 0, j = first; k < a.n; ++k, j += step) {
        row.enter(a, j, step);
        T* const p = a.state + j * pitch;
        for (int g = 0; g < groups; ++g) {
            T* const state = p + g * lanes;
            const N chi = track[g].solve(a, row, j, state, step * pitch);
            const N psi = track[g].template recover<Update<N>::needs_psi>(row, state, step * pitch);
            track[g].eliminate(a, row, j, update(chi, psi), state);
        }
    }
    for (int g = 0; g < groups; ++g) track[g].end(a, g * lanes);
}

// Begins a run: psi eliminated in the sweep's direction with `ahead`.
template <class N, bool per_lane, int reach>
QC_KERNEL void begin(const Sweep<typename N::Scalar>& arguments, std::int64_t groups) {
    using T = typename N::Scalar;
    const Sweep<T> a = arguments;
    const std::int64_t lanes = N::parts * N::width, pitch = groups * lanes;
    const std::int64_t step = a.direction, first = step > 0 ? 0 : a.n - 1;
    for (std::int64_t g = 0; g < groups; ++g) {
        Row<N, per_lane, reach> row(a, first);
        Track<N, per_lane, reach> track;
        track.start(a, row, a.state + first * pitch + g * lanes, g * lanes);
        for (std::int64_t k = 0, j = first; k < a.n; ++k, j += step) {
            row.enter(a, j, step);
            T* const p = a.state + j * pitch + g * lanes;
            track.eliminate(a, row, j, N::load(p), p);
        }
        track.end(a, g * lanes);
    }
}

}  // namespace
}  // namespace qcore::QC_ISA
