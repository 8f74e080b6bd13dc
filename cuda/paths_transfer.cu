// Which kernels take a call of the path sums.
#include "paths_transfer.hpp"

namespace qcore::transfer {

void reference_forward(const Plan&, Semiring, DType) { cuda::refuse_reference(); }
void reference_adjoint(const Plan&, Semiring, DType) { cuda::refuse_reference(); }

void fused_forward(const Plan& p, Semiring semiring, DType dtype) {
    switch (semiring) {
        case Semiring::linear: return linear_forward(p, dtype);
        case Semiring::log: return log_forward(p, dtype);
        case Semiring::max: return max_forward(p, dtype);
    }
}

void fused_adjoint(const Plan& p, Semiring semiring, DType dtype) {
    switch (semiring) {
        case Semiring::linear: return linear_adjoint(p, dtype);
        case Semiring::log: return log_adjoint(p, dtype);
        case Semiring::max: return max_adjoint(p, dtype);
    }
}

void fused_best_path(const Plan& p, DType dtype) { max_best_path(p, dtype); }

}  // namespace qcore::transfer
