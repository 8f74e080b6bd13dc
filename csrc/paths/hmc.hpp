// Hybrid Monte Carlo of closed Euclidean paths and of the lattice phi^4 field, many chains side by side.
// Duane, Kennedy, Pendleton, Roweth, Phys. Lett. B 195 (1987) 216.
#pragma once

#include <cstdint>
#include <vector>

#include "core/tensor_view.hpp"
#include "paths/potential.hpp"

namespace qcore::paths {

// What every run of trajectories has, whatever is moved.
struct Trajectories {
    std::int64_t first = 0, count = 0;  // numbered first, first + 1, ...: the number keys the random numbers
    std::int64_t steps = 1;             // leapfrog steps of each
    double jitter = 0;                  // a trajectory's step is the chain's times a uniform factor in 1 -+ jitter
    bool tune = false;                  // the chain's step towards the target acceptance
    double target = 0.8, step = 0.1, longest = 1e300;  // the step at the start, and its bound
    std::uint64_t seed = 0;
};

// Closed paths of n slices with weight exp(-S / hbar), S = sum_n m (x_n - x_{n-1})^2 / (2 dt) + dt V(x_n).
// frequency 0: unit masses for all slices, leapfrog. Above 0: the mass matrix is the Hessian of S / hbar for an oscillator of that
// frequency, whose motion is then the same rotation for every Fourier mode and is made exactly; only V minus the oscillator kicks.
// Beskos, Pinski, Sanz-Serna, Stuart, Stoch. Proc. Appl. 121 (2011) 2201.
struct PathModel {
    Potential potential;
    double mass = 1, hbar = 1, dt = 1, frequency = 0;
    std::vector<std::int64_t> lags;  // of the correlators
};

// Periodic lattice with S = sum_sites stiffness (phi' - phi)^2 / 2 + quadratic phi^2 + quartic phi^4, the first term for the
// neighbour in the next row and for the one in the next column, each with a stiffness of its own.
struct FieldModel {
    double row_stiffness = 1, column_stiffness = 1, quadratic = 0, quartic = 0;
};

// x: (chains, slices), float32 or float64, moved in place.
// tuning: (chains, 4) float64: log of the step in use, of its mean, mean error of the acceptance, trajectories tuned so far.
// measured: (count, observables, chains) float64, a row per trajectory: energy by the virial and by the thermodynamic estimator,
//   means of x, x^2, x^4 along the path, exp(-dH), correlators.
// accepted: (chains,) float64, the fraction of these trajectories.
void hmc_paths(const PathModel& model, const TensorView& coefficients, const Trajectories& run, const TensorView& x,
               const TensorView& tuning, const TensorView& measured, const TensorView& accepted);

// phi: (chains, rows, columns). measured: action per site, |mean phi|, means of phi^2 and phi^4, sites (mean phi)^2, exp(-dH),
// zero-momentum correlators over the rows at distances 0 ... rows / 2.
void hmc_phi4(const FieldModel& model, const Trajectories& run, const TensorView& phi, const TensorView& tuning,
              const TensorView& measured, const TensorView& accepted);

// One trajectory from given momenta (for paths with a frequency: velocities), moved in place; energies: (2, chains) float64, before
// and after.
void leapfrog_paths(const PathModel& model, const TensorView& coefficients, double step, std::int64_t steps, const TensorView& x,
                    const TensorView& momenta, const TensorView& energies);
void leapfrog_phi4(const FieldModel& model, double step, std::int64_t steps, const TensorView& phi, const TensorView& momenta,
                   const TensorView& energies);

}  // namespace qcore::paths
