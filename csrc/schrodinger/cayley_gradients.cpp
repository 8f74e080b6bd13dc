// Gradients of Cayley steps from the sums that the kernels leave.
#include <algorithm>
#include <complex>

#include "schrodinger/cayley_prepare.hpp"

namespace qcore::schrodinger {

void pull_back(const CayleyRun& run, const CayleyAdjoint& io, Backend backend, const CayleyGradients& to) {
    using Number = std::complex<double>;
    Sums sums;
    pull_back(run, io, backend, to.bands != nullptr, sums);
    if (!to.bands) return;

    // With nu and chi of a step the derivative is 2 nu_i (z dA + A dz) chi + 2 nu_i dM (psi - chi).
    const std::int64_t n = run.n, parts = run.parts;
    std::fill_n(to.bands, 3 * run.bands_count * n * parts, 0.0);
    if (to.mass) std::fill_n(to.mass, 3 * run.mass_count * n * parts, 0.0);
    std::fill_n(to.z, run.z_count * parts, 0.0);
    const auto add = [&](double* gradient, std::int64_t i, Number value) {
        gradient[i * parts] += value.real();
        if (parts == 2) gradient[i * parts + 1] -= value.imag();
    };
    for (std::int64_t s = 0; s < sums.sets; ++s) {
        const std::int64_t a_set = run.bands_count > 1 ? s : 0, m_set = run.mass_count > 1 ? s : 0, z_set = run.z_count > 1 ? s : 0;
        const Number z = number(run, run.z + z_set * parts);
        const double* const sum = sums.bands.data() + s * (run.mass ? 6 : 3) * n * parts;
        Number to_z = 0.0;
        for (int band = 0; band < 3; ++band)
            for (std::int64_t j = 0; j < n; ++j) {
                if ((band == 0 && j == 0) || (band == 2 && j == n - 1)) continue;  // what is there isn't part of A
                const std::int64_t at = (band * run.bands_count + a_set) * n + j;
                const Number value = 2.0 * number(run, sum + (band * n + j) * parts);
                add(to.bands, at, z * value);
                to_z += number(run, run.bands + at * parts) * value;
                if (run.mass)
                    add(to.mass, (band * run.mass_count + m_set) * n + j, 2.0 * number(run, sum + ((3 + band) * n + j) * parts));
            }
        add(to.z, z_set, to_z);
    }
}

}  // namespace qcore::schrodinger
