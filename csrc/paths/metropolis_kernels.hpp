// What the compiled variants of the Metropolis sampler offer: all sweeps of a call for the chains of one vector.
#pragma once

#include <cstdint>

#include "core/isa.hpp"
#include "paths/metropolis.hpp"

namespace qcore::paths {

struct MetropolisTask {
    const MetropolisCall* call;
    const double* scaled;  // polynomial coefficients times potential_scale; a table's are in call->potential
    std::int64_t beads, links, chains;
    std::int64_t first_chain, count;  // of this task
    void* x;                          // (beads, chains)
    double *step, *counts, *measured, *accepted;
    double* histogram;  // of this task
    std::int64_t bins;
};

struct MetropolisKernels {
    // By type (float, double), then potential: polynomial of at most five coefficients, any polynomial, table.
    void (*sweeps[2][3])(const MetropolisTask&);
    std::int64_t lanes[2];
};

}  // namespace qcore::paths

namespace qcore {
QC_ISA_OBJECT(paths::MetropolisKernels, metropolis_kernels)
}
