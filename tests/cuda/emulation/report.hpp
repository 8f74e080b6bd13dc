// What the scheduler says when threads wait for what never comes: who, for what, where in the source.
#pragma once

#include <cstring>
#include <source_location>
#include <string>
#include <vector>

#include "scheduler.hpp"

namespace qcore::emulation {

// The same name is mostly the same string.
inline bool same_name(const char* a, const char* b) { return a == b || std::strcmp(a, b) == 0; }
inline bool same_place(const std::source_location& a, const std::source_location& b) {
    return a.line() == b.line() && a.column() == b.column() && same_name(a.file_name(), b.file_name());
}

// No thread can go on.
std::string deadlock(const std::vector<Thread>& threads);
// Two threads have come to different barriers.
std::string divergent_barrier(const std::vector<Thread>& threads, int first, int second);
// Two lanes name one another in a warp operation, but not in the same one or not with the same mask.
std::string disagreement(const std::vector<Thread>& threads, int first, int second);
// A thread calls a warp operation that its own mask leaves out.
std::string not_in_mask(const std::vector<Thread>& threads, int thread);
// A thread waits for lanes that have returned or that the block never had.
std::string missing_lanes(const std::vector<Thread>& threads, int thread, unsigned lanes);

}  // namespace qcore::emulation
