#include "emulation.hpp"

#include <atomic>
#include <sstream>

#include "scheduler.hpp"
#include "synchronization.hpp"

namespace qcore::emulation {

namespace {

std::atomic<std::uint64_t> schedule{0};

void check_limit(const char* what, std::uint64_t value, std::uint64_t least, std::uint64_t most) {
    if (value >= least && value <= most) return;
    std::ostringstream text;
    text << "launch: " << what << ": expected " << least << " to " << most << ", got " << value;
    throw LaunchError(text.str());
}

Launch& in_kernel(const char* what) {
    if (Launch::current() == nullptr) throw Error(std::string(what) + ": called outside of a kernel");
    return *Launch::current();
}

}  // namespace

void set_schedule(std::uint64_t seed) { schedule = seed; }

void launch(dim3 grid, dim3 block, std::size_t shared_bytes, const std::function<void()>& thread) {
    check_limit("gridDim.x", grid.x, 1, 0x7fffffff);
    check_limit("gridDim.y", grid.y, 1, 65535);
    check_limit("gridDim.z", grid.z, 1, 65535);
    check_limit("blockDim.x", block.x, 1, 1024);
    check_limit("blockDim.y", block.y, 1, 1024);
    check_limit("blockDim.z", block.z, 1, 64);
    check_limit("threads per block", std::uint64_t{block.x} * block.y * block.z, 1, max_threads_per_block);
    check_limit("bytes of shared memory", shared_bytes, 0, max_shared_bytes);
    if (Launch::current() != nullptr) throw LaunchError("launch: called in a kernel");
    Launch(grid, block, shared_bytes, thread, schedule).run();
}

std::byte* shared_memory(std::size_t offset_bytes, std::size_t bytes) {
    return in_kernel("shared_memory").shared_memory(offset_bytes, bytes);
}

Arrivals wait_for_block(const char* name, bool predicate, std::source_location where) {
    return in_kernel(name).wait_for_block(name, predicate, where);
}

std::uint64_t wait_for_warp(const char* name, unsigned mask, std::uint64_t value, int source, std::source_location where) {
    return in_kernel(name).wait_for_warp(name, mask, value, source, where);
}

// Sources as PTX defines them for shfl.sync: numbers count modulo 32, and a lane that names one beyond its segment of `width`
// lanes gets its own value; the exclusive or may reach into earlier segments.
std::uint64_t shuffle(Shuffle kind, unsigned mask, std::uint64_t value, int argument, int width, std::source_location where) {
    static constexpr const char* names[] = {"__shfl_sync", "__shfl_up_sync", "__shfl_down_sync", "__shfl_xor_sync"};
    const char* name = names[static_cast<int>(kind)];
    Launch& launch = in_kernel(name);
    if (width < 1 || width > warpSize || (width & (width - 1)) != 0)
        throw SynchronizationError(std::string(name) + ": width: expected a power of two up to 32, got " + std::to_string(width) +
                                   ", in " + position());
    const int own = launch.lane(), first = own & ~(width - 1), last = first + width - 1;
    int source = own;
    switch (kind) {
        case Shuffle::index: source = first | (argument & (width - 1)); break;
        case Shuffle::up: source -= argument & 31; break;
        case Shuffle::down: source += argument & 31; break;
        case Shuffle::exclusive_or: source ^= argument & 31; break;
    }
    const bool beyond = kind == Shuffle::up ? source < first : source > last;
    return launch.wait_for_warp(name, mask, value, beyond ? own : source, where);
}

std::string position() {
    if (Launch::current() == nullptr) return "the host";
    std::ostringstream text;
    text << "block (" << blockIdx.x << ", " << blockIdx.y << ", " << blockIdx.z << "), thread (" << threadIdx.x << ", "
         << threadIdx.y << ", " << threadIdx.z << ")";
    return text.str();
}

void refuse_access(std::uintptr_t address, std::uintptr_t begin, std::uintptr_t end, std::size_t size) {
    std::ostringstream text;
    text << "access out of bounds in " << position() << ": ";
    if (begin == end) text << "no memory behind this pointer";
    else {
        const auto offset = static_cast<std::ptrdiff_t>(address - begin);
        const auto extent = static_cast<std::ptrdiff_t>(end - begin), width = static_cast<std::ptrdiff_t>(size);
        text << "element " << offset / width << " of " << extent / width << " (" << size << " bytes at byte " << offset << " of "
             << extent << ")";
    }
    throw AccessError(text.str());
}

void refuse_alignment(std::uintptr_t address, std::size_t alignment) {
    std::ostringstream text;
    text << "pointer in " << position() << ": expected a multiple of " << alignment << ", got an address that is "
         << address % alignment << " beyond one";
    throw AccessError(text.str());
}

}  // namespace qcore::emulation
