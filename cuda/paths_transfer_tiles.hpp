// Long lines: a block runs a tile of a line, and blocks wait for each other between launches alone. A launch of n steps takes a
// tile with all that it depends on, n times the reach of the taps on either side; of that a step leaves one reach less. States go
// from launch to launch through global memory. Every site is summed as in one block that runs a line, in the same order.
//
// What bounds a line of 1e5 sites is a launch, some 2 microseconds, of which a step pays a share; one of 1e6, the multiply-adds.
#pragma once

#include "core/boundary.hpp"
#include "paths_transfer_launch.hpp"

namespace qcore::transfer {

// How a line is cut. No tiles: a block runs a line.
struct Tiling {
    std::int64_t tiles = 0, width = 0;  // sites of a tile
    std::int64_t reach = 0;             // of the taps, rounded up so that threads begin at the sites they would in a whole line
    std::int64_t steps = 0;             // of a launch, at most

    __host__ __device__ std::int64_t span(std::int64_t n) const { return width + 2 * n * reach; }
};

// Steps `first` to first + steps - 1, from a state as they are kept, or where that is null from psi. The last state goes `to` one
// as they are kept, or where that is null to the results; with `all` those after the other steps too, one behind the other.
template <class T>
struct Leg {
    std::int64_t first, steps;
    Pointer<const T> from;
    Pointer<T> to;
    bool all;
};

// A tile on its way through the steps of a launch. Its site i is `first + i` of the line.
template <class Rule>
class Tile {
  public:
    using T = typename Rule::Scalar;
    using Value = typename Rule::Value;
    static constexpr int planes = Rule::planes, U = Rule::sites;
    static constexpr int pieces = 4;

    __device__ Tile(const Arrays<T>& a, const Tiling& tiling, SharedMemory& shared)
        : now(shared.array<T>(static_cast<int>(planes * a.size))), next(shared.array<T>(static_cast<int>(planes * a.size))),
          taps(shared.array<T>(static_cast<int>(Rule::tap_numbers(a.kernel)))),
          factor(shared.array<T>(a.factor ? static_cast<int>(planes * a.size) : 0)), a_(a), tiling_(tiling),
          halo_(a.kernel / 2) {}

    // What the constructor takes.
    static std::int64_t numbers(std::int64_t size, int kernel, bool with_factor) {
        return (with_factor ? 3 : 2) * planes * size + Rule::tap_numbers(kernel);
    }

    // Tile number `tile` of problem b, with what n steps read.
    __device__ void begin(std::int64_t b, std::int64_t tile, std::int64_t n) {
        problem = b;
        origin_ = tile * tiling_.width;
        inset_ = n * tiling_.reach;
        span_ = tiling_.span(n);
        done_ = 0;
        tap_row_ = factor_row_ = -1;
        __syncthreads();
        for (std::int64_t i = first_item(); i < a_.size; i += next_item())
            for (int c = 0; c < planes; ++c) now[c * a_.size + i] = next[c * a_.size + i] = Rule::outside(c);
        __syncthreads();
    }

    // f(i, x) for the entries i that are site x of the line, all or those of the tile itself.
    template <class F>
    __device__ void each_known(F&& f) const {
        for (std::int64_t i = first_item(); i < span_; i += next_item())
            if (const std::int64_t x = site(i); x >= 0) f(i, x);
    }
    template <class F>
    __device__ void each_own(F&& f) const {
        for (std::int64_t i = first_item(); i < own(); i += next_item()) f(inset_ + i, origin_ + i);
    }
    __device__ std::int64_t own() const {
        const std::int64_t left = a_.sites - origin_;
        return left < tiling_.width ? left : tiling_.width;
    }
    __device__ std::int64_t inset() const { return inset_; }
    // Among all problems' tiles.
    __device__ std::int64_t number() const { return problem * tiling_.tiles + origin_ / tiling_.width; }
    // The site of entry i, or -1 where it is another tile's.
    __device__ std::int64_t own_site(std::int64_t i) const {
        return i >= inset_ && i < inset_ + own() ? origin_ + i - inset_ : -1;
    }

    // A state as they are kept, or psi where that is null.
    __device__ Value given(Pointer<const T> state, std::int64_t x) const {
        if (state) return Rule::kept(state + problem * a_.sites * Rule::numbers, plane(), x);
        return Rule::given(a_.psi + problem * a_.sites * Rule::numbers,
                           a_.psi_sign ? a_.psi_sign + problem * a_.sites : a_.psi_sign, x);
    }
    __device__ void load(Pointer<const T> state) {
        each_known([&](std::int64_t i, std::int64_t x) { put(now, i, given(state, x)); });
        __syncthreads();
    }
    __device__ void store(Pointer<T> state) const {
        each_own([&](std::int64_t i, std::int64_t x) {
            const Pointer<T> row = state + problem * a_.sites * Rule::numbers;
            Rule::keep(at(now, i), row, plane(), x);
        });
    }
    __device__ void finish() const {
        each_own([&](std::int64_t i, std::int64_t x) { Rule::finish(at(now, i), a_, problem * a_.sites + x); });
    }
    __device__ std::int64_t plane() const { return a_.batch * a_.sites; }

    // Taps and factors of step t, unless they are there. No other thread may be in a step.
    __device__ void prepare(std::int64_t t) {
        bool fresh = false;
        if (const std::int64_t row = a_.tap_row(t, problem); row != tap_row_) {
            const std::int64_t from = row * a_.kernel;
            Rule::stage(taps, a_.kernel, a_.taps + from * Rule::numbers, a_.taps_sign ? a_.taps_sign + from : a_.taps_sign);
            tap_row_ = row;
            fresh = true;
        }
        if (a_.factor) {
            if (const std::int64_t row = a_.factor_row(t, problem); row != factor_row_) {
                const std::int64_t from = row * a_.sites;
                const auto signs = a_.factor_sign ? a_.factor_sign + from : a_.factor_sign;
                each_known([&](std::int64_t i, std::int64_t x) {
                    const Value f = Rule::given(a_.factor + from * Rule::numbers, signs, x);
                    for (int c = 0; c < planes; ++c) factor[c * a_.size + i] = f.of[c];
                });
                factor_row_ = row;
                fresh = true;
            }
        }
        if (fresh) __syncthreads();
    }

    // sum(i) for every U entries that a step leaves known, from i to before `end`.
    template <class F>
    __device__ void each_group(std::int64_t step, F&& sum) const {
        std::int64_t begin = step * tiling_.reach, end = span_ - begin;
        if (!a_.periodic) {  // beyond its ends a line stays what it is
            const std::int64_t first = origin_ - inset_;
            if (begin < -first) begin = -first;
            if (end > a_.sites - first) end = a_.sites - first;
        }
        for (std::int64_t i = begin + first_item() * U; i < end; i += next_item() * U) sum(i, end);
    }
    // f(i, x, n) for every U entries of the tile itself, of which n are in it, from entry i and site x on.
    template <class F>
    __device__ void each_own_group(F&& f) const {
        for (std::int64_t i = first_item() * U; i < own(); i += next_item() * U)
            f(inset_ + i, origin_ + i, own() - i < U ? static_cast<int>(own() - i) : U);
    }
    // One step; the new state is then `now`. products(sum, i) works out the sums of U entries from i on.
    template <class F>
    __device__ void step(F&& products) {
        each_group(++done_, [&](std::int64_t i, std::int64_t end) {
            Value sum[U];
            products(sum, i);
#pragma unroll
            for (int u = 0; u < U; ++u)
                if (i + u < end) put(next, i + u, weighted(sum[u], i + u));
        });
        const Pointer<T> other = now;
        now = next;
        next = other;
        __syncthreads();
    }
    __device__ void step() {
        step([&](Value(&sum)[U], std::int64_t i) { Rule::products(sum, Pointer<const T>(now) + i, a_.size, taps, a_.kernel); });
    }
    __device__ Value weighted(const Value& sum, std::int64_t i) const {
        return a_.factor ? Rule::times(sum, factor_at(i)) : Rule::settled(sum);
    }
    __device__ Value factor_at(std::int64_t i) const {
        Value f;
        for (int c = 0; c < planes; ++c) f.of[c] = factor[c * a_.size + i];
        return f;
    }
    __device__ Value at(Pointer<const T> line, std::int64_t i) const {
        Value v;
        for (int c = 0; c < planes; ++c) v.of[c] = line[c * a_.size + halo_ + i];
        return v;
    }
    __device__ void put(Pointer<T> line, std::int64_t i, const Value& v) const {
        for (int c = 0; c < planes; ++c) line[c * a_.size + halo_ + i] = v.of[c];
    }

    Pointer<T> now, next, taps, factor;
    std::int64_t problem = 0;

  private:
    __device__ std::int64_t site(std::int64_t i) const {
        return source_index(origin_ - inset_ + i, a_.sites, a_.periodic ? Boundary::periodic : Boundary::zero);
    }

    const Arrays<T>& a_;
    const Tiling& tiling_;
    std::int64_t halo_, origin_ = 0, inset_ = 0, span_ = 0, done_ = 0, tap_row_ = -1, factor_row_ = -1;
};

template <class Rule>
__global__ void __launch_bounds__(most_threads)
    tiles_kernel(const Arrays<typename Rule::Scalar> a, const Tiling tiling, const Leg<typename Rule::Scalar> leg) {
    SharedMemory shared;
    Tile<Rule> tile(a, tiling, shared);
    const std::int64_t state = a.batch * a.sites * Rule::numbers * Rule::kept_planes;
    for (std::int64_t item = blockIdx.x; item < a.batch * tiling.tiles; item += gridDim.x) {
        tile.begin(item / tiling.tiles, item % tiling.tiles, leg.steps);
        tile.load(leg.from);
        for (std::int64_t j = 0; j < leg.steps; ++j) {
            tile.prepare(leg.first + j);
            tile.step();
            if (leg.all) tile.store(leg.to + j * state);
        }
        if (leg.all) continue;
        if (leg.to) tile.store(leg.to);
        else tile.finish();
    }
}

// Which way a call goes: in tiles where lines are long and problems too few for a block each to fill a GPU, or lines too long for
// a block's shared memory; unless the taps reach too far for a tile. By constants alone, and no properties of a device: sums
// don't depend on it.
template <class Rule>
Tiling tiling_of(const Plan& p) {
    using T = typename Rule::Scalar;
    constexpr std::int64_t few = 64, long_line = 8192, longest_line = 32768, tiles = 256, most_steps = 32, most_bytes = 96 << 10;
    constexpr std::int64_t unit = 32 * Rule::sites, most_width = (16 << 10) / static_cast<std::int64_t>(Rule::planes * sizeof(T));
    if (p.steps == 0 || p.batch == 0 || p.sites < (p.batch > few ? longest_line : long_line)) return {};
    Tiling t;
    t.reach = (p.kernel / 2 + Rule::sites - 1) / Rule::sites * Rule::sites;
    t.width = unit * std::clamp<std::int64_t>(p.sites / (tiles * unit), 2, most_width / unit);
    // About as many as make a launch's share of a step as long as working out what tiles have in common.
    const std::int64_t useful = std::min(512 / p.kernel, t.width / std::max<std::int64_t>(t.reach, 1));
    t.steps = p.scaled ? 1 : std::clamp<std::int64_t>(useful, 1, most_steps);
    const std::int64_t size = t.span(t.steps) + p.kernel + 6;
    // Of a tile, and the taps once more for the way back.
    const std::int64_t numbers = Tile<Rule>::numbers(size, static_cast<int>(p.kernel), p.factor) + Rule::tap_numbers(p.kernel);
    if (numbers * static_cast<std::int64_t>(sizeof(T)) > most_bytes) return {};
    t.tiles = (p.sites + t.width - 1) / t.width;
    return t;
}

// A call in tiles: its arrays, and launches of legs.
template <class Rule>
class Tiles {
  public:
    using T = typename Rule::Scalar;

    Tiles(const cuda::Queue& queue, const Plan& p, const Tiling& cut) : arrays(arrays_of<Rule>(p)), tiling(cut), queue_(queue) {
        arrays.size = tiling.span(tiling.steps) + p.kernel + 6;  // threads read more than they need
        state = p.batch * p.sites * Rule::numbers * Rule::kept_planes;
        const std::int64_t numbers = Tile<Rule>::numbers(arrays.size, arrays.kernel, p.factor);
        grid.blocks = dim3(static_cast<unsigned>(std::min(p.batch * tiling.tiles, most_blocks)));
        grid.threads = dim3(threads_for(tiling.span(tiling.steps), Rule::sites));
        grid.shared = static_cast<std::size_t>(numbers) * sizeof(T) + 16 * Tile<Rule>::pieces;  // each begins on 16 bytes
    }

    void run(const Leg<T>& leg) const { cuda::launch(queue_, tiles_kernel<Rule>, grid, arrays, tiling, leg); }

    // Calls leg(t, n) for n steps from t on, as many at a time as a launch runs and up to the next multiple of `every`.
    template <class F>
    void each_leg(std::int64_t begin, std::int64_t end, std::int64_t every, F&& leg) const {
        for (std::int64_t t = begin; t < end;) {
            std::int64_t n = std::min(tiling.steps, end - t);
            if (every > 0) n = std::min(n, every - t % every);
            leg(t, n);
            t += n;
        }
    }

    Arrays<T> arrays;
    Tiling tiling;
    cuda::Grid grid;
    std::int64_t state;  // numbers of one, of all problems

  private:
    const cuda::Queue& queue_;
};

template <class Rule>
void run_forward_in_tiles(const Plan& p, const Tiling& tiling) {
    using T = typename Rule::Scalar;
    const cuda::Queue queue;
    const Tiles<Rule> tiles(queue, p, tiling);
    const cuda::Workspace work(queue, p.steps > tiling.steps ? static_cast<std::size_t>(2 * tiles.state) * sizeof(T) : 0);
    const Pointer<T> between = cuda::pointer<T>(work.data());
    Pointer<const T> from{};
    bool other = false;
    tiles.each_leg(0, p.steps, p.keep_every, [&](std::int64_t t, std::int64_t n) {
        Pointer<T> to{};
        if (const std::int64_t end = t + n; end < p.steps) {
            const bool kept = p.keep_every > 0 && end % p.keep_every == 0;
            to = kept ? tiles.arrays.kept + (end / p.keep_every - 1) * tiles.state : between + (other ? tiles.state : 0);
            other = !other;
        }
        tiles.run({t, n, from, to, false});
        from = to;
    });
}

// Of states that need no scaling.
template <class Rule>
void run_forward(const Plan& p) {
    const Tiling tiling = tiling_of<Rule>(p);
    tiling.tiles ? run_forward_in_tiles<Rule>(p, tiling) : run_forward_in_blocks<Rule>(p);
}

}  // namespace qcore::transfer
