#include "memory.hpp"

#include <algorithm>
#include <cstdint>
#include <functional>
#include <mutex>
#include <sstream>
#include <stdexcept>
#include <vector>

namespace qcore::emulation {

namespace {

struct Registry {
    std::mutex mutex;
    std::vector<Range> ranges;  // in the order of their registration
};

Registry& registry() {
    static Registry instance;
    return instance;
}

[[noreturn]] void unknown(const char* what, const void* address) {
    std::ostringstream text;
    text << what << ": no registered memory at " << address << "; is it memory of the device?";
    throw std::logic_error(text.str());
}

}  // namespace

void register_memory(const void* begin, std::size_t bytes) {
    const auto* first = static_cast<const std::byte*>(begin);
    const std::lock_guard lock(registry().mutex);
    registry().ranges.push_back({first, first + bytes});
}

void unregister_memory(const void* begin) {
    const std::lock_guard lock(registry().mutex);
    std::vector<Range>& ranges = registry().ranges;
    const auto latest = std::find_if(ranges.rbegin(), ranges.rend(), [&](const Range& r) { return r.begin == begin; });
    if (latest == ranges.rend()) unknown("unregister_memory", begin);
    ranges.erase(std::next(latest).base());
}

Range find_memory(const void* address) {
    if (address == nullptr) return {};
    const std::less_equal<const void*> not_after;
    const std::lock_guard lock(registry().mutex);
    Range widest;
    bool found = false;
    for (const Range& r : registry().ranges) {
        if (r.begin == r.end && r.begin == address) found = true;
        if (!not_after(r.begin, address) || not_after(r.end, address)) continue;
        found = true;
        if (r.end - r.begin > widest.end - widest.begin) widest = r;
    }
    if (!found) unknown("device pointer", address);
    return widest;
}

namespace {

// The half of the address space that user programs don't have (x86-64 and AArch64 give them 47 and 48 bits).
constexpr std::uintptr_t device_half = std::uintptr_t{1} << 55;

}  // namespace

void* device_address(const void* host) { return reinterpret_cast<void*>(reinterpret_cast<std::uintptr_t>(host) | device_half); }
void* host_address(const void* address) {
    return reinterpret_cast<void*>(reinterpret_cast<std::uintptr_t>(address) & ~device_half);
}

void* enter_memory(const void* host, std::size_t bytes) {
    void* const device = device_address(host);
    register_memory(device, bytes);
    return device;
}

void leave_memory(const void* device) { unregister_memory(device); }

}  // namespace qcore::emulation
