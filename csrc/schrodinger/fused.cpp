#include "schrodinger/fused.hpp"

#include <cstring>
#include <vector>

#include "core/isa.hpp"
#include "schrodinger/call.hpp"

namespace qcore {

QC_ISA_OBJECT(schrodinger::Kernels, schrodinger_kernels_f32)
QC_ISA_OBJECT(schrodinger::Kernels, schrodinger_kernels_f64)
QC_ISA_OBJECT(schrodinger::Kernels, schrodinger_kernels_c64)
QC_ISA_OBJECT(schrodinger::Kernels, schrodinger_kernels_c128)

namespace schrodinger {

namespace {

// What a chunk's state and coefficients may take of a core's cache.
constexpr std::int64_t cache_bytes = 512 << 10;

// The gradient of a potential that all systems share is summed in up to so many parts, of so many bytes in all.
constexpr std::int64_t most_tasks = 16, sum_bytes = 64 << 20;

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

// The coefficients of all systems, where they are the same and constant.
Buffer prepare(const Plan& p, const Kernels& kernels, Use use) {
    if (!p.constant() || p.per_system()) return nullptr;
    Buffer shared = allocate(kernels.shared_bytes(p, use));
    kernels.prepare(p, use, shared.get());
    return shared;
}

void run_forward(Plan& p, const Kernels& kernels) {
    const int threads = worthwhile_threads(p);
    const std::int64_t element = (p.narrow ? 4 : 8) * (p.is_complex() ? 2 : 1), group = p.n * element * kernels.lanes;
    const bool many = p.batch > (kernels.groups - 1) * kernels.lanes * threads;
    p.groups = !p.per_system() && kernels.groups * group <= cache_bytes && many ? kernels.groups : 1;
    const Buffer shared = prepare(p, kernels, Use::forward);
    p.shared = shared.get();
    const std::int64_t systems = p.groups * kernels.lanes;
    parallel((p.batch + systems - 1) / systems, threads, [&](std::int64_t i) { kernels.forward(p, i); });
}

}  // namespace

bool fused_handles(const Evolution& e) {
    const std::int64_t n = e.potential.shape[2];
    return e.kappa != 0 && (e.boundary == Boundary::dirichlet || n > 3);
}

void evolve_fused(const Evolution& e, const TensorView& psi, const TensorView& out, const TensorView* frames, std::int64_t save_every) {
    Plan p = make_plan(e, psi.dtype, psi.shape[0]);
    p.psi = psi.data;
    p.out = out.data;
    p.frames = frames && frames->numel() ? frames->data : nullptr;
    p.save_every = save_every;
    p.frame_rows = p.batch;
    if (!p.batch) return;
    if (!p.stages) return copy(psi, out);
    const Kernels& kernels = kernels_for(p);
    if (p.n < long_system || !p.constant()) return run_forward(p, kernels);
    if (p.systems == 1) {
        if (!evolve_in_windows(p, kernels, worthwhile_threads(p))) run_forward(p, kernels);
        return;
    }
    // Windows depend on the potential, and no system on another's.
    const std::int64_t row_bytes = p.n * dtype_size(p.dtype);
    std::vector<Plan> rest;
    for (std::int64_t b = 0; b < p.batch; ++b) {
        Plan one = p;
        one.batch = one.systems = 1;
        one.potential += b * p.n * (p.complex_potential ? 2 : 1);
        one.psi = static_cast<const char*>(p.psi) + b * row_bytes;
        one.out = static_cast<char*>(p.out) + b * row_bytes;
        if (p.frames) one.frames = static_cast<char*>(p.frames) + b * row_bytes;
        if (!evolve_in_windows(one, kernels, worthwhile_threads(one))) rest.push_back(one);
    }
    if (rest.size() == static_cast<std::size_t>(p.batch)) return run_forward(p, kernels);
    for (Plan& one : rest) run_forward(one, kernels);
}

void adjoint_fused(const Evolution& e, const TensorView& states, const TensorView& grad_out, const TensorView* grad_frames,
                   std::int64_t save_every, const TensorView& grad_psi, const TensorView& grad_potential, const TensorView& grad_c) {
    Plan p = make_plan(e, grad_out.dtype, grad_out.shape[0]);
    p.narrow = false;
    p.states = states.data;
    p.traced = states.ndim == 2;
    p.grad_out = grad_out.data;
    p.grad_frames = grad_frames && grad_frames->numel() ? grad_frames->data : nullptr;
    p.save_every = save_every;
    p.grad_psi = grad_psi.data;
    p.grad_potential = static_cast<double*>(grad_potential.data);
    auto* const grad_of_c = static_cast<double*>(grad_c.data);
    const std::int64_t values = p.complex_potential ? 2 : 1, sums = grad_potential.numel() * values;
    if (!p.batch || !p.stages) {
        if (p.batch) copy(grad_out, grad_psi);
        std::fill_n(p.grad_potential, sums, 0.0);
        std::fill_n(grad_of_c, 2 * p.poles, 0.0);
        return;
    }
    const Kernels& kernels = kernels_for(p);
    const Buffer shared = prepare(p, kernels, Use::adjoint), shared_back = p.traced ? prepare(p, kernels, Use::traced) : nullptr;
    p.shared = shared.get();
    p.shared_back = shared_back.get();
    // How the batch is summed must not depend on the number of threads.
    const bool room = !p.is_complex() && 2 * 2 * p.n * 8 * kernels.lanes <= cache_bytes;
    p.groups = room && !p.per_system() && p.batch > kernels.lanes ? 2 : 1;
    p.chunks = (p.batch + p.groups * kernels.lanes - 1) / (p.groups * kernels.lanes);
    p.tasks = p.chunks;
    if (!p.per_system()) p.tasks = std::clamp<std::int64_t>(std::min(p.chunks, sum_bytes / (8 * sums)), 1, most_tasks);
    std::vector<double> sum_potential(static_cast<std::size_t>(p.per_system() ? 0 : p.tasks * sums));
    std::vector<double> sum_c(static_cast<std::size_t>(p.tasks * p.poles * 2));
    p.sum_potential = sum_potential.data();
    p.sum_c = sum_c.data();
    parallel(p.tasks, worthwhile_threads(p), [&](std::int64_t i) { kernels.adjoint(p, i); });
    // Conjugates of the sums over all tasks, in their order.
    auto add_up = [&](const std::vector<double>& parts, std::int64_t count, double* to, bool pairs) {
        std::fill_n(to, count, 0.0);
        for (std::int64_t i = 0; i < p.tasks; ++i)
            for (std::int64_t q = 0; q < count; ++q) to[q] += parts[static_cast<std::size_t>(i * count + q)];
        if (pairs)
            for (std::int64_t q = 1; q < count; q += 2) to[q] = -to[q];
    };
    if (!p.per_system()) add_up(sum_potential, sums, p.grad_potential, p.complex_potential);
    add_up(sum_c, 2 * p.poles, grad_of_c, true);
}

}  // namespace schrodinger
}  // namespace qcore
