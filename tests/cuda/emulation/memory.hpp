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

}  // namespace qcore::emulation
