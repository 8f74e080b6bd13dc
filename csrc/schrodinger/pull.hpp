// The sweep of the adjoint: a stage of mu, the derivative of the result with respect to the state, and the same stage of the state
// on its way back, row by row beside each other.
//
// S = (1 - cH)^{-1} is complex symmetric, so that with nu = S mu' a stage pulls mu' back to mu = alpha nu + beta mu', and
//     dV_j += alpha c nu_j chi_j,      dc += (alpha / c) sum_j nu_j (chi_j - psi_j),      since H chi = (chi - psi) / c.
// Where H is constant all stages commute, and the last sum is the same for every stage with this c.
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

template <class N, bool per_lane, int groups, int reach, template <class> class Update, bool traced, Sum kind, bool with_c>
QC_KERNEL void pull(const Pull<typename N::Scalar>& arguments) {
    using T = typename N::Scalar;
    using S = Simd<T>;
    constexpr std::int64_t lanes = N::parts * N::width, pitch = groups * lanes;
    constexpr bool conjugated = kind == Sum::imaginary_part;
    constexpr int values = kind == Sum::both ? 2 : 1;
    const Pull<T> a = arguments;
    const std::int64_t step = a.mu.direction, first = step > 0 ? 0 : a.mu.n - 1;
    const Update<N> update(a.mu.gain), update_back(traced ? a.psi.gain : a.mu.gain);
    Row<N, per_lane, reach> row(a.mu, first), row_back(traced ? a.psi : a.mu, first);
    Track<N, per_lane, reach> mu[groups], psi[groups];
    for (int g = 0; g < groups; ++g) {
        mu[g].start(a.mu, row, a.mu.state + first * pitch + g * lanes, g * lanes);
        if constexpr (traced) psi[g].start(a.psi, row_back, a.psi.state + first * pitch + g * lanes, g * lanes);
    }
    const N ratio = N::broadcast(a.ratio), factor = N::broadcast(a.factor);
    N sum_c = with_c ? N::load(a.sum_c) : N::zero();
    for (std::int64_t k = 0, j = first; k < a.mu.n; ++k, j += step) {
        row.enter(a.mu, j, step);
        if constexpr (traced && !conjugated) row_back.enter(a.psi, j, step);
        T* const to = a.sum_potential + j * values * N::width;
        typename S::V sum = S::load(to), sum_im = values == 2 ? S::load(to + N::width) : S::zero();
        for (int g = 0; g < groups; ++g) {
            T* const p = a.mu.state + j * pitch + g * lanes;
            // In order 2 these are c kappa nu and -c kappa chi.
            const N nu = mu[g].solve(a.mu, row, j, p, step * pitch);
            mu[g].eliminate(a.mu, row, j, update(nu, mu[g].template recover<Update<N>::needs_psi>(row, p, step * pitch)), p);
            N chi, change = N::zero();
            if constexpr (traced) {
                const auto& its_row = conjugated ? row : row_back;
                T* const q = a.psi.state + j * pitch + g * lanes;
                chi = psi[g].solve(a.psi, its_row, j, q, step * pitch);
                const N after = psi[g].template recover<true>(its_row, q, step * pitch);
                psi[g].eliminate(a.psi, its_row, j, update_back(chi, after), q);
                if constexpr (!with_c) change = N::zero();
                else if constexpr (conjugated)
                    change = {subtract_product<T>(chi.im, ratio.im, after.re), S::fma(chi.re, ratio.im, after.im)};
                else if constexpr (reach == 0) change = nmac(ratio, chi, after);
                else change = after - chi;
            } else {
                chi = N::load(a.chi + j * pitch + g * lanes);
                change = N::load(a.change + j * pitch + g * lanes);
            }
            if constexpr (with_c) sum_c = conjugated ? mac_conjugate(nu, change, sum_c) : mac(nu, change, sum_c);
            if constexpr (conjugated) {
                sum = subtract_product<T>(nu.re, chi.im, S::fma(nu.im, chi.re, sum));
            } else {
                const N scaled = factor * nu;
                sum = S::fma(scaled.re, chi.re, sum);
                if constexpr (N::parts == 2) sum = subtract_product<T>(scaled.im, chi.im, sum);
                if constexpr (values == 2) sum_im = S::fma(scaled.re, chi.im, S::fma(scaled.im, chi.re, sum_im));
            }
        }
        S::store(to, sum);
        if constexpr (values == 2) S::store(to + N::width, sum_im);
    }
    if constexpr (with_c) sum_c.store(a.sum_c);
    for (int g = 0; g < groups; ++g) {
        mu[g].end(a.mu, g * lanes);
        if constexpr (traced) psi[g].end(a.psi, g * lanes);
    }
}

}  // namespace
}  // namespace qcore::QC_ISA
