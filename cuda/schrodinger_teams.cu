// Runs by teams, from checked arguments to launches. Where H is constant the coefficients of a step's stages are made once and
// all stages are one launch; potentials that change bring coefficients for each stage, so a launch takes as many steps as
// memory is for, whose matrices are all eliminated at once. Between launches states are in the numbers of the arithmetic.
//
// A stage of a changing potential reads 48 bytes a point (complex128, order 2) that two launches before have written: with the
// potential some 200 bytes in all, 50 ps on an H200, where systems have potentials of their own; little where they share one.
#include "schrodinger_teams.hpp"

#include "schrodinger_team_adjoint.hpp"
#include "schrodinger_team_run.hpp"

namespace qcore::schrodinger {

namespace {

using cuda::SharedMemory;

int points_of(const Line& line, std::int64_t most_of_few) { return line.n <= most_of_few ? few_points : most_points; }

// N: the numbers of the arithmetic, E: those of the tensors.
template <class N, class E>
void forward(const Queue& queue, const Evolution& e, const TensorView& psi, const TensorView& out, const TensorView* frames,
             std::int64_t save_every) {
    const Line line = make_line(e, psi.shape[0]);
    const Team team = make_team(line, points_of(line, few_points * warp));
    const std::int64_t stages = e.steps * line.poles;
    const TeamRun<N> run(queue, line, team, e.potential.data, stages, false, 0);
    const Workspace between(queue, run.most() < stages ? bytes_of(line.batch * line.n, sizeof(N)) : 0);
    const Frames saved{frames ? save_every : 0, line.batch};
    const auto to_frames = frames ? rows<N, E>(frames->data) : Rows<N>{};
    const auto launch_steps = [&](const Line& part, std::int64_t first, const Stages& now, const Tables<N>& tables,
                                  const Tables<N>&) {
        const auto from = now.first == 0 ? rows<N, E>(psi.data) : rows<N, N>(between.data());
        const auto to = now.first + now.count == stages ? rows<N, E>(out.data) : rows<N, N>(between.data());
        with_reach(line, [&]<int reach>() {
            const bool few = team.points == few_points;
            const auto kernel = few ? advance_team<N, few_points, reach> : advance_team<N, most_points, reach>;
            const std::size_t room = SharedMemory::bytes<N>(Member<N, 1, reach>::exchanged);
            launch(queue, kernel, team_grid(team, part.batch, room), part, team, now, tables, from, to, to_frames, saved, first);
        });
    };
    run.for_launches(false, launch_steps);
}

template <class N, class E>
void backward(const Queue& queue, const Evolution& e, const TensorView& states, const TensorView& grad_out,
              const TensorView* grad_frames, std::int64_t save_every, const TensorView& grad_psi,
              const TensorView& grad_potential, const TensorView& grad_c) {
    const Line line = make_line(e, grad_out.shape[0]);
    const bool traced = states.ndim == 2;
    const Team team = make_team(line, points_of(line, few_points * adjoint_team(few_points)));
    const std::int64_t stages = e.steps * line.poles, numbers = line.batch * line.n;
    const TeamRun<N> run(queue, line, team, e.potential.data, stages, traced, PotentialSums::slice_bytes(line));
    const PotentialSums sums(queue, line, grad_potential, run.most());
    const std::size_t c_bytes = bytes_of(line.poles * line.batch, sizeof(Complex<double>)),
                      state_bytes = run.most() < stages ? bytes_of(numbers, sizeof(N)) : 0;
    const Workspace c_sums(queue, c_bytes), mu(queue, state_bytes), psi(queue, traced ? state_bytes : 0);
    queue.zero(c_sums.data(), c_bytes);
    TeamAdjoint<N> a{};
    a.states = rows<N, E>(states.data);
    a.grad_out = rows<N, E>(grad_out.data);
    a.grad_psi = rows<N, E>(grad_psi.data);
    if (grad_frames) {
        a.grad_frames = rows<N, E>(grad_frames->data);
        a.save_every = save_every;
    }
    a.mu = pointer<N>(mu.data());
    a.psi = pointer<N>(psi.data());
    a.potential_sums = sums.at();
    a.c_sums = pointer<Complex<double>>(c_sums.data());
    a.batch = line.batch;
    const auto launch_pull = [&](const Line& part, std::int64_t first, const Stages& now, const Tables<N>& tables,
                                 const Tables<N>& back) {
        a.tables = tables;
        a.back = back;
        a.first = first;
        a.opens = now.first + now.count == stages;
        a.closes = now.first == 0;
        a.first_slice = sums.first_slice(now);
        with_reach(line, [&]<int reach>() {
            const bool few = team.points == few_points;
            const auto known = few ? pull_known_team<N, few_points, reach> : pull_known_team<N, most_points, reach>;
            const auto kernel = !traced ? known : few ? pull_team<N, few_points, reach> : pull_team<N, most_points, reach>;
            const std::size_t room =
                SharedMemory::bytes<N>(Member<N, 1, reach>::exchanged) + SharedMemory::bytes<N>(most_team / warp);
            launch(queue, kernel, team_grid(team, part.batch, room), part, team, now, a);
        });
        sums.add_up(now);
    };
    run.for_launches(true, launch_pull);
    launch_sum_rows<Complex<double>>(queue, Pointer<const Complex<double>>(a.c_sums), pointer<Complex<double>>(grad_c.data),
                                     line.poles, line.batch);
}

}  // namespace

bool one_block_holds(std::int64_t n) { return n <= most_points * most_team; }

void evolve_by_teams(const Queue& queue, const Evolution& e, const TensorView& psi, const TensorView& out,
                     const TensorView* frames, std::int64_t save_every) {
    with_arithmetic(e, psi.dtype, [&]<class N, class E>() { forward<N, E>(queue, e, psi, out, frames, save_every); });
}

void adjoint_by_teams(const Queue& queue, const Evolution& e, const TensorView& states, const TensorView& grad_out,
                      const TensorView* grad_frames, std::int64_t save_every, const TensorView& grad_psi,
                      const TensorView& grad_potential, const TensorView& grad_c) {
    with_numbers(grad_out.dtype, [&]<class E>(E) {
        backward<typename E::template With<double>, E>(queue, e, states, grad_out, grad_frames, save_every, grad_psi,
                                                       grad_potential, grad_c);
    });
}

}  // namespace qcore::schrodinger
