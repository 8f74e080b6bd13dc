// Runs in one dimension, from checked arguments to launches: those that schrodinger_teams.hpp leaves to a thread for each
// system. A run is cut into launches of some stages each, between which the states are plain: where a frame is due, and where
// the factors of changing potentials would take too much memory.
#include <algorithm>
#include <string>

#include "core/check.hpp"
#include "schrodinger/fused.hpp"
#include "schrodinger/reference.hpp"
#include "schrodinger_line.hpp"
#include "schrodinger_sweep.hpp"
#include "schrodinger_teams.hpp"

namespace qcore::schrodinger {

namespace {

using cuda::grid_for;
using cuda::Workspace;

// What factors may take that are kept for all stages, and what those of a launch should take.
#if defined(QCORE_EMULATION)
constexpr std::int64_t most_kept_bytes = 64 << 10, launch_bytes = 16 << 10;  // so that small runs take every way
#else
constexpr std::int64_t most_kept_bytes = std::int64_t{8} << 30, launch_bytes = std::int64_t{256} << 20;
#endif

constexpr int threads = 32;  // of a block: few systems are spread over many multiprocessors

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
        return place_factors(pointer<N>(memory_.data()) + before, line_, slots_, line_.systems, sign);
    }

    const Queue& queue_;
    Line& line_;
    Pointer<const double> potential_;
    std::int64_t stages_, most_ = 1, slots_ = 0;
    bool ready_ = false;
    Workspace memory_;
    Factors<N> factors_, back_;
};

// E: the numbers of the tensors.
template <class E>
void forward(const Evolution& e, const TensorView& psi, const TensorView& out, const TensorView* frames,
             std::int64_t save_every) {
    using N = typename E::template With<double>;
    const Queue queue;
    Line line = make_line(e, psi.shape[0]);
    const std::int64_t stages = e.steps * line.poles, numbers = line.batch * line.n;
    if (stages > 0)
        return (one_block_holds(line.n) ? evolve_by_teams : evolve_by_blocks)(queue, e, psi, out, frames, save_every);
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
    if (stages > 0 && !(traced && line.complex_potential)) {
        const auto adjoint = one_block_holds(line.n) ? adjoint_by_teams : adjoint_by_blocks;
        return adjoint(queue, e, states, grad_out, grad_frames, save_every, grad_psi, grad_potential, grad_c);
    }
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
