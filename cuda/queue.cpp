#include "queue.hpp"

#include <stdexcept>
#include <string>

#if defined(QCORE_EMULATION)
#include "emulation.hpp"
#endif

namespace qcore::cuda {

namespace {

std::string version_text(int version) { return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10); }

std::string driver_advice() {
    int driver = 0, runtime = 0;
    cudaRuntimeGetVersion(&runtime);
    if (cudaDriverGetVersion(&driver) != cudaSuccess || driver == 0)
        return "; no NVIDIA driver was found: install one that knows CUDA " + version_text(runtime) + ", or move the tensors to the CPU";
    return "; the driver knows CUDA up to " + version_text(driver) + ", this build of qcore needs " + version_text(runtime) +
           ": update the driver, or build qcore with an older toolkit";
}

std::string architecture_advice() {
    int device = 0, major = 0, minor = 0;
    std::string gpu = "this GPU";
    if (cudaGetDevice(&device) == cudaSuccess && cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device) == cudaSuccess &&
        cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device) == cudaSuccess)
        gpu += ", which is of " + std::to_string(major) + std::to_string(minor);
    return "; this build of qcore has kernels for " QCORE_CUDA_ARCHITECTURES ": build it with QCORE_CUDA_ARCHITECTURES set for " + gpu;
}

std::string advice(cudaError_t error) {
    switch (error) {
        case cudaErrorInsufficientDriver:
        case cudaErrorUnsupportedPtxVersion: return driver_advice();
        case cudaErrorNoDevice: return "; is there a GPU, and do CUDA_VISIBLE_DEVICES and the driver let this process see it?";
        case cudaErrorInvalidDeviceFunction:
        case cudaErrorNoKernelImageForDevice: return architecture_advice();
        default: return "";
    }
}

#if defined(QCORE_EMULATION)
constexpr dlpack::DeviceType device_type = dlpack::device_cpu;
#else
constexpr dlpack::DeviceType device_type = dlpack::device_cuda;
#endif

int attribute(cudaDeviceAttr which, int device) {
    int value = 0;
    check(cudaDeviceGetAttribute(&value, which, device), "asking the device for its properties");
    return value;
}

}  // namespace

std::string message(cudaError_t error, const char* doing) {
    return std::string("CUDA, ") + doing + ": " + cudaGetErrorString(error) + " (" + cudaGetErrorName(error) + ")" + advice(error);
}

void check(cudaError_t error, const char* doing) {
    if (error != cudaSuccess) throw std::runtime_error(message(error, doing));
}

Queue::Queue() : device_(call().device), stream_(static_cast<cudaStream_t>(call().stream)) {
    check(cudaGetDevice(&previous_), "asking for the current device");
    if (previous_ != device_) check(cudaSetDevice(device_), "choosing a device");
}

Queue::~Queue() {
    if (previous_ != device_) cudaSetDevice(previous_);
}

void Queue::zero(const void* memory, std::size_t bytes) const {
    if (bytes) check(cudaMemsetAsync(const_cast<void*>(memory), 0, bytes, stream_), "filling with zeros");
}

int Queue::multiprocessors() const { return attribute(cudaDevAttrMultiProcessorCount, device_); }
std::size_t Queue::shared_per_block() const {
    return static_cast<std::size_t>(attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin, device_));
}

Workspace::Workspace(const Queue& queue, std::size_t bytes) : stream_(queue.stream()) {
    if (bytes == 0) return;
    const Call& c = call();
    if (c.api && c.api->allocate) {
        std::int64_t count = static_cast<std::int64_t>(bytes), stride = 1;
        dlpack::Tensor prototype{};
        prototype.device = {device_type, c.device};
        prototype.ndim = 1;
        prototype.dtype = {dlpack::code_uint, 8, 1};
        prototype.shape = &count;
        prototype.strides = &stride;
        std::string message = "out of memory?";
        const int failed = c.api->allocate(&prototype, &owner_, &message, [](void* text, const char* kind, const char* what) {
            *static_cast<std::string*>(text) = std::string(kind) + ": " + what;
        });
        if (failed != 0) throw std::runtime_error("no workspace of " + std::to_string(bytes) + " bytes: " + message);
        data_ = static_cast<char*>(owner_->tensor.data) + owner_->tensor.byte_offset;
#if defined(QCORE_EMULATION)
        data_ = emulation::enter_memory(data_, bytes);
#endif
    } else {
        check(cudaMallocAsync(&data_, bytes, stream_), "allocating workspace");
    }
}

Workspace::~Workspace() {
    if (owner_) {
#if defined(QCORE_EMULATION)
        emulation::leave_memory(data_);
#endif
        if (owner_->deleter) owner_->deleter(owner_);
    } else if (data_) {
        cudaFreeAsync(data_, stream_);
    }
}

}  // namespace qcore::cuda
