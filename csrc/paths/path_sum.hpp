// Sums over the gated lattice paths of a chain of N layers
//     psi_t(x) = g_t(x) (sum_k T_t(k) psi_{t-1}(x + offset_k) + b_t),   t = 1 ... N,
// on a lattice of height x width sites, whose gates g_t(x) were observed for each input of a batch. A path into site x_N has
// weight prod_t g_t(x_t) T_t(c_t), where x_{t-1} = x_t + offset_{c_t} seen through the boundary; beyond a zero boundary it is 0.
#pragma once

#include <cstdint>
#include <vector>

#include "core/boundary.hpp"
#include "core/tensor_view.hpp"

namespace qcore::paths {

// Tensors are float64 and contiguous:
//   taps     (N, K)
//   offsets  2 K numbers            row and column of each tap
//   gates    (N, B, height, width)
//   bias     (N,), or null
//   outputs  R sites                y * width + x
struct Chain {
    TensorView taps;
    std::vector<std::int64_t> offsets;
    TensorView gates;
    const TensorView* bias;
    std::vector<std::int64_t> outputs;
    Boundary boundary;
};

// weights (B, R, height * width): summed weights of all paths from every site into each output, the Jacobian. from_bias (B, R):
// what paths bring that start from a bias. With `exponents` (B, R, 2) a row of weights counts times 2^exponent and
// from_bias times 2^(the second), which neither overflow nor vanish however long the chain. Throws std::invalid_argument.
void transfer(const Chain& chain, const TensorView& weights, const TensorView& from_bias, const TensorView* exponents);

// weights (B, R, K^N) of single paths, path p taking step c_t = p / K^(t-1) mod K; starts (R, K^N): the site where each begins, or
// -1 where it leaves the lattice.
void enumerate(const Chain& chain, const TensorView& weights, const TensorView& starts);

// Unbiased estimates of psi_N at the outputs from `samples` random paths each, steps drawn in proportion to |T_t|:
// psi_0 (B, height, width), mean and variance of the mean (B, R). The same for any number of threads, and for an input
// whatever others are in the batch but for its number in it, `first` + its index.
void sample(const Chain& chain, const TensorView& psi0, std::int64_t samples, std::uint64_t seed, std::int64_t first,
            const TensorView& mean, const TensorView& variance);

}  // namespace qcore::paths
