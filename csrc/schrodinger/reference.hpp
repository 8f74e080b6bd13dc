// The plain kernels that the fast ones are compared with: one system at a time, in complex double precision throughout.
#pragma once

#include "schrodinger/evolve.hpp"

namespace qcore::schrodinger {

// As evolve and adjoint, whose checks the arguments have passed.
void evolve_reference(const Evolution& e, const TensorView& psi, const TensorView& out, const TensorView* frames,
                      std::int64_t save_every);
void adjoint_reference(const Evolution& e, const TensorView& states, const TensorView& grad_out, const TensorView* grad_frames,
                       std::int64_t save_every, const TensorView& grad_psi, const TensorView& grad_potential,
                       const TensorView& grad_c);

}  // namespace qcore::schrodinger
