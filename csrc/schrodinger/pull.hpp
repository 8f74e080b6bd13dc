// The sweep of the adjoint: a stage of mu, the derivative of the result with respect to the state, and the same stage of the state
// on its way back, row by row beside each other.
//
// S = (1 - cH)^{-1} is complex symmetric, so that with nu = S mu' a stage pulls mu' back to mu = alpha nu + beta mu', and
//     dV_j += alpha c nu_j chi_j,      dc += (alpha / c) sum_j nu_j (chi_j - psi_j),      since H chi = (chi - psi) / c.
// chi = S(-c) psi' for Cayley factors, where chi - psi = psi' - chi; or it is worked out from stored states.
#pragma once

#include "schrodinger/sweep.hpp"

namespace qcore::QC_ISA {
namespace {

template <class T>
struct Pull {
    Sweep<T> mu, psi;
    const T *chi, *change;  // rows of chi and of chi - psi, where they are known
    T ratio[2];             // chi = ratio w, order 2
    T factor[2];            // of the sum for V
    T* sum_potential;       // [j][1 or 2][lane]
    T* sum_c;               // [parts][lane]
};

// What is added up for V. For Crank-Nicolson in real time with real V, in order 2, the factor is imaginary and the same in all
// stages, so it waits until the end; and -c = conj(c): the conjugate of the state goes back by the coefficients of mu.
enum class Sum { imaginary_part, real_part, both };

template <class N, bool per_lane, int reach, template <class> class Update, bool traced, Sum kind>
QC_KERNEL void pull(const Pull<typename N::Scalar>& arguments) {
    using T = typename N::Scalar;
    using S = Simd<T>;
    constexpr std::int64_t lanes = N::parts * N::width;
    constexpr bool conjugated = kind == Sum::imaginary_part;
    const Pull<T> a = arguments;
    const std::int64_t step = a.mu.direction, first = step > 0 ? 0 : a.mu.n - 1, pitch = step * lanes;
    const Update<N> update(a.mu.gain), update_back(traced ? a.psi.gain : a.mu.gain);
    Row<N, per_lane, reach> row(a.mu, first), row_back(traced ? a.psi : a.mu, first);
    Track<N, per_lane, reach> mu, psi;
    mu.start(a.mu, row, a.mu.state + first * lanes, 0);
    if constexpr (traced) psi.start(a.psi, row_back, a.psi.state + first * lanes, 0);
    const N ratio = N::broadcast(a.ratio), factor = N::broadcast(a.factor);
    N sum_c = N::load(a.sum_c);
    for (std::int64_t k = 0, j = first; k < a.mu.n; ++k, j += step) {
        row.enter(a.mu, j, step);
        T* const p = a.mu.state + j * lanes;
        // In order 2 these are c kappa nu and -c kappa chi.
        const N nu = mu.solve(a.mu, row, j, p, pitch);
        mu.eliminate(a.mu, row, j, update(nu, mu.template recover<Update<N>::needs_psi>(row, p, pitch)), p);
        N chi, change;
        if constexpr (traced) {
            if constexpr (!conjugated) row_back.enter(a.psi, j, step);
            const auto& its_row = conjugated ? row : row_back;
            T* const q = a.psi.state + j * lanes;
            chi = psi.solve(a.psi, its_row, j, q, pitch);
            const N after = psi.template recover<true>(its_row, q, pitch);
            psi.eliminate(a.psi, its_row, j, update_back(chi, after), q);
            if constexpr (conjugated) change = {subtract_product<T>(chi.im, ratio.im, after.re), S::fma(chi.re, ratio.im, after.im)};
            else if constexpr (reach == 0) change = nmac(ratio, chi, after);
            else change = after - chi;
        } else {
            chi = N::load(a.chi + j * lanes);
            change = N::load(a.change + j * lanes);
        }
        sum_c = conjugated ? mac_conjugate(nu, change, sum_c) : mac(nu, change, sum_c);
        if constexpr (kind == Sum::both) {
            mac(factor * nu, chi, N::load(a.sum_potential + j * lanes)).store(a.sum_potential + j * lanes);
        } else {
            T* const to = a.sum_potential + j * N::width;
            auto sum = S::load(to);
            if constexpr (conjugated) {
                sum = subtract_product<T>(nu.re, chi.im, S::fma(nu.im, chi.re, sum));
            } else {
                const N scaled = factor * nu;
                sum = S::fma(scaled.re, chi.re, sum);
                if constexpr (N::parts == 2) sum = subtract_product<T>(scaled.im, chi.im, sum);
            }
            S::store(to, sum);
        }
    }
    sum_c.store(a.sum_c);
    mu.end(a.mu, 0);
    if constexpr (traced) psi.end(a.psi, 0);
}

}  // namespace
}  // namespace qcore::QC_ISA
