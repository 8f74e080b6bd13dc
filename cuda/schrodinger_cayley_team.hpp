// Cayley steps of any tridiagonal operators by teams of warps, see schrodinger_team.hpp: their factors are rows of one diagonal on
// either side, as those of order 4. All steps are one launch, states stay in registers.
//
//     forward   M psi (with a mass), chi = T^{-1} M psi, psi <- 2 chi - psi                   T = M - z A
//     back      nu = T^{-T} mu, mu <- 2 M^T nu - mu; chi from the states, or from M + z A and the state after the step
//
// Elimination isn't pivoted, and a pivot that can't be used isn't reported, for nothing waits for the device: the states of that
// system become NaN.
#pragma once

#include "schrodinger_cayley_states.hpp"
#include "schrodinger_team_adjoint.hpp"

namespace qcore::schrodinger {
namespace {

// What a lane's neighbours have, within a team: `of` may be asked for the same slot again after a stage.
template <class N>
class Neighbours {
  public:
    static constexpr int exchanged = 3 * 2 * (most_team / warp);  // numbers in shared memory

    __device__ Neighbours(const Team& team, Pointer<N> exchange)
        : exchange_(exchange), width_(team.width()), place_(static_cast<int>(threadIdx.x) % width_),
          mine_(static_cast<int>(threadIdx.x) / warp), warps_(team.warps()) {}

    // x before the lane's first point and behind its last.
    template <int M>
    __device__ void of(const N (&x)[M], int slot, N& before, N& after) const {
        before = shift_up(x[M - 1], 1, width_);
        after = shift_down(x[0], 1, width_);
        if (place_ == 0) before = N::of(0, 0);
        if (place_ == width_ - 1) after = N::of(0, 0);
        if (warps_ == 1) return;
        const Pointer<N> firsts = exchange_ + slot * 2 * (most_team / warp), lasts = firsts + most_team / warp;
        if (place_ == 0) firsts[mine_] = x[0];
        if (place_ == warp - 1) lasts[mine_] = x[M - 1];
        __syncthreads();
        if (place_ == 0 && mine_ > 0) before = lasts[mine_ - 1];
        if (place_ == warp - 1 && mine_ + 1 < warps_) after = firsts[mine_ + 1];
    }

  private:
    Pointer<N> exchange_;
    int width_, place_, mine_, warps_;
};

// A lane of a team, with what steps of any operators need.
template <class N, int M>
class Stepper {
  public:
    using Own = Member<N, M, 1>;

    static std::size_t shared() {
        return cuda::SharedMemory::bytes<N>(Own::exchanged) + cuda::SharedMemory::bytes<N>(Neighbours<N>::exchanged);
    }

    __device__ Stepper(const Coefficients<N>& c, const Team& team, cuda::SharedMemory& shared)
        : member(c.n, 0, team, shared.array<N>(Own::exchanged)), neighbours(team, shared.array<N>(Neighbours<N>::exchanged)),
          c_(c), team_(team) {}

    // x becomes what `tables` solve for.
    __device__ void solve(const Tables<N>& tables, std::int64_t s, N (&x)[M]) const {
        typename Own::Carried top, bottom;
        member.stage(tables.of(team_, 0, s), false, x, top, bottom, [](int, N chi, N, N) { return chi; });
    }
    // M x or, transposed, M^T x, for the lane's first points.
    __device__ void times_mass(bool transposed, std::int64_t s, std::int64_t left, int slot, const N (&x)[M], N (&product)[M]) const {
        N before, after;
        neighbours.of(x, slot, before, after);
#pragma unroll
        for (int t = 0; t < M; ++t) {
            const std::int64_t j = member.begin + t;
            product[t] = N::of(0, 0);
            if (t >= left) continue;
            product[t] = c_.mass_band(1, s, j) * x[t];
            if (j > 0)
                product[t] = mac(transposed ? c_.mass_band(2, s, j - 1) : c_.mass_band(0, s, j), t ? x[t ? t - 1 : 0] : before,
                                 product[t]);
            if (j + 1 < c_.n)
                product[t] = mac(transposed ? c_.mass_band(0, s, j + 1) : c_.mass_band(2, s, j),
                                 t + 1 < M ? x[t + 1 < M ? t + 1 : t] : after, product[t]);
        }
    }
    // chi of a step that begins with psi, or, by the tables of M + z A, of one that ends with it.
    __device__ void middle(const Tables<N>& tables, std::int64_t s, std::int64_t left, const N (&psi)[M], N (&chi)[M]) const {
        if (c_.mass) {
            times_mass(false, s, left, 2, psi, chi);
        } else {
#pragma unroll
            for (int t = 0; t < M; ++t) chi[t] = psi[t];
        }
        solve(tables, s, chi);
    }

    const Own member;
    const Neighbours<N> neighbours;

  private:
    const Coefficients<N>& c_;
    const Team& team_;
};

template <class N, int M>
__global__ void __launch_bounds__(most_team) advance_any(Coefficients<N> c, Team team, CayleySteps<N> a) {
    cuda::SharedMemory shared;
    const Stepper<N, M> stepper(c, team, shared);
    const std::int64_t begin = stepper.member.begin;
    for (std::int64_t base = static_cast<std::int64_t>(blockIdx.x) * blockDim.y; base < a.systems;
         base += static_cast<std::int64_t>(gridDim.x) * blockDim.y) {
        const bool there = base + threadIdx.y < a.systems;  // or one of a warp's teams has no system
        const std::int64_t s = there ? base + threadIdx.y : base, left = there ? stepper.member.left : 0;
        const auto give = [&](const States<N>& to, std::int64_t state, const N (&x)[M]) {
#pragma unroll
            for (int t = 0; t < M; ++t)
                if (t < left) to.set(state, s, begin + t, x[t]);
        };
        N psi[M], chi[M];
#pragma unroll
        for (int t = 0; t < M; ++t) psi[t] = t < left ? a.psi.get(0, s, begin + t) : N::of(0, 0);
        for (std::int64_t m = 1; m <= a.steps; ++m) {
            stepper.middle(a.tables, s, left, psi, chi);
#pragma unroll
            for (int t = 0; t < M; ++t) psi[t] = chi[t] + chi[t] - psi[t];
            if (a.save_every && m % a.save_every == 0) give(a.frames, m / a.save_every - 1, psi);
            if (a.checkpoint_every && m % a.checkpoint_every == 0 && m < a.steps) give(a.kept, m / a.checkpoint_every - 1, psi);
        }
        give(a.out, 0, psi);
        if (a.keeps_last) give(a.kept, 0, psi);
    }
}

template <class N, int M, Known known>
__global__ void __launch_bounds__(adjoint_team(M), 1) pull_any(Coefficients<N> c, Team team, CayleyPull<N> p) {
    cuda::SharedMemory shared;
    const Stepper<N, M> stepper(c, team, shared);
    const std::int64_t begin = stepper.member.begin;
    for (std::int64_t base = static_cast<std::int64_t>(blockIdx.x) * blockDim.y; base < p.systems;
         base += static_cast<std::int64_t>(gridDim.x) * blockDim.y) {
        const bool there = base + threadIdx.y < p.systems;  // or one of a warp's teams has no system
        const std::int64_t s = there ? base + threadIdx.y : base, left = there ? stepper.member.left : 0;
        N mu[M], nu[M], after[M];
#pragma unroll
        for (int t = 0; t < M; ++t) {
            mu[t] = after[t] = N::of(0, 0);
            if (t >= left) continue;
            mu[t] = p.mu.get(0, s, begin + t).conjugate();
            if (known == Known::last) after[t] = p.states.get(0, s, begin + t);
        }
        // sum += nu_j times what lies beside x_j.
        const auto add = [&](int band, int slot, const N (&x)[M]) {
            N before, behind;
            stepper.neighbours.of(x, slot, before, behind);
#pragma unroll
            for (int b = 0; b < 3; ++b)
#pragma unroll
                for (int t = 0; t < M; ++t) {
                    if (t >= left || !c.there(b, begin + t)) continue;
                    const int k = t + b - 1;
                    const N beside = k < 0 ? before : k < M ? x[k < 0 || k >= M ? 0 : k] : behind;
                    N& sum = p.sums[(((band + b) * p.systems + s) * M + t) * team.lanes + stepper.member.lane];
                    sum = mac(nu[t], beside, sum);
                }
        };
        for (std::int64_t m = p.first_step + p.steps; m > p.first_step; --m) {
            if (p.save_every && m % p.save_every == 0) {
#pragma unroll
                for (int t = 0; t < M; ++t)
                    if (t < left) mu[t] = mu[t] + p.grad_frames.get(m / p.save_every - 1, s, begin + t).conjugate();
            }
#pragma unroll
            for (int t = 0; t < M; ++t) nu[t] = mu[t];
            stepper.solve(p.tables, s, nu);
            N pulled[M];
            if (c.mass) stepper.times_mass(true, s, left, 0, nu, pulled);
#pragma unroll
            for (int t = 0; t < M; ++t) {
                const N once = c.mass ? pulled[t] : nu[t];
                mu[t] = once + once - mu[t];
            }
            if constexpr (known != Known::nothing) {
                N chi[M];
                if constexpr (known == Known::last) {
                    stepper.middle(p.back, s, left, after, chi);
                } else {
                    const std::int64_t state = m - p.first_step;
#pragma unroll
                    for (int t = 0; t < M; ++t) {
                        chi[t] = after[t] = N::of(0, 0);
                        if (t >= left) continue;
                        after[t] = p.states.get(state, s, begin + t);
                        chi[t] = (p.states.get(state - 1, s, begin + t) + after[t]).times(0.5);
                    }
                }
                add(0, 1, chi);
#pragma unroll
                for (int t = 0; t < M; ++t) after[t] = chi[t] - after[t];
                if (c.mass) add(3, 2, after);
#pragma unroll
                for (int t = 0; t < M; ++t) after[t] = chi[t] + after[t];
            }
        }
#pragma unroll
        for (int t = 0; t < M; ++t)
            if (t < left) p.to_mu.set(0, s, begin + t, mu[t].conjugate());
    }
}

}  // namespace
}  // namespace qcore::schrodinger
