// The pull-back of long lines, in tiles. A segment between kept states is run once more, with its states into global memory, and
// then gone back through, a launch for each step: a tile needs what comes back from its neighbours.
#pragma once

#include "paths_transfer_tiles_scaled.hpp"

namespace qcore::transfer {

// Back through step `step`: from the gradient to psi_{step+1}, `pulled`, `to` that to psi_step, both (B, M) as arguments are.
template <class T>
struct Back {
    std::int64_t step;
    Pointer<const T> before, after;  // psi_step and psi_{step+1}, as Tile::given takes them
    Pointer<const T> pulled;
    Pointer<T> to;
    Pointer<double> tap_sums;    // of every tile of every problem
    Pointer<double> sum_factor;  // as factors are
    Pointer<const T> by, first;  // (B,), what scaled states were multiplied by: psi_{step+1}, and in the last launch psi; or null

    // f(b, tile) for the tiles of this block. Where problems share a factor one block takes a tile of all of them in turn.
    template <class F>
    __device__ void each_tile(const Arrays<T>& a, const Tiling& tiling, F&& f) const {
        const std::int64_t together = sum_factor && a.factor_batch == 1 ? a.batch : 1;
        for (std::int64_t item = blockIdx.x; item < a.batch / together * tiling.tiles; item += gridDim.x)
            for (std::int64_t b = 0; b < together; ++b) f(item / tiling.tiles + b, item % tiling.tiles);
    }
};

// The gradient to taps of a step from the sums of its tiles, which begin anew. A warp adds up those of one tap.
template <class T>
__global__ void gather_taps_kernel(Pointer<double> sums, std::int64_t rows, std::int64_t parts, std::int64_t count,
                                   Pointer<T> out) {
    const std::int64_t lane = threadIdx.x % 32;
    for (std::int64_t i = cuda::thread() / 32; i < rows * count; i += cuda::threads() / 32) {
        double total = 0;
        for (std::int64_t part = lane; part < parts; part += 32) {
            double& sum = sums[(i / count * parts + part) * count + i % count];
            total += sum;
            sum = 0;
        }
        total = warp_sum(total);
        if (lane == 0) out[i] = static_cast<T>(total);
    }
}

// The sums of a pull-back in tiles; `parts` are those of a number.
template <class T>
class TileSums {
  public:
    TileSums(const cuda::Queue& queue, const Plan& p, const Tiling& tiling, std::int64_t parts)
        : queue_(queue), plan_(p), count_(p.kernel * parts), rows_(p.tap_batch), each_(p.batch / p.tap_batch * tiling.tiles),
          factors_(p.grad_factor ? p.factor_numbers(parts) : 0), taps_(p.grad_taps ? rows_ * each_ * count_ : 0),
          memory_(queue, bytes()) {
        queue.zero(memory_.data(), bytes());
    }

    Pointer<double> factors() const { return factors_ ? cuda::pointer<double>(memory_.data()) : Pointer<double>(); }
    Pointer<double> taps() const {
        return taps_ ? cuda::pointer<double>(static_cast<double*>(memory_.data()) + factors_) : Pointer<double>();
    }
    // After the launch of step t, from the last to the first.
    void settle(std::int64_t t) const {
        if (taps_ && (t == 0 || plan_.tap_steps > 1)) {
            const std::int64_t row = plan_.tap_steps > 1 ? t * rows_ : 0;
            cuda::launch(queue_, gather_taps_kernel<T>, cuda::grid_for(32 * rows_ * count_, 256), taps(), rows_, each_, count_,
                         cuda::pointer<T>(static_cast<T*>(plan_.grad_taps) + row * count_));
        }
        if (factors_ && t == 0)
            cuda::launch(queue_, add_up_kernel<T>, cuda::grid_for(factors_, 256), factors(), std::int64_t{1}, factors_,
                         cuda::pointer<T>(plan_.grad_factor));
    }

  private:
    std::size_t bytes() const { return static_cast<std::size_t>(factors_ + taps_) * sizeof(double); }

    const cuda::Queue& queue_;
    const Plan& plan_;
    std::int64_t count_, rows_, each_, factors_, taps_;
    cuda::Workspace memory_;
};

// The gradients to the states on the way back, in turn in two places.
template <class T>
class Pulled {
  public:
    Pulled(const cuda::Queue& queue, const Plan& p, std::int64_t parts)
        : size_(p.batch * p.sites * parts), now_(cuda::pointer<const T>(p.grad)), result_(cuda::pointer<T>(p.grad_psi)),
          memory_(queue, p.steps > 1 ? static_cast<std::size_t>(2 * size_) * sizeof(T) : 0) {}

    // Calls f(from, to) for step t.
    template <class F>
    void through(std::int64_t t, F&& f) {
        const Pointer<T> to = t ? cuda::pointer<T>(static_cast<T*>(memory_.data()) + t % 2 * size_) : result_;
        f(now_, to);
        now_ = to;
    }

  private:
    std::int64_t size_;
    Pointer<const T> now_;
    Pointer<T> result_;
    cuda::Workspace memory_;
};

// The states of a segment, run once more.
template <class Rule>
class Segment {
  public:
    using T = typename Rule::Scalar;

    // The pull-back may need the states after steps, or only those before.
    Segment(const cuda::Queue& queue, const Plan& p, const Tiling& tiling, bool after)
        : tiles_(queue, p, tiling), plan_(p), after_(after),
          states_(queue, static_cast<std::size_t>(p.segment() * tiles_.state) * sizeof(T)) {}

    void run(std::int64_t begin, std::int64_t end) {
        begin_ = begin;
        start_ = {};
        if (begin) start_ = tiles_.arrays.kept + (begin / plan_.keep_every - 1) * tiles_.state;
        Pointer<const T> from = start_;
        tiles_.each_leg(begin, after_ ? end : end - 1, 0, [&](std::int64_t t, std::int64_t n) {
            tiles_.run({t, n, from, after(t), true});
            from = after(t + n - 1);
        });
    }
    Pointer<const T> before(std::int64_t t) const { return t > begin_ ? Pointer<const T>(after(t - 1)) : start_; }
    Pointer<T> after(std::int64_t t) const { return cuda::pointer<T>(states_.data()) + (t - begin_) * tiles_.state; }
    Pointer<const T> by(std::int64_t) const { return {}; }
    Pointer<const T> first(std::int64_t) const { return {}; }

  private:
    Tiles<Rule> tiles_;
    const Plan& plan_;
    bool after_;
    cuda::Workspace states_;
    Pointer<const T> start_{};
    std::int64_t begin_ = 0;
};

// The same of states that are rescaled.
template <class Rule>
class ScaledSegment {
  public:
    using T = typename Rule::Scalar;

    ScaledSegment(const cuda::Queue& queue, const Plan& p, const Tiling& tiling, bool)
        : tiles_(queue, p, tiling), plan_(p),
          states_(queue, static_cast<std::size_t>((p.segment() + 1) * tiles_.state) * sizeof(T)),
          by_(queue, static_cast<std::size_t>((p.segment() + 1) * p.batch) * sizeof(T)) {}

    void run(std::int64_t begin, std::int64_t end) {
        begin_ = begin;
        if (begin) start_ = tiles_.arrays.kept + (begin / plan_.keep_every - 1) * tiles_.state;
        else tiles_.settle(tiles_.arrays.psi, after(-1), scale(-1), {});
        for (std::int64_t t = begin; t < end; ++t) tiles_.step(t, before(t), after(t), scale(t), {});
    }
    Pointer<const T> before(std::int64_t t) const {
        return t > begin_ || begin_ == 0 ? Pointer<const T>(after(t - 1)) : start_;
    }
    Pointer<T> after(std::int64_t t) const { return cuda::pointer<T>(states_.data()) + (t + 1 - begin_) * tiles_.state; }
    Pointer<const T> by(std::int64_t t) const { return scale(t); }
    Pointer<const T> first(std::int64_t t) const { return t == 0 ? Pointer<const T>(scale(-1)) : Pointer<const T>(); }

  private:
    Pointer<T> scale(std::int64_t t) const { return cuda::pointer<T>(by_.data()) + (t + 1 - begin_) * plan_.batch; }

    ScaledTiles<Rule> tiles_;
    const Plan& plan_;
    cuda::Workspace states_, by_;  // each begins with what stands before the segment, where that is psi
    Pointer<const T> start_{};
    std::int64_t begin_ = 0;
};

// The kernel of a step takes `more` numbers of shared memory than a tile does.
template <class Rule, template <class> class States>
void run_adjoint_in_tiles(const Plan& p, const Tiling& tiling,
                          void (*kernel)(Arrays<typename Rule::Scalar>, Tiling, Back<typename Rule::Scalar>), bool after,
                          std::int64_t more) {
    using T = typename Rule::Scalar;
    const cuda::Queue queue;
    Tiling one = tiling;
    one.steps = 1;
    Tiles<Rule> back(queue, p, one);
    back.grid.shared += SharedMemory::bytes<T>(static_cast<int>(more));
    const TileSums<T> sums(queue, p, tiling, Rule::numbers);
    Pulled<T> pulled(queue, p, Rule::numbers);
    States<Rule> states(queue, p, tiling, after);
    for (std::int64_t end = p.steps; end > 0;) {
        const std::int64_t begin = (end - 1) / p.segment() * p.segment();
        states.run(begin, end);
        for (std::int64_t t = end - 1; t >= begin; --t) {
            pulled.through(t, [&](Pointer<const T> above, Pointer<T> below) {
                const Back<T> step{t,           states.before(t), states.after(t), above, below, sums.taps(), sums.factors(),
                                   states.by(t), states.first(t)};
                cuda::launch(queue, kernel, back.grid, back.arrays, one, step);
            });
            sums.settle(t);
        }
        end = begin;
    }
}

}  // namespace qcore::transfer
