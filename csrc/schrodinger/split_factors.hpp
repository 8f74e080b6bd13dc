// A kinetic stage is a rational function of l = 2 - (shift left) - (shift right), and so a product of tridiagonal factors
//     (1 - below l) (1 - g l)^{-1}.
// Order 6 needs two of them, since its denominator 1 - (2/15 + e) l + (e/20) l^2 has two roots: no pentadiagonal systems.
#pragma once

#include <complex>
#include <vector>

#include "schrodinger/evolve.hpp"

namespace qcore::schrodinger {

using Number = std::complex<double>;

// With the derivatives of both coefficients by e.
struct Factor {
    Number g, below, dg, dbelow;
};

// The larger and the smaller g of 1 - (2/15 + e) l + (e/20) l^2 = (1 - g l)(1 - g' l), and their derivatives.
struct SixthOrderRoots {
    Number large, small, dlarge, dsmall;

    explicit SixthOrderRoots(Number e) {
        const Number sum = 2.0 / 15.0 + e, root = std::sqrt(sum * sum - e / 5.0);
        const Number distance = (std::conj(sum) * root).real() < 0 ? -root : root;
        large = (sum + distance) / 2.0;
        small = e / 20.0 / large;
        dlarge = (large - 0.05) / distance;
        dsmall = (0.05 - small) / distance;
    }
};

inline std::vector<Factor> stage_factors(Number e, int order, Rule rule) {
    const bool cayley = rule == Rule::cayley;
    if (order == 2) return {{e, cayley ? -e : 0.0, 1.0, cayley ? -1.0 : 0.0}};
    if (order == 4) return {{1.0 / 12.0 + e, 1.0 / 12.0 - (cayley ? e : 0.0), 1.0, cayley ? -1.0 : 0.0}};
    const SixthOrderRoots down(e), up(-e);
    if (cayley) return {{down.large, up.large, down.dlarge, -up.dlarge}, {down.small, up.small, down.dsmall, -up.dsmall}};
    return {{down.large, 2.0 / 15.0, down.dlarge, 0.0}, {down.small, 0.0, down.dsmall, 0.0}};
}

}  // namespace qcore::schrodinger
