// A potential of one coordinate as the kernels take it: polynomial coefficients, or a table of cubics.
#pragma once

#include <cstdint>

#include "core/config.hpp"

namespace qcore::paths {

struct Potential {
    static constexpr int max_coefficients = 16;

    // Polynomial: c_0 ... c_{count-1}. Table: `count` cells of four coefficients each, the cubic in
    // u = (x - start) / spacing - cell, constant first; beyond the ends it goes on as a straight line.
    const double* coefficients = nullptr;
    std::int64_t count = 0;
    bool table = false;
    double start = 0, inverse_spacing = 0;
};

// Coefficients of a polynomial whose number kernels know when they are compiled: one of the fourth degree.
constexpr int few_terms = 5;

// The same as an argument that is passed by value: a polynomial's coefficients come along, and a table stays where it is.
class HeldPotential {
  public:
    HeldPotential() = default;
    // A polynomial below the degree `least` - 1 is filled up to it with zeros, and all of it multiplied by `factor`.
    explicit HeldPotential(const Potential& p, std::int64_t least = 0, double factor = 1) : about_(p) {
        if (p.table) return;
        for (std::int64_t k = 0; k < p.count; ++k) coefficients_[k] = p.coefficients[k] * factor;
        if (about_.count < least) about_.count = least;
    }

    // Points into this object.
    QC_HD Potential get() const {
        Potential p = about_;
        if (!p.table) p.coefficients = coefficients_;
        return p;
    }

  private:
    Potential about_;
    double coefficients_[Potential::max_coefficients] = {};
};

}  // namespace qcore::paths
