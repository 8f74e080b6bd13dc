// The sweeps of the split-operator scheme for one instruction set. Compiled once for each, with QC_ISA naming it.
#include "schrodinger/split_sweeps.hpp"

namespace qcore::QC_ISA {

extern const schrodinger::SplitKernels split_kernels;
constinit const schrodinger::SplitKernels split_kernels{
    {{rows<float, double, false>, lines<float, double, false>, accumulate<float, false>},
     {rows<double, double, false>, lines<double, double, false>, accumulate<double, false>},
     {rows<float, double, true>, lines<float, double, true>, accumulate<float, true>},
     {rows<double, double, true>, lines<double, double, true>, accumulate<double, true>}},
    {{rows<float, float, false>, lines<float, float, false>, accumulate<float, false>},
     {rows<float, float, true>, lines<float, float, true>, accumulate<float, true>}},
    vector_bytes};

}  // namespace qcore::QC_ISA
