// Gaussian chains
//     x_0 = start + start_sigma xi_0,   x_{n+1} = a_n x_n + b_n x_end + s_n xi_{n+1},   xi ~ N(0, 1),
// where x_end is x_0 in a closed chain. With the right coefficients they are exact samples of free paths, of bridges and of
// the lattice oscillator, since each of these is a Markov chain whose conditional laws are Gaussian. And the same chains with
// the weight of a potential.
#pragma once

#include <cstdint>

#include "core/tensor_view.hpp"
#include "paths/potential.hpp"

namespace qcore::paths {

// out (sites, draws, chains), float32 or float64: what counters (purpose, site + i, sweep, first_chain + c) give: kind 0, their
// four words (float64 only); 1, uniforms in (0, 1); 2, standard normals. A counter gives four float32 or two float64 numbers.
void fill_random(std::uint32_t purpose, std::uint32_t site, std::uint32_t sweep, std::uint32_t first_chain, std::uint64_t seed,
                 int kind, const TensorView& out);

struct GaussianChain {
    TensorView coefficients;  // (N, 3) float64: a_n, b_n, s_n
    TensorView start, end;    // (Q,) float64
    double start_sigma;
    bool closed;
    std::uint32_t purpose;    // first word of the counters
    std::int64_t first;       // number of the first sample
    std::uint64_t seed;
};

// out (Q, S, N + 1), float32 or float64: S samples of each of Q chains. Sample i of chain q is keyed by (first + i, q).
void gaussian_chains(const GaussianChain& chain, const TensorView& out);

// Sums of weights w = exp(-scale sum_n V(x_n) + quadratic sum_n x_n^2) of samples in groups of chain_group: out (Q, ceil(S /
// chain_group), 3) float64, of each group the largest log w, and the sums of w and w^2 in units of the largest. The sum over n
// counts the ends by half (a closed chain's end once), or is over midpoints. All Q chains share their random numbers.
constexpr std::int64_t chain_group = 256;
void chain_weights(const GaussianChain& chain, const Potential& potential, const TensorView& coefficients, double scale,
                   double quadratic, bool midpoint, std::int64_t samples, const TensorView& out);

}  // namespace qcore::paths
