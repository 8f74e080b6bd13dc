// Path sums in the semiring of logarithms, computed as numbers of any size: banded products of mantissas, aligned to the
// largest exponent among what a thread reads, and exponent by exponent only where the range of that demands it
// (csrc/paths/transfer_log.hpp). There is no exponential or logarithm inside the steps: a tap costs about four operations
// instead of one.
#include "paths_scaled.hpp"
#include "paths_transfer_tiles_adjoint.hpp"

namespace qcore::transfer {

namespace {

// A line has two planes, mantissas and exponents. Taps: mantissas, exponents, mantissas with the exponents in them
// (plain = m * 2^(e - largest + top)), and the largest exponent.
template <class T>
struct Log {
    using Scalar = T;
    using X = Scaled<T>;
    using Value = Values<T, 2>;
    static constexpr int planes = 2, numbers = 1, kept_planes = 2, sites = sizeof(T) == 4 ? 5 : 3;
    // Entries are brought below 2^(top + 1), and none but 0 counts as less than 2^-low. Products then are normal numbers, their
    // sums don't overflow, and the error of a sum from 2^enough on for each tap is below half a unit in the last place.
    static constexpr int top = sizeof(T) == 4 ? 55 : 503, low = sizeof(T) == 4 ? 62 : 510;
    static constexpr int enough = top - low + 2 + X::mantissa_bits + 2;

    static __device__ T outside(int plane) { return plane ? X::none : T(0); }
    static __host__ __device__ std::int64_t tap_numbers(std::int64_t kernel) { return 3 * kernel + 1; }

    static __device__ Value value(const typename X::Number& v) { return {v.m, v.e}; }
    // Of an argument: a mantissa about 1.
    static __device__ Value weight(Pointer<const T> logs, Pointer<const T> signs, std::int64_t i) {
        Value v = value(X::from_log(logs[i]));
        if (signs) {
            const T sign = signs[i];
            v.of[0] *= sign;
            if (sign == T(0)) v.of[1] = X::none;
        }
        return v;
    }
    static __device__ Value given(Pointer<const T> logs, Pointer<const T> signs, std::int64_t i) {
        return settled(weight(logs, signs, i));
    }
    static __device__ Value kept(Pointer<const T> state, std::int64_t plane, std::int64_t x) {
        return {state[x], state[plane + x]};
    }
    static __device__ void keep(const Value& v, Pointer<T> state, std::int64_t plane, std::int64_t x) {
        state[x] = v.of[0];
        state[plane + x] = v.of[1];
    }
    static __device__ void finish(const Value& v, const Arrays<T>& a, std::int64_t i) {
        const T m = v.of[0];
        const T log = X::to_log(m, v.of[1]);
        a.out[i] = !a.signs && m < T(0) ? T(NAN) : log;
        if (a.signs) a.signs[i] = m > T(0) ? T(1) : m < T(0) ? T(-1) : m;
    }
    static __device__ Value settled(const Value& v) { return value(X::split(v.of[0], v.of[1])); }
    static __device__ Value times(const Value& v, const Value& f) { return settled({v.of[0] * f.of[0], v.of[1] + f.of[1]}); }

    static __device__ void stage(Pointer<T> to, int kernel, Pointer<const T> taps, Pointer<const T> signs) {
        for (std::int64_t k = first_item(); k < kernel; k += next_item()) {
            const Value v = weight(taps, signs, k);
            to[k] = v.of[0];
            to[kernel + k] = v.of[1];
        }
        __syncthreads();
        T largest = X::none;
        for (int k = 0; k < kernel; ++k) largest = to[kernel + k] > largest ? to[kernel + k] : largest;
        for (std::int64_t k = first_item(); k < kernel; k += next_item()) {
            const T shift = to[kernel + k] - largest + T(top);
            to[2 * kernel + k] = shift >= -T(low) ? to[k] * X::pow2(shift) : T(0);
        }
        if (threadIdx.x == 0) to[3 * kernel] = largest;
    }
    static __device__ void reverse(Pointer<T> to, int kernel, Pointer<const T> taps) {
        for (std::int64_t k = first_item(); k < kernel; k += next_item())
            for (int c = 0; c < 3; ++c) to[c * kernel + k] = taps[c * kernel + kernel - 1 - k];
        if (threadIdx.x == 0) to[3 * kernel] = taps[3 * kernel];
    }

    // What stands in the window, relative to exponent `highest`.
    static __device__ T lifted(T m, T e, T highest) {
        const T shift = e + (T(top) - highest);
        return m * X::pow2(shift > -T(low) ? shift : -T(low));
    }

    // sum[u] = sum_k taps[k] line[k + u], as a value times two to the power of a second.
    static __device__ void products(Value (&sum)[sites], Pointer<const T> line, std::int64_t plane, Pointer<const T> taps,
                                    int kernel) {
        constexpr int U = sites;
        const Pointer<const T> exponents = line + plane;
        T highest = X::none;
        for (int j = 0; j < kernel + U - 1; ++j) highest = exponents[j] > highest ? exponents[j] : highest;
        const T largest = taps[3 * kernel];
#pragma unroll
        for (int u = 0; u < U; ++u) sum[u] = {0, X::none};
        if (highest < -X::bound || largest < -X::bound) return;

        T window[U], plain[U];
#pragma unroll
        for (int u = 0; u < U; ++u) {
            plain[u] = 0;
            window[u] = lifted(line[u], exponents[u], highest);
        }
        for (int k = 0; k < kernel; k += U) {
#pragma unroll
            for (int r = 0; r < U; ++r) {
                if (k + r >= kernel) break;
                const T tap = taps[2 * kernel + k + r];
#pragma unroll
                for (int u = 0; u < U; ++u) plain[u] += tap * window[(r + u) % U];
                window[r] = lifted(line[k + r + U], exponents[k + r + U], highest);
            }
        }
        int needed = enough + 1;
        for (int n = kernel; n > 1; n /= 2) ++needed;
        const auto room = static_cast<typename X::Bits>(X::bias - needed);
#pragma unroll
        for (int u = 0; u < U; ++u) {
            if (largest < X::bound && X::distance(plain[u], needed) <= room) sum[u] = {plain[u], highest + largest - T(2 * top)};
            else sum[u] = aligned(line + u, exponents + u, taps, kernel);
        }
    }

    // The same for one output, with an exponent of its own to which each product is aligned: exact in any range.
    static __device__ Value aligned(Pointer<const T> line, Pointer<const T> exponents, Pointer<const T> taps, int kernel) {
        T highest = 2 * X::none;
        for (int k = 0; k < kernel; ++k) {
            const T e = exponents[k] + taps[kernel + k];
            highest = e > highest ? e : highest;
        }
        if (highest < -X::bound) return {0, X::none};
        T sum = 0;
        if (highest >= X::bound) {  // inf and NaN as numbers have them
            for (int k = 0; k < kernel; ++k)
                if (exponents[k] + taps[kernel + k] >= X::bound) sum += line[k] * taps[k];
            return {sum, X::special};
        }
        constexpr T far = sizeof(T) == 4 ? T(100) : T(1000);
        for (int k = 0; k < kernel; ++k) {
            const T shift = exponents[k] + taps[kernel + k] - highest;
            if (shift >= -far) sum += line[k] * X::pow2(shift) * taps[k];
        }
        return {sum, highest};
    }
};

// sums[k] += taps_k sum_x r(x) psi(x + k) over `sites` sites, warp by warp.
template <class T>
__device__ void correlate(const Arrays<T>& a, std::int64_t sites, Pointer<const T> ratio, Pointer<const T> psi,
                          Pointer<const T> taps, Pointer<double> sums) {
    using X = Scaled<T>;
    constexpr T limit = T(X::bias - 2);
    const std::int64_t lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32, halo = a.kernel / 2;
    for (std::int64_t k = warp; k < a.kernel; k += warps) {
        const T m = taps[k], e = taps[a.kernel + k];
        if (m == T(0)) continue;
        double total = 0;
        for (std::int64_t x = lane; x < sites; x += 32) {
            const T shift = ratio[a.size + halo + x] + psi[a.size + x + k] + e;
            if (shift < -limit) continue;
            total += static_cast<double>(ratio[halo + x] * X::pow2(shift < limit ? shift : limit) * psi[x + k]);
        }
        total = warp_sum(total);
        if (lane == 0) sums[k] += total * static_cast<double>(m);
    }
}

// r = pulled f / psi_{t+1} for a site where f is one.
template <class T>
__device__ typename Log<T>::Value ratio_of(T pulled, const typename Log<T>::Value& after) {
    if (after.of[0] == T(0) || pulled == T(0)) return {0, Scaled<T>::none};
    return {pulled / after.of[0], -after.of[1]};
}

// psi times what r sums up to.
template <class T>
__device__ T marginal(const typename Log<T>::Value& sum, const typename Log<T>::Value& psi) {
    return psi.of[0] == T(0) ? T(0) : Scaled<T>::shifted(sum.of[0] * psi.of[0], sum.of[1] + psi.of[1]);
}

// pulled(x) = dL / d log psi_{t+1}(x) becomes that by log psi_t. With r = pulled f / psi_{t+1}:
// g_t(y) = psi_t(y) sum_k taps_k r(y - k), and dL / d log taps_k = taps_k sum_x r(x) psi_t(x + k), both marginals.
template <class T, bool resident>
__global__ void __launch_bounds__(most_threads) log_adjoint_kernel(const Arrays<T> a) {
    using Rule = Log<T>;
    using X = Scaled<T>;
    using Value = typename Rule::Value;
    constexpr int U = Rule::sites;
    SharedMemory shared;
    Workpiece<T> work(a);
    Run<Rule, resident> run(a, shared, work);
    const auto take = [&](std::int64_t count) {
        if constexpr (resident) return shared.array<T>(static_cast<int>(count));
        else return work.take(count);
    };
    const Pointer<T> pulled = take(a.sites), reversed = take(Rule::tap_numbers(a.kernel));
    const Pointer<T> states = work.take((a.segment + 1) * 2 * a.sites);
    const std::int64_t task = blockIdx.x, tap_rows = a.tap_steps * a.tap_batch, factor_rows = a.factor_steps * a.factor_batch;

    for (std::int64_t b = task; b < a.batch; b += gridDim.x) {
        run.begin(b);
        for (std::int64_t x = first_item(); x < a.sites; x += next_item()) pulled[x] = a.grad[b * a.sites + x];
        for (std::int64_t end = a.steps; end > 0;) {
            const std::int64_t begin = (end - 1) / a.segment * a.segment;
            if (begin) run.load(run.kept(Pointer<const T>(a.kept), begin / a.keep_every - 1), run.kept_plane());
            else run.start();
            for (std::int64_t t = begin;; ++t) {
                run.store(states + (t - begin) * 2 * a.sites, a.sites);
                if (t == end) break;
                run.prepare(t);
                run.step();
            }
            for (std::int64_t t = end - 1; t >= begin; --t) {
                const Pointer<T> before = states + (t - begin) * 2 * a.sites, after = before + 2 * a.sites;
                __syncthreads();
                run.load(before, a.sites);
                run.prepare(t);
                Rule::reverse(reversed, a.kernel, run.taps);
                // The ratio stands where the next state would.
                for (std::int64_t x = first_item(); x < a.sites; x += next_item()) {
                    const T g = pulled[x], m = after[x], e = after[a.sites + x];
                    if (a.sum_factor && m != T(0)) {
                        const std::int64_t to = (a.factor_batch == 1 ? task * factor_rows : 0) + a.factor_row(t, b);
                        a.sum_factor[to * a.sites + x] += static_cast<double>(g);
                    }
                    Value ratio = ratio_of<T>(g, {m, e});
                    if (ratio.of[1] != X::none) ratio = a.factor ? Rule::times(ratio, run.factor_at(x)) : Rule::settled(ratio);
                    run.put(run.next, x, ratio);
                }
                __syncthreads();
                if (a.sum_taps) {
                    const std::int64_t to = (a.tap_batch == 1 ? task * tap_rows : 0) + a.tap_row(t, b);
                    correlate<T>(a, a.sites, run.next, run.now, run.taps, a.sum_taps + to * a.kernel);
                }
                for (std::int64_t x = first_item() * U; x < a.sites; x += next_item() * U) {
                    Value sum[U];
                    Rule::products(sum, Pointer<const T>(run.next) + x, a.size, reversed, a.kernel);
#pragma unroll
                    for (int u = 0; u < U; ++u) {
                        if (x + u >= a.sites) break;
                        pulled[x + u] = marginal<T>(sum[u], run.at(run.now, x + u));
                    }
                }
                __syncthreads();
            }
            end = begin;
        }
        if (a.steps == 0) run.start();
        for (std::int64_t x = first_item(); x < a.sites; x += next_item()) {
            const bool weightless = a.steps == 0 && run.at(run.now, x).of[0] == T(0);  // it has no logarithm to move
            a.grad_psi[b * a.sites + x] = weightless ? T(0) : pulled[x];
        }
    }
}

template <class T>
__global__ void __launch_bounds__(most_threads) log_back_kernel(const Arrays<T> a, const Tiling tiling, const Back<T> back) {
    using Rule = Log<T>;
    using Value = typename Rule::Value;
    constexpr int U = Rule::sites;
    SharedMemory shared;
    Tile<Rule> tile(a, tiling, shared);
    const Pointer<T> reversed = shared.array<T>(static_cast<int>(Rule::tap_numbers(a.kernel))), ratios = tile.next;
    back.each_tile(a, tiling, [&](std::int64_t b, std::int64_t number) {
        tile.begin(b, number, 1);
        tile.load(back.before);
        tile.prepare(back.step);
        Rule::reverse(reversed, a.kernel, tile.taps);
        const Pointer<const T> pulled = back.pulled + b * a.sites;
        tile.each_known([&](std::int64_t i, std::int64_t x) {
            Value ratio = ratio_of<T>(pulled[x], tile.given(back.after, x));
            if (ratio.of[1] != Scaled<T>::none) ratio = tile.weighted(ratio, i);
            tile.put(ratios, i, ratio);
        });
        if (back.sum_factor)
            tile.each_own([&](std::int64_t, std::int64_t x) {
                if (tile.given(back.after, x).of[0] != T(0))
                    back.sum_factor[a.factor_row(back.step, b) * a.sites + x] += static_cast<double>(pulled[x]);
            });
        __syncthreads();
        if (back.tap_sums)
            correlate<T>(a, tile.own(), ratios + tile.inset(), tile.now + tile.inset(), tile.taps,
                         back.tap_sums + tile.number() * a.kernel);
        tile.each_own_group([&](std::int64_t i, std::int64_t x, int some) {
            Value sum[U];
            Rule::products(sum, Pointer<const T>(ratios) + i, a.size, reversed, a.kernel);
#pragma unroll
            for (int u = 0; u < U; ++u)
                if (u < some) back.to[b * a.sites + x + u] = marginal<T>(sum[u], tile.at(tile.now, i + u));
        });
    });
}

template <class T>
void run_log_adjoint(const Plan& p) {
    using Rule = Log<T>;
    if (const Tiling tiling = tiling_of<Rule>(p); tiling.tiles)
        return run_adjoint_in_tiles<Rule, Segment>(p, tiling, log_back_kernel<T>, true, Rule::tap_numbers(p.kernel));
    const cuda::Queue queue;
    Arrays<T> a = arrays_of<Rule>(p);
    const std::int64_t states = (a.segment + 1) * 2 * a.sites;
    const std::int64_t numbers =
        Run<Rule, true>::numbers(a.size, a.sites, a.kernel, p.factor != nullptr) + a.sites + Rule::tap_numbers(a.kernel);
    const GradientSums<T> sums(queue, p, 1, (states + numbers) * static_cast<std::int64_t>(sizeof(T)));
    sums.with_sums(a, [&] {
        if (p.batch == 0) return;
        with_memory(queue, a, 6, numbers, states, sums.tasks(), threads_for(p.sites, Rule::sites),
                    [&](auto resident, const cuda::Grid& grid) {
            cuda::launch(queue, log_adjoint_kernel<T, resident>, grid, a);
        });
    });
}

}  // namespace

void log_forward(const Plan& p, DType dtype) { dtype == DType::f32 ? run_forward<Log<float>>(p) : run_forward<Log<double>>(p); }
void log_adjoint(const Plan& p, DType dtype) { dtype == DType::f32 ? run_log_adjoint<float>(p) : run_log_adjoint<double>(p); }

}  // namespace qcore::transfer
