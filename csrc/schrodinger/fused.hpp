// The fast kernels: fused sweeps over many systems at a time (sweep.hpp).
#pragma once

#include "schrodinger/evolve.hpp"

namespace qcore::schrodinger {

// Whether they take these arguments, which have passed the checks of evolve or adjoint.
bool fused_handles(const Evolution& e);

// As evolve and adjoint.
void evolve_fused(const Evolution& e, const TensorView& psi, const TensorView& out, const TensorView* frames, std::int64_t save_every);

}  // namespace qcore::schrodinger
