// Steps by teams: the kernel that takes states through some stages.
#pragma once

#include "schrodinger_team_member.hpp"

namespace qcore::schrodinger {
namespace {

// A tensor of a system's points in single or double precision: the other pointer is null.
template <class N>
struct Rows {
    Pointer<typename N::template With<float>> narrow;
    Pointer<typename N::template With<double>> wide;

    __device__ N get(std::int64_t i) const { return narrow ? convert<N>(narrow[i]) : convert<N>(wide[i]); }
    __device__ void set(std::int64_t i, N value) const {
        if (narrow) narrow[i] = convert<typename N::template With<float>>(value);
        else wide[i] = convert<typename N::template With<double>>(value);
    }
};

// What deal() has made: of a step's stages where H is constant, else of the stages of a launch, which begin with `first`.
template <class N>
struct Tables {
    Pointer<const N> numbers;
    std::int64_t size, sets, first, count;  // size: of all sets

    __device__ Pointer<const N> of(const Team& team, std::int64_t stage, std::int64_t system) const {
        return numbers + (stage - first) % count * size + (sets > 1 ? team.place_of_set(system) : 0);
    }
};

struct Frames {
    std::int64_t every, batch;  // stages; 0: no frames. Systems of the whole run, of which the launch may have a part
};

// Threads are (lane of the team, team of the block); with more than a warp a block has one team. A warp's teams stay together:
// where there is no system left for one, it goes through another's coefficients with nothing. `first` is the system that the
// launch begins with. psi and out may be the same.
template <class N, int M, int reach>
__global__ void __launch_bounds__(most_team)
    advance_team(Line line, Team team, Stages stages, Tables<N> tables, Rows<N> psi, Rows<N> out, Rows<N> frames, Frames saved,
                 std::int64_t first) {
    using Own = Member<N, M, reach>;
    cuda::SharedMemory shared;
    const Own member(line, team, shared.array<N>(Own::exchanged));
    for (std::int64_t base = static_cast<std::int64_t>(blockIdx.x) * blockDim.y; base < line.batch;
         base += static_cast<std::int64_t>(gridDim.x) * blockDim.y) {
        const bool there = base + threadIdx.y < line.batch;
        const std::int64_t own = there ? base + threadIdx.y : base, left = there ? member.left : 0;
        const std::int64_t row = (first + own) * line.n + member.begin;
        N x[M];
        typename Own::Carried top, bottom;
#pragma unroll
        for (int t = 0; t < M; ++t) x[t] = t < left ? psi.get(row + t) : N::of(0, 0);
        for (std::int64_t i = stages.first; i < stages.first + stages.count; ++i) {
            member.stage(tables.of(team, i, own), line.periodic, x, top, bottom,
                         [&](int, N chi, N before, N gain) { return stepped<reach>(line.cayley, gain, chi, before); });
            if (saved.every && (i + 1) % saved.every == 0) {
                const std::int64_t at = ((i + 1) / saved.every - 1) * saved.batch * line.n + row;
#pragma unroll
                for (int t = 0; t < M; ++t)
                    if (t < left) frames.set(at + t, x[t]);
            }
        }
#pragma unroll
        for (int t = 0; t < M; ++t)
            if (t < left) out.set(row + t, x[t]);
    }
}

}  // namespace
}  // namespace qcore::schrodinger
