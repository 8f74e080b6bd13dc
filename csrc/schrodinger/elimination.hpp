// The factors of the tridiagonal matrices, as many as there are lanes at a time, always in float64.
//
// With h_j = m (1 - c V_j) + c kappa, m = 0 or 1/12 (order 4), chi = (1 - cH)^{-1} psi is
//     A w = psi / h,   A = tri(1, b, 1),   b_j = (1 - c V_j) / h_j - 2,   chi = (c kappa / h) w + m psi / h,
// where periodic A has ones in its corners too. Elimination from the top (or the bottom) needs the reciprocal pivots
//     r_j = 1 / (b_j - r_{j-1}).
// A periodic A is A' - u u^T, u = (1, 0 ... 0, -1): A' has one more at both ends of its diagonal and its pivots are as safe as
// those of a Dirichlet matrix. With v = A'^{-1} u the solution is A'^{-1} f + gamma v, gamma = (v, f) / (1 - (u, v)).
#pragma once

#include "schrodinger/lanes_io.hpp"
#include "schrodinger/plan.hpp"

namespace qcore::QC_ISA {
namespace {

using schrodinger::Plan;

inline double mass(const Plan& p) { return p.order == 4 ? 1.0 / 12 : 0.0; }

// One lane's matrix each; rows are [j][parts][lane], with a row of zeros before the first where recip is concerned.
struct Matrices {
    const double* potential;
    const double* c;  // [parts][lane]
    int direction;    // 1: eliminated from the top, -1: from the bottom
    double* recip;
    double *scale, *unscale;  // 1 / h and h, order 4
    double *border, *weight;  // v and 1 / (1 - (u, v)), periodic
};

template <class M, bool complex_potential>
class Eliminator {
  public:
    static constexpr int row = M::parts * M::width;

    Eliminator(const Plan& p, const Matrices& m) : p_(p), m_(m), c_(M::load(m.c)), previous_(M::zero()) {
        c_kappa_ = c_ * M::of(p.kappa, 0);
        least_ = (c_kappa_ * M::of(1e-18, 0)).size();
        inverse_c_kappa_ = inverse(c_kappa_);
    }

    // The k-th row of the elimination.
    void step(std::int64_t k) {
        const std::int64_t j = m_.direction > 0 ? k : p_.n - 1 - k;
        M pivot = diagonal(j) - previous_;
        if (p_.periodic && (j == 0 || j == p_.n - 1)) pivot = pivot + M::of(1, 0);
        previous_ = inverse(pivot);
        previous_.store(m_.recip + j * row);
    }

    // v, whose entries far from both ends are set to zero.
    void border(double negligible) const {
        const std::int64_t first = m_.direction > 0 ? 0 : p_.n - 1, last = p_.n - 1 - first, d = m_.direction;
        M e = M::of(static_cast<double>(d), 0);
        e.store(m_.border + first * row);
        for (std::int64_t j = first + d; j != last + d; j += d) {
            e = -(M::load(m_.recip + (j - d) * row) * e);
            if (j == last) e = e - M::of(static_cast<double>(d), 0);
            e.store(m_.border + j * row);
        }
        M v = M::zero();
        auto largest = v.size();
        for (std::int64_t j = last; j != first - d; j -= d) {
            v = M::load(m_.recip + j * row) * (M::load(m_.border + j * row) - v);
            v.store(m_.border + j * row);
            largest = v.size() > largest ? v.size() : largest;
        }
        const M u_v = M::load(m_.border) - M::load(m_.border + (p_.n - 1) * row);
        inverse(M::of(1, 0) - u_v).store(m_.weight);
        const auto least = largest * (M::parts == 2 ? negligible * negligible : negligible);
        for (std::int64_t j = 0; j < p_.n; ++j) {
            v = M::load(m_.border + j * row);
            select(v.size() < least, M::zero(), v).store(m_.border + j * row);
        }
    }

  private:
    M diagonal(std::int64_t j) const {
        M one;  // 1 - c V
        if constexpr (complex_potential) one = nmac(c_, M::load(m_.potential + j * row), M::of(1, 0));
        else one = minus_real(Simd<double>::load(m_.potential + j * M::width));
        if (p_.order == 2) return one * inverse_c_kappa_ - M::of(2, 0);
        M h = mac(one, M::of(mass(p_), 0), c_kappa_);
        h = select(h.size() < least_, c_kappa_ * M::of(1e-18, 0), h);  // only where c is real can h vanish
        const M scale = inverse(h);
        h.store(m_.unscale + j * row);
        scale.store(m_.scale + j * row);
        return one * scale - M::of(2, 0);
    }

    M minus_real(typename Simd<double>::V v) const {
        M one = M::of(1, 0);
        one.re = Simd<double>::fma(-c_.re, v, one.re);
        if constexpr (M::parts == 2) one.im = -c_.im * v;
        return one;
    }

    const Plan& p_;
    const Matrices& m_;
    M c_, c_kappa_, inverse_c_kappa_, previous_;
    decltype(M{}.size()) least_;
};

// Two sets of matrices from opposite ends at a time: each has to wait for its divisions.
template <class M, bool complex_potential>
QC_KERNEL void eliminate(const Plan& p, const Matrices& a, const Matrices& b, double negligible) {
    Eliminator<M, complex_potential> first(p, a), second(p, b);
    for (std::int64_t k = 0; k < p.n; ++k) {
        first.step(k);
        second.step(k);
    }
    if (!p.periodic) return;
    if (a.border) first.border(negligible);
    if (b.border) second.border(negligible);
}

}  // namespace
}  // namespace qcore::QC_ISA
