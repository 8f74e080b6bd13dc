// A call of the transfer kernels, checked and in plain numbers.
#pragma once

#include <cstdint>

#include "core/dtype.hpp"
#include "paths/transfer.hpp"

namespace qcore::transfer {

struct Plan {
    std::int64_t sites, batch, kernel, steps;
    bool periodic, scaled;
    std::int64_t tap_steps, tap_batch, factor_steps, factor_batch;  // leading sizes: 1, or steps and batch
    const void *psi, *psi_sign, *taps, *taps_sign, *factor, *factor_sign;
    void *out, *second, *kept;
    std::int64_t keep_every;

    const void* grad;
    void *grad_psi, *grad_taps, *grad_factor;  // the last two null where not wanted
    const double* ends;
    double* path;

    // How the kernels of the CPU go about it.
    double *sum_taps, *sum_factor;  // one array for each task where problems share what they belong to; null: not wanted
    std::int64_t group;  // problems that lie side by side on one line
    std::int64_t tasks;  // of the adjoint

    // Numbers of the taps and factors, a complex one as two.
    std::int64_t tap_numbers(std::int64_t parts) const { return tap_steps * tap_batch * kernel * parts; }
    std::int64_t factor_numbers(std::int64_t parts) const { return factor_steps * factor_batch * sites * parts; }

    std::int64_t groups() const { return (batch + group - 1) / group; }
    std::int64_t tap_row(std::int64_t t, std::int64_t b) const { return (tap_steps == 1 ? 0 : t) * tap_batch + (tap_batch == 1 ? 0 : b); }
    std::int64_t factor_row(std::int64_t t, std::int64_t b) const {
        return (factor_steps == 1 ? 0 : t) * factor_batch + (factor_batch == 1 ? 0 : b);
    }
    // Steps between the states that the adjoint starts from.
    std::int64_t segment() const { return keep_every > 0 && keep_every < steps ? keep_every : steps; }
};

// Plain loops, obviously right; the yardstick of the tests.
void reference_forward(const Plan& p, Semiring semiring, DType dtype);
void reference_adjoint(const Plan& p, Semiring semiring, DType dtype);

// The fast kernels.
void fused_forward(const Plan& p, Semiring semiring, DType dtype);
void fused_adjoint(const Plan& p, Semiring semiring, DType dtype);
void fused_best_path(const Plan& p, DType dtype);

// Those of one instruction set.
struct Kernels {
    void (*forward)(const Plan&, std::int64_t group);  // semiring max with plan.ends: the best paths into them
    void (*adjoint)(const Plan&, std::int64_t task);
};

}  // namespace qcore::transfer
