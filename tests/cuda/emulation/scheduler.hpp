// One launch: its blocks one after another, and the threads of the block that runs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <source_location>
#include <vector>

#include "fiber.hpp"
#include "ready.hpp"
#include "synchronization.hpp"
#include "vectors.hpp"

namespace qcore::emulation {

enum class State : std::uint8_t { ready, at_barrier, in_warp, returned };

struct Thread {
    Fiber* fiber = nullptr;  // from when it begins until it returns
    // Where it waits, and in a warp operation for which lanes and with what.
    const char* operation = nullptr;
    std::source_location where;
    std::uint64_t value = 0;  // what it brings, later what it gets
    unsigned mask = 0;
    int source = 0;
    uint3 index{};
    State state = State::ready;
};

struct Fibers;

class Launch {
public:
    Launch(dim3 grid, dim3 block, std::size_t shared_bytes, const std::function<void()>& thread, std::uint64_t seed);
    ~Launch();
    Launch(const Launch&) = delete;
    Launch& operator=(const Launch&) = delete;

    // The one that runs on this thread of the operating system, or null.
    static Launch* current();

    void run();
    Arrivals wait_for_block(const char* name, bool predicate, std::source_location where);
    std::uint64_t wait_for_warp(const char* name, unsigned mask, std::uint64_t value, int source, std::source_location where);

    int lane() const { return static_cast<int>(static_cast<unsigned>(current_) % warpSize); }
    std::byte* shared_memory(std::size_t offset_bytes, std::size_t bytes);

private:
    struct Warp {
        unsigned existing = 0, waiting = 0, returned = 0;
    };

    static void serve();  // what every fiber does
    void run_block();
    void unwind();
    void run_thread();
    void leave();
    void suspend();
    Fiber& next_fiber(Fiber* vacant);
    Fiber* idle_fiber();
    void stop(const std::exception_ptr& error);
    void release_block();
    void release_warp(Warp& warp, unsigned mask);
    void make_ready(int thread);
    Thread& current_thread() { return threads_[static_cast<std::size_t>(current_)]; }
    Warp& current_warp() { return warps_[static_cast<unsigned>(current_) / warpSize]; }
    int first_of_warp() const { return current_ - lane(); }
    Thread& of_lane(int lane) { return threads_[static_cast<std::size_t>(first_of_warp() + lane)]; }

    const dim3 grid_, block_;
    const std::function<void()>& thread_;
    Random random_;
    const bool shuffled_;

    std::vector<Thread> threads_;
    std::vector<Warp> warps_;
    ReadyThreads ready_;
    Fiber caller_;
    Fibers& fibers_;
    int current_ = -1;  // the thread that runs
    int alive_ = 0;     // threads that haven't returned
    Arrivals arrivals_, agreed_;  // at the barrier now, and at the last one that all have reached
    int first_arrived_ = -1;
    std::exception_ptr error_;  // the first one; from then on threads only unwind

    struct Free {
        void operator()(std::byte* memory) const;
    };
    std::unique_ptr<std::byte, Free> shared_;
    const std::size_t shared_bytes_;
};

}  // namespace qcore::emulation
