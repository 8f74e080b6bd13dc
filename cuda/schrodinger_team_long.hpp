// Systems of more points than a block of lanes takes, which several blocks share. Blocks that give each other something need a
// launch between: a stage is one down to what settle() leaves, and one up to the state after it, which goes down through the
// next stage as far as a block gets alone. A block that comes after others goes through what they have handed on, block by
// block.
//
// A stage reads and writes a state twice, 64 bytes a point in complex128, and reads coefficients twice; of up to some 1e5
// points in the second-level cache. Launches bound it below.
#pragma once

#include "schrodinger_team_deal.hpp"
#include "schrodinger_team_steps.hpp"

namespace qcore::schrodinger {
namespace {

template <class N>
struct Long {
    Tables<N> tables;
    Pointer<const N> products;   // [table][set][part][down, up]: what becomes of a carry on its way through a block
    Pointer<N> state, settled;   // (batch, n), of the launch's systems as all that follows
    Pointer<N> down, up;         // [system][part]: carries that leave a block if nothing comes into it
    Pointer<N> last;             // [system]: w at the last points

    __device__ Pointer<const N> numbers(const Team& team, std::int64_t stage, std::int64_t system, std::int64_t part) const {
        return tables.of(team, stage, system) + part * team.part_size();
    }
};

// The products of the blocks' warps: a thread for each block of every table and set.
template <class N, int reach>
__global__ void __launch_bounds__(32)
    fold_blocks(Team team, std::int64_t blocks, Pointer<const N> coefficients, Pointer<N> products) {
    using At = LaneNumbers<reach>;
    using Matrix = CarryMatrix<N, At::carried>;
    const int base = team.point_numbers() * team.points;
    for (std::int64_t item = cuda::thread(); item < blocks; item += cuda::threads()) {
        const Pointer<const N> block = coefficients + item * team.part_size();
        const auto of_warp = [&](int v, int number, int place) {
            Matrix m;
            for (int i = 0; i < At::square; ++i) m.of[i] = block[(v * team.numbers() + base + number + i) * warp + place];
            return m;
        };
        Matrix down = Matrix::identity(), up = down;
        for (int v = 0; v < team.warps(); ++v) {
            down = of_warp(v, At::down_after, warp - 1) * down;
            up = up * of_warp(v, At::up_after, 0);
        }
        for (int i = 0; i < At::square; ++i) {
            products[item * 2 * At::square + i] = down.of[i];
            products[(item * 2 + 1) * At::square + i] = up.of[i];
        }
    }
}

// A lane of one of a system's blocks.
template <class N, int M, int reach>
class LongMember {
  public:
    using Own = Member<N, M, reach>;
    using At = LaneNumbers<reach>;
    using Carried = typename Own::Carried;

    __device__ LongMember(const Line& line, const Team& team, const Long<N>& a, Pointer<N> exchange, std::int64_t item)
        : system(item / team.parts()), part(item % team.parts()),
          member(line, team, exchange, part * team.block()), row(system * line.n + member.begin), team_(team), a_(a) {}

    __device__ auto view(std::int64_t stage) const { return member.view(a_.numbers(team_, stage, system, part)); }

    // What the blocks before this one bring to it, and those behind block `to` to that (-1: w at the first points).
    __device__ Carried from_blocks_above(std::int64_t stage) const {
        Carried into = Own::nothing();
        for (std::int64_t v = 0; v < part; ++v) into = plus_product(handed_on(a_.down, v), product(stage, v, 0), into);
        return into;
    }
    __device__ Carried from_blocks_below(std::int64_t stage, std::int64_t to) const {
        Carried into = Own::nothing();
        for (std::int64_t v = team_.parts() - 1; v > to; --v)
            into = plus_product(handed_on(a_.up, v), product(stage, v, 1), into);
        return into;
    }

    // Through a stage down as far as the block gets alone.
    __device__ void go_down(std::int64_t stage, N (&x)[M]) const {
        const auto numbers = view(stage);
        N sum;
        Carried out;
        const Carried alone = Own::go_down(numbers, x, sum);
        member.from_above(numbers, alone, Own::nothing(), out);
        if (member.lane == 0) Own::give(a_.down, system * team_.parts() + part, out);
    }

    const std::int64_t system, part;
    const Own member;
    const std::int64_t row;

  private:
    __device__ Carried handed_on(Pointer<const N> from, std::int64_t v) const {
        return Own::given(from, system * team_.parts() + v);
    }
    __device__ auto product(std::int64_t stage, std::int64_t v, int way) const {
        const std::int64_t set = a_.tables.sets > 1 ? system : 0,
                           table = (stage - a_.tables.first) % a_.tables.count * a_.tables.sets + set;
        const Pointer<const N> matrix = a_.products + ((table * team_.parts() + v) * 2 + way) * At::square;
        return [=](int i) { return matrix[i]; };
    }

    const Team& team_;
    const Long<N>& a_;
};

// From a tensor, of whose systems `first` is the launch's first, into a stage.
template <class N, int reach, class Work>
__global__ void __launch_bounds__(most_team, 1)
    start_long(Line line, Team team, Long<N> a, std::int64_t stage, Work work) {
    cuda::SharedMemory shared;
    constexpr int M = most_points;
    const auto exchange = shared.array<N>(Member<N, M, reach>::exchanged);
    for (std::int64_t item = blockIdx.x; item < line.batch * team.parts(); item += gridDim.x) {
        const LongMember<N, M, reach> own(line, team, a, exchange, item);
        N x[M];
#pragma unroll
        for (int t = 0; t < M; ++t) {
            x[t] = N::of(0, 0);
            if (t < own.member.left) a.state[own.row + t] = x[t] = work.start(own.row + t);
        }
        own.go_down(stage, x);
        __syncthreads();
    }
}

template <class N, int reach>
__global__ void __launch_bounds__(most_team, 1) descend_long(Line line, Team team, Long<N> a, std::int64_t stage) {
    constexpr int M = most_points;
    using Own = Member<N, M, reach>;
    cuda::SharedMemory shared;
    const auto exchange = shared.array<N>(Own::exchanged);
    for (std::int64_t item = blockIdx.x; item < line.batch * team.parts(); item += gridDim.x) {
        const LongMember<N, M, reach> own(line, team, a, exchange, item);
        const Own& member = own.member;
        const auto numbers = own.view(stage);
        N x[M], sum;
        typename Own::Carried unused, top;
#pragma unroll
        for (int t = 0; t < M; ++t) x[t] = t < member.left ? a.state[own.row + t] : N::of(0, 0);
        const auto alone = Own::go_down(numbers, x, sum);
        const auto entering = member.from_above(numbers, alone, own.from_blocks_above(stage), unused);
        Own::settle(numbers, entering, x);
#pragma unroll
        for (int t = 0; t < M; ++t)
            if (t < member.left) a.settled[own.row + t] = x[t];
        member.from_below(numbers, Own::go_up(numbers, x), Own::nothing(), top);
        if (member.lane == 0) Own::give(a.up, item, top);
        if (line.periodic && member.lane == member.last_lane)
            Own::give(a.last, own.system, member.template last_points<true>(numbers, entering, x));
        __syncthreads();
    }
}

// Finishes a stage; then into stage `next`, unless that is less than 0.
template <class N, int reach, class Work>
__global__ void __launch_bounds__(most_team, 1)
    ascend_long(Line line, Team team, Long<N> a, std::int64_t stage, std::int64_t next, Work work) {
    constexpr int M = most_points;
    using Own = Member<N, M, reach>;
    using Carried = typename Own::Carried;
    cuda::SharedMemory shared;
    const auto exchange = shared.array<N>(Own::exchanged), sums = shared.array<N>(most_team / warp);
    for (std::int64_t item = blockIdx.x; item < line.batch * team.parts(); item += gridDim.x) {
        const LongMember<N, M, reach> own(line, team, a, exchange, item);
        const Own& member = own.member;
        const auto numbers = own.view(stage);
        N x[M];
#pragma unroll
        for (int t = 0; t < M; ++t) x[t] = t < member.left ? a.settled[own.row + t] : N::of(0, 0);
        Carried entering = Own::nothing(), top = Own::nothing(), bottom = top, unused;
#pragma unroll
        for (int i = 0; i < Own::carried; ++i)
            if (member.begin > i && member.left >= 0) entering.of[i] = a.settled[own.row - 1 - i];
        const Carried below = member.from_below(numbers, Own::go_up(numbers, x), own.from_blocks_below(stage, own.part), unused);
        if (line.periodic) {
            top = own.from_blocks_below(stage, -1);
            bottom = Own::given(a.last, own.system);
        }
        member.template come_back<true>(numbers, entering, below, top, bottom, x, [&](int t, N chi, N psi, N gain) {
            if (t < member.left) work.update(own.row + t, chi, psi);
            return stepped<reach>(line.cayley, gain, chi, psi);
        });
#pragma unroll
        for (int t = 0; t < M; ++t)
            if (t < member.left) a.state[own.row + t] = x[t] = work.finish(own.row + t, x[t]);
        if (next >= 0) own.go_down(next, x);
        work.close(item, sums);
        __syncthreads();
    }
}

// Steps: psi from a tensor, to frames and to out.
template <class N>
struct LongSteps {
    Rows<N> psi, out, frames;
    Frames saved;
    std::int64_t stages, first_number, numbers;  // of the run; of the launch's first system, and of all
    std::int64_t stage = 0;

    __device__ N start(std::int64_t at) const { return psi.get(first_number + at); }
    __device__ void update(std::int64_t, N, N) const {}
    __device__ N finish(std::int64_t at, N psi_after) const {
        if (saved.every && (stage + 1) % saved.every == 0)
            frames.set(((stage + 1) / saved.every - 1) * numbers + first_number + at, psi_after);
        if (stage + 1 == stages) out.set(first_number + at, psi_after);
        return psi_after;
    }
    __device__ void close(std::int64_t, Pointer<N>) const {}
};

}  // namespace
}  // namespace qcore::schrodinger
