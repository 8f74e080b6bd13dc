// What the transfer kernels of the three semirings have in common: a block of whole warps runs a problem, all its steps in one
// launch, its state on a line between halos, twice: a step reads one copy and writes the other, so that one barrier a step is
// enough. The lines lie in shared memory, or where a problem is too long for that in global memory. Few and long lines have many
// blocks each instead, see paths_transfer_tiles.hpp.
//
// A thread works out neighbouring sites side by side and reads each entry of the line once for all of them: a multiply-add then
// takes less than half a read of shared memory, and an odd number of sites keeps the reads of a warp on different banks. What
// bounds a long run of many problems is the multiply-adds; that of a few, the barriers.
#pragma once

#include <cmath>
#include <cstring>

#include "launch.hpp"
#include "paths/transfer_plan.hpp"

namespace qcore::transfer {

using cuda::Pointer;
using cuda::SharedMemory;

constexpr unsigned all_lanes = 0xffffffffu;
constexpr int most_threads = 512;

// A Plan as kernels take it. T is the real type of the numbers; a complex one stands as two.
template <class T>
struct Arrays {
    std::int64_t sites, batch, steps, keep_every, segment, size;  // size: of a line
    std::int64_t tap_steps, tap_batch, factor_steps, factor_batch;
    int kernel;
    bool periodic, scaled;
    Pointer<const T> psi, psi_sign, taps, taps_sign, factor, factor_sign;
    Pointer<T> out, signs, kept;
    Pointer<double> exponents;

    Pointer<const T> grad;
    Pointer<T> grad_psi;
    Pointer<double> sum_taps, sum_factor;  // one array for each block where problems share what they belong to; null: not wanted
    Pointer<const double> ends;
    Pointer<double> path;

    Pointer<T> work;  // of a block: work_size numbers
    std::int64_t work_size;

    __device__ std::int64_t tap_row(std::int64_t t, std::int64_t b) const {
        return (tap_steps == 1 ? 0 : t) * tap_batch + (tap_batch == 1 ? 0 : b);
    }
    __device__ std::int64_t factor_row(std::int64_t t, std::int64_t b) const {
        return (factor_steps == 1 ? 0 : t) * factor_batch + (factor_batch == 1 ? 0 : b);
    }
};

template <class T, int n>
struct Values {
    T of[n];
};

__device__ inline std::int64_t first_item() { return static_cast<std::int64_t>(threadIdx.x); }
__device__ inline std::int64_t next_item() { return static_cast<std::int64_t>(blockDim.x); }

// Hands out pieces of the block's share of a.work.
template <class T>
class Workpiece {
  public:
    __device__ explicit Workpiece(const Arrays<T>& a) : at_(a.work + static_cast<std::int64_t>(blockIdx.x) * a.work_size) {}
    __device__ Pointer<T> take(std::int64_t count) {
        const Pointer<T> piece = at_;
        at_ += count;
        return piece;
    }

  private:
    Pointer<T> at_;
};

// The largest of the threads of a block.
template <class T>
__device__ T over_block(T most, Pointer<T> scratch) {
    const auto take = [&](T v) { most = v > most ? v : most; };
    for (int by = 16; by > 0; by /= 2) take(__shfl_xor_sync(all_lanes, most, by));
    if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = most;
    __syncthreads();
    for (unsigned w = 0; w < blockDim.x / 32; ++w) take(scratch[w]);
    __syncthreads();
    return most;
}

// What brings numbers whose largest is `most` to [1, 2): first * second = 2^-exponent, two normal numbers, as a denormal takes.
template <class T>
struct Power {
    T first = 1, second = 1;
    double exponent = 0;
};
template <class T>
__device__ Power<T> power_for(T most) {
    constexpr int limit = sizeof(T) == 4 ? 126 : 1022;
    Power<T> power;
    for (T* part : {&power.first, &power.second}) {
        const int found = most > 0 && most < T(INFINITY) ? std::ilogb(most) : 0;
        const int e = found < -limit ? -limit : found > limit ? limit : found;
        *part = std::ldexp(T(1), -e);
        most *= *part;
        power.exponent += e;
    }
    return power;
}

// A problem on its way through the steps. The rule of a semiring tells what a number is (so many planes of T), how arrays give
// it, what lies beyond the edge, and what a step makes of U = Rule::sites neighbouring ones.
template <class Rule, bool resident>
class Run {
  public:
    using T = typename Rule::Scalar;
    using Value = typename Rule::Value;
    static constexpr int planes = Rule::planes, U = Rule::sites;

    __device__ Run(const Arrays<T>& a, SharedMemory& shared, Workpiece<T>& work)
        : a_(a), halo_(a.kernel / 2), scratch_(shared.array<T>(most_threads / 32)) {
        const auto take = [&](std::int64_t count) {
            if constexpr (resident) return shared.array<T>(static_cast<int>(count));
            else return work.take(count);
        };
        now = take(planes * a.size);
        next = take(planes * a.size);
        taps = take(Rule::tap_numbers(a.kernel));
        if (a.factor) factor = take(planes * a.sites);
    }

    // What the constructor takes.
    static std::int64_t numbers(std::int64_t size, std::int64_t sites, int kernel, bool with_factor) {
        return 2 * planes * size + Rule::tap_numbers(kernel) + (with_factor ? planes * sites : 0);
    }

    // Of problem b, whose state `row` holds as an argument does.
    __device__ void begin(std::int64_t b) {
        problem_ = b;
        tap_row_ = factor_row_ = -1;
        __syncthreads();
        clear(now);
        clear(next);
        __syncthreads();
    }
    __device__ void clear(Pointer<T> line) const {
        for (int c = 0; c < planes; ++c)
            for (std::int64_t i = first_item(); i < a_.size; i += next_item()) line[c * a_.size + i] = Rule::outside(c);
    }
    __device__ void start() {
        const Pointer<const T> row = a_.psi + problem_ * a_.sites * Rule::numbers;
        const Pointer<const T> signs = a_.psi_sign ? a_.psi_sign + problem_ * a_.sites : a_.psi_sign;
        for (std::int64_t x = first_item(); x < a_.sites; x += next_item()) put(now, x, Rule::given(row, signs, x));
        __syncthreads();
    }

    // States as they are kept: plane after plane, `plane` apart; complex numbers as arrays have them.
    __device__ void load(Pointer<const T> state, std::int64_t plane) {
        for (std::int64_t x = first_item(); x < a_.sites; x += next_item()) put(now, x, Rule::kept(state, plane, x));
        __syncthreads();
    }
    __device__ void store(Pointer<T> state, std::int64_t plane) const {
        for (std::int64_t x = first_item(); x < a_.sites; x += next_item()) Rule::keep(at(now, x), state, plane, x);
    }
    // State i of those that the forward keeps.
    template <class P>
    __device__ P kept(P states, std::int64_t i) const {
        constexpr int parts = Rule::kept_planes;
        return states + (i * parts * a_.batch + problem_) * a_.sites * Rule::numbers;
    }
    __device__ std::int64_t kept_plane() const { return a_.batch * a_.sites; }

    __device__ Value at(Pointer<const T> line, std::int64_t x) const {
        Value v;
        for (int c = 0; c < planes; ++c) v.of[c] = line[c * a_.size + halo_ + x];
        return v;
    }
    // With the images of x that outputs near an edge read.
    __device__ void put(Pointer<T> line, std::int64_t x, const Value& v) const {
        put_at(line, x, v);
        if (!a_.periodic) return;
        for (std::int64_t y = x - a_.sites; y >= -halo_; y -= a_.sites) put_at(line, y, v);
        for (std::int64_t y = x + a_.sites; y < a_.sites + halo_; y += a_.sites) put_at(line, y, v);
    }

    // Taps and factors of step t, unless they are there. No other thread may be in a step.
    __device__ void prepare(std::int64_t t) {
        bool fresh = false;
        if (const std::int64_t row = a_.tap_row(t, problem_); row != tap_row_) {
            const std::int64_t from = row * a_.kernel;
            Rule::stage(taps, a_.kernel, a_.taps + from * Rule::numbers, a_.taps_sign ? a_.taps_sign + from : a_.taps_sign);
            tap_row_ = row;
            fresh = true;
        }
        if (a_.factor) {
            if (const std::int64_t row = a_.factor_row(t, problem_); row != factor_row_) {
                const std::int64_t from = row * a_.sites;
                const auto signs = a_.factor_sign ? a_.factor_sign + from : a_.factor_sign;
                for (std::int64_t x = first_item(); x < a_.sites; x += next_item()) {
                    const Value f = Rule::given(a_.factor + from * Rule::numbers, signs, x);
                    for (int c = 0; c < planes; ++c) factor[c * a_.sites + x] = f.of[c];
                }
                factor_row_ = row;
                fresh = true;
            }
        }
        if (fresh) __syncthreads();
    }
    __device__ Value factor_at(std::int64_t x) const {
        Value f;
        for (int c = 0; c < planes; ++c) f.of[c] = factor[c * a_.sites + x];
        return f;
    }

    // One step; the new state is then `now`.
    __device__ void step() {
        for (std::int64_t x = first_item() * U; x < a_.sites; x += next_item() * U) {
            Value sum[U];
            Rule::products(sum, Pointer<const T>(now) + x, a_.size, taps, a_.kernel);
#pragma unroll
            for (int u = 0; u < U; ++u)
                if (x + u < a_.sites) put(next, x + u, a_.factor ? Rule::times(sum[u], factor_at(x + u)) : Rule::settled(sum[u]));
        }
        turn();
    }
    __device__ void turn() {
        const Pointer<T> other = now;
        now = next;
        next = other;
        __syncthreads();
    }

    // Brings the largest part of `now` to [1, 2). Returns by what it was multiplied; `exponent` counts it.
    __device__ T rescale(double& exponent) {
        const Power<T> power = power_for(largest());
        if (power.exponent == 0) return 1;
        exponent += power.exponent;
        for (std::int64_t i = first_item(); i < planes * a_.size; i += next_item()) now[i] = now[i] * power.first * power.second;
        __syncthreads();
        return power.first * power.second;
    }

    Pointer<T> now, next, taps, factor;

  private:
    __device__ void put_at(Pointer<T> line, std::int64_t x, const Value& v) const {
        for (int c = 0; c < planes; ++c) line[c * a_.size + halo_ + x] = v.of[c];
    }
    // Of the parts of all numbers, NaN aside.
    __device__ T largest() const {
        T most = 0;
        const auto take = [&](T v) { most = v > most ? v : most; };
        for (int c = 0; c < planes; ++c)
            for (std::int64_t x = first_item(); x < a_.sites; x += next_item()) take(std::fabs(now[c * a_.size + halo_ + x]));
        return over_block(most, scratch_);
    }

    const Arrays<T>& a_;
    std::int64_t halo_, problem_ = 0, tap_row_ = -1, factor_row_ = -1;
    Pointer<T> scratch_;
};

// psi_N of every problem, and on the way the states to keep.
template <class Rule, bool resident>
__global__ void __launch_bounds__(most_threads) forward_kernel(const Arrays<typename Rule::Scalar> a) {
    using T = typename Rule::Scalar;
    SharedMemory shared;
    Workpiece<T> work(a);
    Run<Rule, resident> run(a, shared, work);
    for (std::int64_t b = blockIdx.x; b < a.batch; b += gridDim.x) {
        run.begin(b);
        run.start();
        double exponent = 0;
        if (a.scaled) run.rescale(exponent);
        std::int64_t kept = 0;
        for (std::int64_t t = 0; t < a.steps; ++t) {
            run.prepare(t);
            run.step();
            if (a.scaled) run.rescale(exponent);
            if (a.keep_every > 0 && t + 1 < a.steps && t + 1 == (kept + 1) * a.keep_every)
                run.store(run.kept(a.kept, kept++), run.kept_plane());
        }
        for (std::int64_t x = first_item(); x < a.sites; x += next_item()) Rule::finish(run.at(run.now, x), a, b * a.sites + x);
        if (a.scaled && threadIdx.x == 0) a.exponents[b] = exponent;
    }
}

// The sums of all parts, in their order.
template <class T>
__global__ void add_up_kernel(Pointer<const double> sums, std::int64_t parts, std::int64_t count, Pointer<T> out) {
    for (std::int64_t i = cuda::thread(); i < count; i += cuda::threads()) {
        double total = 0;
        for (std::int64_t part = 0; part < parts; ++part) total += sums[part * count + i];
        out[i] = static_cast<T>(total);
    }
}

// The sum over the lanes of a warp, in all of them.
__device__ inline double warp_sum(double v) {
    for (int by = 16; by > 0; by /= 2) v += __shfl_xor_sync(all_lanes, v, by);
    return v;
}

// One semiring each.
void linear_forward(const Plan& p, DType dtype);
void linear_adjoint(const Plan& p, DType dtype);
void log_forward(const Plan& p, DType dtype);
void log_adjoint(const Plan& p, DType dtype);
void max_forward(const Plan& p, DType dtype);
void max_adjoint(const Plan& p, DType dtype);
void max_best_path(const Plan& p, DType dtype);

}  // namespace qcore::transfer
