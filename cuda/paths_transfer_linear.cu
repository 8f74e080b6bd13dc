// Path sums in the semiring of numbers, real and complex, and their pull-back.
//
// The pull-back goes over the segments between kept states from the last to the first: it runs a segment once more, with its
// states into global memory, and then back through it. Gradients to taps: a warp has a few neighbouring taps, its lanes
// stretches of sites.
#include "paths_transfer_tiles_adjoint.hpp"

namespace qcore::transfer {

namespace {

// sum[u] = sum_k taps[k] line[k + u]. The window of U entries goes round in registers. Reads line[kernel - 1 + U] in vain.
template <int U, class T>
__device__ void products(T (&sum)[U], Pointer<const T> line, Pointer<const T> taps, int kernel) {
    T window[U];
#pragma unroll
    for (int u = 0; u < U; ++u) {
        sum[u] = 0;
        window[u] = line[u];
    }
    int k = 0;
    for (; k + U <= kernel; k += U) {
#pragma unroll
        for (int r = 0; r < U; ++r) {
            const T tap = taps[k + r];
#pragma unroll
            for (int u = 0; u < U; ++u) sum[u] += tap * window[(r + u) % U];
            window[r] = line[k + r + U];
        }
    }
#pragma unroll
    for (int r = 0; r < U - 1; ++r) {
        if (k + r >= kernel) break;
        const T tap = taps[k + r];
#pragma unroll
        for (int u = 0; u < U; ++u) sum[u] += tap * window[(r + u) % U];
        window[r] = line[k + r + U];
    }
}

// The same of complex numbers, whose imaginary parts are `plane` and `kernel` behind.
template <int U, class T>
__device__ void products(T (&re)[U], T (&im)[U], Pointer<const T> line, std::int64_t plane, Pointer<const T> taps, int kernel) {
    const Pointer<const T> other = line + plane;
    T a[U], b[U];
#pragma unroll
    for (int u = 0; u < U; ++u) {
        re[u] = im[u] = 0;
        a[u] = line[u];
        b[u] = other[u];
    }
    for (int k = 0; k < kernel; k += U) {
#pragma unroll
        for (int r = 0; r < U; ++r) {
            if (k + r >= kernel) break;
            const T tap = taps[k + r], part = taps[kernel + k + r];
#pragma unroll
            for (int u = 0; u < U; ++u) {
                const int at = (r + u) % U;
                re[u] += tap * a[at];  // apart, so that each is one fused multiply-add
                im[u] += tap * b[at];
                re[u] -= part * b[at];
                im[u] += part * a[at];
            }
            a[r] = line[k + r + U];
            b[r] = other[k + r + U];
        }
    }
}

template <class T, bool is_complex>
struct Linear {
    using Scalar = T;
    static constexpr int planes = is_complex ? 2 : 1, numbers = planes, kept_planes = 1;
    static constexpr int sites = sizeof(T) == 4 && !is_complex ? 5 : 3, reach = sizeof(T) == 4 && !is_complex ? 6 : 4;
    using Value = Values<T, planes>;

    static __device__ T outside(int) { return 0; }
    static __host__ __device__ std::int64_t tap_numbers(std::int64_t kernel) { return planes * kernel; }

    static __device__ Value given(Pointer<const T> row, Pointer<const T>, std::int64_t i) {
        Value v;
        for (int c = 0; c < planes; ++c) v.of[c] = row[i * planes + c];
        return v;
    }
    static __device__ Value kept(Pointer<const T> state, std::int64_t, std::int64_t x) { return given(state, nullptr, x); }
    static __device__ void keep(const Value& v, Pointer<T> state, std::int64_t, std::int64_t x) {
        for (int c = 0; c < planes; ++c) state[x * planes + c] = v.of[c];
    }
    static __device__ void finish(const Value& v, const Arrays<T>& a, std::int64_t i) { keep(v, a.out, 0, i); }

    static __device__ void stage(Pointer<T> to, int kernel, Pointer<const T> taps, Pointer<const T>) {
        for (std::int64_t k = first_item(); k < kernel; k += next_item())
            for (int c = 0; c < planes; ++c) to[c * kernel + k] = taps[k * planes + c];
    }
    // The taps of the transpose: conjugates, back to front.
    static __device__ void reverse(Pointer<T> to, int kernel, Pointer<const T> taps) {
        for (std::int64_t k = first_item(); k < kernel; k += next_item())
            for (int c = 0; c < planes; ++c) {
                const T v = taps[c * kernel + kernel - 1 - k];
                to[c * kernel + k] = c ? -v : v;
            }
    }

    static __device__ void products(Value (&sum)[sites], Pointer<const T> line, std::int64_t plane, Pointer<const T> taps,
                                    int kernel) {
        T re[sites];
        if constexpr (is_complex) {
            T im[sites];
            transfer::products(re, im, line, plane, taps, kernel);
#pragma unroll
            for (int u = 0; u < sites; ++u) sum[u].of[1] = im[u];
        } else {
            transfer::products(re, line, taps, kernel);
        }
#pragma unroll
        for (int u = 0; u < sites; ++u) sum[u].of[0] = re[u];
    }
    static __device__ Value settled(const Value& v) { return v; }
    static __device__ Value times(const Value& v, const Value& f) {
        if constexpr (is_complex) return {v.of[0] * f.of[0] - v.of[1] * f.of[1], v.of[0] * f.of[1] + v.of[1] * f.of[0]};
        else return {v.of[0] * f.of[0]};
    }
    // v conj(f)
    static __device__ Value times_conj(const Value& v, const Value& f) {
        if constexpr (is_complex) return {v.of[0] * f.of[0] + v.of[1] * f.of[1], v.of[1] * f.of[0] - v.of[0] * f.of[1]};
        else return times(v, f);
    }
};

// sums[k] += sum_x gated(x) conj(psi(x + k)) over `sites` sites. The window of R entries goes round in registers.
template <class Rule, class T>
__device__ void correlate(const Arrays<T>& a, std::int64_t sites, Pointer<const T> gated, Pointer<const T> psi,
                          Pointer<double> sums) {
    constexpr int R = Rule::reach, planes = Rule::planes, block = 16 * R;  // sites that are summed in T
    const std::int64_t lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
    const std::int64_t stretch = ((sites + 31) / 32) | 1, begin = lane * stretch, halo = a.kernel / 2;
    const std::int64_t end = begin + stretch < sites ? begin + stretch : sites;
    for (std::int64_t k = warp * R; k < a.kernel; k += warps * R) {
        double total[R * planes]{};
        for (std::int64_t first = begin; first < end; first += block) {
            const std::int64_t last = first + block < end ? first + block : end;
            T part[R * planes]{}, window[R * planes];
            for (int i = 0; i < R * planes; ++i) window[i] = psi[i % planes * a.size + first + k + i / planes];
            for (std::int64_t x = first; x < last; x += R) {
#pragma unroll
                for (int s = 0; s < R; ++s) {
                    if (x + s >= last) break;
                    const T re = gated[halo + x + s];
                    const T im = planes == 2 ? gated[a.size + halo + x + s] : T(0);
#pragma unroll
                    for (int r = 0; r < R; ++r) {
                        const int at = (r + s) % R;
                        if constexpr (planes == 2) {
                            part[2 * r] += re * window[2 * at];
                            part[2 * r + 1] += im * window[2 * at];
                            part[2 * r] += im * window[2 * at + 1];
                            part[2 * r + 1] -= re * window[2 * at + 1];
                        } else {
                            part[r] += re * window[at];
                        }
                    }
                    for (int c = 0; c < planes; ++c) window[s * planes + c] = psi[c * a.size + x + s + k + R];
                }
            }
#pragma unroll
            for (int i = 0; i < R * planes; ++i) total[i] += static_cast<double>(part[i]);
        }
#pragma unroll
        for (int i = 0; i < R * planes; ++i) {
            const double sum = warp_sum(total[i]);
            if (lane == 0 && k + i / planes < a.kernel) sums[k * planes + i] += sum;
        }
    }
}

template <class Rule, bool resident>
__global__ void __launch_bounds__(most_threads) linear_adjoint_kernel(const Arrays<typename Rule::Scalar> a) {
    using T = typename Rule::Scalar;
    using Value = typename Rule::Value;
    constexpr int planes = Rule::planes, U = Rule::sites;
    SharedMemory shared;
    Workpiece<T> work(a);
    Run<Rule, resident> run(a, shared, work);
    const auto take = [&](std::int64_t count) {
        if constexpr (resident) return shared.array<T>(static_cast<int>(count));
        else return work.take(count);
    };
    const Pointer<T> gated = take(planes * a.size), pulled = take(planes * a.sites), reversed = take(Rule::tap_numbers(a.kernel));
    const std::int64_t row = a.sites * planes;
    const Pointer<T> states = work.take((a.segment + 1) * row), scales = work.take(a.segment + 1);
    const std::int64_t task = blockIdx.x, tap_rows = a.tap_steps * a.tap_batch, factor_rows = a.factor_steps * a.factor_batch;

    for (std::int64_t b = task; b < a.batch; b += gridDim.x) {
        run.begin(b);
        run.clear(gated);
        for (std::int64_t x = first_item(); x < a.sites; x += next_item())
            for (int c = 0; c < planes; ++c) pulled[c * a.sites + x] = a.grad[b * row + x * planes + c];
        T first_scale = 1;
        double exponent = 0;
        const auto start = [&](std::int64_t at) {
            if (at) run.load(run.kept(Pointer<const T>(a.kept), at / a.keep_every - 1), 0);
            else run.start();
            if (a.scaled && at == 0) first_scale = run.rescale(exponent);
        };
        for (std::int64_t end = a.steps; end > 0;) {
            const std::int64_t begin = (end - 1) / a.segment * a.segment;
            start(begin);
            for (std::int64_t t = begin; t < end; ++t) {
                run.store(states + (t - begin) * row, 0);
                if (t + 1 == end && !a.scaled) break;  // the last state is only run for its scale
                run.prepare(t);
                run.step();
                if (!a.scaled) continue;
                const T by = run.rescale(exponent);
                if (threadIdx.x == 0) scales[t - begin] = by;
            }
            __syncthreads();
            for (std::int64_t t = end - 1; t >= begin; --t) {
                // `now` is psi_t, `pulled` the gradient to psi_{t+1}.
                run.load(states + (t - begin) * row, 0);
                run.prepare(t);
                Rule::reverse(reversed, a.kernel, run.taps);
                const T scale = a.scaled ? scales[t - begin] : T(1);
                for (std::int64_t x = first_item() * U; x < a.sites; x += next_item() * U) {
                    Value before[U];  // what the factor multiplies
                    if (a.sum_factor) Rule::products(before, Pointer<const T>(run.now) + x, a.size, run.taps, a.kernel);
                    const std::int64_t to = (a.factor_batch == 1 ? task * factor_rows : 0) + a.factor_row(t, b);
#pragma unroll
                    for (int u = 0; u < U; ++u) {
                        if (x + u >= a.sites) break;
                        Value g;
                        for (int c = 0; c < planes; ++c) g.of[c] = pulled[c * a.sites + x + u] * scale;
                        if (a.sum_factor) {
                            const Value product = Rule::times_conj(g, before[u]);
                            for (int c = 0; c < planes; ++c)
                                a.sum_factor[to * row + (x + u) * planes + c] += static_cast<double>(product.of[c]);
                        }
                        run.put(gated, x + u, a.factor ? Rule::times_conj(g, run.factor_at(x + u)) : g);
                    }
                }
                __syncthreads();
                if (a.sum_taps) {
                    const std::int64_t to = (a.tap_batch == 1 ? task * tap_rows : 0) + a.tap_row(t, b);
                    correlate<Rule, T>(a, a.sites, gated, run.now, a.sum_taps + to * a.kernel * planes);
                }
                for (std::int64_t x = first_item() * U; x < a.sites; x += next_item() * U) {
                    Value sum[U];
                    Rule::products(sum, Pointer<const T>(gated) + x, a.size, reversed, a.kernel);
#pragma unroll
                    for (int u = 0; u < U; ++u)
                        for (int c = 0; c < planes; ++c)
                            if (x + u < a.sites) pulled[c * a.sites + x + u] = sum[u].of[c];
                }
                __syncthreads();
            }
            end = begin;
        }
        if (a.scaled && a.steps == 0) start(0);
        for (std::int64_t x = first_item(); x < a.sites; x += next_item())
            for (int c = 0; c < planes; ++c) a.grad_psi[b * row + x * planes + c] = pulled[c * a.sites + x] * first_scale;
    }
}

template <class Rule>
__global__ void __launch_bounds__(most_threads)
    linear_back_kernel(const Arrays<typename Rule::Scalar> a, const Tiling tiling, const Back<typename Rule::Scalar> back) {
    using T = typename Rule::Scalar;
    using Value = typename Rule::Value;
    constexpr int planes = Rule::planes, U = Rule::sites;
    SharedMemory shared;
    Tile<Rule> tile(a, tiling, shared);
    const Pointer<T> reversed = shared.array<T>(static_cast<int>(Rule::tap_numbers(a.kernel))), gated = tile.next;
    const std::int64_t row = a.sites * planes;
    back.each_tile(a, tiling, [&](std::int64_t b, std::int64_t number) {
        tile.begin(b, number, 1);
        tile.load(back.before);
        tile.prepare(back.step);
        Rule::reverse(reversed, a.kernel, tile.taps);
        const T by = back.by ? back.by[b] : T(1), first = back.first ? back.first[b] : T(1);
        const auto pulled = [&](std::int64_t x) {
            Value g = Rule::kept(back.pulled + b * row, 0, x);
            for (int c = 0; c < planes; ++c) g.of[c] *= by;
            return g;
        };
        tile.each_known([&](std::int64_t i, std::int64_t x) {
            const Value g = pulled(x);
            tile.put(gated, i, a.factor ? Rule::times_conj(g, tile.factor_at(i)) : g);
        });
        __syncthreads();
        if (back.sum_factor)
            tile.each_own_group([&](std::int64_t i, std::int64_t x, int some) {
                Value before[U];
                Rule::products(before, Pointer<const T>(tile.now) + i, a.size, tile.taps, a.kernel);
                const Pointer<double> sums = back.sum_factor + a.factor_row(back.step, b) * row;
#pragma unroll
                for (int u = 0; u < U; ++u) {
                    if (u >= some) break;
                    const Value product = Rule::times_conj(pulled(x + u), before[u]);
                    for (int c = 0; c < planes; ++c) sums[(x + u) * planes + c] += static_cast<double>(product.of[c]);
                }
            });
        if (back.tap_sums)
            correlate<Rule, T>(a, tile.own(), gated + tile.inset(), tile.now + tile.inset(),
                               back.tap_sums + tile.number() * a.kernel * planes);
        tile.each_own_group([&](std::int64_t i, std::int64_t x, int some) {
            Value sum[U];
            Rule::products(sum, Pointer<const T>(gated) + i, a.size, reversed, a.kernel);
#pragma unroll
            for (int u = 0; u < U; ++u) {
                if (u >= some) break;
                for (int c = 0; c < planes; ++c) sum[u].of[c] *= first;
                Rule::keep(sum[u], back.to + b * row, 0, x + u);
            }
        });
    });
}

template <class Rule>
void run_linear_adjoint(const Plan& p) {
    using T = typename Rule::Scalar;
    constexpr int planes = Rule::planes;
    if (const Tiling tiling = tiling_of<Rule>(p); tiling.tiles)
        return (p.scaled ? run_adjoint_in_tiles<Rule, ScaledSegment> : run_adjoint_in_tiles<Rule, Segment>)(
            p, tiling, linear_back_kernel<Rule>, false, Rule::tap_numbers(p.kernel));
    const cuda::Queue queue;
    Arrays<T> a = arrays_of<Rule>(p);
    const std::int64_t states = (a.segment + 1) * (a.sites * planes + 1);
    const std::int64_t numbers =
        Run<Rule, true>::numbers(a.size, a.sites, a.kernel, p.factor != nullptr) + planes * (a.size + a.sites) +
                                 Rule::tap_numbers(a.kernel);
    const GradientSums<T> sums(queue, p, planes, (states + numbers) * static_cast<std::int64_t>(sizeof(T)));
    sums.with_sums(a, [&] {
        if (p.batch == 0) return;
        with_memory(queue, a, 7, numbers, states, sums.tasks(), threads_for(p.sites, Rule::sites),
                    [&](auto resident, const cuda::Grid& grid) {
            cuda::launch(queue, linear_adjoint_kernel<Rule, resident>, grid, a);
        });
    });
}

template <class Rule>
void run_linear_forward(const Plan& p) {
    const Tiling tiling = tiling_of<Rule>(p);
    p.scaled && tiling.tiles ? run_scaled_forward_in_tiles<Rule>(p, tiling) : run_forward<Rule>(p);
}

}  // namespace

void linear_forward(const Plan& p, DType dtype) {
    switch (dtype) {
        case DType::f32: return run_linear_forward<Linear<float, false>>(p);
        case DType::c64: return run_linear_forward<Linear<float, true>>(p);
        case DType::c128: return run_linear_forward<Linear<double, true>>(p);
        default: return run_linear_forward<Linear<double, false>>(p);
    }
}

void linear_adjoint(const Plan& p, DType dtype) {
    switch (dtype) {
        case DType::f32: return run_linear_adjoint<Linear<float, false>>(p);
        case DType::c64: return run_linear_adjoint<Linear<float, true>>(p);
        case DType::c128: return run_linear_adjoint<Linear<double, true>>(p);
        default: return run_linear_adjoint<Linear<double, false>>(p);
    }
}

}  // namespace qcore::transfer
