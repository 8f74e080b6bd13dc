// The factors of the matrices of the compact orders, as many as there are lanes at a time, always in float64.
//
// With L_r = kappa (l - q l^2) / (1 - m l), chi = (1 - cH)^{-1} psi is (1 - m l) w, where
//     A w = psi,   A = (1 - c V)(1 - m l) - c kappa (l - q l^2)
// has one (order 4) or two (order 6) diagonals on either side. From the top, A = L diag(1 / r) U with unit triangles
//     L = 1 + e1 (one below) + e2 (two below),   U = 1 + s1 (one above) + s2 (two above).
// Beyond a wall there is nothing, on the way to l^2 either: l^2 is the square of the matrix l.
//
// Periodic: l = l' + u u^T with u = (1, 0 ... 0, -1) and l' = tri(-1, 2, -1) but for ones at the ends of its diagonal. With t = l' u,
//     A = A' + a1 u^T + a2 t^T,   a1 = -(m (1 - cV) + c kappa) u + c kappa q (t + 2 u),   a2 = c kappa q u,
// where A' is A made of l', whose pivots are as safe as those of a Dirichlet matrix. With v_k = A'^{-1} a_k, x = A'^{-1} psi and
// z1 = A'^{-T} u, z2 = A'^{-T} t the solution is
//     w = x - v1 g1 - v2 g2,   g = (1 + [u t]^T [v1 v2])^{-1} ((z1, psi), (z2, psi)) = ((u, w), (t, w)),
//     chi = (1 - m l') x + g1 C1 + g2 C2,   C1 = -(1 - m l') v1 - m u,   C2 = -(1 - m l') v2.
#pragma once

#include "schrodinger/elimination.hpp"

namespace qcore::QC_ISA {
namespace {

struct Compact {
    double m, q;
    explicit Compact(int order) : m(order == 4 ? 1.0 / 12 : 2.0 / 15), q(order == 4 ? 0.0 : 1.0 / 20) {}
};

// reach: diagonals on either side. Factors are [r, s1 .. , e1 ..], borders [C1 .. , z1 ..], weights the inverse of the small matrix
// by rows.
template <class M, bool complex_potential, int reach>
class BandEliminator {
  public:
    static constexpr std::int64_t cell = M::parts * M::width, row = (1 + 2 * reach) * cell, border_row = 2 * reach * cell;

    BandEliminator(const Plan& p, const Matrices& m)
        : p_(p), m_(m), compact_(p.order), c_(M::load(m.c)), c_kappa_(c_ * M::of(p.kappa, 0)) {
        const double away_from_ends[3] = {2, -1, 0}, squared[3] = {6, -4, 1};
        for (int i = 0; i < 3; ++i) {
            mass_[i] = (i ? 0 : 1) - compact_.m * away_from_ends[i];
            stiffness_[i] = away_from_ends[i] - compact_.q * squared[i];
        }
        for (M& x : recip_) x = M::zero();
        for (M& x : above1_) x = M::zero();
        for (M& x : above2_) x = M::zero();
    }

    void step(std::int64_t k) {
        const std::int64_t d = m_.direction, j = d > 0 ? k : p_.n - 1 - k;
        const M one = one_minus_cv<M, complex_potential>(m_, c_, j);
        double* const to = m_.factors + j * row;
        M e2 = M::zero();
        if constexpr (reach == 2) e2 = entry(one, j, -2 * d) * recip_[1];
        const M e1 = nmac(e2, above1_[1], entry(one, j, -d)) * recip_[0];
        const M pivot = nmac(e2, above2_[1], nmac(e1, above1_[0], entry(one, j, 0)));
        const M f1 = nmac(e1, above2_[0], entry(one, j, d)), f2 = reach == 2 ? entry(one, j, 2 * d) : M::zero();
        const M r = inverse(pivot);
        recip_[1] = recip_[0];
        above1_[1] = above1_[0];
        above2_[1] = above2_[0];
        recip_[0] = r;
        above1_[0] = f1;
        above2_[0] = f2;
        r.store(to);
        (r * f1).store(to + cell);
        e1.store(to + (1 + reach) * cell);
        if constexpr (reach == 2) {
            (r * f2).store(to + 2 * cell);
            e2.store(to + 4 * cell);
        }
    }

    void border(double negligible) const {
        const std::int64_t n = p_.n;
        for (int k = 0; k < reach; ++k) {
            double *const c = m_.border + k * cell, *const z = m_.border + (reach + k) * cell;
            for (std::int64_t j = 0; j < n; ++j) {
                a(k, j).store(c + j * border_row);
                M::of(k ? t(j) : u(j), 0).store(z + j * border_row);
            }
            solve(c);
            solve_transposed(z);
        }
        weigh();
        for (int k = 0; k < reach; ++k) {
            double *const c = m_.border + k * cell, *const z = m_.border + (reach + k) * cell;
            chi_of(c, k == 0);
            drop_small<M>(c, n, border_row, negligible);
            drop_small<M>(z, n, border_row, negligible);
        }
    }

  private:
    // Entries of l, or of l' where the ends wrap around.
    double l(std::int64_t j, std::int64_t offset) const {
        if (offset) return j + offset >= 0 && j + offset < p_.n ? -1 : 0;
        return p_.periodic && (j == 0 || j == p_.n - 1) ? 1 : 2;
    }

    M entry(M one, std::int64_t j, std::int64_t offset) const {
        const std::int64_t k = j + offset;
        if (k < 0 || k >= p_.n) return M::zero();
        const std::int64_t distance = offset < 0 ? -offset : offset;
        if (j > 2 && j + 3 < p_.n) return nmac(c_kappa_, M::of(stiffness_[distance], 0), one * M::of(mass_[distance], 0));
        double square = 0;
        for (std::int64_t via = j - 1; via <= j + 1; ++via)
            if (via >= 0 && via < p_.n && via >= k - 1 && via <= k + 1) square += l(j, via - j) * l(via, k - via);
        const double once = distance < 2 ? l(j, offset) : 0;
        const M mass = M::of((offset ? 0 : 1) - compact_.m * once, 0), stiffness = M::of(once - compact_.q * square, 0);
        return nmac(c_kappa_, stiffness, one * mass);
    }

    double u(std::int64_t j) const { return (j == 0) - (j == p_.n - 1); }
    double t(std::int64_t j) const {
        double sum = l(j, 0) * u(j);
        if (j > 0) sum += l(j, -1) * u(j - 1);
        if (j + 1 < p_.n) sum += l(j, 1) * u(j + 1);
        return sum;
    }

    M a(int k, std::int64_t j) const {
        const M kinetic = c_kappa_ * M::of(k ? compact_.q * u(j) : compact_.q * (t(j) + 2 * u(j)) - u(j), 0);
        if (k) return kinetic;
        return nmac(one_minus_cv<M, complex_potential>(m_, c_, j), M::of(compact_.m * u(j), 0), kinetic);
    }

    M factor(std::int64_t j, int which) const { return M::load(m_.factors + j * row + which * cell); }

    // x -= coefficient(i) x of other rows, from one end to the other; `of_row` says whose coefficient it is.
    void substitute(double* x, std::int64_t direction, int which, bool own) const {
        const std::int64_t first = direction > 0 ? 0 : p_.n - 1;
        for (std::int64_t k = 0, j = first; k < p_.n; ++k, j += direction) {
            M sum = M::load(x + j * border_row);
            for (int i = 1; i <= reach && i <= k; ++i) {
                const std::int64_t from = j - i * direction;
                sum = nmac(factor(own ? j : from, which + i - 1), M::load(x + from * border_row), sum);
            }
            sum.store(x + j * border_row);
        }
    }
    void scale(double* x) const {
        for (std::int64_t j = 0; j < p_.n; ++j) (factor(j, 0) * M::load(x + j * border_row)).store(x + j * border_row);
    }
    void solve(double* x) const {
        substitute(x, m_.direction, 1 + reach, true);
        scale(x);
        substitute(x, -m_.direction, 1, true);
    }
    void solve_transposed(double* x) const {
        substitute(x, m_.direction, 1, false);
        scale(x);
        substitute(x, -m_.direction, 1 + reach, false);
    }

    // The inverse of 1 + [u t]^T [v1 v2].
    void weigh() const {
        M small[2][2];
        for (int i = 0; i < reach; ++i)
            for (int k = 0; k < reach; ++k) {
                M sum = M::of(i == k, 0);
                for (std::int64_t j : {std::int64_t{0}, std::int64_t{1}, p_.n - 2, p_.n - 1})
                    sum = mac(M::of(i ? t(j) : u(j), 0), M::load(m_.border + j * border_row + k * cell), sum);
                small[i][k] = sum;
            }
        if constexpr (reach == 1) {
            inverse(small[0][0]).store(m_.weight);
        } else {
            const M scale = inverse(nmac(small[0][1], small[1][0], small[0][0] * small[1][1]));
            (scale * small[1][1]).store(m_.weight);
            (-(scale * small[0][1])).store(m_.weight + cell);
            (-(scale * small[1][0])).store(m_.weight + 2 * cell);
            (scale * small[0][0]).store(m_.weight + 3 * cell);
        }
    }

    // v becomes C.
    void chi_of(double* v, bool first) const {
        M before = M::zero(), here = M::load(v);
        for (std::int64_t j = 0; j < p_.n; ++j) {
            const M after = j + 1 < p_.n ? M::load(v + (j + 1) * border_row) : M::zero();
            const M l_v = nmac(M::of(1, 0), before + after, M::of(l(j, 0), 0) * here);
            const M c = nmac(M::of(1, 0), here, M::of(compact_.m, 0) * l_v);
            nmac(M::of(compact_.m, 0), M::of(first ? u(j) : 0, 0), c).store(v + j * border_row);
            before = here;
            here = after;
        }
    }

    const Plan& p_;
    const Matrices& m_;
    Compact compact_;
    double mass_[3], stiffness_[3];  // diagonals of 1 - m l and l - q l^2 away from the ends
    M c_, c_kappa_;
    M recip_[2], above1_[2], above2_[2];  // r, and the entries one and two above the diagonal, of the last two rows
};

}  // namespace
}  // namespace qcore::QC_ISA
