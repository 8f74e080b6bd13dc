// Coefficients and states of Cayley steps of any tridiagonal operators, as kernels take them.
#pragma once

#include <cmath>

#include "schrodinger/cayley_run.hpp"
#include "schrodinger_team_run.hpp"

namespace qcore::schrodinger {
namespace {

// Coefficients as they are given; a kernel's systems begin with `first`.
template <class N>
struct Coefficients {
    Pointer<const N> bands, mass, z;
    std::int64_t bands_count, mass_count, z_count, n, first;

    __device__ N z_of(std::int64_t s) const { return z[z_count > 1 ? first + s : 0]; }
    __device__ N band(int b, std::int64_t s, std::int64_t j) const { return entry(bands, bands_count, b, s, j); }
    __device__ N mass_band(int b, std::int64_t s, std::int64_t j) const { return entry(mass, mass_count, b, s, j); }
    // What lies beyond the ends of a band isn't part of it.
    __device__ bool there(int b, std::int64_t j) const { return !(b == 0 && j == 0) && !(b == 2 && j == n - 1); }
    // Of M + sign z A.
    __device__ N matrix(double sign, int b, std::int64_t s, std::int64_t j) const {
        if (!there(b, j)) return N::of(0, 0);
        const N m = mass ? mass_band(b, s, j) : N::of(b == 1, 0);
        return mac(z_of(s).times(sign), band(b, s, j), m);
    }

  private:
    __device__ N entry(Pointer<const N> from, std::int64_t count, int b, std::int64_t s, std::int64_t j) const {
        return from[(b * count + (count > 1 ? first + s : 0)) * n + j];
    }
};

__device__ inline double magnitude(Real<double> a) { return fabs(a.re); }
__device__ inline double magnitude(Complex<double> a) { return fabs(a.re) + fabs(a.im); }

// Rows r, t, k of cayley_run.hpp for M + sign z A or, r_j, k_{j+1}, t_{j-1}, for its transpose: a thread for each set.
template <class N>
__global__ void factor(Coefficients<N> c, bool transposed, Factors<N> factors) {
    const std::int64_t sets = factors.sets;
    for (std::int64_t s = cuda::thread(); s < sets; s += cuda::threads()) {
        const auto row = [&](std::int64_t j, int number) -> N& { return factors.rows[(j * 3 + number) * sets + s]; };
        N r = N::of(0, 0), upper = r, t = r;
        for (std::int64_t j = 0; j < c.n; ++j) {
            const N k = c.matrix(factors.sign, 0, s, j) * r, diagonal = c.matrix(factors.sign, 1, s, j), taken = k * upper,
                    pivot = diagonal - taken, before = t;
            upper = c.matrix(factors.sign, 2, s, j);
            const double scale = 1 / magnitude(pivot);  // the square of a pivot may have left the range
            r = inverse(pivot.times(scale)).times(scale);
            const double kept = magnitude(pivot) / (magnitude(diagonal) + magnitude(taken));
            if (!(kept > lost_pivot && magnitude(r) < HUGE_VAL)) r = N::of(NAN, NAN);
            t = r * upper;
            row(j, 0) = r;
            row(j, 1) = transposed ? N::of(0, 0) : t;
            row(j, 2) = transposed ? before : k;
            if (transposed && j > 0) row(j - 1, 1) = k;
        }
    }
}

// States (number of states, batch, n), of which a launch has the systems from `first` on.
template <class N>
struct States {
    Rows<N> rows;
    std::int64_t batch, n, first;

    __device__ std::int64_t at(std::int64_t state, std::int64_t s, std::int64_t j) const {
        return (state * batch + first + s) * n + j;
    }
    __device__ N get(std::int64_t state, std::int64_t s, std::int64_t j) const { return rows.get(at(state, s, j)); }
    __device__ void set(std::int64_t state, std::int64_t s, std::int64_t j, N x) const { rows.set(at(state, s, j), x); }
};

template <class N>
struct CayleySteps {
    std::int64_t systems, steps;
    Tables<N> tables;
    States<N> psi, out, frames, kept;         // out: the last state
    std::int64_t save_every, checkpoint_every;  // of frames and kept; 0: none
    bool keeps_last;                            // in kept
};

// Where chi of a step comes from: nobody asks, the state after it is traced back, or the states before and after are there.
enum class Known : int { nothing, last, all };

template <class N>
struct CayleyPull {
    std::int64_t systems, first_step, steps;  // of the run's steps those before first_step aren't the launch's
    Tables<N> tables, back;                   // of T^T and M + z A
    States<N> mu, to_mu, grad_frames;         // conj(mu) behind the steps, then in front of them
    std::int64_t save_every;                  // of grad_frames; 0: none
    States<N> states;                         // known: the last alone, or all, first_step's the first
    Pointer<N> sums;                          // nu_i chi_j, then, with a mass, nu_i (psi - chi)_j: [3 or 6][system][point][lane]
};

}  // namespace
}  // namespace qcore::schrodinger
