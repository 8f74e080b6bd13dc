// The kernels of the actions once more, one bead after the other in float64 and by the formulas: what the fast ones are held against.
#pragma once

#include "paths/action_rows.hpp"

namespace qcore::paths {

extern const PathKernels reference_action_kernels;

}  // namespace qcore::paths
