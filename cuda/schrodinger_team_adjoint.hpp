// The adjoint of schrodinger_team.hpp for Cayley stages that are traced back: mu and the state stay in registers for all stages,
// with the sums for a real potential. What they sum up is written in csrc/schrodinger/pull.hpp.
//
// Two stages and six more products a point: about 2.5 times the forward. 8 points a lane, of which there are 256 at most.
#pragma once

#include "schrodinger_team.hpp"

namespace qcore::schrodinger {
namespace {

constexpr int adjoint_team = 256, adjoint_points = 8;

inline bool has_adjoint_team(const Line& line) {
    return line.reach == 0 && line.slices == 1 && line.cayley && !line.complex_potential &&
           line.n <= adjoint_points * adjoint_team;
}
inline Team make_adjoint_team(const Line& line) {
    constexpr int across = adjoint_points * warp;
    return {adjoint_points, static_cast<int>((line.n + across - 1) / across) * warp, line.periodic};
}

// The stage of mu: keeps c kappa nu.
template <class N, int M>
struct StepOfMu : Solution<N, M> {
    N (&nu)[M];

    __device__ N operator()(int t, N w, N mu) const {
        nu[t] = this->corrected(t, w);
        return mac(this->g, nu[t], -mu);
    }
};

// The stage of the state on its way back, with the sums of what both have. Scaled solutions are still to be divided by c kappa
// and by -c kappa.
template <class N, int M>
struct StepBack : Solution<N, M> {
    const N (&nu)[M];
    double (&sums)[M];
    N& change_sum;
    N to_chi, factor;  // 1 / (-c kappa); alpha c over both

    __device__ N operator()(int t, N w, N after) const {
        const N scaled = this->corrected(t, w), scaled_nu = factor * nu[t];
        sums[t] += scaled_nu.re * scaled.re - scaled_nu.imaginary() * scaled.imaginary();
        change_sum = mac(nu[t], nmac(to_chi, scaled, after), change_sum);
        return mac(this->g, scaled, -after);
    }
};

template <class N>
struct TeamAdjoint {
    Pointer<const N> coefficients, back;  // for c and for -c
    Rows<N> states, grad_out, grad_frames, grad_psi;
    std::int64_t save_every;
    Pointer<double> potential_sums;          // (batch, n)
    Pointer<Complex<double>> c_sums;         // [pole][system]
    std::int64_t first, batch;               // the system that the launch begins with, of so many
};

template <class N>
__global__ void __launch_bounds__(adjoint_team) pull_team(Line line, Team team, std::int64_t stages, TeamAdjoint<N> a) {
    constexpr int M = adjoint_points;
    cuda::SharedMemory shared;
    const auto exchange = shared.array<N>(exchanged);
    const auto parts = shared.array<N>(adjoint_team / warp);
    const Member<N, M> member(line.n, team, exchange);
    for (std::int64_t system = blockIdx.x * blockDim.y + threadIdx.y; system < line.batch;
         system += static_cast<std::int64_t>(gridDim.x) * blockDim.y) {
        const std::int64_t row = (a.first + system) * line.n + member.begin, set = line.systems > 1 ? system : 0;
        N mu[M], psi[M], nu[M], change_sum = N::of(0, 0), top, bottom;
        double sums[M];
#pragma unroll
        for (int t = 0; t < M; ++t) {
            mu[t] = t < member.left ? a.grad_out.get(row + t).conjugate() : N::of(0, 0);
            psi[t] = t < member.left ? a.states.get(row + t) : N::of(0, 0);
            sums[t] = 0;
        }
        for (std::int64_t i = stages; i-- > 0;) {
            if (a.save_every && (i + 1) % a.save_every == 0) {
                const std::int64_t at = ((i + 1) / a.save_every - 1) * a.batch * line.n + row;
#pragma unroll
                for (int t = 0; t < M; ++t)
                    if (t < member.left) mu[t] = mu[t] + a.grad_frames.get(at + t).conjugate();
            }
            const std::int64_t pole = i % line.poles, place = (pole * line.systems + set) * team.size();
            const N c = line.template coefficient<N>(pole, 1), to_nu = inverse(c.times(line.kappa)), to_chi = -to_nu;
            member.stage(a.coefficients + place, line.periodic, mu, top, bottom, StepOfMu<N, M>{{line.periodic}, nu});
            const N factor = c * to_nu * to_chi;
            member.stage(a.back + place, line.periodic, psi, top, bottom,
                         StepBack<N, M>{{line.periodic}, nu, sums, change_sum, to_chi, factor.times(2)});
            if (line.poles > 1 || i == 0) {
                for (int k = 0; k < 5; ++k) change_sum = change_sum + shift_down(change_sum, 1 << k);
                if (team.warps() > 1) {
                    if (member.lane % warp == 0) parts[member.lane / warp] = change_sum;
                    __syncthreads();
                    for (int v = 1; v < team.warps() && member.lane == 0; ++v) change_sum = change_sum + parts[v];
                }
                if (member.lane == 0) {
                    Complex<double>& to = a.c_sums[pole * a.batch + a.first + system];
                    to = to + convert<Complex<double>>((to_nu * inverse(c) * change_sum).times(2));
                }
                change_sum = N::of(0, 0);
            }
        }
#pragma unroll
        for (int t = 0; t < M; ++t)
            if (t < member.left) {
                a.grad_psi.set(row + t, mu[t].conjugate());
                a.potential_sums[row + t] = sums[t];
            }
    }
}

}  // namespace
}  // namespace qcore::schrodinger
