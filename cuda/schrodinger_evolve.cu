// Runs in one dimension: which kernels take them.
#include "core/check.hpp"
#include "schrodinger/fused.hpp"
#include "schrodinger/reference.hpp"
#include "schrodinger_line.hpp"
#include "schrodinger_teams.hpp"

namespace qcore::schrodinger {

namespace {

// Without stages the result is what came in.
void copy(const Queue& queue, const TensorView& from, const TensorView& to) {
    with_numbers(from.dtype, [&]<class E>(E) {
        launch_transpose(queue, pointer<const E>(from.data), pointer<E>(to.data), 1, from.numel());
    });
}

}  // namespace

bool fused_handles(const Evolution&) { return true; }

void evolve_fused(const Evolution& e, const TensorView& psi, const TensorView& out, const TensorView* frames,
                  std::int64_t save_every) {
    if (psi.numel() == 0) return;
    if (frames && frames->numel() == 0) frames = nullptr;
    const Queue queue;
    if (e.steps == 0) return copy(queue, psi, out);
    (one_block_holds(psi.shape[1]) ? evolve_by_teams : evolve_by_blocks)(queue, e, psi, out, frames, save_every);
}

void adjoint_fused(const Evolution& e, const TensorView& states, const TensorView& grad_out, const TensorView* grad_frames,
                   std::int64_t save_every, const TensorView& grad_psi, const TensorView& grad_potential,
                   const TensorView& grad_c) {
    if (grad_frames && grad_frames->numel() == 0) grad_frames = nullptr;
    const Queue queue;
    for (const TensorView* sum : {&grad_potential, &grad_c})
        queue.zero(sum->data, static_cast<std::size_t>(sum->numel() * dtype_size(sum->dtype)));
    if (grad_out.numel() == 0) return;
    if (e.steps == 0) return copy(queue, grad_out, grad_psi);
    // A team's registers don't hold the sums of a complex potential beside the state that is traced back.
    const bool complex_and_traced = states.ndim == 2 && is_complex(e.potential.dtype);
    const auto adjoint = one_block_holds(grad_out.shape[1]) && !complex_and_traced ? adjoint_by_teams : adjoint_by_blocks;
    adjoint(queue, e, states, grad_out, grad_frames, save_every, grad_psi, grad_potential, grad_c);
}

void evolve_reference(const Evolution&, const TensorView&, const TensorView&, const TensorView*, std::int64_t) {
    cuda::refuse_reference();
}
void adjoint_reference(const Evolution&, const TensorView&, const TensorView&, const TensorView*, std::int64_t, const TensorView&,
                       const TensorView&, const TensorView&) {
    cuda::refuse_reference();
}

}  // namespace qcore::schrodinger
