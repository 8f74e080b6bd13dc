// The transfer kernels for one instruction set. Compiled once for each, with QC_ISA naming it.
#include "paths/transfer_linear.hpp"
#include "paths/transfer_log.hpp"
#include "paths/transfer_max.hpp"

namespace qcore::QC_ISA {

namespace {

template <class Run>
void forward(const Plan& p, std::int64_t group) {
    with_scratch<Run>(p, group);
}

// The groups of a task, always in the same order.
template <class Run>
void adjoint(const Plan& p, std::int64_t task) {
    for (std::int64_t group = task; group < p.groups(); group += p.tasks) with_scratch<Run>(p, group, task);
}

template <class Run>
constexpr transfer::Kernels kernels() {
    return {forward<Run>, adjoint<Run>};
}

}  // namespace

extern const transfer::Kernels transfer_f32, transfer_f64, transfer_c64, transfer_c128, transfer_log_f32, transfer_log_f64,
    transfer_max_f32, transfer_max_f64;
// Constant-initialised: no instruction of this file may run before the processor is known to have it.
constinit const transfer::Kernels transfer_f32 = kernels<Linear<float, false>>();
constinit const transfer::Kernels transfer_f64 = kernels<Linear<double, false>>();
constinit const transfer::Kernels transfer_c64 = kernels<Linear<float, true>>();
constinit const transfer::Kernels transfer_c128 = kernels<Linear<double, true>>();
constinit const transfer::Kernels transfer_log_f32 = kernels<LogSums<float>>();
constinit const transfer::Kernels transfer_log_f64 = kernels<LogSums<double>>();
constinit const transfer::Kernels transfer_max_f32 = kernels<MaxSums<float>>();
constinit const transfer::Kernels transfer_max_f64 = kernels<MaxSums<double>>();

}  // namespace qcore::QC_ISA
