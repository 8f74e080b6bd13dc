// Checks that the entry points of HMC, Langevin and diffusion Monte Carlo share.
#pragma once

#include <cmath>
#include <initializer_list>
#include <limits>
#include <string>
#include <vector>

#include "core/check.hpp"
#include "paths/potential_check.hpp"

namespace qcore::paths {
namespace {

inline void check_positive(const char* name, double value) {
    if (!(value > 0 && std::isfinite(value))) fail(name, "a finite number > 0", std::to_string(value));
}

inline void check_axes(const char* name, const TensorView& t, int axes) {
    if (t.ndim != axes) fail(name, std::to_string(axes) + " axes", "shape " + t.shape_text());
}

// Numbers from first to first + count - 1 must fit into a word of Philox' counter.
inline void check_counter(const char* name, std::int64_t first, std::int64_t count) {
    constexpr std::int64_t limit = std::int64_t{1} << 32;
    if (first < 0 || count < 0 || count > limit || first > limit - count)
        fail(name, "numbers from 0 to below 2^32", std::to_string(first) + " and " + std::to_string(count) + " more");
}
// Steps of all sweeps up to `sweeps`, and one more, are counted in such a word.
inline void check_steps(std::int64_t sweeps, std::int64_t steps) {
    constexpr std::int64_t limit = (std::int64_t{1} << 32) - 1;
    if (steps < 1) fail("steps", "at least 1", std::to_string(steps));
    if (sweeps > 0 && steps > limit / sweeps)
        fail("steps", "fewer than 2^32 in all", std::to_string(sweeps) + " sweeps of " + std::to_string(steps));
}
inline void check_chains(std::int64_t chains) { check_counter("chains", 0, chains); }
inline void check_sites(std::int64_t sites) {
    if (sites > std::numeric_limits<std::int32_t>::max()) fail("x", "fewer than 2^31 sites", std::to_string(sites));
}

inline void check_lags(const std::vector<std::int64_t>& lags, std::int64_t largest) {
    for (const std::int64_t lag : lags)
        if (lag < 0 || lag > largest) fail("lags", "from 0 to " + std::to_string(largest), std::to_string(lag));
}

// A state: float32 or float64, written to.
inline void check_real_output(const char* name, const TensorView& t) {
    if (t.dtype != DType::f32 && t.dtype != DType::f64) fail(name, "float32 or float64", dtype_name(t.dtype));
    check_output(name, t);
}

// A float64 output that shares no memory with the others.
inline void check_result(const char* name, const TensorView& t, std::initializer_list<std::int64_t> shape,
                         std::initializer_list<const TensorView*> others) {
    TensorView expected;
    for (const std::int64_t n : shape) expected.shape[expected.ndim++] = n;
    check_dtype(name, t, DType::f64);
    check_shape(name, t, expected);
    check_output(name, t);
    for (const TensorView* other : others) check_disjoint(name, t, "another array of this call", *other);
}

// The potential with its coefficients, checked. Polynomials up to the fourth degree are filled up to it with zeros and have
// `terms` coefficients, a number that kernels know; of others `terms` is 0.
inline HeldPotential held_potential(Potential p, const TensorView& coefficients, int& terms) {
    p = checked_potential(p, coefficients);
    terms = !p.table && p.count <= few_terms ? few_terms : 0;
    return HeldPotential(p, few_terms);
}

}  // namespace
}  // namespace qcore::paths
