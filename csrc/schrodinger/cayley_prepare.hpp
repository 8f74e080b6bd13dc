// From a checked run to the kernels: factors that all systems share, blocks, sums.
#pragma once

#include <complex>
#include <cstdint>
#include <vector>

#include "schrodinger/cayley_run.hpp"
#include "schrodinger/evolve.hpp"

namespace qcore::schrodinger {

// One system's numbers on three bands.
struct Bands {
    std::vector<std::complex<double>> lower, diagonal, upper;
};
Bands bands_of(const CayleyRun& run, const double* bands, std::int64_t count, std::int64_t system);

// The factors of M + sign z A of a system, and the pivots. Throws std::invalid_argument where elimination breaks down.
struct Elimination {
    std::vector<std::complex<double>> k, r, t, pivot;
};
Elimination eliminate(const CayleyRun& run, std::int64_t system, double sign);

std::complex<double> number(const CayleyRun& run, const double* p);

// Runs all blocks.
void advance(CayleyRun run, const CayleyForward& io, Backend backend);

// Gradients as bands, mass and z; null: only that of psi is wanted, or there is no mass.
struct CayleyGradients {
    double *bands, *mass, *z;
};
void pull_back(const CayleyRun& run, const CayleyAdjoint& io, Backend backend, const CayleyGradients& to);

// As far as sums. With `wanted`, the sums of one set for each system of a lanewise run, else of one set in all: numbers
// [3 or 6][n] and, with transparent ends, [2][steps].
struct Sums {
    std::vector<double> bands, memory;
    std::int64_t sets = 0;
};
void pull_back(CayleyRun run, CayleyAdjoint io, Backend backend, bool wanted, Sums& sums);

void reference_forward(const CayleyRun& run, const CayleyForward& io);
void reference_adjoint(const CayleyRun& run, const CayleyAdjoint& io);  // sums of one set for each system

}  // namespace qcore::schrodinger
