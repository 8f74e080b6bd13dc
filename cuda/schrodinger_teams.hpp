// Runs by teams (schrodinger_team.hpp), and which runs are theirs: launches of schrodinger_teams.cu.
#pragma once

#include "launch.hpp"
#include "schrodinger/evolve.hpp"

namespace qcore::schrodinger {

using cuda::Queue;

// Whether teams take runs of so many points. They take every order, boundary and potential; but no state of a complex potential
// is traced back by them. Nothing depends on the batch, so that a system's result doesn't either.
bool teams_take(std::int64_t n);
bool teams_take_adjoint(std::int64_t n, bool traced, bool complex_potential);

// As evolve() and adjoint(), of at least one system and one stage.
void evolve_by_teams(const Queue& queue, const Evolution& e, const TensorView& psi, const TensorView& out,
                     const TensorView* frames, std::int64_t save_every);
void adjoint_by_teams(const Queue& queue, const Evolution& e, const TensorView& states, const TensorView& grad_out,
                      const TensorView* grad_frames, std::int64_t save_every, const TensorView& grad_psi,
                      const TensorView& grad_potential, const TensorView& grad_c);

}  // namespace qcore::schrodinger
