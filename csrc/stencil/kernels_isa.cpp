// The stencil kernels for one instruction set. Compiled once for each, with QC_ISA naming it.
#include "stencil/resident.hpp"
#include "stencil/wavefront.hpp"

namespace qcore::QC_ISA {

namespace {

template <class T>
constexpr stencil::Kernels kernels() {
    stencil::Kernels k{};
    k.lanes = Simd<T>::width;
    k.resident_forward = [](const Plan& plan, std::int64_t channel, std::int64_t group) { Resident<T>(plan, channel, group).forward(); };
    k.resident_backward = [](const Plan& plan, std::int64_t channel, std::int64_t group) { Resident<T>(plan, channel, group).backward(); };
    k.wavefront_forward = [](const Plan& plan, const Tile& tile) { ForwardTile<T>(plan, tile).run(); };
    k.wavefront_backward = [](const Plan& plan, const Tile& tile) { BackwardTile<T>(plan, tile).run(); };
    k.clear = [](const Plan& plan, void* plane) { clear_pads(plan.layout, static_cast<T*>(plane)); };
    k.read = [](const Plan& plan, const RealField& field, PlaneIndex index, void* plane, RowRange rows, bool add) {
        T* p = static_cast<T*>(plane);
        read_plane(field, index, plan.layout, p, rows, add);
        if (!add) Stepper<T>(plan).fill_halos(p, rows);
    };
    k.write = [](const Plan& plan, const RealField& field, PlaneIndex index, const void* plane, RowRange rows) {
        write_plane(field, index, plan.layout, static_cast<const T*>(plane), rows);
    };
    k.step = [](const Plan& plan, const void* u, void* v, std::int64_t t, std::int64_t channel, RowRange rows) {
        Stepper<T>(plan).step(static_cast<const T*>(u), static_cast<T*>(v), t, channel, rows);
    };
    k.gate = [](const Plan& plan, const void* u, const void* next, const void* g, void* d, std::int64_t t, std::int64_t channel,
                RowRange rows, double* sums) {
        const std::int64_t n = plan.gradients(), width = Simd<T>::width;
        T* const lanes = static_cast<T*>(thread_scratch(static_cast<std::size_t>(n * width) * sizeof(T)));
        for (std::int64_t i = 0; i < n * width; ++i) lanes[i] = T(0);
        const Stepper<T> stepper(plan);
        stepper.gate(static_cast<const T*>(u), static_cast<const T*>(next), static_cast<const T*>(g), static_cast<T*>(d), t, channel,
                     rows, lanes);
        flush_lanes(lanes, sums, n);
    };
    k.adjoint = [](const Plan& plan, const void* d, void* g, std::int64_t t, std::int64_t channel, RowRange rows) {
        const Stepper<T> stepper(plan);
        T* const scratch = static_cast<T*>(thread_scratch(static_cast<std::size_t>(stepper.scratch_size()) * sizeof(T)));
        stepper.adjoint(static_cast<const T*>(d), static_cast<T*>(g), t, channel, rows, scratch);
    };
    return k;
}

}  // namespace

extern const stencil::Kernels stencil_kernels_f32;
extern const stencil::Kernels stencil_kernels_f64;
// Constant-initialised: no instruction of this file may run before the processor is known to have it.
constinit const stencil::Kernels stencil_kernels_f32 = kernels<float>();
constinit const stencil::Kernels stencil_kernels_f64 = kernels<double>();

}  // namespace qcore::QC_ISA
