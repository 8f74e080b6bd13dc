// The Schroedinger kernels for one instruction set. Compiled once for each, with QC_ISA naming it.
#include "core/config.hpp"
#include "core/parallel.hpp"
#include "schrodinger/backward.hpp"

namespace qcore::QC_ISA {

namespace {

template <class N>
std::size_t shared_bytes(const Plan& p, Use use) {
    Memory memory{nullptr};
    Coefficients<N, false>(p, use, memory);
    return memory.used;
}

template <class N>
void prepare(const Plan& p, Use use, void* shared) {
    Memory count{nullptr}, memory{static_cast<char*>(shared)};
    Coefficients<N, false> coefficients(p, use, memory);
    coefficients.take_work(count);
    Memory work{static_cast<char*>(thread_scratch(count.used))};
    coefficients.take_work(work);
    coefficients.start(0);
}

template <class Run>
void run(const Plan& p, std::int64_t item) {
    Memory count{nullptr};
    Run(p, count);
    Memory memory{static_cast<char*>(thread_scratch(count.used))};
    Run(p, memory).run(item);
}

template <class N>
void forward(const Plan& p, std::int64_t chunk) {
    if (p.per_system()) run<Forward<N, true>>(p, chunk);
    else run<Forward<N, false>>(p, chunk);
}

template <class N>
void adjoint(const Plan& p, std::int64_t task) {
    if (p.per_system()) run<Backward<N, true>>(p, task);
    else run<Backward<N, false>>(p, task);
}

template <class N>
constexpr schrodinger::Kernels kernels() {
    schrodinger::Kernels k{N::width, most_groups, shared_bytes<N>, prepare<N>, forward<N>, nullptr};
    if constexpr (sizeof(typename N::Scalar) == 8) k.adjoint = adjoint<N>;
    return k;
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
