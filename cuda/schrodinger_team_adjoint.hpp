// The adjoint of schrodinger_team_steps.hpp: mu stays in registers for all stages of a launch, with the sums for the potential
// and, where the run is traced back, the state. What they sum up is written in csrc/schrodinger/pull.hpp.
//
// Traced back, two stages and six more products a point: about 2.5 times the forward. With 8 points a lane all of it is in
// registers, 256 lanes; systems of more than 2048 points take 16 and leave some to the first-level cache.
#pragma once

#include "schrodinger_team_steps.hpp"

namespace qcore::schrodinger {
namespace {

constexpr int few_points = 8;

// The most lanes of a block. That one block is enough has to be said: else ptxas spills everything to have several.
constexpr int adjoint_team(int points) { return points == few_points ? most_team / 2 : most_team; }

template <class N>
struct TeamAdjoint {
    Tables<N> tables, back;  // for c and for -c
    Rows<N> states, grad_out, grad_frames, grad_psi;
    Pointer<N> mu, psi;                 // (batch, n), between launches
    bool opens, closes;                 // whether the launch holds the run's last stage, and its first
    std::int64_t save_every;
    Pointer<double> potential_sums;     // (slices, batch, n) conjugate numbers of the potential
    std::int64_t first_slice;           // with which they begin
    Pointer<Complex<double>> c_sums;    // [pole][system]
    std::int64_t first, batch;          // the system that the launch begins with, of so many
};

// What is the same for both ways to have chi.
template <class N, int M, int reach>
class Pulling {
  public:
    using Own = Member<N, M, reach>;
    static constexpr int parts = most_team / warp;  // numbers that sum_c wants in shared memory

    __device__ Pulling(const Line& line, const Team& team, const TeamAdjoint<N>& a, Pointer<N> exchange, Pointer<N> sums,
                       std::int64_t system, bool there)
        : member(line, team, exchange), left(there ? member.left : 0), row((a.first + system) * line.n + member.begin),
          line_(line), team_(team), a_(a), sums_(sums), system_(system) {
#pragma unroll
        for (int t = 0; t < M; ++t) {
            mu[t] = N::of(0, 0);
            if (t < left) mu[t] = a.opens ? a.grad_out.get(row + t).conjugate() : a.mu[row + t];
        }
    }

    __device__ void add_frame(std::int64_t stage) {
        if (!a_.save_every || (stage + 1) % a_.save_every) return;
        const std::int64_t at = ((stage + 1) / a_.save_every - 1) * a_.batch * line_.n + row;
#pragma unroll
        for (int t = 0; t < M; ++t)
            if (t < left) mu[t] = mu[t] + a_.grad_frames.get(at + t).conjugate();
    }

    // Whether the slice of the potential, or the run, begins with this stage.
    __device__ bool completes(std::int64_t stage) const { return line_.slices > 1 ? stage % line_.poles == 0 : stage == 0; }

    // Where the sums of the stage's slice belong.
    __device__ std::int64_t sums_at(std::int64_t stage) const {
        const std::int64_t slice = line_.slices > 1 ? stage / line_.poles - a_.first_slice : 0;
        return slice * a_.batch * line_.n + row;
    }

    // Hands out a pole's sum, which begins anew, where the next stage is another's.
    __device__ void sum_c(std::int64_t stage, std::int64_t first_stage, N factor, N& sum) const {
        if (line_.poles == 1 && stage > first_stage) return;
        for (int distance = 1; distance < team_.width(); distance *= 2) sum = sum + shift_down(sum, distance, team_.width());
        if (team_.warps() > 1) {
            if (member.lane % warp == 0) sums_[member.lane / warp] = sum;
            __syncthreads();
            for (int v = 1; v < team_.warps() && member.lane == 0; ++v) sum = sum + sums_[v];
        }
        if (member.lane == 0 && left > 0) {
            Complex<double>& to = a_.c_sums[stage % line_.poles * a_.batch + a_.first + system_];
            to = to + convert<Complex<double>>(factor * sum);
        }
        sum = N::of(0, 0);
    }

    __device__ void give_mu() const {
#pragma unroll
        for (int t = 0; t < M; ++t)
            if (t < left) {
                if (a_.closes) a_.grad_psi.set(row + t, mu[t].conjugate());
                else a_.mu[row + t] = mu[t];
            }
    }

    const Own member;
    const std::int64_t left, row;  // left: points of the lane
    N mu[M];

  private:
    const Line& line_;
    const Team& team_;
    const TeamAdjoint<N>& a_;
    Pointer<N> sums_;
    std::int64_t system_;
};

// Cayley stages of a real potential, with the state traced back.
template <class N, int M, int reach>
__global__ void __launch_bounds__(adjoint_team(M), 1) pull_team(Line line, Team team, Stages stages, TeamAdjoint<N> a) {
    using Own = Member<N, M, reach>;
    cuda::SharedMemory shared;
    const auto exchange = shared.array<N>(Own::exchanged), parts = shared.array<N>(Pulling<N, M, reach>::parts);
    for (std::int64_t base = static_cast<std::int64_t>(blockIdx.x) * blockDim.y; base < line.batch;
         base += static_cast<std::int64_t>(gridDim.x) * blockDim.y) {
        const bool there = base + threadIdx.y < line.batch;  // or one of a warp's teams has no system
        const std::int64_t system = there ? base + threadIdx.y : base;
        Pulling<N, M, reach> pulling(line, team, a, exchange, parts, system, there);
        const std::int64_t left = pulling.left;
        const Own& member = pulling.member;
        const std::int64_t row = pulling.row;
        N psi[M], nu[M], change_sum = N::of(0, 0);
        typename Own::Carried top, bottom;
        double sums[M];
#pragma unroll
        for (int t = 0; t < M; ++t) {
            psi[t] = N::of(0, 0);
            if (t < left) psi[t] = a.opens ? a.states.get(row + t) : a.psi[row + t];
            sums[t] = 0;
        }
        for (std::int64_t i = stages.first + stages.count; i-- > stages.first;) {
            pulling.add_frame(i);
            // In order 2 what stages give for nu and chi is still to be divided by c kappa and -c kappa.
            const N c = line.template coefficient<N>(i % line.poles, 1);
            const N to_nu = reach ? N::of(1, 0) : inverse(c.times(line.kappa)), to_chi = reach ? to_nu : -to_nu;
            const auto step_of_mu = [&](int t, N scaled, N mu, N gain) {
                nu[t] = scaled;
                return stepped<reach>(true, gain, scaled, mu);
            };
            member.stage(a.tables.of(team, i, system), line.periodic, pulling.mu, top, bottom, step_of_mu);
            const N factor = (c * to_nu * to_chi).times(2);
            member.stage(a.back.of(team, i, system), line.periodic, psi, top, bottom, [&](int t, N scaled, N after, N gain) {
                const N scaled_nu = factor * nu[t];
                sums[t] += scaled_nu.re * scaled.re - scaled_nu.imaginary() * scaled.imaginary();
                change_sum = mac(nu[t], reach ? after - scaled : nmac(to_chi, scaled, after), change_sum);
                return stepped<reach>(true, gain, scaled, after);
            });
            pulling.sum_c(i, stages.first, (to_nu * inverse(c)).times(2), change_sum);
            if (pulling.completes(i)) {
                const std::int64_t at = pulling.sums_at(i);
#pragma unroll
                for (int t = 0; t < M; ++t) {
                    if (t < left) a.potential_sums[at + t] = sums[t];
                    sums[t] = 0;
                }
            }
        }
        pulling.give_mu();
        if (a.closes) continue;
#pragma unroll
        for (int t = 0; t < M; ++t)
            if (t < left) a.psi[row + t] = psi[t];
    }
}

// Stages of any kind whose states are there, the one before all stages first.
template <class N, int M, int reach>
__global__ void __launch_bounds__(adjoint_team(M), 1) pull_known_team(Line line, Team team, Stages stages, TeamAdjoint<N> a) {
    using Own = Member<N, M, reach>;
    cuda::SharedMemory shared;
    const auto exchange = shared.array<N>(Own::exchanged), parts = shared.array<N>(Pulling<N, M, reach>::parts);
    const int values = line.complex_potential ? 2 : 1;
    for (std::int64_t base = static_cast<std::int64_t>(blockIdx.x) * blockDim.y; base < line.batch;
         base += static_cast<std::int64_t>(gridDim.x) * blockDim.y) {
        const bool there = base + threadIdx.y < line.batch;  // or one of a warp's teams has no system
        const std::int64_t system = there ? base + threadIdx.y : base;
        Pulling<N, M, reach> pulling(line, team, a, exchange, parts, system, there);
        const std::int64_t left = pulling.left;
        const Own& member = pulling.member;
        N sums[M], change_sum = N::of(0, 0);
        typename Own::Carried top, bottom;
#pragma unroll
        for (int t = 0; t < M; ++t) sums[t] = N::of(0, 0);
        for (std::int64_t i = stages.first + stages.count; i-- > stages.first;) {
            pulling.add_frame(i);
            const N c = line.template coefficient<N>(i % line.poles, 1), alpha = N::of(line.cayley ? 2 : 1, 0),
                    to_nu = reach ? N::of(1, 0) : inverse(c.times(line.kappa)), factor = alpha * c * to_nu;
            const std::int64_t state = a.batch * line.n, before_stage = i * state + pulling.row;
            member.stage(a.tables.of(team, i, system), line.periodic, pulling.mu, top, bottom, [&](int t, N nu, N mu, N gain) {
                if (t < left) {
                    const N before = a.states.get(before_stage + t), after = a.states.get(before_stage + state + t);
                    const N chi = line.cayley ? (before + after).times(0.5) : after;
                    sums[t] = mac(factor * nu, chi, sums[t]);
                    change_sum = mac(nu, chi - before, change_sum);
                }
                return stepped<reach>(line.cayley, gain, nu, mu);
            });
            pulling.sum_c(i, stages.first, alpha * to_nu * inverse(c), change_sum);
            if (pulling.completes(i)) {
                const std::int64_t at = pulling.sums_at(i);
#pragma unroll
                for (int t = 0; t < M; ++t) {
                    if (t < left) {
                        a.potential_sums[(at + t) * values] = sums[t].re;
                        if (values == 2) a.potential_sums[(at + t) * values + 1] = -sums[t].imaginary();
                    }
                    sums[t] = N::of(0, 0);
                }
            }
        }
        pulling.give_mu();
    }
}

}  // namespace
}  // namespace qcore::schrodinger
