// Where the adjoint's kernels of the CPU add up gradients to taps and factors: in float64, task by task.
#pragma once

#include <vector>

#include "paths/transfer_plan.hpp"

namespace qcore::transfer {

// One array for each task where problems share what the gradient belongs to. Sets sum_taps and sum_factor of the plan.
class GradientSums {
  public:
    GradientSums(Plan& p, DType dtype) : plan_(p), dtype_(dtype) {
        const std::int64_t values = is_complex(dtype) ? 2 : 1;
        const auto make = [&](std::vector<double>& sums, const void* wanted, std::int64_t numbers, std::int64_t shared_by) {
            const std::int64_t parts = shared_by == 1 ? p.tasks : 1;
            sums.resize(wanted ? static_cast<std::size_t>(parts * numbers) : 0);
            return wanted ? sums.data() : nullptr;
        };
        p.sum_taps = make(taps_, p.grad_taps, p.tap_numbers(values), p.tap_batch);
        p.sum_factor = make(factor_, p.grad_factor, p.factor_numbers(values), p.factor_batch);
    }

    // The sums of all tasks, in their order, into the gradients.
    void store() const {
        const std::int64_t values = is_complex(dtype_) ? 2 : 1;
        if (plan_.grad_taps) add_up(taps_, plan_.tap_numbers(values), plan_.grad_taps);
        if (plan_.grad_factor) add_up(factor_, plan_.factor_numbers(values), plan_.grad_factor);
    }

  private:
    void add_up(const std::vector<double>& sums, std::int64_t count, void* to) const {
        const bool narrow = compute_real(dtype_) == DType::f32;
        for (std::int64_t i = 0; i < count; ++i) {
            double total = 0;
            for (std::size_t at = static_cast<std::size_t>(i); at < sums.size(); at += static_cast<std::size_t>(count))
                total += sums[at];
            if (narrow) static_cast<float*>(to)[i] = static_cast<float>(total);
            else static_cast<double*>(to)[i] = total;
        }
    }

    const Plan& plan_;
    DType dtype_;
    std::vector<double> taps_, factor_;
};

}  // namespace qcore::transfer
