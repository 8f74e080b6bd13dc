// Runs by teams (schrodinger_team.hpp) that fit into a block, and by several blocks (schrodinger_team_long.hpp): launches of
// schrodinger_teams.cu and schrodinger_teams_long.cu. They take every order, boundary and potential; but teams trace back no
// state of a complex potential.
#pragma once

#include "launch.hpp"
#include "schrodinger/evolve.hpp"

namespace qcore::schrodinger {

using cuda::Queue;

// Whether one block holds so many points.
bool one_block_holds(std::int64_t n);

// As evolve() and adjoint(), of at least one system and one stage.
void evolve_by_teams(const Queue& queue, const Evolution& e, const TensorView& psi, const TensorView& out,
                     const TensorView* frames, std::int64_t save_every);
void evolve_by_blocks(const Queue& queue, const Evolution& e, const TensorView& psi, const TensorView& out,
                      const TensorView* frames, std::int64_t save_every);
void adjoint_by_teams(const Queue& queue, const Evolution& e, const TensorView& states, const TensorView& grad_out,
                      const TensorView* grad_frames, std::int64_t save_every, const TensorView& grad_psi,
                      const TensorView& grad_potential, const TensorView& grad_c);
void adjoint_by_blocks(const Queue& queue, const Evolution& e, const TensorView& states, const TensorView& grad_out,
                       const TensorView* grad_frames, std::int64_t save_every, const TensorView& grad_psi,
                       const TensorView& grad_potential, const TensorView& grad_c);

}  // namespace qcore::schrodinger
