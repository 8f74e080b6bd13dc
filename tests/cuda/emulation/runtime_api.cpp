#include "runtime_api.hpp"

#include <algorithm>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <new>

#include "emulation.hpp"

namespace {

constexpr int multiprocessors = 4;
constexpr int threads_per_multiprocessor = 2048, blocks_per_multiprocessor = 32;
constexpr int registers_per_multiprocessor = 65536, registers_per_thread = 64;
constexpr int shared_per_multiprocessor = 233472, shared_reserved_per_block = 1024, shared_by_default = 49152;
constexpr int max_shared = static_cast<int>(qcore::emulation::max_shared_bytes);
constexpr int max_threads = static_cast<int>(qcore::emulation::max_threads_per_block);
constexpr int version = 13000;

constinit thread_local cudaError_t last_error = cudaSuccess;

cudaError_t result(cudaError_t error) {
    if (error != cudaSuccess) last_error = error;
    return error;
}

template <class T>
cudaError_t give(T* out, T value) {
    if (out == nullptr) return result(cudaErrorInvalidValue);
    *out = value;
    return cudaSuccess;
}

// Allocations begin at multiples of 256 bytes, as on a device.
constexpr std::align_val_t allocation_alignment{256};
struct Free {
    void operator()(void* memory) const { ::operator delete(memory, allocation_alignment); }
};
struct Allocations {
    std::mutex mutex;
    std::map<void*, std::unique_ptr<void, Free>> all;
};
Allocations& allocations() {
    static Allocations instance;
    return instance;
}

}  // namespace

const char* cudaGetErrorName(cudaError_t error) {
#define QCORE_EMULATION_NAME(name) \
    case name: return #name
    switch (error) {
        QCORE_EMULATION_NAME(cudaSuccess);
        QCORE_EMULATION_NAME(cudaErrorInvalidValue);
        QCORE_EMULATION_NAME(cudaErrorMemoryAllocation);
        QCORE_EMULATION_NAME(cudaErrorInitializationError);
        QCORE_EMULATION_NAME(cudaErrorInvalidConfiguration);
        QCORE_EMULATION_NAME(cudaErrorInsufficientDriver);
        QCORE_EMULATION_NAME(cudaErrorInvalidDeviceFunction);
        QCORE_EMULATION_NAME(cudaErrorNoDevice);
        QCORE_EMULATION_NAME(cudaErrorInvalidDevice);
        QCORE_EMULATION_NAME(cudaErrorNoKernelImageForDevice);
        QCORE_EMULATION_NAME(cudaErrorUnsupportedPtxVersion);
        QCORE_EMULATION_NAME(cudaErrorIllegalAddress);
        QCORE_EMULATION_NAME(cudaErrorLaunchFailure);
        QCORE_EMULATION_NAME(cudaErrorNotSupported);
        QCORE_EMULATION_NAME(cudaErrorUnknown);
    }
#undef QCORE_EMULATION_NAME
    return "unrecognized error code";
}

const char* cudaGetErrorString(cudaError_t error) {
    switch (error) {
        case cudaSuccess: return "no error";
        case cudaErrorInvalidValue: return "invalid argument";
        case cudaErrorMemoryAllocation: return "out of memory";
        case cudaErrorInitializationError: return "initialization error";
        case cudaErrorInvalidConfiguration: return "invalid configuration argument";
        case cudaErrorInsufficientDriver: return "CUDA driver version is insufficient for CUDA runtime version";
        case cudaErrorInvalidDeviceFunction: return "invalid device function";
        case cudaErrorNoDevice: return "no CUDA-capable device is detected";
        case cudaErrorInvalidDevice: return "invalid device ordinal";
        case cudaErrorNoKernelImageForDevice: return "no kernel image is available for execution on the device";
        case cudaErrorUnsupportedPtxVersion: return "the provided PTX was compiled with an unsupported toolchain.";
        case cudaErrorIllegalAddress: return "an illegal memory access was encountered";
        case cudaErrorLaunchFailure: return "unspecified launch failure";
        case cudaErrorNotSupported: return "operation not supported";
        case cudaErrorUnknown: return "unknown error";
    }
    return "unrecognized error code";
}

cudaError_t cudaGetLastError() {
    const cudaError_t error = last_error;
    last_error = cudaSuccess;
    return error;
}
cudaError_t cudaPeekAtLastError() { return last_error; }

cudaError_t cudaDriverGetVersion(int* out) { return give(out, version); }
cudaError_t cudaRuntimeGetVersion(int* out) { return give(out, version); }
cudaError_t cudaGetDeviceCount(int* count) { return give(count, 1); }
cudaError_t cudaGetDevice(int* device) { return give(device, 0); }
cudaError_t cudaSetDevice(int device) { return result(device == 0 ? cudaSuccess : cudaErrorInvalidDevice); }

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
    if (device != 0) return result(cudaErrorInvalidDevice);
    switch (attribute) {
        case cudaDevAttrMaxThreadsPerBlock:
        case cudaDevAttrMaxBlockDimX:
        case cudaDevAttrMaxBlockDimY: return give(value, max_threads);
        case cudaDevAttrMaxBlockDimZ: return give(value, 64);
        case cudaDevAttrMaxGridDimX: return give(value, 0x7fffffff);
        case cudaDevAttrMaxGridDimY:
        case cudaDevAttrMaxGridDimZ: return give(value, 65535);
        case cudaDevAttrMaxSharedMemoryPerBlock: return give(value, shared_by_default);
        case cudaDevAttrWarpSize: return give(value, warpSize);
        case cudaDevAttrMaxRegistersPerBlock:
        case cudaDevAttrMaxRegistersPerMultiprocessor: return give(value, registers_per_multiprocessor);
        case cudaDevAttrMultiProcessorCount: return give(value, multiprocessors);
        case cudaDevAttrL2CacheSize: return give(value, 50 << 20);
        case cudaDevAttrMaxThreadsPerMultiProcessor: return give(value, threads_per_multiprocessor);
        case cudaDevAttrComputeCapabilityMajor: return give(value, 9);
        case cudaDevAttrComputeCapabilityMinor: return give(value, 0);
        case cudaDevAttrMaxSharedMemoryPerMultiprocessor: return give(value, shared_per_multiprocessor);
        case cudaDevAttrMaxSharedMemoryPerBlockOptin: return give(value, max_shared);
        case cudaDevAttrMaxBlocksPerMultiprocessor: return give(value, blocks_per_multiprocessor);
        case cudaDevAttrReservedSharedMemoryPerBlock: return give(value, shared_reserved_per_block);
        case cudaDevAttrMemoryPoolsSupported: return give(value, 1);
    }
    return result(cudaErrorInvalidValue);
}

cudaError_t cudaMallocAsync(void** memory, std::size_t bytes, cudaStream_t) {
    if (memory == nullptr) return result(cudaErrorInvalidValue);
    *memory = nullptr;
    if (bytes == 0) return cudaSuccess;
    std::unique_ptr<void, Free> allocation(::operator new(bytes, allocation_alignment, std::nothrow));
    if (!allocation) return result(cudaErrorMemoryAllocation);
    std::memset(allocation.get(), 0xFF, bytes);
    *memory = qcore::emulation::enter_memory(allocation.get(), bytes);
    const std::lock_guard lock(allocations().mutex);
    allocations().all.emplace(*memory, std::move(allocation));
    return cudaSuccess;
}

cudaError_t cudaFreeAsync(void* memory, cudaStream_t) {
    if (memory == nullptr) return cudaSuccess;
    const std::lock_guard lock(allocations().mutex);
    const auto found = allocations().all.find(memory);
    if (found == allocations().all.end()) return result(cudaErrorInvalidValue);
    qcore::emulation::leave_memory(memory);
    allocations().all.erase(found);
    return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void* memory, int value, std::size_t bytes, cudaStream_t) {
    if (bytes > 0) std::memset(qcore::emulation::host_address(memory), value, bytes);
    return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind, cudaStream_t) {
    if (bytes > 0) std::memmove(qcore::emulation::host_address(to), qcore::emulation::host_address(from), bytes);
    return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t) { return cudaSuccess; }

namespace qcore::emulation {

cudaError_t set_function_attribute(cudaFuncAttribute attribute, int value) {
    const bool right = attribute == cudaFuncAttributeMaxDynamicSharedMemorySize
                           ? value >= 0 && value <= max_shared
                           : attribute == cudaFuncAttributePreferredSharedMemoryCarveout && value >= -1 && value <= 100;
    return result(right ? cudaSuccess : cudaErrorInvalidValue);
}

cudaError_t function_attributes(cudaFuncAttributes* attributes) {
    cudaFuncAttributes all{};
    all.maxThreadsPerBlock = max_threads;
    all.numRegs = registers_per_thread;
    all.ptxVersion = all.binaryVersion = 90;
    all.maxDynamicSharedSizeBytes = max_shared;
    return give(attributes, all);
}

cudaError_t active_blocks(int* blocks, int threads, std::size_t shared_bytes) {
    if (threads < 1 || threads > max_threads || shared_bytes > max_shared_bytes) return give(blocks, 0);
    const int whole_warps = (threads + warpSize - 1) / warpSize * warpSize;
    return give(blocks, std::min({threads_per_multiprocessor / whole_warps, blocks_per_multiprocessor,
                                  registers_per_multiprocessor / (whole_warps * registers_per_thread),
                                  shared_per_multiprocessor / (static_cast<int>(shared_bytes) + shared_reserved_per_block)}));
}

}  // namespace qcore::emulation
