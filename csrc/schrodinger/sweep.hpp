// The sweep that ends one stage and begins the next.
//
// Between stages the state is kept in the eliminated form of the stage to come. In a sweep against the direction of that elimination
//     w_j = y_j - r_j w_{j+1},           y_j = r_j d_j                the stage's solution by back substitution
//     f_j = d_j + y_{j-1}                                             its right-hand side, recovered
//     f'_j = G w_j + F f_j                                            that of the next stage
//     d'_j = f'_j - r'_{j+1} d'_{j+1}                                 eliminated from this end
// so that a stage reads and writes the state once. The next sweep goes the other way.
#pragma once

#include "schrodinger/numbers.hpp"

namespace qcore::QC_ISA {
namespace {

// State rows are [j][group][parts][lane] with a row of zeros at both ends; pointers are to row 0.
template <class T>
struct Sweep {
    std::int64_t n;
    int direction;  // of the sweep
    T* state;
    const T *back, *ahead;  // reciprocal pivots of this stage and of the next
    const T* constant;      // G, order 2
    const T* update;        // G and F by row, order 4
    // Periodic: v of this stage and of the next, which are zero between left and right; gamma of this stage [group][parts][lane],
    // which is replaced by (v, f') of the next.
    const T *back_border, *ahead_border;
    std::int64_t left, right;
    T* gamma;
};

// f' from w and f. Crank-Nicolson in real time: G is imaginary, F = -1.
template <class N, bool per_lane>
struct ImaginaryUpdate {
    using T = typename N::Scalar;
    using S = Simd<T>;
    typename S::V g;
    static constexpr bool needs_f = true;
    explicit ImaginaryUpdate(const Sweep<T>& a) : g(S::set(a.constant[1])) {}
    void row(std::int64_t) {}
    N operator()(N w, N f) const { return {S::fma(-w.im, g, -f.re), S::fma(w.re, g, -f.im)}; }
};

// Cayley factors, order 2: F = -1.
template <class N, bool per_lane>
struct ConstantUpdate {
    using T = typename N::Scalar;
    N g;
    static constexpr bool needs_f = true;
    explicit ConstantUpdate(const Sweep<T>& a) : g(N::broadcast(a.constant)) {}
    void row(std::int64_t) {}
    N operator()(N w, N f) const { return mac(g, w, -f); }
};

// Euler factors, order 2: F = 0.
template <class N, bool per_lane>
struct DampedUpdate {
    using T = typename N::Scalar;
    N g;
    static constexpr bool needs_f = false;
    explicit DampedUpdate(const Sweep<T>& a) : g(N::broadcast(a.constant)) {}
    void row(std::int64_t) {}
    N operator()(N w, N) const { return g * w; }
};

template <class N, bool per_lane>
struct GeneralUpdate {
    using T = typename N::Scalar;
    const T* update;
    N g, f;
    static constexpr bool needs_f = true;
    explicit GeneralUpdate(const Sweep<T>& a) : update(a.update), g(N::zero()), f(N::zero()) {}
    void row(std::int64_t j) {
        g = coefficient<N, per_lane>(update, 2 * j);
        f = coefficient<N, per_lane>(update, 2 * j + 1);
    }
    N operator()(N w, N rhs) const { return mac(f, rhs, g * w); }
};

template <class N, bool per_lane, int groups, template <class, bool> class Update>
QC_KERNEL void sweep(const Sweep<typename N::Scalar>& a) {
    using T = typename N::Scalar;
    constexpr std::int64_t lanes = N::parts * N::width, pitch = groups * lanes;
    const std::int64_t step = a.direction, first = step > 0 ? 0 : a.n - 1;
    const bool bordered = a.gamma != nullptr;
    Update<N, per_lane> update(a);
    N w[groups], d[groups], y[groups], gamma[groups], dot[groups];
    N recip = coefficient<N, per_lane>(a.back, first);
    for (int g = 0; g < groups; ++g) {
        w[g] = d[g] = dot[g] = N::zero();
        y[g] = recip * N::load(a.state + first * pitch + g * lanes);
        gamma[g] = bordered ? N::load(a.gamma + g * lanes) : N::zero();
    }
    for (std::int64_t k = 0, j = first; k < a.n; ++k, j += step) {
        const N next = coefficient<N, per_lane>(a.back, j + step), ahead = coefficient<N, per_lane>(a.ahead, j - step);
        const bool border = bordered && (j < a.left || j >= a.right);
        update.row(j);
        T* const p = a.state + j * pitch;
        for (int g = 0; g < groups; ++g) {
            w[g] = nmac(recip, w[g], y[g]);
            N f = N::zero(), solution = w[g];
            y[g] = next * N::load(p + step * pitch + g * lanes);
            if constexpr (Update<N, per_lane>::needs_f) f = N::load(p + g * lanes) + y[g];
            if (border) [[unlikely]] solution = mac(gamma[g], coefficient<N, per_lane>(a.back_border, j), solution);
            f = update(solution, f);
            if (border) [[unlikely]] dot[g] = mac(coefficient<N, per_lane>(a.ahead_border, j), f, dot[g]);
            d[g] = nmac(ahead, d[g], f);
            d[g].store(p + g * lanes);
        }
        recip = next;
    }
    if (bordered)
        for (int g = 0; g < groups; ++g) dot[g].store(a.gamma + g * lanes);
}

// Begins a run: f = psi / h, eliminated in the sweep's direction with `ahead`; `scale` is 1 / h or null.
template <class N, bool per_lane>
QC_KERNEL void begin(const Sweep<typename N::Scalar>& a, std::int64_t groups, const typename N::Scalar* scale) {
    using T = typename N::Scalar;
    const std::int64_t lanes = N::parts * N::width, pitch = groups * lanes;
    const std::int64_t step = a.direction, first = step > 0 ? 0 : a.n - 1;
    for (std::int64_t g = 0; g < groups; ++g) {
        N d = N::zero(), dot = N::zero();
        for (std::int64_t k = 0, j = first; k < a.n; ++k, j += step) {
            T* const p = a.state + j * pitch + g * lanes;
            N f = N::load(p);
            if (scale) f = f * coefficient<N, per_lane>(scale, j);
            if (a.gamma) dot = mac(coefficient<N, per_lane>(a.ahead_border, j), f, dot);
            d = nmac(coefficient<N, per_lane>(a.ahead, j - step), d, f);
            d.store(p);
        }
        if (a.gamma) dot.store(a.gamma + g * lanes);
    }
}

}  // namespace
}  // namespace qcore::QC_ISA
