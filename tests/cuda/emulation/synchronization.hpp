// Barriers, votes and shuffles. Each knows where it stands in the source, for the message when threads disagree.
#pragma once

#include <bit>
#include <concepts>
#include <cstdint>
#include <source_location>
#include <type_traits>

#include "vectors.hpp"

namespace qcore::emulation {

// What a block has agreed on at a barrier: how many threads came, and how many of them with a true predicate.
struct Arrivals {
    int count = 0;
    int holding = 0;
};
Arrivals wait_for_block(const char* name, bool predicate, std::source_location where);

// Waits for all lanes of the mask; then each gets the value of the lane it named, or, having named `all_lanes`, a word with the
// bits of the lanes whose value isn't 0. What a lane outside of the mask would send is undefined: all bits set.
inline constexpr int all_lanes = -1;
std::uint64_t wait_for_warp(const char* name, unsigned mask, std::uint64_t value, int source, std::source_location where);

// The same with the lane that a shuffle of this kind names.
enum class Shuffle { index, up, down, exclusive_or };
std::uint64_t shuffle(Shuffle kind, unsigned mask, std::uint64_t value, int argument, int width, std::source_location where);

template <class T>
concept Shuffled = std::same_as<T, int> || std::same_as<T, unsigned> || std::same_as<T, long> || std::same_as<T, unsigned long> ||
                   std::same_as<T, long long> || std::same_as<T, unsigned long long> || std::same_as<T, float> ||
                   std::same_as<T, double>;

template <Shuffled T>
T shuffled(Shuffle kind, unsigned mask, T value, int argument, int width, std::source_location where) {
    using Bits = std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>;
    return std::bit_cast<T>(static_cast<Bits>(shuffle(kind, mask, std::bit_cast<Bits>(value), argument, width, where)));
}

}  // namespace qcore::emulation

inline void __syncthreads(std::source_location where = std::source_location::current()) {
    qcore::emulation::wait_for_block("__syncthreads", false, where);
}
inline int __syncthreads_count(int predicate, std::source_location where = std::source_location::current()) {
    return qcore::emulation::wait_for_block("__syncthreads_count", predicate != 0, where).holding;
}
inline int __syncthreads_and(int predicate, std::source_location where = std::source_location::current()) {
    const auto arrivals = qcore::emulation::wait_for_block("__syncthreads_and", predicate != 0, where);
    return arrivals.holding == arrivals.count;
}
inline int __syncthreads_or(int predicate, std::source_location where = std::source_location::current()) {
    return qcore::emulation::wait_for_block("__syncthreads_or", predicate != 0, where).holding != 0;
}

inline void __syncwarp(unsigned mask = 0xffffffff, std::source_location where = std::source_location::current()) {
    qcore::emulation::wait_for_warp("__syncwarp", mask, 0, qcore::emulation::all_lanes, where);
}
inline unsigned __ballot_sync(unsigned mask, int predicate, std::source_location where = std::source_location::current()) {
    return static_cast<unsigned>(
        qcore::emulation::wait_for_warp("__ballot_sync", mask, predicate != 0, qcore::emulation::all_lanes, where));
}
inline int __any_sync(unsigned mask, int predicate, std::source_location where = std::source_location::current()) {
    return qcore::emulation::wait_for_warp("__any_sync", mask, predicate != 0, qcore::emulation::all_lanes, where) != 0;
}
inline int __all_sync(unsigned mask, int predicate, std::source_location where = std::source_location::current()) {
    return qcore::emulation::wait_for_warp("__all_sync", mask, predicate != 0, qcore::emulation::all_lanes, where) == mask;
}

// The arguments are a lane, two distances and the bits of a lane number.
template <qcore::emulation::Shuffled T>
T __shfl_sync(unsigned mask, T value, int source, int width = warpSize,
              std::source_location where = std::source_location::current()) {
    return qcore::emulation::shuffled(qcore::emulation::Shuffle::index, mask, value, source, width, where);
}
template <qcore::emulation::Shuffled T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = warpSize,
                 std::source_location where = std::source_location::current()) {
    return qcore::emulation::shuffled(qcore::emulation::Shuffle::up, mask, value, static_cast<int>(delta), width, where);
}
template <qcore::emulation::Shuffled T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = warpSize,
                   std::source_location where = std::source_location::current()) {
    return qcore::emulation::shuffled(qcore::emulation::Shuffle::down, mask, value, static_cast<int>(delta), width, where);
}
template <qcore::emulation::Shuffled T>
T __shfl_xor_sync(unsigned mask, T value, int lane_mask, int width = warpSize,
                  std::source_location where = std::source_location::current()) {
    return qcore::emulation::shuffled(qcore::emulation::Shuffle::exclusive_or, mask, value, lane_mask, width, where);
}

// One thread runs at a time, and in the order of the program.
inline void __threadfence_block() {}
inline void __threadfence() {}
inline void __threadfence_system() {}
