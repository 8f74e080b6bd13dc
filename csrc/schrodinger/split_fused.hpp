// The fast kernels: entry points for a checked problem. False where the plain ones have to run.
#pragma once

#include "schrodinger/split_reference.hpp"

namespace qcore::schrodinger {

bool split_fused_evolve(const SplitProblem& p, const void* psi, void* out, void* frames, std::int64_t save_every);
bool split_fused_adjoint(const SplitProblem& p, const SplitGradients& g);

}  // namespace qcore::schrodinger
