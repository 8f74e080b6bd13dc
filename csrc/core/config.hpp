// Macros shared by every kernel.
#pragma once

// Per-point math that a CUDA kernel may call as well. On the host it is always inlined: files compiled per instruction set
// must not leave an out-of-line copy that the linker could pick for all of them.
#if defined(__CUDACC__)
#define QC_HD __host__ __device__ inline
#else
#define QC_HD __attribute__((always_inline)) inline
#endif

// A kernel whose calls are all inlined into it: what its lambdas capture then lives in registers.
#define QC_KERNEL __attribute__((flatten, noinline))
