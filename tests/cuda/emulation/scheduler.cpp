#include "scheduler.hpp"

#include <cstring>
#include <new>
#include <numeric>
#include <utility>

#include "emulation.hpp"
#include "report.hpp"

namespace qcore::emulation {

// They outlive the launch that made them: one that has served a thread serves another. The last one that came is the one whose
// stack is still in the cache.
struct Fibers {
    std::vector<std::unique_ptr<Fiber>> all;
    std::vector<Fiber*> idle;
};

namespace {

constinit thread_local Launch* running = nullptr;
thread_local Fibers fibers;

// Unwinds a thread that will never get what it waits for.
struct Unwound {};

constexpr std::align_val_t shared_alignment{1024};

}  // namespace

void Launch::Free::operator()(std::byte* memory) const { ::operator delete(memory, shared_alignment); }

Launch::Launch(dim3 grid, dim3 block, std::size_t shared_bytes, const std::function<void()>& thread, std::uint64_t seed)
    : grid_(grid),
      block_(block),
      thread_(thread),
      random_(seed),
      shuffled_(seed != 0),
      threads_(block.x * block.y * block.z),
      warps_((threads_.size() + warpSize - 1) / warpSize),
      ready_(shuffled_ ? &random_ : nullptr),
      fibers_(fibers),
      shared_(static_cast<std::byte*>(::operator new(shared_bytes, shared_alignment))),
      shared_bytes_(shared_bytes) {
    std::size_t i = 0;
    for (unsigned z = 0; z < block.z; ++z)
        for (unsigned y = 0; y < block.y; ++y)
            for (unsigned x = 0; x < block.x; ++x, ++i) {
                threads_[i].index = {x, y, z};
                warps_[i / warpSize].existing |= 1u << i % warpSize;
            }
    running = this;
    blockDim = block;
    gridDim = grid;
}

Launch::~Launch() { running = nullptr; }

Launch* Launch::current() { return running; }

// In ascending order, or in steps that share no factor with their number from any one of them on.
void Launch::run() {
    const std::uint64_t count = std::uint64_t{grid_.x} * grid_.y * grid_.z;
    std::uint64_t step = 1, block = 0;
    if (shuffled_) {
        block = random_.below(count);
        do step = 1 + random_.below(count);
        while (std::gcd(step, count) != 1);
    }
    for (std::uint64_t i = 0; i < count; ++i) {
        blockIdx = {static_cast<unsigned>(block % grid_.x), static_cast<unsigned>(block / grid_.x % grid_.y),
                    static_cast<unsigned>(block / grid_.x / grid_.y)};
        run_block();
        block += step;
        if (block >= count) block -= count;
    }
}

void Launch::run_block() {
    std::memset(shared_.get(), 0xFF, shared_bytes_);
    ready_.fill(threads_.size());
    for (Warp& warp : warps_) warp.returned = 0;
    alive_ = static_cast<int>(threads_.size());
    caller_.switch_to(next_fiber(nullptr));
    // Back here when no thread can go on.
    if (alive_ > 0 && !error_) stop(std::make_exception_ptr(SynchronizationError(deadlock(threads_))));
    if (error_) {
        unwind();
        std::rethrow_exception(error_);
    }
}

// Lets every suspended thread throw, so that what lives on its stack is destroyed.
void Launch::unwind() {
    for (std::size_t i = 0; i < threads_.size(); ++i) {
        if (threads_[i].fiber == nullptr) continue;
        current_ = static_cast<int>(i);
        caller_.switch_to(*threads_[i].fiber);
    }
}

void Launch::stop(const std::exception_ptr& error) {
    if (!error_) error_ = error;
}

void Launch::make_ready(int thread) {
    threads_[static_cast<std::size_t>(thread)].state = State::ready;
    ready_.add(thread);
}

// Whose turn it is: a thread that is suspended, or a new one, or the caller when there is none. A new one takes the fiber that
// has just become vacant, so that threads which never wait run in the same one, one after another and without a switch.
Fiber& Launch::next_fiber(Fiber* vacant) {
    Fiber* next = &caller_;
    if (!ready_.empty() && !error_) {
        current_ = ready_.take();
        Thread& thread = current_thread();
        threadIdx = thread.index;
        if (thread.fiber == nullptr) {
            thread.state = State::ready;
            thread.fiber = vacant != nullptr ? std::exchange(vacant, nullptr) : idle_fiber();
        }
        next = thread.fiber;
    }
    if (vacant != nullptr) fibers_.idle.push_back(vacant);
    return *next;
}

Fiber* Launch::idle_fiber() {
    auto& [all, idle] = fibers_;
    if (idle.empty()) return all.emplace_back(std::make_unique<Fiber>(&Launch::serve)).get();
    Fiber* fiber = idle.back();
    idle.pop_back();
    return fiber;
}

void Launch::serve() {
    for (;;) {
        Launch& launch = *running;
        Fiber& self = *launch.current_thread().fiber;
        launch.run_thread();
        Fiber& next = launch.next_fiber(&self);
        if (&next != &self) self.switch_to(next);
    }
}

void Launch::run_thread() {
    Thread& self = current_thread();
    try {
        thread_();
        leave();
    } catch (const Unwound&) {
    } catch (...) {
        stop(std::current_exception());
    }
    self.state = State::returned;
    self.fiber = nullptr;
}

// A thread that returns counts as arrived at every barrier to come, but no warp operation can do without it.
void Launch::leave() {
    Warp& warp = current_warp();
    const unsigned bit = 1u << lane();
    warp.returned |= bit;
    --alive_;
    for (unsigned left = warp.waiting; left != 0; left &= left - 1) {
        const int other = std::countr_zero(left);
        if (of_lane(other).mask & bit) throw SynchronizationError(missing_lanes(threads_, first_of_warp() + other, bit));
    }
    if (alive_ > 0 && arrivals_.count == alive_) release_block();
}

// Until the current thread is ready and its turn has come.
void Launch::suspend() {
    Fiber& self = *current_thread().fiber;
    Fiber& next = next_fiber(nullptr);
    if (&next != &self) self.switch_to(next);
    if (error_) throw Unwound{};
}

Arrivals Launch::wait_for_block(const char* name, bool predicate, std::source_location where) {
    Thread& self = current_thread();
    self.state = State::at_barrier;
    self.operation = name;
    self.where = where;
    if (arrivals_.count == 0) first_arrived_ = current_;
    else if (!same_place(threads_[static_cast<std::size_t>(first_arrived_)].where, where))
        throw SynchronizationError(divergent_barrier(threads_, first_arrived_, current_));
    ++arrivals_.count;
    arrivals_.holding += predicate;
    if (arrivals_.count == alive_) release_block();
    suspend();
    return agreed_;
}

void Launch::release_block() {
    agreed_ = std::exchange(arrivals_, {});
    for (std::size_t i = 0; i < threads_.size(); ++i)
        if (threads_[i].state == State::at_barrier) make_ready(static_cast<int>(i));
}

std::uint64_t Launch::wait_for_warp(const char* name, unsigned mask, std::uint64_t value, int source,
                                    std::source_location where) {
    Thread& self = current_thread();
    Warp& warp = current_warp();
    const unsigned bit = 1u << lane();
    self.state = State::in_warp;
    self.operation = name;
    self.where = where;
    self.mask = mask;
    self.source = source;
    self.value = value;
    if (!(mask & bit)) throw SynchronizationError(not_in_mask(threads_, current_));
    if (const unsigned missing = mask & (~warp.existing | warp.returned))
        throw SynchronizationError(missing_lanes(threads_, current_, missing));
    warp.waiting |= bit;
    if ((mask & ~warp.waiting) == 0) release_warp(warp, mask);
    suspend();
    return self.value;
}

// All lanes of the mask wait. One with another mask may wait for others first; but not for those that wait for it here.
void Launch::release_warp(Warp& warp, unsigned mask) {
    const Thread& self = current_thread();
    std::array<std::uint64_t, warpSize> values;
    std::uint64_t ballot = 0;
    unsigned agreeing = 0;
    for (unsigned left = mask; left != 0; left &= left - 1) {
        const int l = std::countr_zero(left);
        const Thread& other = of_lane(l);
        if (other.mask != mask) continue;
        if (!same_name(other.operation, self.operation))
            throw SynchronizationError(disagreement(threads_, first_of_warp() + l, current_));
        agreeing |= 1u << l;
        values[static_cast<std::size_t>(l)] = other.value;
        ballot |= std::uint64_t{other.value != 0} << l;
    }
    for (unsigned left = mask & ~agreeing; left != 0; left &= left - 1) {
        const int l = std::countr_zero(left);
        if (of_lane(l).mask & agreeing) throw SynchronizationError(disagreement(threads_, first_of_warp() + l, current_));
    }
    if (agreeing != mask) return;
    for (unsigned left = mask; left != 0; left &= left - 1) {
        const int l = std::countr_zero(left);
        Thread& other = of_lane(l);
        if (other.source == all_lanes) other.value = ballot;
        else other.value = mask >> other.source & 1 ? values[static_cast<std::size_t>(other.source)] : ~std::uint64_t{0};
        make_ready(first_of_warp() + l);
    }
    warp.waiting &= ~mask;
}

std::byte* Launch::shared_memory(std::size_t offset_bytes, std::size_t bytes) {
    if (offset_bytes > shared_bytes_ || bytes > shared_bytes_ - offset_bytes)
        throw AccessError("shared memory: bytes " + std::to_string(offset_bytes) + " to " + std::to_string(offset_bytes + bytes) +
                          " of " + std::to_string(shared_bytes_) + ", in " + position());
    return shared_.get() + offset_bytes;
}

}  // namespace qcore::emulation
