// What the scheduler says when threads wait for what never comes: who, for what, where in the source.
#pragma once

#include <source_location>
#include <string>
#include <vector>

#include "scheduler.hpp"

namespace qcore::emulation {

bool same_place(const std::source_location& a, const std::source_location& b);

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
