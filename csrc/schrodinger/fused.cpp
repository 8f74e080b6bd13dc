#include "schrodinger/fused.hpp"

#include <algorithm>
#include <cstring>
#include <memory>

#include "core/isa.hpp"
#include "core/parallel.hpp"
#include "schrodinger/plan.hpp"

namespace qcore {

QC_ISA_OBJECT(schrodinger::Kernels, schrodinger_kernels_f32)
QC_ISA_OBJECT(schrodinger::Kernels, schrodinger_kernels_f64)
QC_ISA_OBJECT(schrodinger::Kernels, schrodinger_kernels_c64)
QC_ISA_OBJECT(schrodinger::Kernels, schrodinger_kernels_c128)

namespace schrodinger {

namespace {

// What a chunk's state and coefficients may take of a core's cache.
constexpr std::int64_t cache_bytes = 512 << 10;

struct Free {
    void operator()(void* p) const { ::operator delete(p, std::align_val_t{64}); }
};
using Buffer = std::unique_ptr<void, Free>;

Buffer allocate(std::size_t bytes) { return Buffer(::operator new(std::max<std::size_t>(bytes, 1), std::align_val_t{64})); }

const Kernels& kernels_for(const Plan& p) {
    if (p.is_complex()) return p.narrow ? selected_schrodinger_kernels_c64() : selected_schrodinger_kernels_c128();
    return p.narrow ? selected_schrodinger_kernels_f32() : selected_schrodinger_kernels_f64();
}

Plan make_plan(const Evolution& e, DType dtype, std::int64_t batch) {
    Plan p{};
    p.n = e.potential.shape[2];
    p.batch = batch;
    p.poles = e.c.shape[0];
    p.stages = e.steps * p.poles;
    p.kappa = e.kappa;
    p.c = static_cast<const double*>(e.c.data);
    p.potential = static_cast<const double*>(e.potential.data);
    p.slices = e.potential.shape[0];
    p.systems = e.potential.shape[1];
    p.complex_potential = is_complex(e.potential.dtype);
    p.rule = e.rule;
    p.order = e.order;
    p.periodic = e.boundary == Boundary::periodic;
    p.dtype = dtype;
    p.narrow = e.arithmetic == Arithmetic::f32;
    return p;
}

// Threads that are worth their start for so many points and stages.
int worthwhile_threads(const Plan& p) {
    const double work = static_cast<double>(p.n) * static_cast<double>(p.batch) * static_cast<double>(p.stages);
    return static_cast<int>(std::clamp(work / 2e4, 1.0, static_cast<double>(max_threads())));
}

void copy(const TensorView& from, const TensorView& to) {
    if (const auto bytes = static_cast<std::size_t>(from.numel() * dtype_size(from.dtype))) std::memcpy(to.data, from.data, bytes);
}

template <class F>
void parallel(std::int64_t n, int threads, F& body) {
    parallel_for(n, threads, [](void* f, std::int64_t i) { (*static_cast<F*>(f))(i); }, &body);
}

}  // namespace

bool fused_handles(const Evolution& e) {
    const std::int64_t n = e.potential.shape[2];
    return e.order != 6 && e.kappa != 0 && (e.boundary == Boundary::dirichlet || n > 3);
}

void evolve_fused(const Evolution& e, const TensorView& psi, const TensorView& out, const TensorView* frames, std::int64_t save_every) {
    Plan p = make_plan(e, psi.dtype, psi.shape[0]);
    p.psi = psi.data;
    p.out = out.data;
    p.frames = frames && frames->numel() ? frames->data : nullptr;
    p.save_every = save_every;
    if (!p.batch) return;
    if (!p.stages) return copy(psi, out);
    const Kernels& kernels = kernels_for(p);
    const int threads = worthwhile_threads(p);
    const std::int64_t element = (p.narrow ? 4 : 8) * (p.is_complex() ? 2 : 1), group = p.n * element * kernels.lanes;
    p.groups = !p.per_system() && 2 * group <= cache_bytes && p.batch > kernels.lanes * threads ? 2 : 1;
    Buffer shared;
    if (p.constant() && !p.per_system()) {
        shared = allocate(kernels.shared_bytes(p));
        kernels.prepare(p, shared.get());
        p.shared = shared.get();
    }
    const std::int64_t systems = p.groups * kernels.lanes;
    auto chunk = [&](std::int64_t i) { kernels.forward(p, i); };
    parallel((p.batch + systems - 1) / systems, threads, chunk);
}

}  // namespace schrodinger
}  // namespace qcore
