// Stands before NVIDIA's header of this name, so that the sources of the kernels compile as plain C++20 and run on the CPU.
// What it leaves out fails to compile: static __shared__ arrays, atomics on floating point numbers, synchronisation of a device.
#pragma once

#ifndef QCORE_EMULATION
#error "the emulated CUDA runtime is for builds with QCORE_EMULATION defined"
#endif

#define __global__
#define __device__
#define __host__
#define __constant__
#define __grid_constant__
#define __forceinline__ __inline__ __attribute__((always_inline))
#define __launch_bounds__(...)
#define __restrict__  // a checked pointer is a class

#include "atomics.hpp"
#include "emulation.hpp"
#include "intrinsics.hpp"
#include "runtime_api.hpp"
#include "synchronization.hpp"
#include "vectors.hpp"
