// The order in which the pointwise factors and the kinetic substeps of a run are applied.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "schrodinger/split_reference.hpp"

namespace qcore::schrodinger {

// One thing to do; `index` of a table, of a frame, of a substep.
struct Item {
    enum Kind { phase, mark, kinetic } kind;
    std::int64_t index;
};

// The items of a run in order, or backwards: where no mark stands between two steps, the last factor of one and the first of the
// next are one.
class Sequence {
  public:
    // Marks after every `every` steps of the whole run, of which these begin after `first`; none with every = 0.
    Sequence(const SplitProblem& p, std::int64_t every, std::int64_t first, bool backwards)
        : p_(p), every_(every), first_(first), backwards_(backwards), merges_(merges(p)), piece_(backwards ? 2 * p.steps : 0) {
        fill();
    }

    // Whether the product of the last and the first factor is needed.
    static bool merges(const SplitProblem& p) {
        return p.steps > 1 && p.program.size() > 1 && p.program.front() >= 0 && p.program.back() >= 0;
    }

    bool next(Item& item) {
        while (place_ == items_.size()) {
            piece_ += backwards_ ? -1 : 1;
            if (piece_ < 0 || piece_ > 2 * p_.steps || p_.steps == 0) return false;
            fill();
        }
        item = items_[backwards_ ? items_.size() - 1 - place_ : place_];
        ++place_;
        return true;
    }

  private:
    // Piece 2 k + 1 is the inside of step k, piece 2 k what stands before it, piece 2 steps what stands behind the last.
    void fill() {
        items_.clear();
        place_ = 0;
        if (p_.steps == 0) return;
        const std::int64_t step = piece_ / 2;
        const std::vector<std::int64_t>& program = p_.program;
        const std::size_t cut = merges_ ? 1 : 0;
        if (piece_ % 2) {
            for (std::size_t i = cut; i + cut < program.size(); ++i)
                items_.push_back(program[i] >= 0 ? Item{Item::phase, program[i]} : Item{Item::kinetic, -1 - program[i]});
            return;
        }
        const bool marked = every_ > 0 && step > 0 && (first_ + step) % every_ == 0;
        if (merges_ && !marked && step > 0 && step < p_.steps) {
            items_.push_back({Item::phase, p_.tables});
            return;
        }
        if (merges_ && step > 0) items_.push_back({Item::phase, program.back()});
        if (marked) items_.push_back({Item::mark, (first_ + step) / every_ - first_ / every_ - 1});
        if (merges_ && step < p_.steps) items_.push_back({Item::phase, program.front()});
    }

    const SplitProblem& p_;
    const std::int64_t every_, first_;
    const bool backwards_, merges_;
    std::int64_t piece_;
    std::vector<Item> items_;
    std::size_t place_ = 0;
};

}  // namespace qcore::schrodinger
