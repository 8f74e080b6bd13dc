// The sweeps of a Cayley step over one or two vectors of systems; rows are [j][group][part][lane].
#pragma once

#include "core/config.hpp"
#include "schrodinger/cayley_number.hpp"
#include "schrodinger/cayley_run.hpp"

namespace qcore::QC_ISA {
namespace {

using schrodinger::Factors;

// A coefficient of row j: one number for all lanes, or one in each.
template <class X, bool lanewise>
X coefficient(const double* p, std::int64_t j) {
    if constexpr (lanewise) return X::load(p + j * X::size);
    else return X::broadcast(p + j * X::parts);
}

// --- alternating sweeps ---
// Between steps what is stored is not psi but the eliminated vector, y = (1 + k)^{-1} psi divided by the pivots, or the same
// from the other end, w. A sweep down does the back substitution of one step and the elimination, from that end, of the next
// in one read and one write:
//     chi_j = y_j - r_j U_j chi_{j+1},  psi_j = y_j / r_j + L_j y_{j-1},  w_j = q_j (2 chi_j - psi_j - U_j w_{j+1}),
// L and U the off-diagonals of T and q the reciprocal pivots from the far end. A sweep up is its mirror image.
// Rows of coefficients: down  r U, 1 / r, L, q, q U;   up  q L, 1 / q, U, r, r L.

template <class X, int G, bool down>
QC_KERNEL void alternating_sweep(std::int64_t n, const double* coefficients, double* y) {
    constexpr std::int64_t row = G * X::size;
    constexpr std::int64_t ahead = down ? -row : row;
    X chi[G], w[G], here[G];
    double* p = y + (down ? (n - 1) * row : 0);
    for (int g = 0; g < G; ++g) {
        chi[g] = w[g] = X::zero();
        here[g] = X::load(p + g * X::size);
    }
    for (std::int64_t i = 0; i < n; ++i, p += ahead) {
        const double* const c = coefficients + (down ? n - 1 - i : i) * 5 * X::parts;
        X k[5];
        for (int m = 0; m < 5; ++m) k[m] = X::broadcast(c + m * X::parts);
        const bool last = i + 1 == n;
        for (int g = 0; g < G; ++g) {
            const X next = last ? X::zero() : X::load(p + ahead + g * X::size);
            chi[g] = X::minus_product(here[g], k[0], chi[g]);
            const X psi = X::plus_product(k[1] * here[g], k[2], next);
            const X stepped = k[3] * X::twice_minus(chi[g], psi);
            w[g] = X::minus_product(stepped, k[4], w[g]);
            w[g].store(p + g * X::size);
            here[g] = next;
        }
    }
}

// y from psi, in place.
template <class X, int G>
QC_KERNEL void eliminate(std::int64_t n, const double* up, double* y) {
    X before[G];
    for (int g = 0; g < G; ++g) before[g] = X::zero();
    for (std::int64_t j = 0; j < n; ++j)
        for (int g = 0; g < G; ++g) {
            double* const p = y + (j * G + g) * X::size;
            const double* const c = up + j * 5 * X::parts;
            before[g] = X::minus_product(X::broadcast(c + 3 * X::parts) * X::load(p), X::broadcast(c + 4 * X::parts), before[g]);
            before[g].store(p);
        }
}

// psi at points [begin, end) from y (coefficients of a sweep down) or from w (of one up).
template <class X, int G, bool from_y>
QC_KERNEL void recover(std::int64_t n, std::int64_t begin, std::int64_t end, const double* coefficients, const double* y, double* psi) {
    for (std::int64_t j = begin; j < end; ++j) {
        const double* const c = coefficients + j * 5 * X::parts;
        const std::int64_t neighbour = from_y ? j - 1 : j + 1;
        for (int g = 0; g < G; ++g) {
            X value = X::broadcast(c + X::parts) * X::load(y + (j * G + g) * X::size);
            if (neighbour >= 0 && neighbour < n)
                value = X::plus_product(value, X::broadcast(c + 2 * X::parts), X::load(y + (neighbour * G + g) * X::size));
            value.store(psi + ((j - begin) * G + g) * X::size);
        }
    }
}

// --- two sweeps, for any coefficients ---

// Row j of M psi, j rising: a window of three rows.
template <class X, bool lanewise>
struct MassRow {
    std::int64_t n;
    const double *mass, *psi;
    X before = X::zero(), here;

    MassRow(std::int64_t points, const double* rows, const double* state) : n(points), mass(rows), psi(state), here(X::load(state)) {}
    X next(std::int64_t j) {
        const X after = j + 1 < n ? X::load(psi + (j + 1) * X::size) : X::zero();
        X sum = coefficient<X, lanewise>(mass, n + j) * here;
        sum = X::plus_product(sum, coefficient<X, lanewise>(mass, j), before);
        sum = X::plus_product(sum, coefficient<X, lanewise>(mass, 2 * n + j), after);
        before = here;
        here = after;
        return sum;
    }
};

// psi <- 2 chi - psi with T chi = M psi + (source at the ends); u is scratch. `ends` gets chi at the first and last point.
template <class X, bool lanewise, bool with_mass, bool with_ends>
QC_KERNEL void two_sweeps(std::int64_t n, Factors f, const double* mass, double* psi, double* u, const double* source, double* ends) {
    X before = X::zero();
    if constexpr (with_mass) {
        MassRow<X, lanewise> rows(n, mass, psi);
        for (std::int64_t j = 0; j < n; ++j) {
            before = X::minus_product(rows.next(j), coefficient<X, lanewise>(f.k, j), before);
            before.store(u + j * X::size);
        }
    } else {
        std::int64_t j = 0;
        if constexpr (with_ends) {
            before = X::load(psi) + X::load(source);
            before.store(u);
            j = 1;
        }
        for (; j < n; ++j) {
            before = X::minus_product(X::load(psi + j * X::size), coefficient<X, lanewise>(f.k, j), before);
            before.store(u + j * X::size);
        }
    }
    if constexpr (with_ends) (before + X::load(source + X::size)).store(u + (n - 1) * X::size);
    X chi = X::zero();
    for (std::int64_t j = n - 1; j >= 0; --j) {
        double* const p = psi + j * X::size;
        chi = X::minus_product(coefficient<X, lanewise>(f.r, j) * X::load(u + j * X::size), coefficient<X, lanewise>(f.t, j), chi);
        X::twice_minus(chi, X::load(p)).store(p);
        if constexpr (with_ends)
            if (j == n - 1) chi.store(ends + X::size);
    }
    if constexpr (with_ends) chi.store(ends);
}

// --- the adjoint of a step ---

// Where chi of a step comes from: nobody asks, the state after it is traced back, or the states before and after are there.
enum class States { none, traced, known };

// Vectors of an adjoint step, [j][part][lane].
struct AdjointRows {
    double *mu, *v;              // gradient to the state after the step, then to the one before; scratch
    double *after, *u;           // traced: the state after, then the one before; scratch
    const double* before;        // known
    double* sums;                // [3 or 6][n]
    const double* source;        // to the right hand side at both ends
    double* ends;                // nu at both ends
};

template <class X>
void add_to(double* p, X a, X b) {
    X::plus_product(X::load(p), a, b).store(p);
}

// With nu = T^{-T} mu: mu <- 2 M^T nu - mu, and the sums of nu_i chi_j.
template <class X, bool lanewise, bool with_mass, bool with_ends, States states>
QC_KERNEL void adjoint_step(std::int64_t n, Factors f, Factors back, const double* mass, const AdjointRows& a) {
    constexpr std::int64_t row = X::size;
    // Both eliminations in one loop: while one waits for its last row, the other goes on.
    MassRow<X, lanewise> rows(n, mass, states == States::traced ? a.after : a.mu);
    X v = X::zero(), u = X::zero();
    for (std::int64_t j = 0; j < n; ++j) {
        X right = X::load(a.mu + j * row);
        if constexpr (with_ends)
            if (j == 0) right = right + X::load(a.source);
        v = j == 0 ? right : X::minus_product(right, coefficient<X, lanewise>(f.t, j - 1), v);
        v.store(a.v + j * row);
        if constexpr (states == States::traced) {
            X state;
            if constexpr (with_mass) state = rows.next(j);
            else state = X::load(a.after + j * row);
            u = X::minus_product(state, coefficient<X, lanewise>(back.k, j), u);
            u.store(a.u + j * row);
        }
    }
    if constexpr (with_ends) (v + X::load(a.source + row)).store(a.v + (n - 1) * row);

    X nu = X::zero(), chi = X::zero(), change = X::zero();  // those of row j + 1
    for (std::int64_t j = n - 1; j >= 0; --j) {
        const X nu_next = nu, chi_next = chi, change_next = change;
        nu = coefficient<X, lanewise>(f.r, j) * X::load(a.v + j * row);
        if (j + 1 < n) nu = X::minus_product(nu, coefficient<X, lanewise>(f.k, j + 1), nu_next);
        if constexpr (with_ends)
            if (j == n - 1) nu.store(a.ends + row);
        if constexpr (with_mass) nu.store(a.v + j * row);
        else X::twice_minus(nu, X::load(a.mu + j * row)).store(a.mu + j * row);
        if constexpr (states != States::none) {
            const X after = X::load(a.after + j * row);
            if constexpr (states == States::traced) {
                chi = X::minus_product(coefficient<X, lanewise>(back.r, j) * X::load(a.u + j * row),
                                       coefficient<X, lanewise>(back.t, j), chi_next);
                X::twice_minus(chi, after).store(a.after + j * row);
            } else {
                chi = X::mean(X::load(a.before + j * row), after);
            }
            if constexpr (with_mass) change = chi - after;  // the state before less chi
            add_to(a.sums + (n + j) * row, nu, chi);
            if constexpr (with_mass) add_to(a.sums + (4 * n + j) * row, nu, change);
            if (j + 1 < n) {
                add_to(a.sums + (2 * n + j) * row, nu, chi_next);
                add_to(a.sums + (j + 1) * row, nu_next, chi);
                if constexpr (with_mass) {
                    add_to(a.sums + (5 * n + j) * row, nu, change_next);
                    add_to(a.sums + (3 * n + j + 1) * row, nu_next, change);
                }
            }
        }
    }
    if constexpr (with_ends) nu.store(a.ends);
    if constexpr (with_mass) {
        X left = X::zero(), here = X::load(a.v);
        for (std::int64_t j = 0; j < n; ++j) {
            X sum = coefficient<X, lanewise>(mass, n + j) * here;
            if (j > 0) sum = X::plus_product(sum, coefficient<X, lanewise>(mass, 2 * n + j - 1), left);
            X after = X::zero();
            if (j + 1 < n) {
                after = X::load(a.v + (j + 1) * row);
                sum = X::plus_product(sum, coefficient<X, lanewise>(mass, j + 1), after);
            }
            X::twice_minus(sum, X::load(a.mu + j * row)).store(a.mu + j * row);
            left = here;
            here = after;
        }
    }
}

// --- transparent ends ---

// sum over k < m of weight_{m-k} past_k, in a fixed order.
template <class X, bool lanewise>
QC_KERNEL void convolve(std::int64_t m, const double* weights, const double* past, double* result) {
    X sum[4] = {X::zero(), X::zero(), X::zero(), X::zero()};
    std::int64_t k = 0;
    for (; k + 4 <= m; k += 4)
        for (int i = 0; i < 4; ++i)
            sum[i] = X::plus_product(sum[i], coefficient<X, lanewise>(weights, m - k - i), X::load(past + (k + i) * X::size));
    for (; k < m; ++k) sum[0] = X::plus_product(sum[0], coefficient<X, lanewise>(weights, m - k), X::load(past + k * X::size));
    ((sum[0] + sum[1]) + (sum[2] + sum[3])).store(result);
}

// result_m = sum over i of a_{m+i} b_i, where a is stored last first: what a weight of the ends adds to a gradient.
template <class X>
QC_KERNEL void correlate(std::int64_t steps, const double* a_backwards, const double* b, double* result) {
    for (std::int64_t m = 0; m < steps; ++m) {
        X sum[2] = {X::zero(), X::zero()};
        std::int64_t i = 0;
        for (; i + 2 <= steps - m; i += 2)
            for (int h = 0; h < 2; ++h)
                sum[h] = X::plus_product(sum[h], X::load(a_backwards + (steps - 1 - m - i - h) * X::size), X::load(b + (i + h) * X::size));
        for (; i < steps - m; ++i)
            sum[0] = X::plus_product(sum[0], X::load(a_backwards + (steps - 1 - m - i) * X::size), X::load(b + i * X::size));
        (sum[0] + sum[1]).store(result + m * X::size);
    }
}

}  // namespace
}  // namespace qcore::QC_ISA
