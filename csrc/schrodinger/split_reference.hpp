// A checked problem as plain numbers, and the plain kernels that run it in complex128, one line of the grid after another.
#pragma once

#include <cstdint>
#include <vector>

#include "schrodinger/split.hpp"
#include "schrodinger/split_factors.hpp"

namespace qcore::schrodinger {

struct SplitProblem {
    std::int64_t batch, points;       // points: of one field
    std::vector<std::int64_t> sizes;  // of the space axes
    std::vector<Boundary> boundary;
    std::int64_t tables, phases_batch;  // Q, P
    std::int64_t substeps, stages;      // A, M
    std::vector<Number> e;             // (A, D, M)
    std::vector<std::int64_t> program;
    std::int64_t steps;
    Rule rule;
    int order;
    Arithmetic arithmetic;
    DType dtype;         // of psi
    const void* phases;  // complex128, or float64 where psi is real

    std::int64_t axes() const { return static_cast<std::int64_t>(sizes.size()); }
    Number stage(std::int64_t substep, std::int64_t axis, std::int64_t m) const {
        return e[static_cast<std::size_t>((substep * axes() + axis) * stages + m)];
    }
    // Where the table q for field b begins, in numbers.
    std::int64_t table(std::int64_t q, std::int64_t b) const {
        return (q * phases_batch + (phases_batch == 1 ? 0 : b)) * points;
    }
};

// Adjoint's arguments; null what is not there or not wanted.
struct SplitGradients {
    const void *states, *grad_out, *grad_frames;
    bool trace_back;  // states is the final state
    std::int64_t save_every, first;
    void* grad_psi;
    void* grad_phases;
    Number* grad_e;
};

void split_reference_evolve(const SplitProblem& p, const void* psi, void* out, void* frames, std::int64_t save_every);
void split_reference_adjoint(const SplitProblem& p, const SplitGradients& g);

}  // namespace qcore::schrodinger
