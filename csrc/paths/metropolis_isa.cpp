// The Metropolis sampler for one instruction set. Compiled once for each, with QC_ISA naming it.
#include "paths/metropolis_chains.hpp"

namespace qcore::QC_ISA {

extern const paths::MetropolisKernels metropolis_kernels;
constinit const paths::MetropolisKernels metropolis_kernels{
    {{metropolis_sweeps<float, PolynomialLanes<float, 5>>, metropolis_sweeps<float, PolynomialLanes<float>>,
      metropolis_sweeps<float, TableLanes<float>>},
     {metropolis_sweeps<double, PolynomialLanes<double, 5>>, metropolis_sweeps<double, PolynomialLanes<double>>,
      metropolis_sweeps<double, TableLanes<double>>}},
    {Simd<float>::width, Simd<double>::width}};

}  // namespace qcore::QC_ISA
