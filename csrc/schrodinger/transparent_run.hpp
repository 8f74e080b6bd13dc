// Checked calls of transparent.hpp: `run` has the sizes and types, without what factors are made of.
#pragma once

#include "schrodinger/cayley_run.hpp"
#include "schrodinger/transparent.hpp"

namespace qcore::schrodinger {

void advance_transparent(const Transparent& t, const CayleyRun& run, const CayleyForward& io);

// The gradients to potential and constants: both, or null where they aren't wanted.
void pull_transparent(const Transparent& t, const CayleyRun& run, const CayleyAdjoint& io, const TensorView* grad_potential,
                      const TensorView* grad_constants);

}  // namespace qcore::schrodinger
