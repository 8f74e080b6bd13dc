// The memory that kernels may touch: ranges that the host has registered, as allocations on a device would be.
#pragma once

#include <cstddef>

namespace qcore::emulation {

struct Range {
    const std::byte* begin = nullptr;
    const std::byte* end = nullptr;
};

// Registrations nest and overlap as the tensors of a call do: the same one twice, views of one. Each is undone by one call of
// unregister_memory with the same address, which takes back the latest that begins there.
// Throws std::logic_error if none does.
void register_memory(const void* begin, std::size_t bytes);
void unregister_memory(const void* begin);

// The widest registered range that contains `address`; an empty one if `address` is null or begins a registration of no bytes.
// Throws std::logic_error for an address that nobody has registered.
Range find_memory(const void* address);

// A device has addresses of its own: those of the host moved to where nothing can lie, so that host code that reads or writes
// device memory crashes here as it would there. host_address takes either.
void* device_address(const void* host);
void* host_address(const void* address);

// Makes memory of the host the device's: registers it, and gives its address there.
void* enter_memory(const void* host, std::size_t bytes);
void leave_memory(const void* device);

}  // namespace qcore::emulation
