// Owns the tables that a Plan points to.
#pragma once

#include <cstddef>
#include <vector>

#include "stencil/plan.hpp"

namespace qcore::stencil {

class PlanBuilder {
  public:
    // item_size: bytes of the compute type's real, 4 or 8. The problem must outlive the plan.
    PlanBuilder(const Problem& problem, std::int64_t item_size, bool backward);
    PlanBuilder(const PlanBuilder&) = delete;
    PlanBuilder& operator=(const PlanBuilder&) = delete;

    Plan& plan() { return plan_; }

  private:
    struct Offsets {
        std::vector<std::ptrdiff_t> relative, dx;
    };

    void build_layout();
    template <class T>
    void build_taps();

    const Problem& problem_;
    std::int64_t item_size_;
    bool backward_;
    Plan plan_{};
    std::vector<std::ptrdiff_t> row_, source_, zero_source_;
    Offsets forward_, adjoint_, fold_, gradient_;
    std::vector<char> taps_, adjoint_taps_;
};

}  // namespace qcore::stencil
