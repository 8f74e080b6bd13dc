// Runs in one dimension, from checked arguments to launches. A run is cut into launches of some stages each, between which the
// states are plain: where a frame is due, and where the factors of changing potentials would take too much memory.
#include <algorithm>
#include <string>

#include "core/check.hpp"
#include "schrodinger/fused.hpp"
#include "schrodinger/reference.hpp"
#include "schrodinger_layout.hpp"
#include "schrodinger_sweep.hpp"
#include "schrodinger_team_adjoint.hpp"

namespace qcore::schrodinger {

namespace {

using cuda::grid_for;
using cuda::Unsupported;
using cuda::Workspace;

// What factors may take that are kept for all stages, and what those of a launch should take.
#if defined(QCORE_EMULATION)
constexpr std::int64_t most_kept_bytes = 64 << 10, launch_bytes = 16 << 10;  // so that small runs take every way
#else
constexpr std::int64_t most_kept_bytes = std::int64_t{8} << 30, launch_bytes = std::int64_t{256} << 20;
#endif

constexpr int threads = 128;

Line make_line(const Evolution& e, std::int64_t batch) {
    Line line{};
    line.n = e.potential.shape[2];
    line.batch = batch;
    line.slices = e.potential.shape[0];
    line.systems = e.potential.shape[1];
    line.poles = e.c.shape[0];
    if (line.poles > most_poles)
        throw Unsupported("c: more than " + std::to_string(most_poles) +
                          " stages in a step have no CUDA kernel; move the tensors to the CPU");
    line.kappa = e.kappa;
    line.reach = e.order == 2 && e.kappa != 0 ? 0 : e.order == 6 ? 2 : 1;
    line.mass = e.order == 4 ? 1.0 / 12 : e.order == 6 ? 2.0 / 15 : 0.0;
    line.quartic = e.order == 6 ? 1.0 / 20 : 0.0;
    line.periodic = e.boundary == Boundary::periodic;
    line.cayley = e.rule == Rule::cayley;
    line.complex_potential = is_complex(e.potential.dtype);
    std::copy_n(static_cast<const double*>(e.c.data), 2 * line.poles, line.c);
    return line;
}

// The factors of a run, and when to compute them.
template <class N>
class Plan {
  public:
    // `back`: for -c as well. `beside`: bytes that a stage of a changing potential takes elsewhere.
    Plan(const Queue& queue, Line& line, const void* potential, std::int64_t stages, bool back, std::int64_t beside)
        : queue_(queue), line_(line), potential_(pointer<const double>(potential)), stages_(stages),
          memory_(queue, choose(back, beside)), factors_(place(0, 1)), back_(place(back ? 1 : 0, -1)) {}

    // Stages that a launch may hold.
    std::int64_t most() const { return most_; }

    void need(const Stages& stages, bool back) {
        if (line_.kept && ready_) return;
        ready_ = true;
        const std::int64_t slots = Factors<N>::slots(line_, stages.count);
        const cuda::Grid grid = grid_for(slots * factors_.sets, 32);
        launch(queue_, factorize<N>, grid, line_, factors_, potential_, stages, slots);
        if (back) launch(queue_, factorize<N>, grid, line_, back_, potential_, stages, slots);
    }
    const Factors<N>& factors() const { return factors_; }
    const Factors<N>& back() const { return back_; }

  private:
    std::size_t choose(bool back, std::int64_t beside) {
        const std::int64_t slot = factor_bytes<N>(line_, back ? 2 : 1, line_.systems), kept = 2 * line_.poles;
        line_.kept = line_.slices == 1 && kept <= stages_ && kept * slot <= most_kept_bytes;
        most_ = line_.kept ? stages_ : std::clamp<std::int64_t>(launch_bytes / (slot + beside), 1, stages_);
        slots_ = Factors<N>::slots(line_, most_);
        return static_cast<std::size_t>(slots_ * slot);
    }

    Factors<N> place(int which, double sign) const {
        const std::int64_t before = which * factor_bytes<N>(line_, slots_, line_.systems) / static_cast<std::int64_t>(sizeof(N));
        return place_factors(pointer<N>(memory_.data()) + before, line_, slots_, sign);
    }

    const Queue& queue_;
    Line& line_;
    Pointer<const double> potential_;
    std::int64_t stages_, most_ = 1, slots_ = 0;
    bool ready_ = false;
    Workspace memory_;
    Factors<N> factors_, back_;
};

// A tensor of numbers E as a team takes it.
template <class N, class E>
Rows<N> rows(const void* data) {
    if constexpr (sizeof(typename E::Scalar) == 4) return {pointer<E>(data), nullptr};
    else return {nullptr, pointer<E>(data)};
}

// The coefficients of teams, for all systems or, where they have potentials of their own, for as many at a time as memory is for.
template <class N>
class TeamCoefficients {
  public:
    TeamCoefficients(const Queue& queue, const Line& line, const Team& team, const void* potential, bool back)
        : queue_(queue), whole_(line), team_(team), potential_(pointer<const double>(potential)), tables_(back ? 2 : 1),
          most_(choose()), factor_memory_(queue, static_cast<std::size_t>(factor_bytes<Wide>(line, slots(), sets()))),
          memory_(queue, static_cast<std::size_t>(tables_ * table()) * sizeof(N)) {}

    // Calls body(line, first, coefficients, those of -c) for the systems of a launch, which begin with `first`.
    template <class F>
    void for_parts(F body) const {
        for (std::int64_t first = 0; first < whole_.batch; first += most_) {
            Line line = whole_;
            line.kept = true;
            line.batch = std::min(most_, whole_.batch - first);
            if (own()) line.systems = line.batch;
            const auto at = pointer<N>(memory_.data());
            deal_out(line, first, 1, at);
            if (tables_ > 1) deal_out(line, first, -1, at + table());
            body(line, first, Pointer<const N>(at), Pointer<const N>(tables_ > 1 ? at + table() : at));
        }
    }

    // For so many systems. A team of one warp shares its block with others.
    cuda::Grid grid(std::int64_t batch, std::size_t shared) const {
        const unsigned teams = team_.lanes == warp ? 4 : 1;
        return {grid_for(batch, static_cast<int>(teams)).blocks, dim3(static_cast<unsigned>(team_.lanes), teams), shared};
    }

  private:
    using Wide = typename N::template With<double>;

    bool own() const { return whole_.systems > 1; }
    std::int64_t sets() const { return own() ? most_ : 1; }
    std::int64_t slots() const { return 2 * whole_.poles; }
    std::int64_t table() const { return whole_.poles * sets() * team_.size(); }
    std::int64_t choose() const {
        const std::int64_t numbers = tables_ * whole_.poles * team_.size();
        const std::int64_t system_bytes = factor_bytes<Wide>(whole_, slots(), 1) + numbers * static_cast<std::int64_t>(sizeof(N));
        return own() ? std::clamp<std::int64_t>(most_kept_bytes / system_bytes, 1, whole_.batch) : whole_.batch;
    }

    void deal_out(const Line& line, std::int64_t first, double sign, Pointer<N> to) const {
        const auto factors = place_factors(pointer<Wide>(factor_memory_.data()), line, slots(), sign);
        const auto potential = potential_ + (own() ? first * line.n * (line.complex_potential ? 2 : 1) : 0);
        const cuda::Grid grid = grid_for(slots() * line.systems, 32);
        launch(queue_, factorize<Wide>, grid, line, factors, potential, Stages{0, slots(), false}, slots());
        const auto items = static_cast<unsigned>(std::min<std::int64_t>(line.poles * line.systems, 1 << 20));
        launch(queue_, deal<N>, {dim3(items), dim3(static_cast<unsigned>(team_.lanes))}, line, team_, factors, to);
    }

    const Queue& queue_;
    Line whole_;
    Team team_;
    Pointer<const double> potential_;
    std::int64_t tables_, most_;
    Workspace factor_memory_, memory_;
};

// All stages in one launch.
template <class N, class E>
void forward_by_teams(const Queue& queue, const Line& line, std::int64_t stages, const Evolution& e, const TensorView& psi,
                      const TensorView& out, const TensorView* frames, std::int64_t save_every) {
    const Team team = make_team(line);
    const TeamCoefficients<N> all(queue, line, team, e.potential.data, false);
    const Frames saved{frames ? save_every : 0, line.batch};
    const auto to_frames = frames ? rows<N, E>(frames->data) : Rows<N>{};
    const auto kernel = team.points == 8 ? advance_team<N, 8> : advance_team<N, most_points>;
    all.for_parts([&](const Line& part, std::int64_t first, Pointer<const N> coefficients, Pointer<const N>) {
        launch(queue, kernel, all.grid(part.batch, cuda::SharedMemory::bytes<N>(exchanged)), part, team, stages, part.systems,
               coefficients, rows<N, E>(psi.data), rows<N, E>(out.data), to_frames, saved, first);
    });
}

template <class N, class E>
void backward_by_teams(const Queue& queue, const Line& line, std::int64_t stages, const Evolution& e, const TensorView& states,
                       const TensorView& grad_out, const TensorView* grad_frames, std::int64_t save_every,
                       const TensorView& grad_psi, const TensorView& grad_potential, const TensorView& grad_c) {
    const Team team = make_adjoint_team(line);
    const TeamCoefficients<N> all(queue, line, team, e.potential.data, true);
    const bool shared = line.systems == 1;
    const std::int64_t numbers = line.batch * line.n;
    const std::size_t c_bytes = static_cast<std::size_t>(line.poles * line.batch) * sizeof(Complex<double>);
    const std::size_t sum_bytes = shared ? static_cast<std::size_t>(numbers) * sizeof(double) : 0;
    const Workspace c_sums(queue, c_bytes), sums(queue, sum_bytes), turned(queue, sum_bytes);
    queue.zero(c_sums.data(), c_bytes);
    TeamAdjoint<N> a{};
    a.states = rows<N, E>(states.data);
    a.grad_out = rows<N, E>(grad_out.data);
    a.grad_psi = rows<N, E>(grad_psi.data);
    if (grad_frames) {
        a.grad_frames = rows<N, E>(grad_frames->data);
        a.save_every = save_every;
    }
    a.potential_sums = pointer<double>(shared ? sums.data() : grad_potential.data);
    a.c_sums = pointer<Complex<double>>(c_sums.data());
    a.batch = line.batch;
    const std::size_t room = cuda::SharedMemory::bytes<N>(exchanged) + cuda::SharedMemory::bytes<N>(adjoint_team / warp);
    all.for_parts([&](const Line& part, std::int64_t first, Pointer<const N> coefficients, Pointer<const N> back) {
        a.first = first;
        a.coefficients = coefficients;
        a.back = back;
        launch(queue, pull_team<N>, all.grid(part.batch, room), part, team, stages, a);
    });
    if (shared) {
        using V = Real<double>;
        launch_transpose<V, V>(queue, pointer<const V>(sums.data()), pointer<V>(turned.data()), line.batch, line.n);
        launch_sum_rows<V, V>(queue, pointer<const V>(turned.data()), pointer<V>(grad_potential.data), line.n, line.batch);
    }
    launch_sum_rows<Complex<double>>(queue, Pointer<const Complex<double>>(a.c_sums), pointer<Complex<double>>(grad_c.data),
                                     line.poles, line.batch);
}

// E: the numbers of the tensors.
template <class E>
void forward(const Evolution& e, const TensorView& psi, const TensorView& out, const TensorView* frames,
             std::int64_t save_every) {
    using N = typename E::template With<double>;
    const Queue queue;
    Line line = make_line(e, psi.shape[0]);
    const std::int64_t stages = e.steps * line.poles, numbers = line.batch * line.n;
    if (stages > 0 && has_team(line)) {
        if (e.arithmetic == Arithmetic::f32)
            return forward_by_teams<typename E::template With<float>, E>(queue, line, stages, e, psi, out, frames, save_every);
        return forward_by_teams<N, E>(queue, line, stages, e, psi, out, frames, save_every);
    }
    const Workspace memory(queue, static_cast<std::size_t>(numbers) * sizeof(N));
    const auto state = pointer<N>(memory.data());
    launch_transpose(queue, pointer<const E>(psi.data), state, line.batch, line.n);
    const auto give = [&](Pointer<E> to) { launch_transpose<N, E>(queue, state, to, line.n, line.batch); };
    if (stages > 0) {
        Plan<N> plan(queue, line, e.potential.data, stages, false, 0);
        for (std::int64_t done = 0; done < stages;) {
            Stages now{done, std::min(plan.most(), stages - done), false};
            if (frames) now.count = std::min(now.count, save_every - done % save_every);
            plan.need(now, false);
            const auto kernel = line.reach == 0 ? advance<N, 0> : line.reach == 1 ? advance<N, 1> : advance<N, 2>;
            launch(queue, kernel, grid_for(line.batch, threads), line, now, plan.factors(), state);
            done += now.count;
            if (frames && done % save_every == 0) give(pointer<E>(frames->data) + (done / save_every - 1) * numbers);
        }
    }
    give(pointer<E>(out.data));
}

template <class E>
void backward(const Evolution& e, const TensorView& states, const TensorView& grad_out, const TensorView* grad_frames,
              std::int64_t save_every, const TensorView& grad_psi, const TensorView& grad_potential, const TensorView& grad_c) {
    using N = typename E::template With<double>;
    const Queue queue;
    for (const TensorView* sum : {&grad_potential, &grad_c})
        queue.zero(sum->data, static_cast<std::size_t>(sum->numel() * dtype_size(sum->dtype)));
    Line line = make_line(e, grad_out.shape[0]);
    if (line.batch == 0) return;
    const std::int64_t stages = e.steps * line.poles, numbers = line.batch * line.n;
    const bool traced = states.ndim == 2;
    if (traced && stages > 0 && has_adjoint_team(line))
        return backward_by_teams<N, E>(queue, line, stages, e, states, grad_out, grad_frames, save_every, grad_psi,
                                       grad_potential, grad_c);
    const Workspace mu_memory(queue, static_cast<std::size_t>(numbers) * sizeof(N));
    const Workspace psi_memory(queue, traced ? static_cast<std::size_t>(numbers) * sizeof(N) : 0);
    Adjoint<N> a{};
    a.mu = pointer<N>(mu_memory.data());
    launch_transpose(queue, pointer<const E>(grad_out.data), a.mu, line.batch, line.n, Reading::conjugate);
    if (stages > 0) {
        if (traced) {
            a.psi = pointer<N>(psi_memory.data());
            launch_transpose(queue, pointer<const E>(states.data), a.psi, line.batch, line.n);
        } else if (sizeof(typename E::Scalar) == 4) {
            a.narrow_states = pointer<const float>(states.data);
        } else {
            a.states = pointer<const double>(states.data);
        }
        const std::int64_t values = line.complex_potential ? 2 : 1,
                           slice_bytes = numbers * values * static_cast<std::int64_t>(sizeof(double));
        Plan<N> plan(queue, line, e.potential.data, stages, traced, slice_bytes);
        // A sum for every slice of a launch: of all systems, then over them where they share the potential.
        const std::int64_t slices = line.slices == 1 ? 1 : (plan.most() - 1) / line.poles + 2;
        const auto sum_bytes = static_cast<std::size_t>(slices * slice_bytes);
        const std::size_t c_bytes = static_cast<std::size_t>(line.poles * line.batch) * sizeof(Complex<double>);
        const Workspace sums(queue, sum_bytes), c_sums(queue, c_bytes);
        a.potential_sums = pointer<double>(sums.data());
        a.c_sums = pointer<Complex<double>>(c_sums.data());
        queue.zero(sums.data(), sum_bytes);
        queue.zero(c_sums.data(), c_bytes);
        const auto flush = [&]<class V>(std::int64_t slice, V) {
            const auto from = pointer<const V>(sums.data()) + (slice - a.first_slice) * numbers;
            const auto to = pointer<V>(grad_potential.data) + slice * line.systems * line.n;
            if (line.systems > 1) launch_transpose(queue, from, to, line.n, line.batch, Reading::add_conjugate);
            else launch_sum_rows(queue, from, to, line.n, line.batch);
        };
        const auto flush_all = [&](std::int64_t last) {
            for (std::int64_t slice = a.first_slice; slice <= last; ++slice)
                line.complex_potential ? flush(slice, Complex<double>{}) : flush(slice, Real<double>{});
        };
        for (std::int64_t left = stages; left > 0;) {
            if (grad_frames && left % save_every == 0)
                launch_transpose(queue, pointer<const E>(grad_frames->data) + (left / save_every - 1) * numbers, a.mu, line.batch,
                                 line.n, Reading::add_conjugate);
            std::int64_t count = std::min(plan.most(), left);
            if (grad_frames) count = std::min(count, (left - 1) % save_every + 1);
            const Stages now{left - count, count, true};
            plan.need(now, traced);
            if (line.slices > 1) {
                a.first_slice = now.first / line.poles;
                if (left < stages) queue.zero(sums.data(), sum_bytes);
            }
            const auto kernel = line.reach == 0 ? pull<N, 0> : line.reach == 1 ? pull<N, 1> : pull<N, 2>;
            launch(queue, kernel, grid_for(line.batch, threads), line, now, plan.factors(), plan.back(), a);
            if (line.slices > 1) flush_all((left - 1) / line.poles);
            left = now.first;
        }
        if (line.slices == 1) flush_all(0);
        launch_sum_rows<Complex<double>>(queue, a.c_sums, pointer<Complex<double>>(grad_c.data), line.poles, line.batch);
    }
    launch_transpose<N, E>(queue, a.mu, pointer<E>(grad_psi.data), line.n, line.batch, Reading::conjugate);
}

// Calls f with a value of a tensor's numbers.
template <class F>
void with_numbers(DType dtype, F f) {
    switch (dtype) {
        case DType::f32: return f(Real<float>{});
        case DType::f64: return f(Real<double>{});
        case DType::c64: return f(Complex<float>{});
        default: return f(Complex<double>{});
    }
}

}  // namespace

bool fused_handles(const Evolution&) { return true; }

void evolve_fused(const Evolution& e, const TensorView& psi, const TensorView& out, const TensorView* frames,
                  std::int64_t save_every) {
    if (psi.numel() == 0) return;
    if (frames && frames->numel() == 0) frames = nullptr;
    with_numbers(psi.dtype, [&](auto number) { forward<decltype(number)>(e, psi, out, frames, save_every); });
}

void adjoint_fused(const Evolution& e, const TensorView& states, const TensorView& grad_out, const TensorView* grad_frames,
                   std::int64_t save_every, const TensorView& grad_psi, const TensorView& grad_potential,
                   const TensorView& grad_c) {
    if (grad_frames && grad_frames->numel() == 0) grad_frames = nullptr;
    with_numbers(grad_out.dtype, [&](auto number) {
        backward<decltype(number)>(e, states, grad_out, grad_frames, save_every, grad_psi, grad_potential, grad_c);
    });
}

void evolve_reference(const Evolution&, const TensorView&, const TensorView&, const TensorView*, std::int64_t) {
    cuda::refuse_reference();
}
void adjoint_reference(const Evolution&, const TensorView&, const TensorView&, const TensorView*, std::int64_t, const TensorView&,
                       const TensorView&, const TensorView&) {
    cuda::refuse_reference();
}

}  // namespace qcore::schrodinger
