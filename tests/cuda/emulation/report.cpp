#include "report.hpp"

#include <sstream>
#include <string_view>

#include "emulation.hpp"

namespace qcore::emulation {

namespace {

std::ostream& operator<<(std::ostream& out, const uint3& v) { return out << '(' << v.x << ", " << v.y << ", " << v.z << ')'; }

// "0-31, 40" of those that `holds` is true for.
template <class Holds>
std::string ranges(int count, const Holds& holds) {
    std::ostringstream out;
    for (int i = 0; i < count; ++i) {
        if (!holds(i)) continue;
        const int first = i;
        while (i + 1 < count && holds(i + 1)) ++i;
        out << (out.tellp() > 0 ? ", " : "") << first;
        if (i > first) out << '-' << i;
    }
    return out.str();
}

const Thread& at(const std::vector<Thread>& threads, int i) { return threads[static_cast<std::size_t>(i)]; }

// "__syncwarp with mask 0x3 (kernel.cu:12)"
std::string place(const Thread& thread) {
    std::string_view file = thread.where.file_name();
    file.remove_prefix(file.find_last_of('/') + 1);
    std::ostringstream out;
    out << thread.operation;
    if (thread.state == State::in_warp) out << " with mask 0x" << std::hex << thread.mask << std::dec;
    out << " (" << file << ':' << thread.where.line() << ')';
    return out.str();
}

// "thread (5, 0, 0), lane 5 of warp 0"
std::string name(const std::vector<Thread>& threads, int i) {
    std::ostringstream out;
    out << "thread " << at(threads, i).index << ", lane " << i % warpSize << " of warp " << i / warpSize;
    return out.str();
}

bool waits_alike(const Thread& a, const Thread& b) {
    return a.state == b.state && same_place(a.where, b.where) && (a.state != State::in_warp || a.mask == b.mask);
}

std::string in_block() {
    std::ostringstream out;
    out << "block " << blockIdx;
    return out.str();
}

}  // namespace

std::string deadlock(const std::vector<Thread>& threads) {
    const int count = static_cast<int>(threads.size());
    std::ostringstream out;
    out << "deadlock in " << in_block() << ", threads numbered x first:";
    for (int i = 0; i < count; ++i) {
        const Thread& thread = at(threads, i);
        const auto alike = [&](int j) { return at(threads, j).state != State::returned && waits_alike(at(threads, j), thread); };
        bool listed = thread.state == State::returned;
        for (int j = 0; j < i && !listed; ++j) listed = alike(j);
        if (!listed) out << " " << ranges(count, alike) << " wait at " << place(thread) << ";";
    }
    const std::string returned = ranges(count, [&](int i) { return at(threads, i).state == State::returned; });
    out << " " << (returned.empty() ? "none" : returned) << " returned";
    return out.str();
}

std::string divergent_barrier(const std::vector<Thread>& threads, int first, int second) {
    return "divergent barrier in " + in_block() + ": " + name(threads, first) + ", waits at " + place(at(threads, first)) + ", " +
           name(threads, second) + ", at " + place(at(threads, second));
}

std::string disagreement(const std::vector<Thread>& threads, int first, int second) {
    return "lanes disagree in " + in_block() + ": " + name(threads, first) + ", calls " + place(at(threads, first)) + ", " +
           name(threads, second) + ", calls " + place(at(threads, second));
}

std::string not_in_mask(const std::vector<Thread>& threads, int thread) {
    return "mask without the calling lane in " + in_block() + ": " + name(threads, thread) + ", calls " +
           place(at(threads, thread));
}

std::string missing_lanes(const std::vector<Thread>& threads, int thread, unsigned lanes) {
    return "missing lanes in " + in_block() + ": " + name(threads, thread) + ", waits at " + place(at(threads, thread)) +
           " for lanes " + ranges(warpSize, [&](int l) { return (lanes >> l & 1) != 0; }) +
           ", which have returned or don't exist";
}

}  // namespace qcore::emulation
