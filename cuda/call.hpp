// The call that a thread is making of kernels of a device: which device, and which of its streams. Known from the call's array
// arguments, the first of which decides.
#pragma once

#include <stdexcept>

#include "core/dlpack.hpp"
#include "core/tensor_view.hpp"

namespace qcore::cuda {

// NotImplementedError in Python: "argument: ... has no CUDA kernel; what to do instead".
struct Unsupported : std::runtime_error {
    using std::runtime_error::runtime_error;
};

// What the families say of the plain kernels that check the fast ones.
[[noreturn]] inline void refuse_reference() {
    throw Unsupported("backend: the plain kernel 'reference' runs on the CPU alone; move the tensors to the CPU, or use 'auto'");
}

struct Call {
    int device = 0;
    void* stream = nullptr;                      // a cudaStream_t: the current one of the framework that made the arrays
    const dlpack::ExchangeApi* api = nullptr;    // of that framework; null: the arrays came by __dlpack__, on the default stream
};

// Of this thread. Between the first array's coming and the last one's going.
const Call& call();

// An array joins the call; false where it isn't on a device, so that the kernel may say what it expected. Throws
// std::invalid_argument where it lies on another device than the arrays before it.
bool enter(const char* name, TensorView& view, const dlpack::ExchangeApi* api);
void leave(const TensorView& view);

}  // namespace qcore::cuda
