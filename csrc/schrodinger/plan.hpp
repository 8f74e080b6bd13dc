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

// Long systems are cut into windows of n points that overlap, each of them run like a system of its own; see long.cpp.
struct Windows {
    std::int64_t count;   // of a system; 0: systems are not cut
    std::int64_t length;  // points of a system
    std::int64_t core;    // points that a window gives to the result
    std::int64_t halo;    // points before and after them

    std::int64_t core_start(std::int64_t w) const { return w * core; }
    std::int64_t core_points(std::int64_t w) const { return length - w * core < core ? length - w * core : core; }
    // The first and the last window end at the walls.
    std::int64_t start(std::int64_t w, std::int64_t n) const {
        const std::int64_t first = w * core - halo;
        return first < 0 ? 0 : first > length - n ? length - n : first;
    }
};

struct Plan {
    std::int64_t n, batch, stages, poles;  // windows count as systems
    Windows windows;
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
    std::int64_t frame_rows;  // of n points, in a frame

    // Adjoint. Task t works off the chunks t, t + tasks ...
    const void *states, *grad_out, *grad_frames;
    bool traced;                      // states holds the last one only
    void* grad_psi;
    double* grad_potential;           // of systems with potentials of their own
    const void* shared_back;          // as shared, for the state on its way back; shared is for mu then
    std::int64_t chunks, tasks;
    double* sum_potential;            // (tasks, slices, n, 1 or 2), where one potential is shared
    double* sum_c;                    // (tasks, poles, 2)

    // Where a system's points start in a tensor of rows (.., n), and those of its potential.
    std::int64_t place(std::int64_t system) const {
        if (!windows.count) return system * n;
        return system / windows.count * windows.length + windows.start(system % windows.count, n);
    }
    std::int64_t potential_place(std::int64_t slice, std::int64_t system) const {
        if (!windows.count) return (slice * systems + (systems > 1 ? system : 0)) * n;
        return windows.start(system % windows.count, n);
    }

    bool is_complex() const { return qcore::is_complex(dtype); }
    bool constant() const { return slices == 1 || stages <= poles; }
    bool per_system() const { return systems > 1 || windows.count; }
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
