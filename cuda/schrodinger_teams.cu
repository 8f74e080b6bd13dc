// Runs by teams, from checked arguments to launches. Where H is constant the coefficients of a step's stages are made once and
// all stages are one launch; potentials that change bring coefficients for each stage, so a launch takes as many steps as
// memory is for, whose matrices are all eliminated at once. Between launches states are in the numbers of the arithmetic.
//
// A stage of a changing potential reads 48 bytes a point (complex128, order 2) that two launches before have written: with the
// potential some 200 bytes in all, 50 ps on an H200, where systems have potentials of their own; little where they share one.
#include "schrodinger_teams.hpp"

#include <algorithm>

#include "schrodinger_line.hpp"
#include "schrodinger_team_adjoint.hpp"
#include "schrodinger_team_deal.hpp"

namespace qcore::schrodinger {

namespace {

using cuda::grid_for;
using cuda::SharedMemory;
using cuda::Workspace;

// What coefficients may take that hold for all stages, and those of a launch with sums.
#if defined(QCORE_EMULATION)
constexpr std::int64_t most_kept_bytes = 64 << 10, launch_bytes = 128 << 10;  // so that small runs take every way
#else
constexpr std::int64_t most_kept_bytes = std::int64_t{8} << 30, launch_bytes = std::int64_t{1} << 30;
#endif

// A tensor of numbers E as a team takes it.
template <class N, class E>
Rows<N> rows(const void* data) {
    if constexpr (sizeof(typename E::Scalar) == 4) return {pointer<E>(data), nullptr};
    else return {nullptr, pointer<E>(data)};
}

template <class F>
void with_reach(const Line& line, F f) {
    switch (line.reach) {
        case 0: return f.template operator()<0>();
        case 1: return f.template operator()<1>();
        default: return f.template operator()<2>();
    }
}

// A run's launches: all systems or, where they have potentials of their own, as many at a time as memory is for, and of their
// stages likewise where H changes.
template <class N>
class TeamRun {
  public:
    // `back`: coefficients for -c as well. `beside`: bytes that a step of a changing potential takes elsewhere.
    TeamRun(const Queue& queue, const Line& line, const Team& team, const void* potential, std::int64_t stages, bool back,
            std::int64_t beside)
        : queue_(queue), line_(line), team_(team), potential_(pointer<const double>(potential)), stages_(stages),
          signs_(back ? 2 : 1), systems_(choose_systems()), most_(choose_stages(beside)),
          factor_memory_(queue, static_cast<std::size_t>(factor_bytes<Wide>(line, tables(), sets()))),
          memory_(queue, static_cast<std::size_t>(signs_ * all_numbers()) * sizeof(N)) {}

    // Stages of a launch, at most.
    std::int64_t most() const { return most_; }

    // Calls body(line, first system, stages, coefficients, those of -c) for each launch; `backwards`: from the last stages on.
    template <class F>
    void for_launches(bool backwards, F body) const {
        for (std::int64_t first = 0; first < line_.batch; first += systems_) {
            Line line = line_;
            line.batch = std::min(systems_, line_.batch - first);
            for (std::int64_t done = 0; done < stages_; done += most_) {
                const std::int64_t count = std::min(most_, stages_ - done);
                const Stages now{backwards ? stages_ - done - count : done, count, false};
                const Stages dealt = changes() ? now : Stages{0, line.poles, false};
                const auto at = pointer<N>(memory_.data());
                const auto of = [&](double sign, Pointer<N> to) {
                    deal_out(line, first, dealt, sign, to);
                    return Tables<N>{to, team_.size(), own() ? line.batch : 1, dealt.first, dealt.count};
                };
                const Tables<N> tables = of(1, at), back = signs_ > 1 ? of(-1, at + all_numbers()) : tables;
                body(line, first, now, tables, back);
            }
        }
    }

    // For so many systems and numbers in shared memory. A team of one warp shares its block with others.
    cuda::Grid grid(std::int64_t batch, std::size_t shared) const {
        const unsigned teams = team_.lanes == warp ? 4 : 1;
        return {grid_for(batch, static_cast<int>(teams)).blocks, dim3(static_cast<unsigned>(team_.lanes), teams), shared};
    }

  private:
    using Wide = typename N::template With<double>;

    bool own() const { return line_.systems > 1; }
    bool changes() const { return line_.slices > 1; }
    std::int64_t tables() const { return changes() ? most_ : line_.poles; }
    std::int64_t sets() const { return own() ? systems_ : 1; }
    std::int64_t all_numbers() const { return tables() * sets() * team_.size(); }

    // Bytes of a step's coefficients for a system.
    std::int64_t step_bytes() const {
        const std::int64_t numbers = signs_ * team_.size() * static_cast<std::int64_t>(sizeof(N));
        return line_.poles * (factor_bytes<Wide>(line_, 1, 1) + numbers);
    }
    std::int64_t choose_systems() const {
        if (!own()) return line_.batch;
        return std::clamp<std::int64_t>((changes() ? launch_bytes : most_kept_bytes) / step_bytes(), 1, line_.batch);
    }
    std::int64_t choose_stages(std::int64_t beside) const {
        if (!changes()) return stages_;
        const std::int64_t steps = launch_bytes / (step_bytes() * sets() + beside);
        return std::clamp<std::int64_t>(steps, 1, stages_ / line_.poles) * line_.poles;
    }

    void deal_out(const Line& line, std::int64_t first, const Stages& stages, double sign, Pointer<N> to) const {
        const std::int64_t sets = own() ? line.batch : 1, values = line.complex_potential ? 2 : 1, items = stages.count * sets;
        const auto factors = place_factors(pointer<Wide>(factor_memory_.data()), line, stages.count, sets, sign, true);
        const auto potential = potential_ + (own() ? first * line.n * values : 0);
        launch(queue_, factorize<Wide>, grid_for(items, 32), line, factors, potential, stages, stages.count);
        const cuda::Grid grid{grid_for(items, 1).blocks, dim3(static_cast<unsigned>(team_.lanes))};
        with_reach(line, [&]<int reach>() { launch(queue_, deal<N, reach>, grid, line, team_, stages, factors, to); });
    }

    const Queue& queue_;
    Line line_;
    Team team_;
    Pointer<const double> potential_;
    std::int64_t stages_, signs_, systems_, most_;
    Workspace factor_memory_, memory_;
};

std::size_t bytes_of(std::int64_t count, std::size_t size) { return static_cast<std::size_t>(count) * size; }

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
            launch(queue, kernel, run.grid(part.batch, room), part, team, now, tables, from, to, to_frames, saved, first);
        });
    };
    run.for_launches(false, launch_steps);
}

template <class N, class E>
void backward(const Queue& queue, const Evolution& e, const TensorView& states, const TensorView& grad_out,
              const TensorView* grad_frames, std::int64_t save_every, const TensorView& grad_psi,
              const TensorView& grad_potential, const TensorView& grad_c) {
    const Line line = make_line(e, grad_out.shape[0]);
    const bool traced = states.ndim == 2, shared = line.systems == 1 && line.batch > 1;
    const Team team = make_team(line, points_of(line, few_points * adjoint_team(few_points)));
    const std::int64_t stages = e.steps * line.poles, numbers = line.batch * line.n;
    const std::int64_t slice_bytes = numbers * dtype_size(e.potential.dtype);
    const TeamRun<N> run(queue, line, team, e.potential.data, stages, traced, shared ? slice_bytes : 0);
    const std::size_t c_bytes = bytes_of(line.poles * line.batch, sizeof(Complex<double>));
    const bool several = run.most() < stages;
    const std::int64_t slices = line.slices == 1 ? 1 : run.most() / line.poles;
    const Workspace c_sums(queue, c_bytes), sums(queue, shared ? bytes_of(slices, static_cast<std::size_t>(slice_bytes)) : 0);
    const std::size_t state_bytes = several ? bytes_of(numbers, sizeof(N)) : 0;
    const Workspace mu(queue, state_bytes), psi(queue, traced ? state_bytes : 0);
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
    a.potential_sums = pointer<double>(shared ? sums.data() : grad_potential.data);
    a.c_sums = pointer<Complex<double>>(c_sums.data());
    a.batch = line.batch;
    const auto launch_pull = [&](const Line& part, std::int64_t first, const Stages& now, const Tables<N>& tables,
                                 const Tables<N>& back) {
        a.tables = tables;
        a.back = back;
        a.first = first;
        a.opens = now.first + now.count == stages;
        a.closes = now.first == 0;
        if (shared) a.first_slice = now.first / line.poles;
        with_reach(line, [&]<int reach>() {
            const bool few = team.points == few_points;
            const auto known = few ? pull_known_team<N, few_points, reach> : pull_known_team<N, most_points, reach>;
            const auto kernel = !traced ? known : few ? pull_team<N, few_points, reach> : pull_team<N, most_points, reach>;
            const std::size_t room =
                SharedMemory::bytes<N>(Member<N, 1, reach>::exchanged) + SharedMemory::bytes<N>(most_team / warp);
            launch(queue, kernel, run.grid(part.batch, room), part, team, now, a);
        });
        if (!shared) return;
        const auto add_up = [&]<class V>(V) {
            const std::int64_t count = line.slices == 1 ? 1 : now.count / line.poles;
            const auto to = pointer<V>(grad_potential.data) + (line.slices == 1 ? 0 : a.first_slice * line.n);
            const cuda::Grid grid = grid_for(count * ((line.n + sum_columns - 1) / sum_columns), 1);
            launch(queue, sum_systems<V>,
                   {grid.blocks, dim3(sum_columns, sum_rows_together), SharedMemory::bytes<V>(sum_columns * sum_rows_together)},
                   pointer<const V>(sums.data()), to, count, line.batch, line.n);
        };
        line.complex_potential ? add_up(Complex<double>{}) : add_up(Real<double>{});
    };
    run.for_launches(true, launch_pull);
    launch_sum_rows<Complex<double>>(queue, Pointer<const Complex<double>>(a.c_sums), pointer<Complex<double>>(grad_c.data),
                                     line.poles, line.batch);
}

constexpr std::int64_t most_numbers = most_points * most_team;

}  // namespace

bool teams_take(std::int64_t n) { return n <= most_numbers; }
bool teams_take_adjoint(std::int64_t n, bool traced, bool complex_potential) {
    return n <= most_numbers && !(traced && complex_potential);
}

void evolve_by_teams(const Queue& queue, const Evolution& e, const TensorView& psi, const TensorView& out,
                     const TensorView* frames, std::int64_t save_every) {
    with_numbers(psi.dtype, [&]<class E>(E) {
        if (e.arithmetic == Arithmetic::f32)
            forward<typename E::template With<float>, E>(queue, e, psi, out, frames, save_every);
        else forward<typename E::template With<double>, E>(queue, e, psi, out, frames, save_every);
    });
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
