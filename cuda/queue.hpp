// The host's side of a call on a device: the stream of its arrays with their device made current, and memory for work in progress.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <string>

#include "call.hpp"

namespace qcore::cuda {

// What failed, in CUDA's words and with what to do about it. Asks the driver and the current device what they are, if there are any.
std::string message(cudaError_t error, const char* doing);

// Throws std::runtime_error with that.
void check(cudaError_t error, const char* doing);

// The stream of the call's arrays; while it lives their device is the current one.
class Queue {
  public:
    Queue();
    ~Queue();
    Queue(const Queue&) = delete;
    Queue& operator=(const Queue&) = delete;

    void zero(const void* memory, std::size_t bytes) const;

    int multiprocessors() const;
    std::size_t shared_per_block() const;  // most dynamic shared memory of a block

    cudaStream_t stream() const { return stream_; }

  private:
    int previous_ = 0, device_ = 0;
    cudaStream_t stream_ = nullptr;
};

// Device memory for the length of a call, from the allocator of the framework whose tensors came (which knows about streams and
// graph capture), else from the stream's own pool. On 256 bytes.
class Workspace {
  public:
    Workspace(const Queue& queue, std::size_t bytes);
    ~Workspace();
    Workspace(const Workspace&) = delete;
    Workspace& operator=(const Workspace&) = delete;

    void* data() const { return data_; }

  private:
    void* data_ = nullptr;
    cudaStream_t stream_ = nullptr;
    dlpack::VersionedTensor* owner_ = nullptr;
};

}  // namespace qcore::cuda
