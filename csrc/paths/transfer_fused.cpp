// The transfer kernels of the CPU: which variant, how a batch is cut up, and memory for sums.
#include <algorithm>
#include <string>
#include <type_traits>

#include "core/check.hpp"
#include "core/isa.hpp"
#include "core/parallel.hpp"
#include "paths/transfer_sums.hpp"

namespace qcore {

QC_ISA_OBJECT(transfer::Kernels, transfer_f32)
QC_ISA_OBJECT(transfer::Kernels, transfer_f64)
QC_ISA_OBJECT(transfer::Kernels, transfer_c64)
QC_ISA_OBJECT(transfer::Kernels, transfer_c128)
QC_ISA_OBJECT(transfer::Kernels, transfer_log_f32)
QC_ISA_OBJECT(transfer::Kernels, transfer_log_f64)
QC_ISA_OBJECT(transfer::Kernels, transfer_max_f32)
QC_ISA_OBJECT(transfer::Kernels, transfer_max_f64)

namespace transfer {

namespace {

constexpr std::int64_t line_sites = 1024;  // a line is made about so long from short problems: it stays in the nearest cache

// Gradients that problems share are summed in up to so many parts, of so many bytes in all: fixed, whatever the threads.
constexpr std::int64_t most_tasks = 16, sum_bytes = 64 << 20;

std::int64_t problems_on_a_line(const Plan& p, Semiring semiring) {
    // In the semiring log neighbours on a line would share exponents, and the last bits of a problem depend on them.
    if (semiring == Semiring::log || p.tap_batch > 1) return 1;
    return std::clamp<std::int64_t>(line_sites / (p.sites + p.kernel), 1, std::max<std::int64_t>(p.batch, 1));
}

const Kernels& kernels_for(Semiring semiring, DType dtype) {
    const bool single = dtype == DType::f32;
    if (semiring == Semiring::log) return single ? selected_transfer_log_f32() : selected_transfer_log_f64();
    if (semiring == Semiring::max) return single ? selected_transfer_max_f32() : selected_transfer_max_f64();
    switch (dtype) {
        case DType::f32: return selected_transfer_f32();
        case DType::c64: return selected_transfer_c64();
        case DType::c128: return selected_transfer_c128();
        default: return selected_transfer_f64();
    }
}

// Threads that are worth their start for so many multiply-adds.
int worthwhile_threads(const Plan& p) {
    const double work = static_cast<double>(p.batch) * static_cast<double>(p.sites) * static_cast<double>(p.kernel) *
        static_cast<double>(p.steps);
    return static_cast<int>(std::clamp(work / 2e5, 1.0, static_cast<double>(max_threads())));
}

template <class F>
void parallel(std::int64_t n, int threads, F&& body) {
    parallel_for(n, threads, [](void* f, std::int64_t i) { (*static_cast<std::remove_reference_t<F>*>(f))(i); }, &body);
}

}  // namespace

void fused_forward(const Plan& plan, Semiring semiring, DType dtype) {
    Plan p = plan;
    const int threads = worthwhile_threads(p);
    p.group = std::min(problems_on_a_line(p, semiring),
                       (p.batch + threads - 1) / threads);  // which problems share a line changes nothing here
    const Kernels& kernels = kernels_for(semiring, dtype);
    parallel(p.groups(), threads, [&](std::int64_t i) { kernels.forward(p, i); });
}

void fused_adjoint(const Plan& plan, Semiring semiring, DType dtype) {
    Plan p = plan;
    p.group = problems_on_a_line(p, semiring);
    const std::int64_t values = is_complex(dtype) ? 2 : 1;
    const std::int64_t shared = (p.grad_taps && p.tap_batch == 1 ? p.tap_numbers(values) : 0) +
                                (p.grad_factor && p.factor_batch == 1 ? p.factor_numbers(values) : 0);
    p.tasks = std::max<std::int64_t>(p.groups(), 1);
    if (shared) p.tasks = std::clamp<std::int64_t>(std::min(p.groups(), sum_bytes / (8 * shared)), 1, most_tasks);
    const GradientSums sums(p, dtype);
    const Kernels& kernels = kernels_for(semiring, dtype);
    if (p.batch) parallel(p.tasks, worthwhile_threads(p), [&](std::int64_t i) { kernels.adjoint(p, i); });
    sums.store();
}

void fused_best_path(const Plan& plan, DType dtype) {
    Plan p = plan;
    for (std::int64_t b = 0; b < p.batch; ++b)
        if (!(p.ends[b] >= 0 && p.ends[b] < static_cast<double>(p.sites)))
            fail("ends", "sites from 0 to " + std::to_string(p.sites - 1), std::to_string(p.ends[b]));
    p.group = problems_on_a_line(p, Semiring::max);
    const Kernels& kernels = kernels_for(Semiring::max, dtype);
    parallel(p.groups(), worthwhile_threads(p), [&](std::int64_t i) { kernels.forward(p, i); });
}

}  // namespace transfer
}  // namespace qcore
