// Kernels of lines whose ends let waves out (csrc/schrodinger/transparent.hpp): the stages of schrodinger_team.hpp, with a
// potential at the ends that knows the first weight of what is beyond, and the others on the right hand side, as a sum over what
// has been there. A team shares that sum: a step costs its points and, at either end, one number of the past a lane and 32 W
// steps.
#pragma once

#include "schrodinger_layout.hpp"
#include "schrodinger_team_steps.hpp"

namespace qcore::schrodinger {
namespace {

using Number = Complex<double>;

struct Open {
    std::int64_t n, batch, steps, sets;
    double kappa, tau;
    bool open[2];

    QC_HD Number z() const { return {0, -tau}; }
    QC_HD std::int64_t end(int side) const { return side ? n - 1 : 0; }
    QC_HD std::int64_t set(std::int64_t system) const { return sets > 1 ? system : 0; }
    // Of [2][steps][side][system].
    QC_HD std::int64_t trace(int kind, std::int64_t step, int side, std::int64_t system) const {
        return ((kind * steps + step) * 2 + side) * batch + system;
    }
};

// A sum in twice the precision, for alternating ones that let rounding add up.
struct LongSum {
    double high = 0, low = 0;

    // a - sum
    __device__ void subtract_from(double a) {
        const double sum = a - high, back = sum - a, error = (a - (sum - back)) + (-high - back);
        low = error - low;
        high = sum;
    }
    __device__ double value() const { return high + low; }
};
struct LongNumber {
    LongSum re, im;

    __device__ void subtract_from(Number a) {
        re.subtract_from(a.re);
        im.subtract_from(a.im);
    }
    __device__ Number value() const { return {re.value(), im.value()}; }
};

__device__ inline Number root(Number a) {
    const double size = sqrt(a.re * a.re + a.im * a.im), larger = sqrt(0.5 * (size + (a.re < 0 ? -a.re : a.re)));
    const double other = 0.5 * a.im / larger;
    return a.re < 0 ? Number{other, larger} : Number{larger, other};
}

// Weights nu [set][side][step] and their derivatives by s = V / kappa and R, if wanted; see transparent_run.cpp. A thread each.
__global__ void __launch_bounds__(32)
    end_weights(Open o, Pointer<const double> potential, Pointer<Number> nu, Pointer<Number> by_s, Pointer<Number> by_r) {
    for (std::int64_t item = cuda::thread(); item < 2 * o.sets; item += cuda::threads()) {
        const int side = static_cast<int>(item % 2);
        const double s = potential[item / 2 * o.n + o.end(side)] / o.kappa, r = 1 / (o.tau * o.kappa);
        const Number p0{s, -r}, p1{s, r}, q0{4 + s, -r}, q1{4 + s, r}, b0{2 + s, -r}, b1{2 + s, r}, zero{0, 0};
        const Number a = p0 * q0, b = p0 * q1 + p1 * q0, c = p1 * q1, over_a = inverse(a);
        Number f = root(a), f_before = zero;
        const Number minus = b0 - f, plus = b0 + f;  // the branch that decays away from the grid
        if (minus.re * minus.re + minus.im * minus.im > plus.re * plus.re + plus.im * plus.im) f = -f;
        Number g = inverse(f), g_before = zero, y = zero;
        LongNumber sum, v;
        for (std::int64_t m = 0; m < o.steps; ++m) {
            const double k = static_cast<double>(m);
            sum.subtract_from(((m == 0 ? b0 : m == 1 ? b1 : zero) - f).times(0.5));
            nu[item * o.steps + m] = sum.value();
            if (by_s) {
                const Number y_before = y;
                y = b0 * g + b1 * g_before - Number{m == 0 ? 1.0 : 0.0, 0};
                v.subtract_from(y - y_before);
                by_s[item * o.steps + m] = y.times(-0.5);
                by_r[item * o.steps + m] = Number{0, 0.5} * v.value();
            }
            const double scale = 1 / (k + 1);
            const Number f_next = ((b * f).times(0.5 - k) + (c * f_before).times(2 - k)) * over_a;
            const Number g_next = -((b * g).times(k + 0.5) + (c * g_before).times(k)) * over_a;
            f_before = f;
            f = f_next.times(scale);
            g_before = g;
            g = g_next.times(scale);
        }
    }
}

// The potential with what the first weights add at the ends.
__global__ void __launch_bounds__(256)
    add_ends(Open o, Pointer<const double> potential, Pointer<const Number> nu, Pointer<Number> result) {
    for (std::int64_t i = cuda::thread(); i < o.sets * o.n; i += cuda::threads()) {
        Number v{potential[i], 0};
        for (int side = 0; side < 2; ++side)
            if (o.open[side] && i % o.n == o.end(side)) v = v - nu[(i / o.n * 2 + side) * o.steps].times(o.kappa);
        result[i] = v;
    }
}

// A member of a team on an open line.
class OpenMember {
  public:
    static constexpr int M = most_points;
    using Line = Member<Number, M, 0>;
    static constexpr int exchanged = Line::exchanged;

    __device__ OpenMember(const Open& o, const Team& team, Pointer<Number> exchange, Pointer<Number> sums)
        : line(o.n, 0, team, exchange), o_(o), team_(team), sums_(sums) {}

    // sum over k < m of w_{m-k} past_k at both ends, past being [side][step]: the right hand sides.
    __device__ void convolve(std::int64_t m, Pointer<const Number> nu, Pointer<const Number> past, Number (&source)[2]) const {
        const Number factor = -o_.z().times(o_.kappa);
        for (int side = 0; side < 2; ++side) {
            Number sum{0, 0};
            if (o_.open[side])
                for (std::int64_t k = line.lane; k < m; k += team_.lanes)
                    sum = mac(nu[side * o_.steps + m - k], past[side * o_.steps + k], sum);
            source[side] = factor * sum;
        }
        total(source);
    }

    // Sums over the lanes, in an order that depends on the team alone.
    __device__ void total(Number (&values)[2]) const {
        for (Number& value : values)
            for (int k = 0; k < 5; ++k) value = value + shift_down(value, 1 << k);
        if (team_.warps() == 1) {
            for (Number& value : values) value = from_lane(value, 0);
            return;
        }
        for (int i = 0; i < 2; ++i)
            if (line.lane % warp == 0) sums_[i * most_team / warp + line.lane / warp] = values[i];
        __syncthreads();
        for (int i = 0; i < 2; ++i) {
            values[i] = {0, 0};
            for (int v = 0; v < team_.warps(); ++v) values[i] = values[i] + sums_[i * most_team / warp + v];
        }
    }

    __device__ void add(Number (&x)[M], const Number (&source)[2]) const {
        if (line.lane == 0) x[0] = x[0] + source[0];
        // Selected, not indexed: an array that is indexed is not in registers.
        const int last = line.lane == line.last_lane ? line.last_point : M;
#pragma unroll
        for (int t = 0; t < M; ++t) {
            const Number sum = x[t] + source[1];
            x[t] = t == last ? sum : x[t];
        }
    }

    // What a lane has written is there for the others.
    __device__ void meet() const {
        if (team_.warps() > 1) __syncthreads();
        else __syncwarp();
    }

    const Line line;

  private:
    const Open& o_;
    const Team& team_;
    Pointer<Number> sums_;
};

// What steps of an open line read and write beside their states; what isn't wanted is null.
struct OpenForward {
    Rows<Number> from, out, frames;
    std::int64_t save_every;
    Pointer<Number> kept;
    std::int64_t checkpoint_every;
    Pointer<Number> trace, past;   // past [system][side][step]: chi at the ends
    bool replay;                   // right hand sides are taken from the trace
    Pointer<Number> trajectory;    // the states, the first one before any step
};

// Steps from begin to end.
__global__ void __launch_bounds__(most_team)
    advance_open(Open o, Team team, Pointer<const Number> coefficients, Pointer<const Number> nu, OpenForward io,
                 std::int64_t begin, std::int64_t end) {
    constexpr int M = most_points;
    cuda::SharedMemory shared;
    const auto exchange = shared.array<Number>(OpenMember::exchanged), sums = shared.array<Number>(2 * most_team / warp);
    const OpenMember member(o, team, exchange, sums);
    const Number over_c_kappa = inverse(o.z().times(o.kappa)), g = over_c_kappa.times(2);
    const std::int64_t state = o.batch * o.n;
    for (std::int64_t system = blockIdx.x * blockDim.y + threadIdx.y; system < o.batch;
         system += static_cast<std::int64_t>(gridDim.x) * blockDim.y) {
        const std::int64_t row = system * o.n + member.line.begin;
        const Pointer<const Number> all = coefficients + o.set(system) * team.size(), weights = nu + o.set(system) * 2 * o.steps;
        const Pointer<Number> past = io.past + system * 2 * o.steps;
        Number x[M];
        OpenMember::Line::Carried top, bottom;
#pragma unroll
        for (int t = 0; t < M; ++t) x[t] = t < member.line.left ? io.from.get(row + t) : Number{0, 0};
        const auto put = [&](Pointer<Number> to, std::int64_t at) {
#pragma unroll
            for (int t = 0; t < M; ++t)
                if (t < member.line.left) to[at + row + t] = x[t];
        };
        const auto give = [&](const Rows<Number>& to, std::int64_t at) {
#pragma unroll
            for (int t = 0; t < M; ++t)
                if (t < member.line.left) to.set(at + row + t, x[t]);
        };
        if (io.trajectory) put(io.trajectory, 0);
        for (std::int64_t m = begin; m < end; ++m) {
            Number source[2];
            if (io.replay)
                for (int side = 0; side < 2; ++side) source[side] = io.trace[o.trace(1, m, side, system)];
            else member.convolve(m, weights, past, source);
            member.add(x, source);
            member.line.stage(all, !io.replay, x, top, bottom, [&](int, Number w, Number psi, Number) { return mac(g, w, -psi); });
            member.add(x, source);
            if (!io.replay) {
                if (member.line.lane == 0)
                    for (int side = 0; side < 2; ++side) {
                        const Number chi = over_c_kappa * (side ? bottom : top).of[0];
                        past[side * o.steps + m] = chi;
                        if (io.trace) {
                            io.trace[o.trace(0, m, side, system)] = chi;
                            io.trace[o.trace(1, m, side, system)] = source[side];
                        }
                    }
                member.meet();
            }
            const std::int64_t done = m + 1;
            if (io.save_every && done % io.save_every == 0) give(io.frames, (done / io.save_every - 1) * state);
            if (io.kept && done % io.checkpoint_every == 0 && done < o.steps)
                put(io.kept, (done / io.checkpoint_every - 1) * state);
            if (io.trajectory) put(io.trajectory, (done - begin) * state);
        }
        if (io.out.narrow || io.out.wide) give(io.out, 0);
    }
}

struct OpenAdjoint {
    Pointer<Number> mu;            // (batch, n): the derivative by the state
    Rows<Number> grad_frames;
    std::int64_t save_every;
    Pointer<Number> past;          // [system][side][steps done]: nu at the ends
    Pointer<const Number> trajectory, trace;  // of the steps from begin on
    Pointer<Number> products, change;  // (batch, n), (batch): sums of nu chi and of nu (chi - right hand side); null: not wanted
};

// Back from step end to step begin.
__global__ void __launch_bounds__(most_team)
    pull_open(Open o, Team team, Pointer<const Number> coefficients, Pointer<const Number> nu, OpenAdjoint io, std::int64_t begin,
              std::int64_t end) {
    constexpr int M = most_points;
    cuda::SharedMemory shared;
    const auto exchange = shared.array<Number>(OpenMember::exchanged), sums = shared.array<Number>(2 * most_team / warp);
    const OpenMember member(o, team, exchange, sums);
    const Number over_c_kappa = inverse(o.z().times(o.kappa));
    const std::int64_t state = o.batch * o.n;
    for (std::int64_t system = blockIdx.x * blockDim.y + threadIdx.y; system < o.batch;
         system += static_cast<std::int64_t>(gridDim.x) * blockDim.y) {
        const std::int64_t row = system * o.n + member.line.begin;
        const Pointer<const Number> all = coefficients + o.set(system) * team.size(), weights = nu + o.set(system) * 2 * o.steps;
        const Pointer<Number> past = io.past + system * 2 * o.steps;
        Number x[M], change[2] = {{0, 0}, {0, 0}};
        OpenMember::Line::Carried top, bottom;
#pragma unroll
        for (int t = 0; t < M; ++t) x[t] = t < member.line.left ? io.mu[row + t] : Number{0, 0};
        for (std::int64_t m = end - 1; m >= begin; --m) {
            if (io.save_every && (m + 1) % io.save_every == 0) {
                const std::int64_t at = ((m + 1) / io.save_every - 1) * state + row;
#pragma unroll
                for (int t = 0; t < M; ++t)
                    if (t < member.line.left) x[t] = x[t] + io.grad_frames.get(at + t).conjugate();
            }
            const std::int64_t done = o.steps - 1 - m;
            Number source[2];
            member.convolve(done, weights, past, source);
            member.add(x, source);
            member.line.stage(all, true, x, top, bottom, [&](int t, Number w, Number mu, Number) {
                const Number value = over_c_kappa * w;
                if (io.products && t < member.line.left) {
                    const Number before = io.trajectory[(m - begin) * state + row + t],
                                 after = io.trajectory[(m + 1 - begin) * state + row + t];
                    const Number half = (after - before).times(0.5);
                    io.products[row + t] = mac(value, before + half, io.products[row + t]);
                    change[0] = mac(value, half, change[0]);
                }
                return value + value - mu;
            });
            member.add(x, source);
            if (member.line.lane == 0)
                for (int side = 0; side < 2; ++side) {
                    const Number value = over_c_kappa * (side ? bottom : top).of[0];
                    past[side * o.steps + done] = value;
                    if (io.products) change[0] = nmac(value, io.trace[o.trace(1, m, side, system)], change[0]);
                }
            member.meet();
        }
#pragma unroll
        for (int t = 0; t < M; ++t)
            if (t < member.line.left) io.mu[row + t] = x[t];
        if (io.products) {
            member.total(change);
            if (member.line.lane == 0) io.change[system] = io.change[system] + change[0];
            member.meet();
        }
    }
}

// What the weights of an end add to the derivatives by V at that end, kappa and tau: [3][side][system].
__global__ void __launch_bounds__(sum_threads)
    end_sums(Open o, Pointer<const Number> nu, Pointer<const Number> by_s, Pointer<const Number> by_r,
             Pointer<const Number> trace, Pointer<const Number> past, Pointer<Real<double>> result) {
    cuda::SharedMemory shared;
    const auto part = shared.array<double>(3 * sum_threads);
    const int thread = static_cast<int>(threadIdx.x);
    const double over_kappa = 1 / o.kappa, ratio = over_kappa / o.tau;
    for (std::int64_t item = blockIdx.x; item < 2 * o.batch; item += gridDim.x) {
        const std::int64_t system = item / 2, weights = (o.set(system) * 2 + item % 2) * o.steps;
        const int side = static_cast<int>(item % 2);
        Number to_s{0, 0}, to_r{0, 0};
        double to_kappa = 0, to_tau = 0;
        for (std::int64_t m = thread; o.open[side] && m < o.steps; m += sum_threads) {
            Number sum{0, 0};
            for (std::int64_t i = 0; i < o.steps - m; ++i)
                sum = mac(past[item * o.steps + o.steps - 1 - m - i], trace[o.trace(0, i, side, system)], sum);
            const Number value = sum.times(2), to_nu = -(o.z() * value).times(o.kappa);
            to_s = mac(to_nu, by_s[weights + m], to_s);
            to_r = mac(to_nu, by_r[weights + m], to_r);
            to_kappa -= (o.z() * nu[weights + m] * value).re;
            if (m > 0) to_tau -= (Number{0, -o.kappa} * nu[weights + m] * value).re;  // that of m = 0 is in the matrix
        }
        // R = 1 / (tau kappa), s = V / kappa; V's own part is left to the end, where V is.
        part[thread] = to_s.re * over_kappa;
        part[sum_threads + thread] = to_kappa - ratio * over_kappa * to_r.re;
        part[2 * sum_threads + thread] = to_tau - ratio / o.tau * to_r.re;
        __syncthreads();
        for (int half = sum_threads / 2; half > 0; half /= 2) {
            for (int k = 0; k < 3 && thread < half; ++k) part[k * sum_threads + thread] += part[k * sum_threads + thread + half];
            __syncthreads();
        }
        if (thread < 3) result[(thread * 2 + side) * o.batch + system] = {part[thread * sum_threads]};
        __syncthreads();
    }
}

// Sums of one set: of its own system, or, then conjugated, of all.
struct OpenSums {
    Pointer<const Number> products, change;  // (sets, n), (sets)
    Pointer<const Real<double>> ends;        // [3][side][set]
    bool conjugated;
};

// Gradients to V (sets, n), kappa and tau (2, sets): a block for each set. `bent` is the potential of add_ends.
__global__ void __launch_bounds__(sum_threads)
    open_gradients(Open o, OpenSums sums, Pointer<const double> potential, Pointer<const Number> bent,
                   Pointer<double> to_potential, Pointer<double> to_constants) {
    cuda::SharedMemory shared;
    const auto part = shared.array<double>(sum_threads);
    const int thread = static_cast<int>(threadIdx.x);
    const auto plain = [&](Number a) { return sums.conjugated ? a.conjugate() : a; };
    for (std::int64_t set = blockIdx.x; set < o.sets; set += gridDim.x) {
        const auto of_end = [&](int which, int side) { return sums.ends[(which * 2 + side) * o.sets + set].re; };
        double dot = 0;  // of nu with z V chi
        for (std::int64_t j = thread; j < o.n; j += sum_threads) {
            const Number value = o.z() * plain(sums.products[set * o.n + j]);
            double gradient = 2 * value.re;
            for (int side = 0; side < 2; ++side)
                if (j == o.end(side)) gradient += of_end(0, side);
            to_potential[set * o.n + j] = gradient;
            dot += (value * bent[set * o.n + j]).re;
        }
        part[thread] = dot;
        __syncthreads();
        for (int half = sum_threads / 2; half > 0; half /= 2) {
            if (thread < half) part[thread] += part[thread + half];
            __syncthreads();
        }
        if (thread == 0) {
            const double change = plain(sums.change[set]).re;
            double to_kappa = 2 / o.kappa * (change - part[0]), to_tau = 2 / o.tau * change;
            for (int side = 0; side < 2; ++side) {
                to_kappa += of_end(1, side) - potential[set * o.n + o.end(side)] / o.kappa * of_end(0, side);
                to_tau += of_end(2, side);
            }
            to_constants[set] = to_kappa;
            to_constants[o.sets + set] = to_tau;
        }
        __syncthreads();
    }
}

}  // namespace
}  // namespace qcore::schrodinger
