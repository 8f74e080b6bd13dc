// What launches have in common whose threads are chains: how many threads, and what they share.
#pragma once

#include <cstdint>

#include "launch.hpp"

namespace qcore::cuda {

// A thread for each of `chains` chains, or for as many as `bytes` of scratch for each leave room for; they take the rest in
// turns. Small blocks where there are few, so that all multiprocessors get some.
class ChainGrid {
  public:
    ChainGrid(const Queue& queue, std::int64_t chains, std::int64_t bytes)
        : grid_(grid_for(chains, chains < 8192 ? 32 : chains < 32768 ? 64 : 128, blocks_within(bytes))),
          scratch_(queue, static_cast<std::size_t>(bytes) * grid_.blocks.x * grid_.threads.x) {}

    const Grid& grid() const { return grid_; }
    const void* scratch() const { return scratch_.data(); }

  private:
    static std::int64_t blocks_within(std::int64_t bytes) {
        constexpr std::int64_t room = std::int64_t{4} << 30, most = std::int64_t{1} << 20;
        const std::int64_t blocks = bytes > 0 ? room / (bytes * 128) : most;
        return blocks < 1 ? 1 : blocks < most ? blocks : most;
    }

    Grid grid_;
    Workspace scratch_;
};

// Integers of the host for kernels to read, however many.
class Integers {
  public:
    Integers(const Queue& queue, const std::int64_t* values, std::int64_t count);

    const std::int64_t* data() const { return static_cast<const std::int64_t*>(memory_.data()); }

  private:
    Workspace memory_;
};

}  // namespace qcore::cuda
