// Long lines whose states are rescaled after every step: a launch for the step, one for the largest number of each tile, and one
// that brings the largest of all to [1, 2).
#pragma once

#include "paths_transfer_tiles.hpp"

namespace qcore::transfer {

// States of `problems` rows of numbers, cut into tiles of `width` numbers.
struct Cut {
    std::int64_t problems, numbers, tiles, width;

    __device__ std::int64_t begin(std::int64_t item) const { return item / tiles * numbers + item % tiles * width; }
    __device__ std::int64_t end(std::int64_t item) const {
        const std::int64_t row = item / tiles * numbers + numbers, end = begin(item) + width;
        return end < row ? end : row;
    }
};

template <class T>
__global__ void __launch_bounds__(most_threads) largest_kernel(const Cut cut, Pointer<const T> state, Pointer<T> largest) {
    SharedMemory shared;
    const Pointer<T> scratch = shared.array<T>(most_threads / 32);
    for (std::int64_t item = blockIdx.x; item < cut.problems * cut.tiles; item += gridDim.x) {
        T most = 0;
        for (std::int64_t i = cut.begin(item) + first_item(); i < cut.end(item); i += next_item()) {
            const T size = std::fabs(state[i]);
            most = size > most ? size : most;
        }
        most = over_block(most, scratch);
        if (threadIdx.x == 0) largest[item] = most;
    }
}

// Multiplies each problem's numbers. `by` (B,) tells by what and exponents (B,) count it, where they aren't null.
template <class T>
__global__ void __launch_bounds__(most_threads) settle_kernel(const Cut cut, Pointer<const T> state, Pointer<const T> largest,
                                                              Pointer<T> to, Pointer<T> by, Pointer<double> exponents) {
    SharedMemory shared;
    const Pointer<T> scratch = shared.array<T>(most_threads / 32);
    for (std::int64_t item = blockIdx.x; item < cut.problems * cut.tiles; item += gridDim.x) {
        const std::int64_t b = item / cut.tiles;
        T most = 0;
        for (std::int64_t tile = first_item(); tile < cut.tiles; tile += next_item()) {
            const T size = largest[b * cut.tiles + tile];
            most = size > most ? size : most;
        }
        const Power<T> power = power_for(over_block(most, scratch));
        for (std::int64_t i = cut.begin(item) + first_item(); i < cut.end(item); i += next_item())
            to[i] = state[i] * power.first * power.second;
        if (item % cut.tiles != 0 || threadIdx.x != 0) continue;
        if (by) by[b] = power.first * power.second;
        if (exponents) exponents[b] += power.exponent;
    }
}

template <class Rule>
class ScaledTiles : public Tiles<Rule> {
    using Base = Tiles<Rule>;

  public:
    using T = typename Rule::Scalar;

    ScaledTiles(const cuda::Queue& queue, const Plan& p, const Tiling& cut)
        : Base(queue, p, cut), queue_(queue), cut_{p.batch, p.sites * Rule::numbers, cut.tiles, cut.width * Rule::numbers},
          raw_(queue, static_cast<std::size_t>(Base::state) * sizeof(T)),
          largest_(queue, static_cast<std::size_t>(p.batch * cut.tiles) * sizeof(T)) {}

    // From one state to another.
    void settle(Pointer<const T> from, Pointer<T> to, Pointer<T> by, Pointer<double> exponents) const {
        const Pointer<T> largest = cuda::pointer<T>(largest_.data());
        const cuda::Grid all{Base::grid.blocks, Base::grid.threads, SharedMemory::bytes<T>(most_threads / 32)};
        cuda::launch(queue_, largest_kernel<T>, all, cut_, from, largest);
        cuda::launch(queue_, settle_kernel<T>, all, cut_, from, largest, to, by, exponents);
    }
    // Step t from a state that is settled to another, or the same.
    void step(std::int64_t t, Pointer<const T> from, Pointer<T> to, Pointer<T> by, Pointer<double> exponents) const {
        const Pointer<T> raw = cuda::pointer<T>(raw_.data());
        Base::run({t, 1, from, raw, false});
        settle(raw, to, by, exponents);
    }

  private:
    const cuda::Queue& queue_;
    Cut cut_;
    cuda::Workspace raw_, largest_;
};

template <class Rule>
void run_scaled_forward_in_tiles(const Plan& p, const Tiling& tiling) {
    using T = typename Rule::Scalar;
    const cuda::Queue queue;
    const ScaledTiles<Rule> tiles(queue, p, tiling);
    const cuda::Workspace work(queue, static_cast<std::size_t>(tiles.state) * sizeof(T));
    const Pointer<T> between = cuda::pointer<T>(work.data());
    queue.zero(p.second, static_cast<std::size_t>(p.batch) * sizeof(double));
    tiles.settle(tiles.arrays.psi, between, {}, tiles.arrays.exponents);
    Pointer<const T> from = between;
    for (std::int64_t t = 0; t < p.steps; ++t) {
        const std::int64_t end = t + 1;
        const bool kept = p.keep_every > 0 && end % p.keep_every == 0;
        const Pointer<T> to = end == p.steps ? tiles.arrays.out
                              : kept         ? tiles.arrays.kept + (end / p.keep_every - 1) * tiles.state
                                             : between;
        tiles.step(t, from, to, {}, tiles.arrays.exponents);
        from = to;
    }
}

}  // namespace qcore::transfer
