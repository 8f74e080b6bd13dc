// What this machine can do at most: the measure that benchmarks hold kernels against.
#pragma once

#include <cstdint>

namespace qcore {

// Loops compiled for each instruction set.
struct CeilingLoops {
    // `rounds` fused multiply-adds on each of several independent vectors; returns how many scalar ones that were.
    std::int64_t (*fma_f32)(std::int64_t rounds);
    std::int64_t (*fma_f64)(std::int64_t rounds);
    void (*triad)(const float* a, const float* b, float* c, std::int64_t n);  // c = a + 2 b
};

// Fused multiply-adds per second from registers, all threads together, best of several runs in about `seconds`.
double measure_fma_rate(bool single, double seconds, int threads);

// Bytes per second of c = a + s b over three arrays of together `megabytes`, counted as 12 bytes a point.
double measure_triad(double megabytes, double seconds, int threads);

}  // namespace qcore
