// The threads of a block that can go on, and the schedule's choice among them.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace qcore::emulation {

// SplitMix64, of Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
class Random {
public:
    explicit Random(std::uint64_t seed) : state_(seed) {}
    // Uniform in [0, n), as near as 32 of 64 bits make it.
    std::uint64_t below(std::uint64_t n) {
        std::uint64_t z = state_ += 0x9E3779B97F4A7C15;
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
        return ((z ^ (z >> 31)) >> 32) * n >> 32;
    }

private:
    std::uint64_t state_;
};

// Up to 1024 threads. `take` removes the first of them where no random numbers are given, else any.
class ReadyThreads {
public:
    explicit ReadyThreads(Random* random) : random_(random) {}

    // All of `count`, where there were none.
    void fill(std::size_t count) {
        count_ = count;
        if (random_ != nullptr) {
            for (std::size_t i = 0; i < count; ++i) any_[i] = static_cast<std::int16_t>(i);
            return;
        }
        for (std::size_t i = 0; 64 * i < count; ++i)
            words_[i] = ~std::uint64_t{0} >> (count - 64 * i < 64 ? 64 - (count - 64 * i) : 0);
    }

    void add(int thread) {
        if (random_ != nullptr) any_[count_] = static_cast<std::int16_t>(thread);
        else words_[static_cast<std::size_t>(thread) / 64] |= std::uint64_t{1} << (thread % 64);
        ++count_;
    }
    bool empty() const { return count_ == 0; }
    int take() {
        --count_;
        if (random_ != nullptr) {
            std::int16_t& chosen = any_[random_->below(count_ + 1)];
            const int thread = chosen;
            chosen = any_[count_];
            return thread;
        }
        std::size_t i = 0;
        while (words_[i] == 0) ++i;
        const int bit = std::countr_zero(words_[i]);
        words_[i] &= words_[i] - 1;
        return static_cast<int>(i) * 64 + bit;
    }

private:
    Random* random_;
    std::size_t count_ = 0;
    std::array<std::uint64_t, 16> words_{};   // a bit for each thread
    std::array<std::int16_t, 1024> any_{};    // in no order
};

}  // namespace qcore::emulation
