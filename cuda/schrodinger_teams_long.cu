// Runs of systems that several blocks share, from checked arguments to launches: two for a stage, of the state and, on the way
// back, of mu.
#include <optional>

#include "schrodinger_team_long_adjoint.hpp"
#include "schrodinger_team_run.hpp"
#include "schrodinger_teams.hpp"

namespace qcore::schrodinger {

namespace {

using cuda::SharedMemory;

// The states of a run on their way through its stages, of all systems.
template <class N>
class LongStates {
  public:
    LongStates(const Queue& queue, const TeamRun<N>& run, const Line& line, const Team& team)
        : queue_(queue), run_(run), line_(line), team_(team), states_(queue, bytes_of(2 * line.batch * line.n, sizeof(N))),
          carries_(queue, bytes_of((2 * team.parts() + 1) * line.batch * carried(), sizeof(N))),
          products_(queue, bytes_of(run.most_tables() * team.parts() * 2 * carried() * carried(), sizeof(N))) {}

    void* data() const { return states_.data(); }

    // For the launches of some systems, from `first` on.
    void begin(const Line& part, std::int64_t first, const Tables<N>& tables) {
        part_ = part;
        const std::int64_t numbers = line_.batch * line_.n, blocks = part.batch * team_.parts() * carried(),
                           count = tables.count * tables.sets * team_.parts();
        const auto products = pointer<N>(products_.data()), carries = pointer<N>(carries_.data()), state = pointer<N>(data());
        with_reach(line_, [&]<int reach>() {
            launch(queue_, fold_blocks<N, reach>, grid_for(count, 32), team_, count, tables.numbers, products);
        });
        a_ = {tables, products, state + first * line_.n,
              state + numbers + first * line_.n, carries, carries + blocks, carries + 2 * blocks};
    }
    template <class Work>
    void start(const Work& work) const {
        with_reach(line_, [&]<int reach>() {
            launch(queue_, start_long<N, reach, Work>, grid<reach>(), part_, team_, a_, work.stage, work);
        });
    }
    // `next`: the stage that follows, or less than 0.
    template <class Work>
    void stage(const Work& work, std::int64_t next) const {
        with_reach(line_, [&]<int reach>() {
            launch(queue_, descend_long<N, reach>, grid<reach>(), part_, team_, a_, work.stage);
            launch(queue_, ascend_long<N, reach, Work>, grid<reach>(), part_, team_, a_, work.stage, next, work);
        });
    }

  private:
    std::int64_t carried() const { return line_.reach == 2 ? 2 : 1; }
    template <int reach>
    cuda::Grid grid() const {
        return run_.grid(part_.batch, SharedMemory::bytes<N>(Member<N, most_points, reach>::exchanged) +
                                          SharedMemory::bytes<N>(most_team / warp));
    }

    const Queue& queue_;
    const TeamRun<N>& run_;
    const Line line_;
    Line part_{};
    const Team team_;
    const Workspace states_, carries_, products_;
    Long<N> a_{};
};

template <class N, class E>
void forward(const Queue& queue, const Evolution& e, const TensorView& psi, const TensorView& out, const TensorView* frames,
             std::int64_t save_every) {
    const Line line = make_line(e, psi.shape[0]);
    const Team team = make_team(line, most_points, most_team);
    const std::int64_t stages = e.steps * line.poles;
    const TeamRun<N> run(queue, line, team, e.potential.data, stages, false, 0);
    LongStates<N> states(queue, run, line, team);
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
    LongStates<N> mu_states(queue, run, line, team);
    std::optional<LongStates<N>> psi_states;
    if (traced) psi_states.emplace(queue, run, line, team);

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
