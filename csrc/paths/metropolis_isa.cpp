// The Metropolis sampler for one instruction set. Compiled once for each, with QC_ISA naming it.
#include "paths/metropolis_chains.hpp"
#include "paths/metropolis_sweeps.hpp"

namespace qcore::QC_ISA {

namespace {

template <class T, class P>
void sweeps(const MetropolisTask& t, const void* bridge, std::int64_t first_chain, int count, double* histogram) {
    Scratch scratch(Chains<T, P>::scratch_bytes(t) * Simd<T>::width);
    const auto* const steps = static_cast<const paths::BridgeStep<T>*>(bridge);
    Chains<T, P>(t, P(t.potential.get()), steps, first_chain, count, histogram, scratch).run();
}

}  // namespace

extern const paths::MetropolisKernels metropolis_kernels;
constinit const paths::MetropolisKernels metropolis_kernels{
    {{sweeps<float, PolynomialLanes<float, paths::few_terms>>, sweeps<float, PolynomialLanes<float>>,
      sweeps<float, TableLanes<float>>},
     {sweeps<double, PolynomialLanes<double, paths::few_terms>>, sweeps<double, PolynomialLanes<double>>,
      sweeps<double, TableLanes<double>>}},
    {Simd<float>::width, Simd<double>::width}};

}  // namespace qcore::QC_ISA
