// The plain loops that the fused transfer kernels are held against.
#pragma once

#include "paths/transfer.hpp"
#include "paths/transfer_plan.hpp"

namespace qcore::transfer {

void forward_reference(const Plan& plan, Semiring semiring, DType dtype);
void adjoint_reference(const Plan& plan, Semiring semiring, DType dtype);

}  // namespace qcore::transfer
