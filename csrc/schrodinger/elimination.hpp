// The factors of the three-point matrices, as many as there are lanes at a time, always in float64.
//
// In order 2, chi = (1 - cH)^{-1} psi is w / (c kappa) with
//     A w = psi,   A = tri(1, b, 1),   b_j = (1 - c V_j) / (c kappa) - 2,
// where periodic A has ones in its corners too. Elimination from the top (or the bottom) needs the reciprocal pivots
//     r_j = 1 / (b_j - r_{j-1}).
// A periodic A is A' - u u^T, u = (1, 0 ... 0, -1): A' has one more at both ends of its diagonal and its pivots are as safe as
// those of a Dirichlet matrix. With v = A'^{-1} u the solution is A'^{-1} psi + gamma v, gamma = (v, psi) / (1 - (u, v)).
#pragma once

#include "schrodinger/lanes_io.hpp"
#include "schrodinger/plan.hpp"

namespace qcore::QC_ISA {
namespace {

using schrodinger::Plan;

// One lane's matrix each. Rows are [j][numbers][parts][lane], with rows of zeros before the first and behind the last.
struct Matrices {
    const double* potential;
    const double* c;  // [parts][lane]
    int direction;    // 1: eliminated from the top, -1: from the bottom
    double* factors;  // order 2: [r]; else see band.hpp
    double* border;   // periodic; order 2: [v]
    double* weight;   // order 2: 1 / (1 - (u, v))
};

// 1 - c V of row j.
template <class M, bool complex_potential>
inline M one_minus_cv(const Matrices& m, M c, std::int64_t j) {
    M one = M::of(1, 0);
    if constexpr (complex_potential) {
        one = nmac(c, M::load(m.potential + j * M::parts * M::width), one);
    } else {
        const auto v = Simd<double>::load(m.potential + j * M::width);
        one.re = subtract_product<double>(c.re, v, one.re);
        if constexpr (M::parts == 2) one.im = -c.im * v;
    }
    return one;
}

// Sets to zero the entries of a vector that are small against its largest.
template <class M>
inline void drop_small(double* vector, std::int64_t n, std::int64_t pitch, double negligible) {
    auto largest = M::zero().size();
    for (std::int64_t j = 0; j < n; ++j) {
        const auto size = M::load(vector + j * pitch).size();
        largest = size > largest ? size : largest;
    }
    const auto least = largest * (M::parts == 2 ? negligible * negligible : negligible);
    for (std::int64_t j = 0; j < n; ++j) {
        const M v = M::load(vector + j * pitch);
        select(v.size() < least, M::zero(), v).store(vector + j * pitch);
    }
}

template <class M, bool complex_potential>
class Eliminator {
  public:
    static constexpr std::int64_t row = M::parts * M::width;

    Eliminator(const Plan& p, const Matrices& m)
        : p_(p), m_(m), c_(M::load(m.c)), inverse_c_kappa_(inverse(c_ * M::of(p.kappa, 0))), previous_(M::zero()) {}

    // The k-th row of the elimination.
    void step(std::int64_t k) {
        const std::int64_t j = m_.direction > 0 ? k : p_.n - 1 - k;
        M pivot = one_minus_cv<M, complex_potential>(m_, c_, j) * inverse_c_kappa_ - M::of(2, 0) - previous_;
        if (p_.periodic && (j == 0 || j == p_.n - 1)) pivot = pivot + M::of(1, 0);
        previous_ = inverse(pivot);
        previous_.store(m_.factors + j * row);
    }

    void border(double negligible) const {
        const std::int64_t first = m_.direction > 0 ? 0 : p_.n - 1, last = p_.n - 1 - first, d = m_.direction;
        M e = M::of(static_cast<double>(d), 0);
        e.store(m_.border + first * row);
        for (std::int64_t j = first + d; j != last + d; j += d) {
            e = -(M::load(m_.factors + (j - d) * row) * e);
            if (j == last) e = e - M::of(static_cast<double>(d), 0);
            e.store(m_.border + j * row);
        }
        M v = M::zero();
        for (std::int64_t j = last; j != first - d; j -= d) {
            v = M::load(m_.factors + j * row) * (M::load(m_.border + j * row) - v);
            v.store(m_.border + j * row);
        }
        const M u_v = M::load(m_.border) - M::load(m_.border + (p_.n - 1) * row);
        inverse(M::of(1, 0) - u_v).store(m_.weight);
        drop_small<M>(m_.border, p_.n, row, negligible);
    }

  private:
    const Plan& p_;
    const Matrices& m_;
    M c_, inverse_c_kappa_, previous_;
};

}  // namespace
}  // namespace qcore::QC_ISA
