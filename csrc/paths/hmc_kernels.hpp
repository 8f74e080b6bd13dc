// What the entry points of HMC give to their kernels: plain numbers and addresses, passed by value.
#pragma once

#include "core/dtype.hpp"
#include "core/philox.hpp"
#include "paths/hmc.hpp"

namespace qcore::paths {

// First word of the counters: slot 0 for momenta, 1 for the uniforms of a trajectory.
constexpr std::uint32_t hmc_purpose(std::uint32_t slot) { return static_cast<std::uint32_t>(Purpose::hmc) << 24 | slot; }

constexpr int path_observables = 6, field_observables = 6;  // before the correlators

// A mass matrix that is the Hessian of S / hbar for an oscillator, link (2 + e^2 - shift - 1/shift) = link/r (1 - r shift) (1 -
// r/shift), with e its frequency times dt and r = exp(-angle).
struct OscillatorMasses {
    double angle = 0, r = 0;
    double covariance = 0;  // r / link
    double around = 0;      // 1 / (1 - r^sites): sums that go round the path for ever
};

struct HmcTask {
    enum class Of { paths, fields } of = Of::paths;
    Trajectories run;
    // Of paths; the potential's number of coefficients where kernels know it, else 0.
    HeldPotential potential;
    int terms = 0;
    double mass = 1, hbar = 1, dt = 1, frequency = 0;
    OscillatorMasses masses;  // where frequency > 0
    const void* powers = nullptr;  // of r, those of the slices in the path's own type; the driver makes them
    const std::int64_t* lags = nullptr;
    std::int64_t lag_count = 0;
    FieldModel field;
    std::int64_t rows = 0, columns = 1;  // slices and 1, or the lattice
    std::int64_t chains = 0;
    void* x = nullptr;
    double *tuning = nullptr, *measured = nullptr, *accepted = nullptr;
    void* momenta = nullptr;  // leapfrog alone
    double* energies = nullptr;
    double step = 0;

    QC_HD std::int64_t sites() const { return rows * columns; }
};

// All trajectories of a call; one trajectory from given momenta.
void hmc_trajectories(const HmcTask& task, DType dtype);
void hmc_leapfrog(const HmcTask& task, DType dtype);

}  // namespace qcore::paths
