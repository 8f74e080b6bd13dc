// What the fused kernels need to know about a call: plain data only, because the kernel files are compiled per instruction set
// and must not instantiate library templates that other files share.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/dtype.hpp"
#include "schrodinger/evolve.hpp"

namespace qcore::schrodinger {

// Scratch memory handed out from the front. Without a base it only counts, so that one piece of code says how much is needed
// and lays it out.
struct Memory {
    char* base;
    std::size_t used = 0;

    template <class T>
    __attribute__((always_inline)) T* take(std::int64_t count) {
        T* const p = base ? reinterpret_cast<T*>(base + used) : nullptr;
        used += (static_cast<std::size_t>(count) * sizeof(T) + 63) / 64 * 64;
        return p;
    }
};

struct Plan {
    std::int64_t n, batch, stages, poles;
    double kappa;
    const double* c;          // (poles, 2)
    const double* potential;  // (slices, systems, n), complex or not
    std::int64_t slices, systems;
    bool complex_potential;
    Rule rule;
    int order;
    bool periodic;

    DType dtype;   // of psi
    bool narrow;   // arithmetic in float32
    int groups;    // vectors of systems that a sweep takes along
    std::int64_t save_every;
    const void* shared;  // coefficients of all systems, where they are the same and constant; see Kernels::prepare

    // Forward.
    const void* psi;
    void *out, *frames;

    // Adjoint. Task t works off the chunks t, t + tasks ...
    const void *states, *grad_out, *grad_frames;
    bool traced;                      // states holds the last one only
    void* grad_psi;
    double* grad_potential;           // of systems with potentials of their own
    const void* shared_back;          // as shared, for the state on its way back; shared is for mu then
    std::int64_t chunks, tasks;
    double* sum_potential;            // (tasks, slices, n, 1 or 2), where one potential is shared
    double* sum_c;                    // (tasks, poles, 2)

    bool is_complex() const { return qcore::is_complex(dtype); }
    bool constant() const { return slices == 1 || stages <= poles; }
    bool per_system() const { return systems > 1; }
};

// What coefficients are for: a run forwards; mu on its way back; the state on its way back.
enum class Use { forward, adjoint, traced };

struct Kernels {
    int lanes, groups;
    // Bytes of the coefficients that all systems share, and their computation.
    std::size_t (*shared_bytes)(const Plan&, Use);
    void (*prepare)(const Plan&, Use, void* shared);
    // One chunk of the batch, all stages.
    void (*forward)(const Plan&, std::int64_t chunk);
    // All chunks of a task. In float64 only.
    void (*adjoint)(const Plan&, std::int64_t task);
};

}  // namespace qcore::schrodinger
