// What a GPU can do at most, for benchmarks to compare with: copy bandwidth and the rate of fused multiply-adds.
#pragma once

#include <cstdint>

#include "core/tensor_view.hpp"

namespace qcore::cuda {

// out = x, both float32 and contiguous, of one size: 8 bytes moved a point.
void copy(const TensorView& x, const TensorView& out);

// `steps` dependent fused multiply-adds on each of 8 registers a thread, a thread for each element of out (float32 or float64):
// 8 steps numel() in all.
void fma_chain(const TensorView& out, std::int64_t steps);

}  // namespace qcore::cuda
