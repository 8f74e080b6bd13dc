// Path sums in the max-plus semiring: the largest sum of logarithms along a path, its gradients, and the path itself.
//
// Which tap each entry came by is kept in global memory while a segment between two kept states is gone through once more;
// gradients then are gathered along these, so that their sums have an order, and a path is followed by one thread.
#include "paths_transfer_tiles_adjoint.hpp"

namespace qcore::transfer {

namespace {

template <class T>
struct Max {
    using Scalar = T;
    using Value = Values<T, 1>;
    static constexpr int planes = 1, numbers = 1, kept_planes = 1, sites = sizeof(T) == 4 ? 5 : 3;
    static constexpr T nothing = -T(INFINITY);

    static __device__ T outside(int) { return nothing; }
    static __host__ __device__ std::int64_t tap_numbers(std::int64_t kernel) { return kernel; }
    static __device__ Value given(Pointer<const T> row, Pointer<const T>, std::int64_t i) { return {row[i]}; }
    static __device__ Value kept(Pointer<const T> state, std::int64_t, std::int64_t x) { return {state[x]}; }
    static __device__ void keep(const Value& v, Pointer<T> state, std::int64_t, std::int64_t x) { state[x] = v.of[0]; }
    static __device__ void finish(const Value& v, const Arrays<T>& a, std::int64_t i) { a.out[i] = v.of[0]; }
    static __device__ Value settled(const Value& v) { return v; }
    static __device__ Value times(const Value& v, const Value& f) { return {v.of[0] + f.of[0]}; }

    static __device__ void stage(Pointer<T> to, int kernel, Pointer<const T> taps, Pointer<const T>) {
        for (std::int64_t k = first_item(); k < kernel; k += next_item()) to[k] = taps[k];
    }

    // sum[u] = max_k taps[k] + line[k + u], and the first tap that has it, or -1.
    static __device__ void best(T (&sum)[sites], int (&tap)[sites], Pointer<const T> line, Pointer<const T> taps, int kernel) {
        constexpr int U = sites;
        T window[U];
#pragma unroll
        for (int u = 0; u < U; ++u) {
            sum[u] = nothing;
            tap[u] = -1;
            window[u] = line[u];
        }
        for (int k = 0; k < kernel; k += U) {
#pragma unroll
            for (int r = 0; r < U; ++r) {
                if (k + r >= kernel) break;
                const T weight = taps[k + r];
#pragma unroll
                for (int u = 0; u < U; ++u) {
                    const T through = window[(r + u) % U] + weight;
                    if (through > sum[u] || through != through) {  // a NaN stays once it is there
                        sum[u] = through;
                        tap[u] = k + r;
                    }
                }
                window[r] = line[k + r + U];
            }
        }
    }
    static __device__ void products(Value (&sum)[sites], Pointer<const T> line, std::int64_t, Pointer<const T> taps, int kernel) {
        T value[sites];
        int tap[sites];
        best(value, tap, line, taps, kernel);
#pragma unroll
        for (int u = 0; u < sites; ++u) sum[u] = {value[u]};
    }
};

// A step that also tells the tap by which each entry came, -1 where there is nothing.
template <class T, bool resident>
__device__ void traced_step(const Arrays<T>& a, Run<Max<T>, resident>& run, Pointer<int> taken) {
    constexpr int U = Max<T>::sites;
    for (std::int64_t x = first_item() * U; x < a.sites; x += next_item() * U) {
        T sum[U];
        int tap[U];
        Max<T>::best(sum, tap, Pointer<const T>(run.now) + x, run.taps, a.kernel);
#pragma unroll
        for (int u = 0; u < U; ++u) {
            if (x + u >= a.sites) break;
            const T value = a.factor ? sum[u] + run.factor_at(x + u).of[0] : sum[u];
            run.put(run.next, x + u, {value});
            taken[x + u] = value == Max<T>::nothing ? -1 : tap[u];
        }
    }
    run.turn();
}

// The site from which tap k leads to x, or -1: a tap that is NaN leads from beyond the line, too.
template <class T>
__device__ std::int64_t origin(const Arrays<T>& a, std::int64_t x, std::int64_t k) {
    return source_index(x + k - a.kernel / 2, a.sites, a.periodic ? Boundary::periodic : Boundary::zero);
}

// What comes back to site y from those that it was the best way to.
template <class T>
__device__ T gathered(const Arrays<T>& a, Pointer<const int> by, Pointer<const T> pulled, std::int64_t y) {
    T sum = 0;
    for (int k = 0; k < a.kernel; ++k) {
        const std::int64_t x = source_index(y - k + a.kernel / 2, a.sites, a.periodic ? Boundary::periodic : Boundary::zero);
        if (x >= 0 && by[x] == k) sum += pulled[x];
    }
    return sum;
}

template <class T, bool resident>
__global__ void __launch_bounds__(most_threads) max_adjoint_kernel(const Arrays<T> a, Pointer<int> taken_by) {
    SharedMemory shared;
    Workpiece<T> work(a);
    Run<Max<T>, resident> run(a, shared, work);
    // Gradients to psi_{t+1} and psi_t.
    Pointer<T> pulled = work.take(a.sites), before = work.take(a.sites);
    const std::int64_t task = blockIdx.x, tap_rows = a.tap_steps * a.tap_batch, factor_rows = a.factor_steps * a.factor_batch;
    const Pointer<int> taken = taken_by + task * a.segment * a.sites;
    const std::int64_t lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;

    for (std::int64_t b = task; b < a.batch; b += gridDim.x) {
        run.begin(b);
        for (std::int64_t x = first_item(); x < a.sites; x += next_item()) pulled[x] = a.grad[b * a.sites + x];
        for (std::int64_t end = a.steps; end > 0;) {
            const std::int64_t begin = (end - 1) / a.segment * a.segment;
            if (begin) run.load(run.kept(Pointer<const T>(a.kept), begin / a.keep_every - 1), 0);
            else run.start();
            for (std::int64_t t = begin; t < end; ++t) {
                run.prepare(t);
                traced_step(a, run, taken + (t - begin) * a.sites);
            }
            for (std::int64_t t = end - 1; t >= begin; --t) {
                const Pointer<int> by = taken + (t - begin) * a.sites;
                if (a.sum_factor) {
                    const std::int64_t to = (a.factor_batch == 1 ? task * factor_rows : 0) + a.factor_row(t, b);
                    for (std::int64_t x = first_item(); x < a.sites; x += next_item())
                        if (by[x] >= 0) a.sum_factor[to * a.sites + x] += static_cast<double>(pulled[x]);
                }
                if (a.sum_taps) {
                    const std::int64_t to = (a.tap_batch == 1 ? task * tap_rows : 0) + a.tap_row(t, b);
                    for (std::int64_t k = warp; k < a.kernel; k += warps) {
                        double sum = 0;
                        for (std::int64_t x = lane; x < a.sites; x += 32)
                            sum += by[x] == k ? static_cast<double>(pulled[x]) : 0.0;
                        sum = warp_sum(sum);
                        if (lane == 0) a.sum_taps[to * a.kernel + k] += sum;
                    }
                }
                for (std::int64_t y = first_item(); y < a.sites; y += next_item()) before[y] = gathered<T>(a, by, pulled, y);
                const Pointer<T> other = pulled;
                pulled = before;
                before = other;
                __syncthreads();
            }
            end = begin;
        }
        if (a.steps == 0) run.start();
        for (std::int64_t x = first_item(); x < a.sites; x += next_item()) {
            const bool weightless = a.steps == 0 && run.at(run.now, x).of[0] == Max<T>::nothing;
            a.grad_psi[b * a.sites + x] = weightless ? T(0) : pulled[x];
        }
    }
}

// The states at the beginnings of segments are kept in `work`. An end that is no site, which nobody can look at before the
// launch, has no path either: -1 all along.
template <class T, bool resident>
__global__ void __launch_bounds__(most_threads) best_path_kernel(const Arrays<T> a, Pointer<int> taken_by) {
    SharedMemory shared;
    Workpiece<T> work(a);
    Run<Max<T>, resident> run(a, shared, work);
    const Pointer<T> starts = work.take((a.steps / a.segment + 1) * a.sites);
    const Pointer<int> taken = taken_by + static_cast<std::int64_t>(blockIdx.x) * a.segment * a.sites;
    for (std::int64_t b = blockIdx.x; b < a.batch; b += gridDim.x) {
        const Pointer<double> path = a.path + b * (a.steps + 1);
        run.begin(b);
        run.start();
        for (std::int64_t t = 0; t < a.steps; ++t) {
            if (t % a.segment == 0) run.store(starts + t / a.segment * a.sites, 0);
            run.prepare(t);
            run.step();
        }
        std::int64_t site = -1;  // of the thread that follows the path
        if (threadIdx.x == 0) {
            const double given = a.ends[b];
            if (given >= 0 && given < static_cast<double>(a.sites)) site = static_cast<std::int64_t>(given);
            if (site >= 0 && run.at(run.now, site).of[0] == Max<T>::nothing) site = -1;
            path[a.steps] = static_cast<double>(site);
        }
        for (std::int64_t end = a.steps; end > 0;) {
            const std::int64_t begin = (end - 1) / a.segment * a.segment;
            __syncthreads();
            run.load(starts + begin / a.segment * a.sites, 0);
            for (std::int64_t t = begin; t < end; ++t) {
                run.prepare(t);
                traced_step(a, run, taken + (t - begin) * a.sites);
            }
            if (threadIdx.x == 0)
                for (std::int64_t t = end - 1; t >= begin; --t) {
                    if (site >= 0) site = origin(a, site, taken[(t - begin) * a.sites + site]);
                    path[t] = static_cast<double>(site);
                }
            end = begin;
        }
    }
}

std::int64_t root(std::int64_t n) {
    std::int64_t r = 1;
    while (r * r < n) ++r;
    return r;
}

// In tiles, with the taps by which the entries came: `taken` (steps, B, M) of the leg.
template <class T>
__global__ void __launch_bounds__(most_threads)
    traced_tiles_kernel(const Arrays<T> a, const Tiling tiling, const Leg<T> leg, Pointer<int> taken) {
    using Rule = Max<T>;
    constexpr int U = Rule::sites;
    SharedMemory shared;
    Tile<Rule> tile(a, tiling, shared);
    for (std::int64_t item = blockIdx.x; item < a.batch * tiling.tiles; item += gridDim.x) {
        tile.begin(item / tiling.tiles, item % tiling.tiles, leg.steps);
        tile.load(leg.from);
        for (std::int64_t j = 0; j < leg.steps; ++j) {
            const Pointer<int> by = taken + (j * a.batch + tile.problem) * a.sites;
            tile.prepare(leg.first + j);
            tile.step([&](Values<T, 1>(&sum)[U], std::int64_t i) {
                T value[U];
                int tap[U];
                Rule::best(value, tap, Pointer<const T>(tile.now) + i, tile.taps, a.kernel);
#pragma unroll
                for (int u = 0; u < U; ++u) {
                    sum[u] = {value[u]};
                    if (const std::int64_t x = tile.own_site(i + u); x >= 0)
                        by[x] = tile.weighted(sum[u], i + u).of[0] == Rule::nothing ? -1 : tap[u];
                }
            });
        }
        tile.store(leg.to);
    }
}

// `taken` (B, M) of the step.
template <class T>
__global__ void __launch_bounds__(most_threads)
    max_back_kernel(const Arrays<T> a, const Tiling tiling, const Back<T> back, Pointer<const int> taken) {
    const std::int64_t lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
    back.each_tile(a, tiling, [&](std::int64_t b, std::int64_t tile) {
        const std::int64_t begin = tile * tiling.width;
        const std::int64_t end = begin + tiling.width < a.sites ? begin + tiling.width : a.sites;
        const Pointer<const int> by = taken + b * a.sites;
        const Pointer<const T> pulled = back.pulled + b * a.sites;
        if (back.sum_factor)
            for (std::int64_t x = begin + first_item(); x < end; x += next_item())
                if (by[x] >= 0) back.sum_factor[a.factor_row(back.step, b) * a.sites + x] += static_cast<double>(pulled[x]);
        if (back.tap_sums)
            for (std::int64_t k = warp; k < a.kernel; k += warps) {
                double sum = 0;
                for (std::int64_t x = begin + lane; x < end; x += 32) sum += by[x] == k ? static_cast<double>(pulled[x]) : 0.0;
                sum = warp_sum(sum);
                if (lane == 0) back.tap_sums[(b * tiling.tiles + tile) * a.kernel + k] += sum;
            }
        for (std::int64_t y = begin + first_item(); y < end; y += next_item())
            back.to[b * a.sites + y] = gathered<T>(a, by, pulled, y);
    });
}

// Paths begin at their ends, and go on back over the steps from `end` to `begin`. An end that is no site, or that no path leads
// to, has -1 all along.
template <class T>
__global__ void path_ends_kernel(const Arrays<T> a, Pointer<const T> state) {
    for (std::int64_t b = cuda::thread(); b < a.batch; b += cuda::threads()) {
        const double given = a.ends[b];
        std::int64_t site = given >= 0 && given < static_cast<double>(a.sites) ? static_cast<std::int64_t>(given) : -1;
        if (site >= 0 && state[b * a.sites + site] == Max<T>::nothing) site = -1;
        a.path[b * (a.steps + 1) + a.steps] = static_cast<double>(site);
    }
}
template <class T>
__global__ void follow_kernel(const Arrays<T> a, std::int64_t begin, std::int64_t end, Pointer<const int> taken) {
    for (std::int64_t b = cuda::thread(); b < a.batch; b += cuda::threads()) {
        const Pointer<double> path = a.path + b * (a.steps + 1);
        std::int64_t site = static_cast<std::int64_t>(path[end]);
        for (std::int64_t t = end - 1; t >= begin; --t) {
            if (site >= 0) site = origin(a, site, taken[((t - begin) * a.batch + b) * a.sites + site]);
            path[t] = static_cast<double>(site);
        }
    }
}

// The way of lines in tiles through the steps, with what their segments remember.
template <class T>
class MaxTiles : public Tiles<Max<T>> {
    using Base = Tiles<Max<T>>;

  public:
    using Base::arrays;
    using Base::grid;
    using Base::state;
    using Base::tiling;

    MaxTiles(const cuda::Queue& queue, const Plan& p, const Tiling& cut, std::int64_t longest)
        : Base(queue, p, cut), queue_(queue), between_(queue, static_cast<std::size_t>(2 * state) * sizeof(T)),
          taken_(queue, static_cast<std::size_t>(longest * p.batch * p.sites) * sizeof(int)) {}

    // Of step t of a segment from `begin` on.
    Pointer<int> taken(std::int64_t t, std::int64_t begin) const {
        return cuda::pointer<int>(taken_.data()) + (t - begin) * arrays.batch * arrays.sites;
    }
    // One of two states between legs.
    Pointer<T> between(bool other) const { return cuda::pointer<T>(between_.data()) + (other ? state : 0); }

    void trace(std::int64_t begin, std::int64_t end, Pointer<const T> from) const {
        bool other = false;
        Base::each_leg(begin, end, 0, [&](std::int64_t t, std::int64_t n) {
            const Leg<T> leg{t, n, from, between(other), false};
            cuda::launch(queue_, traced_tiles_kernel<T>, grid, arrays, tiling, leg, taken(t, begin));
            from = leg.to;
            other = !other;
        });
    }

  private:
    const cuda::Queue& queue_;
    cuda::Workspace between_, taken_;
};

template <class T>
void run_max_adjoint_in_tiles(const Plan& p, const Tiling& tiling) {
    const cuda::Queue queue;
    const std::int64_t segment = p.segment();
    const MaxTiles<T> tiles(queue, p, tiling, segment);
    const TileSums<T> sums(queue, p, tiling, 1);
    Pulled<T> pulled(queue, p, 1);
    cuda::Grid grid = tiles.grid;
    grid.shared = 0;
    for (std::int64_t end = p.steps; end > 0;) {
        const std::int64_t begin = (end - 1) / segment * segment;
        Pointer<const T> from{};
        if (begin) from = tiles.arrays.kept + (begin / p.keep_every - 1) * tiles.state;
        tiles.trace(begin, end, from);
        for (std::int64_t t = end - 1; t >= begin; --t) {
            pulled.through(t, [&](Pointer<const T> above, Pointer<T> below) {
                const Back<T> back{t, {}, {}, above, below, sums.taps(), sums.factors(), {}, {}};
                cuda::launch(queue, max_back_kernel<T>, grid, tiles.arrays, tiling, back, tiles.taken(t, begin));
            });
            sums.settle(t);
        }
        end = begin;
    }
}

template <class T>
void run_max_adjoint(const Plan& p) {
    if (const Tiling tiling = tiling_of<Max<T>>(p); tiling.tiles) return run_max_adjoint_in_tiles<T>(p, tiling);
    const cuda::Queue queue;
    Arrays<T> a = arrays_of<Max<T>>(p);
    const std::int64_t numbers = Run<Max<T>, true>::numbers(a.size, a.sites, a.kernel, p.factor != nullptr);
    const std::int64_t own =
        numbers * static_cast<std::int64_t>(sizeof(T)) + a.segment * a.sites * static_cast<std::int64_t>(sizeof(int));
    const GradientSums<T> sums(queue, p, 1, own);
    sums.with_sums(a, [&] {
        if (p.batch == 0) return;
        const cuda::Workspace taken(queue, static_cast<std::size_t>(sums.tasks() * a.segment * a.sites) * sizeof(int));
        with_memory(queue, a, 4, numbers, 2 * a.sites, sums.tasks(), threads_for(p.sites, Max<T>::sites),
                    [&](auto resident, const cuda::Grid& grid) {
                        cuda::launch(queue, max_adjoint_kernel<T, resident>, grid, a, cuda::pointer<int>(taken.data()));
                    });
    });
}

template <class T>
void follow_in_tiles(const Plan& p, const Tiling& tiling) {
    const cuda::Queue queue;
    const std::int64_t segment = root(p.steps), starts = (p.steps - 1) / segment;  // the first segment starts from psi
    const MaxTiles<T> tiles(queue, p, tiling, segment);
    const cuda::Workspace work(queue, static_cast<std::size_t>(starts * tiles.state) * sizeof(T));
    const auto start = [&](std::int64_t t) { return cuda::pointer<T>(work.data()) + (t / segment - 1) * tiles.state; };
    Pointer<const T> from{};
    bool other = false;
    tiles.each_leg(0, p.steps, segment, [&](std::int64_t t, std::int64_t n) {
        const bool held = t + n < p.steps && (t + n) % segment == 0;
        const Pointer<T> to = held ? start(t + n) : tiles.between(other);
        tiles.run({t, n, from, to, false});
        from = to;
        other = !other;
    });
    const cuda::Grid paths = cuda::grid_for(p.batch, 32);
    cuda::launch(queue, path_ends_kernel<T>, paths, tiles.arrays, from);
    for (std::int64_t end = p.steps; end > 0;) {
        const std::int64_t begin = (end - 1) / segment * segment;
        tiles.trace(begin, end, begin ? Pointer<const T>(start(begin)) : Pointer<const T>());
        cuda::launch(queue, follow_kernel<T>, paths, tiles.arrays, begin, end, tiles.taken(begin, begin));
        end = begin;
    }
}

// As many problems at a time as there is room for.
template <class T>
void run_best_path_in_tiles(const Plan& p, const Tiling& tiling) {
    const std::int64_t own = root(p.steps) * p.sites * static_cast<std::int64_t>(sizeof(T) + sizeof(int));
    const std::int64_t most = std::clamp<std::int64_t>(work_bytes / own, 1, p.batch);
    const auto past = [](const void* rows, std::int64_t numbers) -> const void* {
        return rows ? static_cast<const T*>(rows) + numbers : nullptr;
    };
    for (std::int64_t first = 0; first < p.batch; first += most) {
        Plan some = p;
        some.batch = std::min(most, p.batch - first);
        some.psi = past(p.psi, first * p.sites);
        if (p.tap_batch > 1) some.taps = past(p.taps, first * p.kernel);
        if (p.factor_batch > 1) some.factor = past(p.factor, first * p.sites);
        some.ends = p.ends + first;
        some.path = p.path + first * (p.steps + 1);
        follow_in_tiles<T>(some, tiling);
    }
}

template <class T>
void run_best_path(const Plan& p) {
    if (const Tiling tiling = tiling_of<Max<T>>(p); tiling.tiles) return run_best_path_in_tiles<T>(p, tiling);
    const cuda::Queue queue;
    Arrays<T> a = arrays_of<Max<T>>(p);
    a.segment = root(p.steps);
    const std::int64_t numbers = Run<Max<T>, true>::numbers(a.size, a.sites, a.kernel, p.factor != nullptr);
    const std::int64_t starts = (a.steps / a.segment + 1) * a.sites;
    const std::int64_t own =
        (numbers + starts) * static_cast<std::int64_t>(sizeof(T)) + a.segment * a.sites * static_cast<std::int64_t>(sizeof(int));
    const std::int64_t blocks = std::clamp<std::int64_t>(work_bytes / own, 1, std::min(p.batch, most_tasks));
    const cuda::Workspace taken(queue, static_cast<std::size_t>(blocks * a.segment * a.sites) * sizeof(int));
    with_memory(queue, a, 4, numbers, starts, blocks, threads_for(p.sites, Max<T>::sites),
                [&](auto resident, const cuda::Grid& grid) {
        cuda::launch(queue, best_path_kernel<T, resident>, grid, a, cuda::pointer<int>(taken.data()));
    });
}

}  // namespace

void max_forward(const Plan& p, DType dtype) { dtype == DType::f32 ? run_forward<Max<float>>(p) : run_forward<Max<double>>(p); }
void max_adjoint(const Plan& p, DType dtype) { dtype == DType::f32 ? run_max_adjoint<float>(p) : run_max_adjoint<double>(p); }
void max_best_path(const Plan& p, DType dtype) { dtype == DType::f32 ? run_best_path<float>(p) : run_best_path<double>(p); }

}  // namespace qcore::transfer
