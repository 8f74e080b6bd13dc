// Runs of systems that several blocks share, from checked arguments to launches: two for a stage, of the state and, on the way
// back, of mu.
#include <optional>

#include "schrodinger_team_long_adjoint.hpp"
#include "schrodinger_team_long_run.hpp"
#include "schrodinger_teams.hpp"

namespace qcore::schrodinger {

namespace {

template <class N, class E>
void forward(const Queue& queue, const Evolution& e, const TensorView& psi, const TensorView& out, const TensorView* frames,
             std::int64_t save_every) {
    const Line line = make_line(e, psi.shape[0]);
    const Team team = make_team(line, most_points, most_team);
    const std::int64_t stages = e.steps * line.poles;
    const TeamRun<N> run(queue, line, team, e.potential.data, stages, false, 0);
    LongStates<N> states(queue, line, team, run.most_tables());
    LongSteps<N> work{};
    work.out = rows<N, E>(out.data);
    if (frames) work.frames = rows<N, E>(frames->data);
    work.saved = {frames ? save_every : 0, line.batch};
    work.stages = stages;
    work.numbers = line.batch * line.n;
    run.for_launches(false, [&](const Line& part, std::int64_t first, const Stages& now, const Tables<N>& tables,
                                const Tables<N>&) {
        states.begin(part, first, tables);
        work.psi = now.first == 0 ? rows<N, E>(psi.data) : rows<N, N>(states.data());
        work.first_number = first * line.n;
        work.stage = now.first;
        states.start(work);
        const std::int64_t end = now.first + now.count;
        for (; work.stage < end; ++work.stage) states.stage(work, work.stage + 1 < end ? work.stage + 1 : -1);
    });
}

template <class N, class E>
void backward(const Queue& queue, const Evolution& e, const TensorView& states, const TensorView& grad_out,
              const TensorView* grad_frames, std::int64_t save_every, const TensorView& grad_psi,
              const TensorView& grad_potential, const TensorView& grad_c) {
    const Line line = make_line(e, grad_out.shape[0]);
    const Team team = make_team(line, most_points, most_team);
    const bool traced = states.ndim == 2;
    const std::int64_t stages = e.steps * line.poles, numbers = line.batch * line.n, blocks = line.batch * team.parts();
    const TeamRun<N> run(queue, line, team, e.potential.data, stages, traced, PotentialSums::slice_bytes(line));
    const PotentialSums sums(queue, line, grad_potential, run.most());
    const std::size_t c_bytes = bytes_of(line.poles * blocks, sizeof(Complex<double>));
    const Workspace c_sums(queue, c_bytes), nu(queue, traced ? bytes_of(numbers, sizeof(N)) : 0);
    queue.zero(c_sums.data(), c_bytes);
    LongStates<N> mu_states(queue, line, team, run.most_tables());
    std::optional<LongStates<N>> psi_states;
    if (traced) psi_states.emplace(queue, line, team, run.most_tables());

    LongMu<N> mu{};
    mu.sums.line = line;
    mu.sums.potential_sums = sums.at();
    mu.sums.c_sums = pointer<Complex<double>>(c_sums.data());
    mu.sums.blocks = blocks;
    mu.sums.numbers = numbers;
    mu.sums.scaled = line.reach == 0;
    mu.grad_out = rows<N, E>(grad_out.data);
    mu.grad_psi = rows<N, E>(grad_psi.data);
    if (grad_frames) {
        mu.grad_frames = rows<N, E>(grad_frames->data);
        mu.save_every = save_every;
    }
    mu.mu = pointer<const N>(mu_states.data());
    mu.nu = pointer<N>(nu.data());
    mu.states = rows<N, E>(states.data);
    run.for_launches(true, [&](const Line& part, std::int64_t first, const Stages& now, const Tables<N>& tables,
                               const Tables<N>& back) {
        mu.sums.first_slice = sums.first_slice(now);
        mu.sums.first_block = first * team.parts();
        mu.sums.first_number = first * line.n;
        mu.stage = now.first + now.count - 1;
        mu.opens = mu.stage + 1 == stages;
        LongBack<N> psi{mu.sums, mu.opens ? mu.states : traced ? rows<N, N>(psi_states->data()) : Rows<N>{}, mu.nu, mu.stage};
        sums.zero(now);
        mu_states.begin(part, first, tables);
        mu_states.start(mu);
        if (traced) {
            psi_states->begin(part, first, back);
            psi_states->start(psi);
        }
        for (; mu.stage >= now.first; psi.stage = --mu.stage) {
            const std::int64_t next = mu.stage > now.first ? mu.stage - 1 : -1;
            mu_states.stage(mu, next);
            if (traced) psi_states->stage(psi, next);
        }
        sums.add_up(now);
    });
    launch_sum_rows<Complex<double>>(queue, pointer<const Complex<double>>(c_sums.data()), pointer<Complex<double>>(grad_c.data),
                                     line.poles, blocks);
}

}  // namespace

void evolve_by_blocks(const Queue& queue, const Evolution& e, const TensorView& psi, const TensorView& out,
                      const TensorView* frames, std::int64_t save_every) {
    with_arithmetic(e, psi.dtype, [&]<class N, class E>() { forward<N, E>(queue, e, psi, out, frames, save_every); });
}

void adjoint_by_blocks(const Queue& queue, const Evolution& e, const TensorView& states, const TensorView& grad_out,
                       const TensorView* grad_frames, std::int64_t save_every, const TensorView& grad_psi,
                       const TensorView& grad_potential, const TensorView& grad_c) {
    with_numbers(grad_out.dtype, [&]<class E>(E) {
        backward<typename E::template With<double>, E>(queue, e, states, grad_out, grad_frames, save_every, grad_psi,
                                                       grad_potential, grad_c);
    });
}

}  // namespace qcore::schrodinger
