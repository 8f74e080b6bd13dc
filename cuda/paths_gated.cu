// Sums over the gated lattice paths of a chain of layers: the rows of its Jacobian, single paths, and samples of them.
//
// Transfer: a block has one output of one input, its row of weights in shared memory twice (in global memory where the lattice
// is too large), and goes through all layers in one launch; each site gathers from those that read it. Enumeration: a thread a
// path. Sampling: a block a fixed share of the paths of an output. Everything is float64, whose rate bounds the transfer.
#include <algorithm>
#include <cmath>
#include <string>

#include "core/philox.hpp"
#include "launch.hpp"
#include "paths/path_sum_call.hpp"

namespace qcore::paths {

using cuda::Pointer;
using cuda::SharedMemory;

namespace {

constexpr unsigned all_lanes = 0xffffffffu;
constexpr int block_threads = 256, most_taps = 256, outputs_at_once = 256;
constexpr std::int64_t most_blocks = 1024;

// Settings of a launch: what taps and outputs lie where, by value.
struct Gated {
    std::int64_t steps, batch, outputs;  // of the whole call
    int kernel, height, width, boundary;
    std::int16_t row[most_taps], column[most_taps];
    int first, count;  // the outputs of this launch
    std::int32_t output[outputs_at_once];

    __device__ std::int64_t sites() const { return std::int64_t{height} * width; }
    // Where tap k reads from at a site, or -1.
    __device__ std::int64_t source(std::int64_t site, int k) const {
        const auto b = static_cast<Boundary>(boundary);
        const std::int64_t y = source_index(site / width + row[k], height, b);
        const std::int64_t x = source_index(site % width + column[k], width, b);
        return y < 0 || x < 0 ? -1 : y * width + x;
    }
};

struct Arrays {
    Pointer<const double> taps, gates, bias;
};

// f(i) for all i of an axis of n points from which a step of `offset` leads to `to`.
template <class F>
__device__ void each_reader(std::int64_t to, std::int64_t offset, std::int64_t n, Boundary boundary, F&& f) {
    const auto inside = [&](std::int64_t i) {
        if (i >= 0 && i < n) f(i);
    };
    switch (boundary) {
        case Boundary::zero: return inside(to - offset);
        case Boundary::periodic: return f(source_index(to - offset, n, boundary));
        case Boundary::reflect:
            inside(to - offset);
            if (to > 0) inside(-to - offset);
            if (to < n - 1) inside(2 * (n - 1) - to - offset);
            return;
        case Boundary::replicate:
            if (to > 0 && to < n - 1) return inside(to - offset);
            for (std::int64_t i = 0; i < n; ++i) {
                const std::int64_t at = i + offset, seen = at < 0 ? 0 : at >= n ? n - 1 : at;
                if (seen == to) f(i);
            }
    }
}

// A sum of terms of any size, as value * 2^exponent.
struct Scaled {
    double value = 0;
    std::int64_t exponent = 0;

    __device__ void add(double term, std::int64_t e) {
        if (term == 0) return;
        if (value == 0 || e > exponent) {
            value = shift(value, exponent - e);
            exponent = e;
        }
        value += shift(term, e - exponent);
    }
    static __device__ double shift(double v, std::int64_t e) {
        return e < -2200 ? 0.0 * v : std::ldexp(v, static_cast<int>(e < 2200 ? e : 2200));
    }
};

// The sum and the largest over a block's threads, in all of them.
__device__ inline void over_block(double& sum, double& largest, Pointer<double> scratch) {
    for (int by = 16; by > 0; by /= 2) {
        sum += __shfl_xor_sync(all_lanes, sum, by);
        const double other = __shfl_xor_sync(all_lanes, largest, by);
        largest = other > largest ? other : largest;
    }
    const unsigned warps = blockDim.x / 32;
    __syncthreads();
    if (threadIdx.x % 32 == 0) {
        scratch[threadIdx.x / 32] = sum;
        scratch[warps + threadIdx.x / 32] = largest;
    }
    __syncthreads();
    sum = largest = 0;
    for (unsigned w = 0; w < warps; ++w) {
        sum += scratch[w];
        largest = scratch[warps + w] > largest ? scratch[warps + w] : largest;
    }
}

template <bool resident>
__global__ void transfer_kernel(const Gated g, const Arrays a, Pointer<double> rows, Pointer<double> weights,
                                Pointer<double> from_bias, Pointer<double> exponents) {
    SharedMemory shared;
    const std::int64_t sites = g.sites();
    const auto scratch = shared.array<double>(2 * block_threads / 32);
    const auto taps = shared.array<double>(most_taps);
    const auto take = [&](int which) {
        if constexpr (resident) return shared.array<double>(static_cast<int>(sites));
        else return rows + (std::int64_t{blockIdx.x} * 2 + which) * sites;
    };
    Pointer<double> row = take(0), next = take(1);
    const bool scale = static_cast<bool>(exponents);
    const auto boundary = static_cast<Boundary>(g.boundary);

    for (std::int64_t item = blockIdx.x; item < g.batch * g.count; item += gridDim.x) {
        const std::int64_t b = item / g.count, r = b * g.outputs + g.first + item % g.count, end = g.output[item % g.count];
        const auto gate = [&](std::int64_t t) { return a.gates + (t * g.batch + b) * sites; };
        __syncthreads();
        for (std::int64_t s = threadIdx.x; s < sites; s += blockDim.x) row[s] = 0;
        __syncthreads();
        double sum = g.steps ? gate(g.steps - 1)[end] : 1.0, largest = 0;
        if (threadIdx.x == 0) row[end] = sum;
        std::int64_t exponent = 0;
        Scaled brought;
        for (std::int64_t t = g.steps - 1; t >= 0; --t) {
            if (a.bias) brought.add(a.bias[t] * sum, exponent);
            double factor = 1;
            int own = 0;  // the exponent of this layer's taps
            if (scale) {
                const bool usable = largest > 0 && largest < INFINITY;
                const int found = usable ? std::ilogb(largest) : 0, e = found < -1000 ? -1000 : found > 1000 ? 1000 : found;
                factor = std::ldexp(1.0, -e);
                exponent += e;
                double most = 0;
                for (int k = 0; k < g.kernel; ++k) {
                    const double size = std::fabs(a.taps[t * g.kernel + k]);
                    most = size > most ? size : most;
                }
                if (most > 0 && most < INFINITY) own = std::ilogb(most);
            }
            __syncthreads();
            for (int k = static_cast<int>(threadIdx.x); k < g.kernel; k += block_threads)
                taps[k] = std::ldexp(a.taps[t * g.kernel + k], -own);
            __syncthreads();
            sum = largest = 0;
            for (std::int64_t s = threadIdx.x; s < sites; s += blockDim.x) {
                const double open = t ? gate(t - 1)[s] : 1.0;
                double total = 0;
                if (open != 0) {  // what a gate closes is never computed
                    const std::int64_t to_y = s / g.width, to_x = s % g.width;
                    for (int k = 0; k < g.kernel; ++k)
                        each_reader(to_y, g.row[k], g.height, boundary, [&](std::int64_t y) {
                            each_reader(to_x, g.column[k], g.width, boundary,
                                        [&](std::int64_t x) { total += taps[k] * row[y * g.width + x]; });
                        });
                    total *= open * factor;
                }
                next[s] = total;
                sum += total;
                const double size = std::fabs(total);
                largest = size > largest ? size : largest;
            }
            exponent += own;
            over_block(sum, largest, scratch);
            const Pointer<double> other = row;
            row = next;
            next = other;
        }
        __syncthreads();
        for (std::int64_t s = threadIdx.x; s < sites; s += blockDim.x) weights[r * sites + s] = row[s];
        if (threadIdx.x == 0) {
            from_bias[r] = scale ? brought.value : Scaled::shift(brought.value, brought.exponent);
            if (scale) {
                exponents[2 * r] = static_cast<double>(exponent);
                exponents[2 * r + 1] = static_cast<double>(brought.exponent);
            }
        }
    }
}

__global__ void enumerate_kernel(const Gated g, const Arrays a, std::int64_t paths, Pointer<double> weights,
                                 Pointer<double> starts) {
    for (std::int64_t i = cuda::thread(); i < g.count * paths; i += cuda::threads()) {
        const std::int64_t r = g.first + i / paths, path = i % paths;
        for (std::int64_t b = 0; b < 1 || b < g.batch; ++b) {  // without inputs paths still begin somewhere
            // The first digit of the path's number is the step of layer 1, the last taken on the way back: digits from the top.
            std::int64_t place = paths, site = g.output[i / paths];
            double weight = 1;
            for (std::int64_t t = g.steps - 1; t >= 0 && site >= 0; --t) {
                place /= g.kernel;
                const int k = static_cast<int>(path / place % g.kernel);
                if (g.batch) weight *= a.gates[(t * g.batch + b) * g.sites() + site] * a.taps[t * g.kernel + k];
                site = g.source(site, k);
            }
            if (g.batch) weights[(b * g.outputs + r) * paths + path] = site < 0 ? 0.0 : weight;
            if (b == 0) starts[r * paths + path] = static_cast<double>(site);
        }
    }
}

// Mean of numbers and the sum of their squared distances from it, by Welford's recurrence.
struct Spread {
    double count = 0, mean = 0, squares = 0;

    __device__ void add(const Spread& other) {
        if (other.count == 0) return;
        const double off = other.mean - mean, both = count + other.count;
        mean += off * other.count / both;
        squares += other.squares + off * off * count * other.count / both;
        count = both;
    }
};

struct Draw {
    std::uint64_t seed;
    std::int64_t samples, first, part, parts;  // part: paths of a block
};

// What the path of that number brings, from its end at `site` on.
__device__ double sampled_path(const Gated& g, const Arrays& a, Pointer<const double> psi0, const Draw& d, std::int64_t b,
                               std::int64_t site, std::uint32_t number) {
    const std::uint32_t end = static_cast<std::uint32_t>(site), input = static_cast<std::uint32_t>(d.first + b);
    double weight = 1, value = 0;
    for (std::int64_t t = g.steps - 1, draw = 0; t >= 0; --t, ++draw) {
        weight *= a.gates[(t * g.batch + b) * g.sites() + site];
        if (weight == 0) return value;
        if (a.bias) value += weight * a.bias[t];
        const Pointer<const double> taps = a.taps + t * g.kernel;
        double total = 0;
        for (int k = 0; k < g.kernel; ++k) total += std::fabs(taps[k]);
        // Two draws share a block of random bits.
        const std::uint32_t purpose = static_cast<std::uint32_t>(Purpose::path_sum) << 24 | static_cast<std::uint32_t>(draw / 2);
        const auto bits = philox({purpose, end, number, input}, d.seed);
        const double u = draw % 2 ? uniform(bits[2], bits[3]) : uniform(bits[0], bits[1]);
        double left = u * total;
        int k = -1;
        for (int i = 0; i < g.kernel; ++i) {
            if (taps[i] == 0) continue;
            k = i;
            left -= std::fabs(taps[i]);
            if (left < 0) break;
        }
        if (k < 0) return value;  // no step leads on
        weight *= std::copysign(total, taps[k]);
        site = g.source(site, k);
        if (site < 0) return value;
    }
    return value + weight * psi0[b * g.sites() + site];
}

__global__ void sample_kernel(const Gated g, const Arrays a, const Draw d, Pointer<const double> psi0, Pointer<double> spreads) {
    SharedMemory shared;
    const auto all = shared.array<double>(3 * block_threads);
    for (std::int64_t item = blockIdx.x; item < g.batch * g.count * d.parts; item += gridDim.x) {
        const std::int64_t i = item / d.parts, b = i / g.count, begin = item % d.parts * d.part;
        const std::int64_t end = begin + d.part < d.samples ? begin + d.part : d.samples;
        Spread s;
        for (std::int64_t number = begin + threadIdx.x; number < end; number += block_threads)
            s.add({1, sampled_path(g, a, psi0, d, b, g.output[i % g.count], static_cast<std::uint32_t>(number)), 0});
        const Pointer<double> mine = all + 3 * threadIdx.x;
        mine[0] = s.count, mine[1] = s.mean, mine[2] = s.squares;
        for (unsigned half = block_threads / 2; half > 0; half /= 2) {
            __syncthreads();
            if (threadIdx.x >= half) continue;
            s.add({mine[3 * half], mine[3 * half + 1], mine[3 * half + 2]});
            mine[0] = s.count, mine[1] = s.mean, mine[2] = s.squares;
        }
        if (threadIdx.x == 0) {
            const Pointer<double> to = spreads + 3 * ((b * g.outputs + g.first + i % g.count) * d.parts + item % d.parts);
            to[0] = s.count, to[1] = s.mean, to[2] = s.squares;
        }
        __syncthreads();
    }
}

__global__ void spread_kernel(std::int64_t rows, std::int64_t parts, Pointer<const double> spreads, Pointer<double> mean,
                              Pointer<double> variance) {
    for (std::int64_t i = cuda::thread(); i < rows; i += cuda::threads()) {
        Spread all;
        for (std::int64_t part = 0; part < parts; ++part) {
            const Pointer<const double> s = spreads + 3 * (i * parts + part);
            all.add({s[0], s[1], s[2]});
        }
        mean[i] = all.mean;
        variance[i] = all.squares / (all.count - 1) / all.count;
    }
}

// Calls f with the settings and arrays of a few outputs after the other.
template <class F>
void each_launch(const GatedCall& p, F&& f) {
    if (p.kernel > most_taps)
        throw cuda::Unsupported("taps: more than " + std::to_string(most_taps) +
                                " have no CUDA kernel; move the tensors to the CPU");
    Gated g{};
    g.steps = p.steps;
    g.batch = p.batch;
    g.outputs = p.outputs;
    g.kernel = static_cast<int>(p.kernel);
    g.height = static_cast<int>(p.height);
    g.width = static_cast<int>(p.width);
    g.boundary = static_cast<int>(p.boundary);
    for (int k = 0; k < g.kernel; ++k) {
        g.row[k] = static_cast<std::int16_t>(p.offsets[2 * k]);
        g.column[k] = static_cast<std::int16_t>(p.offsets[2 * k + 1]);
    }
    const Arrays a{cuda::pointer<const double>(p.taps), cuda::pointer<const double>(p.gates),
                   cuda::pointer<const double>(p.bias)};
    for (std::int64_t first = 0; first < p.outputs; first += outputs_at_once) {
        g.first = static_cast<int>(first);
        g.count = static_cast<int>(std::min<std::int64_t>(outputs_at_once, p.outputs - first));
        for (int i = 0; i < g.count; ++i) g.output[i] = static_cast<std::int32_t>(p.output[first + i]);
        f(g, a);
    }
}

cuda::Grid grid_of(std::int64_t items, std::size_t shared) {
    return {dim3(static_cast<unsigned>(std::min<std::int64_t>(items, 1 << 20))), dim3(block_threads), shared};
}

}  // namespace

void gated_transfer(const GatedCall& p, double* weights, double* from_bias, double* exponents) {
    using cuda::pointer;
    if (p.batch * p.outputs == 0) return;
    const cuda::Queue queue;
    const std::size_t few = SharedMemory::bytes<double>(2 * block_threads / 32) + SharedMemory::bytes<double>(most_taps);
    const bool resident = 16 * static_cast<std::size_t>(p.sites()) + 32 + few <= queue.shared_per_block();
    const std::size_t shared = resident ? few + 2 * SharedMemory::bytes<double>(static_cast<int>(p.sites())) : few;
    const std::int64_t blocks = std::min(p.batch * std::min<std::int64_t>(p.outputs, outputs_at_once), most_blocks);
    const cuda::Workspace rows(queue, resident ? 0 : static_cast<std::size_t>(2 * blocks * p.sites()) * sizeof(double));
    each_launch(p, [&](const Gated& g, const Arrays& a) {
        cuda::Grid grid = grid_of(g.batch * g.count, shared);
        const auto outputs = [&](auto kernel) {
            cuda::launch(queue, kernel, grid, g, a, pointer<double>(rows.data()), pointer<double>(weights),
                         pointer<double>(from_bias), pointer<double>(exponents));
        };
        if (resident) return outputs(transfer_kernel<true>);
        grid.blocks = dim3(static_cast<unsigned>(std::min(g.batch * g.count, blocks)));
        outputs(transfer_kernel<false>);
    });
}

void gated_enumerate(const GatedCall& p, std::int64_t paths, double* weights, double* starts) {
    const cuda::Queue queue;
    if (paths == 0) return;
    each_launch(p, [&](const Gated& g, const Arrays& a) {
        cuda::launch(queue, enumerate_kernel, cuda::grid_for(g.count * paths, block_threads), g, a, paths,
                     cuda::pointer<double>(weights), cuda::pointer<double>(starts));
    });
}

void gated_sample(const GatedCall& p, const double* psi0, std::int64_t samples, std::uint64_t seed, std::int64_t first,
                  double* mean, double* variance) {
    using cuda::pointer;
    const std::int64_t rows = p.batch * p.outputs;
    if (rows == 0) return;
    const cuda::Queue queue;
    // Parts by the number of samples alone: the results don't depend on the device.
    const std::int64_t part = std::max<std::int64_t>(1024, (samples + 63) / 64), parts = (samples + part - 1) / part;
    const cuda::Workspace spreads(queue, static_cast<std::size_t>(3 * rows * parts) * sizeof(double));
    each_launch(p, [&](const Gated& g, const Arrays& a) {
        cuda::launch(queue, sample_kernel, grid_of(g.batch * g.count * parts, SharedMemory::bytes<double>(3 * block_threads)), g,
                     a, Draw{seed, samples, first, part, parts}, pointer<const double>(psi0), pointer<double>(spreads.data()));
    });
    cuda::launch(queue, spread_kernel, cuda::grid_for(rows, 128), rows, parts, pointer<const double>(spreads.data()),
                 pointer<double>(mean), pointer<double>(variance));
}

}  // namespace qcore::paths
