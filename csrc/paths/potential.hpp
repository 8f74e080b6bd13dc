// A potential of one coordinate as the kernels take it: polynomial coefficients, or a table of cubics.
#pragma once

#include <cstdint>

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

}  // namespace qcore::paths
