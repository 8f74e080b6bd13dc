// The Schroedinger kernels for one instruction set. Compiled once for each, with QC_ISA naming it.
#include "core/config.hpp"
#include "core/parallel.hpp"
#include "schrodinger/forward.hpp"

namespace qcore::QC_ISA {

namespace {

template <class N>
std::size_t shared_bytes(const Plan& p) {
    Memory memory{nullptr};
    Coefficients<N, false>(p, {}, memory);
    return memory.used;
}

template <class N>
void prepare(const Plan& p, void* shared) {
    Memory count{nullptr}, memory{static_cast<char*>(shared)};
    Coefficients<N, false> coefficients(p, {}, memory);
    coefficients.take_work(count);
    Memory work{static_cast<char*>(thread_scratch(count.used))};
    coefficients.take_work(work);
    coefficients.start(0);
}

template <class Run>
void run_chunk(const Plan& p, std::int64_t chunk) {
    Memory count{nullptr};
    Run(p, count);
    Memory memory{static_cast<char*>(thread_scratch(count.used))};
    Run(p, memory).run(chunk);
}

template <class N>
void forward(const Plan& p, std::int64_t chunk) {
    if (p.per_system()) run_chunk<Forward<N, true>>(p, chunk);
    else run_chunk<Forward<N, false>>(p, chunk);
}

template <class N>
constexpr schrodinger::Kernels kernels() {
    return {N::width, shared_bytes<N>, prepare<N>, forward<N>};
}

}  // namespace

extern const schrodinger::Kernels schrodinger_kernels_f32;
extern const schrodinger::Kernels schrodinger_kernels_f64;
extern const schrodinger::Kernels schrodinger_kernels_c64;
extern const schrodinger::Kernels schrodinger_kernels_c128;
// Constant-initialised: no instruction of this file may run before the processor is known to have it.
constinit const schrodinger::Kernels schrodinger_kernels_f32 = kernels<Real<float>>();
constinit const schrodinger::Kernels schrodinger_kernels_f64 = kernels<Real<double>>();
constinit const schrodinger::Kernels schrodinger_kernels_c64 = kernels<Complex<float>>();
constinit const schrodinger::Kernels schrodinger_kernels_c128 = kernels<Complex<double>>();

}  // namespace qcore::QC_ISA
