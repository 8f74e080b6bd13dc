// Calls that have no kernels for a device.
#include "call.hpp"
#include "schrodinger/transparent.hpp"

namespace qcore::schrodinger {

namespace {

[[noreturn]] void missing() {
    throw cuda::Unsupported("boundary: 'transparent' has no CUDA kernel; move the tensors to the CPU");
}

}  // namespace

void transparent(const Transparent&, const TensorView&, const TensorView&, const TensorView*, std::int64_t, const TensorView*, std::int64_t,
                 const TensorView*) {
    missing();
}

void transparent_adjoint(const Transparent&, const TensorView&, const TensorView&, std::int64_t, const TensorView&, const TensorView&,
                         const TensorView*, std::int64_t, const TensorView&, const TensorView*, const TensorView*) {
    missing();
}

}  // namespace qcore::schrodinger
