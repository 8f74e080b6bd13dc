// What the callers of the fused kernels share.
#pragma once

#include <algorithm>
#include <memory>
#include <new>
#include <type_traits>

#include "core/parallel.hpp"
#include "schrodinger/plan.hpp"

namespace qcore::schrodinger {

struct Free {
    void operator()(void* p) const { ::operator delete(p, std::align_val_t{64}); }
};
using Buffer = std::unique_ptr<void, Free>;

inline Buffer allocate(std::size_t bytes) { return Buffer(::operator new(std::max<std::size_t>(bytes, 1), std::align_val_t{64})); }

template <class F>
void parallel(std::int64_t n, int threads, F&& body) {
    parallel_for(n, threads, [](void* f, std::int64_t i) { (*static_cast<std::remove_reference_t<F>*>(f))(i); }, &body);
}

// Points from which on a system may be run in windows. Below, a vector of whole systems is near enough to a core's cache.
constexpr std::int64_t long_system = 16384;

// Of a batch of long systems that share a constant potential, or of one. False, and nothing done, where windows don't pay: see long.cpp.
bool evolve_in_windows(const Plan& p, const Kernels& kernels, int threads);

}  // namespace qcore::schrodinger
