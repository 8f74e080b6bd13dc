// Philox4x32-10: random numbers as a function of a counter and a key, so that they don't depend on threads, batches or order.
// Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
#pragma once

#include <array>
#include <cstdint>

#include "core/config.hpp"

namespace qcore {

// What the numbers are for: the first word of a counter, so that two samplers never share any.
enum class Purpose : std::uint32_t {
    path_sum = 1,
    metropolis = 2,
    gaussian_chain = 3,
    hmc = 8,
    langevin = 9,
    diffusion = 10,
};

// 128 random bits of counter (purpose, site, sweep, chain).
QC_HD std::array<std::uint32_t, 4> philox(std::array<std::uint32_t, 4> counter, std::uint64_t seed) {
    std::uint32_t k0 = static_cast<std::uint32_t>(seed), k1 = static_cast<std::uint32_t>(seed >> 32);
    for (int round = 0; round < 10; ++round) {
        const std::uint64_t p0 = std::uint64_t{0xD2511F53} * counter[0], p1 = std::uint64_t{0xCD9E8D57} * counter[2];
        counter = {static_cast<std::uint32_t>(p1 >> 32) ^ counter[1] ^ k0, static_cast<std::uint32_t>(p1),
                   static_cast<std::uint32_t>(p0 >> 32) ^ counter[3] ^ k1, static_cast<std::uint32_t>(p0)};
        k0 += 0x9E3779B9;
        k1 += 0xBB67AE85;
    }
    return counter;
}

// Uniform in (0, 1), with 52 bits: with one more the largest would round to 1.
QC_HD constexpr double uniform(std::uint32_t high, std::uint32_t low) {
    const std::uint64_t bits = (std::uint64_t{high} << 32 | low) >> 12;
    return (static_cast<double>(bits) + 0.5) * 0x1p-52;
}
static_assert(uniform(0, 0) > 0 && uniform(~0u, ~0u) < 1);

}  // namespace qcore
