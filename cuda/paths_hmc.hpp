// HMC of lattices that have a block each.
#pragma once

#include "paths/hmc_kernels.hpp"
#include "queue.hpp"

namespace qcore::cuda {

// Whether a block has room for the lattice, and there are few enough lattices for threads of their own to be worse.
bool lattice_blocks(const Queue& queue, const paths::HmcTask& task, DType dtype);

void lattice_trajectories(const Queue& queue, const paths::HmcTask& task, DType dtype);

}  // namespace qcore::cuda
