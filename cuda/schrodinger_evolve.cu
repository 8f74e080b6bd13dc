// Runs in one dimension, from checked arguments to launches. A run is cut into launches of some stages each, between which the
// states are plain: where a frame is due, and where the factors of changing potentials would take too much memory.
#include <algorithm>
#include <string>

#include "core/check.hpp"
#include "schrodinger/fused.hpp"
#include "schrodinger/reference.hpp"
#include "schrodinger_layout.hpp"
#include "schrodinger_sweep.hpp"
#include "schrodinger_team.hpp"

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
        throw Unsupported("c: more than " + std::to_string(most_poles) + " stages in a step have no CUDA kernel; move the tensors to the CPU");
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
    // `steps`: launches should hold whole steps of a changing potential, if any. `back`: for -c as well.
    Plan(const Queue& queue, Line& line, const void* potential, std::int64_t stages, bool back)
        : queue_(queue), line_(line), potential_(pointer<const double>(potential)), stages_(stages),
          memory_(queue, choose(back)), factors_(place(0, 1)), back_(place(back ? 1 : 0, -1)) {}

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
    std::size_t choose(bool back) {
        const std::int64_t slot = factor_bytes<N>(line_, back ? 2 : 1, line_.systems), kept = 2 * line_.poles;
        line_.kept = line_.slices == 1 && kept <= stages_ && kept * slot <= most_kept_bytes;
        most_ = line_.kept ? stages_ : std::clamp<std::int64_t>(launch_bytes / slot, 1, stages_);
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

// All stages in one launch, or, where systems have potentials of their own, one for as many as their coefficients may take memory.
template <class N, class E>
void forward_by_teams(const Queue& queue, Line line, const Evolution& e, const TensorView& psi, const TensorView& out,
                      const TensorView* frames, std::int64_t save_every) {
    using Wide = typename N::template With<double>;
    const Team team = make_team(line);
    const std::int64_t batch = line.batch, slots = 2 * line.poles, stages = e.steps * line.poles, values = line.complex_potential ? 2 : 1;
    const bool own = line.systems > 1;
    line.kept = true;
    const std::int64_t system_bytes = factor_bytes<Wide>(line, slots, 1) + line.poles * team.size() * static_cast<std::int64_t>(sizeof(N));
    const std::int64_t most = own ? std::clamp<std::int64_t>(most_kept_bytes / system_bytes, 1, batch) : batch;
    line.systems = own ? most : 1;
    const Workspace factor_memory(queue, static_cast<std::size_t>(factor_bytes<Wide>(line, slots, line.systems)));
    const Workspace memory(queue, static_cast<std::size_t>(line.poles * line.systems * team.size()) * sizeof(N));
    const auto coefficients = pointer<N>(memory.data());
    for (std::int64_t first = 0; first < batch; first += most) {
        line.batch = std::min(most, batch - first);
        if (own) line.systems = line.batch;
        const auto factors = place_factors(pointer<Wide>(factor_memory.data()), line, slots, 1);
        const auto potential = pointer<const double>(e.potential.data) + (own ? first * line.n * values : 0);
        launch(queue, factorize<Wide>, grid_for(slots * line.systems, 32), line, factors, potential, Stages{0, stages, false}, slots);
        const auto items = static_cast<unsigned>(std::min<std::int64_t>(line.poles * line.systems, 1 << 20));
        const auto lanes = static_cast<unsigned>(team.lanes);
        launch(queue, deal<N>, {dim3(items), dim3(lanes)}, line, team, factors, coefficients);
        const unsigned teams = team.lanes == warp ? 4 : 1;
        const cuda::Grid grid{grid_for(line.batch, static_cast<int>(teams)).blocks, dim3(lanes, teams), cuda::SharedMemory::bytes<N>(exchanged)};
        const auto kernel = team.points == 8 ? advance_team<N, 8> : advance_team<N, most_points>;
        launch(queue, kernel, grid, line, team, stages, line.systems, coefficients, rows<N, E>(psi.data), rows<N, E>(out.data),
               frames ? rows<N, E>(frames->data) : Rows<N>{}, Frames{frames ? save_every : 0, batch}, first);
    }
}

// E: the numbers of the tensors.
template <class E>
void forward(const Evolution& e, const TensorView& psi, const TensorView& out, const TensorView* frames, std::int64_t save_every) {
    using N = typename E::template With<double>;
    const Queue queue;
    Line line = make_line(e, psi.shape[0]);
    const std::int64_t stages = e.steps * line.poles, numbers = line.batch * line.n;
    if (stages > 0 && has_team(line)) {
        if (e.arithmetic == Arithmetic::f32) return forward_by_teams<typename E::template With<float>, E>(queue, line, e, psi, out, frames, save_every);
        return forward_by_teams<N, E>(queue, line, e, psi, out, frames, save_every);
    }
    const Workspace memory(queue, static_cast<std::size_t>(numbers) * sizeof(N));
    const auto state = pointer<N>(memory.data());
    launch_transpose(queue, pointer<const E>(psi.data), state, line.batch, line.n);
    const auto give = [&](Pointer<E> to) { launch_transpose<N, E>(queue, state, to, line.n, line.batch); };
    if (stages > 0) {
        Plan<N> plan(queue, line, e.potential.data, stages, false);
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
        Plan<N> plan(queue, line, e.potential.data, stages, traced);
        // A sum for every slice of a launch: of all systems, then over them where they share the potential.
        const std::int64_t slices = line.slices == 1 ? 1 : (plan.most() - 1) / line.poles + 2, values = line.complex_potential ? 2 : 1;
        const std::size_t sum_bytes = static_cast<std::size_t>(slices * numbers * values) * sizeof(double);
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
                launch_transpose(queue, pointer<const E>(grad_frames->data) + (left / save_every - 1) * numbers, a.mu, line.batch, line.n,
                                 Reading::add_conjugate);
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

[[noreturn]] void refuse_reference() {
    throw Unsupported("backend: 'reference' has no CUDA kernel; move the tensors to the CPU, or use 'auto'");
}

}  // namespace

bool fused_handles(const Evolution&) { return true; }

void evolve_fused(const Evolution& e, const TensorView& psi, const TensorView& out, const TensorView* frames, std::int64_t save_every) {
    if (psi.numel() == 0) return;
    if (frames && frames->numel() == 0) frames = nullptr;
    with_numbers(psi.dtype, [&](auto number) { forward<decltype(number)>(e, psi, out, frames, save_every); });
}

void adjoint_fused(const Evolution& e, const TensorView& states, const TensorView& grad_out, const TensorView* grad_frames,
                   std::int64_t save_every, const TensorView& grad_psi, const TensorView& grad_potential, const TensorView& grad_c) {
    if (grad_frames && grad_frames->numel() == 0) grad_frames = nullptr;
    with_numbers(grad_out.dtype, [&](auto number) {
        backward<decltype(number)>(e, states, grad_out, grad_frames, save_every, grad_psi, grad_potential, grad_c);
    });
}

void evolve_reference(const Evolution&, const TensorView&, const TensorView&, const TensorView*, std::int64_t) { refuse_reference(); }
void adjoint_reference(const Evolution&, const TensorView&, const TensorView&, const TensorView*, std::int64_t, const TensorView&,
                       const TensorView&, const TensorView&) {
    refuse_reference();
}

}  // namespace qcore::schrodinger
