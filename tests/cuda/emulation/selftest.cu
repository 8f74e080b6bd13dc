// Kernels whose results, or whose errors, are known: what tests/cuda/test_emulation.py asks of the emulator.
#include <cuda_runtime.h>
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>
#include <memory>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

#include "selftest.hpp"

namespace py = pybind11;

namespace {

using namespace qcore::emulation;
using qcore::selftest::Device;
using Dim = std::array<unsigned, 3>;
using Doubles = std::vector<double>;

dim3 dim(const Dim& d) { return {d[0], d[1], d[2]}; }

// ---- indices -------------------------------------------------------------------------------------------------------------

// A row for each thread, in the order in which they ran: blockIdx, threadIdx.
__global__ void record_indices(Pointer<unsigned> rows, Pointer<unsigned long long> count) {
    const unsigned long long row = atomicAdd(count, 1);
    const uint3 b = blockIdx, t = threadIdx;
    const std::array<unsigned, 6> values{b.x, b.y, b.z, t.x, t.y, t.z};
    for (unsigned i = 0; i < values.size(); ++i) rows[static_cast<std::ptrdiff_t>(row * values.size() + i)] = values[i];
}

py::array_t<unsigned> indices(const Dim& grid, const Dim& block) {
    const dim3 g = dim(grid), b = dim(block);
    const std::size_t threads = std::size_t{g.x} * g.y * g.z * b.x * b.y * b.z;
    Device<unsigned> rows(6 * threads);
    Device<unsigned long long> count(1);
    launch(g, b, 0, [r = rows.pointer(), c = count.pointer()] { record_indices(r, c); });
    return rows.array({threads, 6});
}

// ---- blocks --------------------------------------------------------------------------------------------------------------

// Sums of blocks of elements, in the order of a tree.
__global__ void __launch_bounds__(1024) reduce(Pointer<const double> __restrict__ x, Pointer<double> __restrict__ sums) {
    const Pointer<double> s = shared_array<double>(0, blockDim.x);
    const int t = static_cast<int>(threadIdx.x);
    s[t] = x[blockIdx.x * blockDim.x + threadIdx.x];
    __syncthreads();
    for (int half = static_cast<int>(blockDim.x) / 2; half > 0; half /= 2) {
        if (t < half) s[t] += s[t + half];
        __syncthreads();
    }
    if (t == 0) sums[blockIdx.x] = s[0];
}

py::array_t<double> block_sums(const Doubles& x, unsigned block) {
    const Device<double> in(x);
    const unsigned blocks = static_cast<unsigned>(in.size() / block);
    const Device<double> out(blocks);
    launch(blocks, block, block * sizeof(double), [x = in.pointer(), sums = out.pointer()] { reduce(x, sums); });
    return out.array({blocks});
}

// y_i = x_{i-1}, through shared memory. Without the barrier it holds only if thread i - 1 comes first.
__global__ void shift(Pointer<const double> x, Pointer<double> y, bool with_barrier) {
    const Pointer<double> s = shared_array<double>(0, blockDim.x);
    const int n = static_cast<int>(blockDim.x), i = static_cast<int>(threadIdx.x);
    s[i] = x[i];
    if (with_barrier) __syncthreads();
    y[i] = i == 0 ? x[n - 1] : s[i - 1];
}

py::array_t<double> shifted(const Doubles& x, bool with_barrier) {
    const Device<double> in(x), out(in.size());
    const unsigned n = static_cast<unsigned>(in.size());
    launch(1, n, n * sizeof(double), [=, x = in.pointer(), y = out.pointer()] { shift(x, y, with_barrier); });
    return out.array({in.size()});
}

// Block i reads what block i - 1 wrote: right only if blocks run in ascending order.
__global__ void follow(Pointer<int> x) {
    if (blockIdx.x > 0) x[blockIdx.x] = x[blockIdx.x - 1] + 1;
}

py::array_t<int> followed(unsigned blocks) {
    Device<int> x(blocks, 0);
    launch(blocks, 1, 0, [x = x.pointer()] { follow(x); });
    return x.array({blocks});
}

// What the predicates of a block amount to, for its threads that haven't returned.
__global__ void block_votes(Pointer<const int> predicate, Pointer<int> results, int returning) {
    const int t = static_cast<int>(threadIdx.x);
    if (t < returning) return;
    results[3 * t] = __syncthreads_count(predicate[t]);
    results[3 * t + 1] = __syncthreads_and(predicate[t]);
    results[3 * t + 2] = __syncthreads_or(predicate[t]);
}

py::array_t<int> votes_of_block(const std::vector<int>& predicate, int returning) {
    const Device<int> in(predicate), out(3 * predicate.size(), -1);
    launch(1, static_cast<unsigned>(predicate.size()), 0,
           [=, p = in.pointer(), r = out.pointer()] { block_votes(p, r, returning); });
    return out.array({predicate.size(), 3});
}

// ---- warps ---------------------------------------------------------------------------------------------------------------

template <class T>
__device__ T shuffle_one(const std::string& kind, unsigned mask, T value, int argument, int width) {
    if (kind == "idx") return __shfl_sync(mask, value, argument, width);
    if (kind == "up") return __shfl_up_sync(mask, value, static_cast<unsigned>(argument), width);
    if (kind == "down") return __shfl_down_sync(mask, value, static_cast<unsigned>(argument), width);
    return __shfl_xor_sync(mask, value, argument, width);
}

// Every lane of the mask shuffles its value; the others keep theirs.
template <class T>
py::array_t<T> shuffle_lanes(const std::string& kind, const std::vector<T>& values, const std::vector<int>& arguments,
                             unsigned mask, int width) {
    const Device<T> v(values);
    const Device<int> a(arguments);
    launch(1, static_cast<unsigned>(values.size()), 0, [&, v = v.pointer(), a = a.pointer()] {
        const unsigned t = threadIdx.x;
        if (mask >> t % 32 & 1) v[t] = shuffle_one(kind, mask, v[t], a[t], width);
    });
    return v.array({values.size()});
}

// Lanes below `split` and the others vote among themselves, in branches of their own.
py::array_t<unsigned> votes_of_warp(const std::vector<int>& predicate, unsigned split) {
    const Device<int> p(predicate);
    const Device<unsigned> r(3 * predicate.size());
    launch(1, static_cast<unsigned>(predicate.size()), 0, [=, p = p.pointer(), r = r.pointer()] {
        const unsigned t = threadIdx.x, low = split == 32 ? ~0u : (1u << split) - 1;
        const unsigned mask = t % 32 < split ? low : ~low;
        if (t % 32 < split) r[3 * t] = __ballot_sync(mask, p[t]);
        else r[3 * t] = __ballot_sync(mask, p[t]);
        r[3 * t + 1] = static_cast<unsigned>(__any_sync(mask, p[t]));
        r[3 * t + 2] = static_cast<unsigned>(__all_sync(mask, p[t]));
    });
    return r.array({predicate.size(), 3});
}

// Lane 1 is wanted by two pairs, (0, 1) and (1, 2), and serves them one after the other.
int overlapping_masks() {
    const Device<int> out(32, -1);
    launch(1, 32, 0, [y = out.pointer()] {
        const int lane = static_cast<int>(threadIdx.x);
        if (lane == 0) y[0] = __shfl_sync(0b011, 100, 1);
        if (lane == 1) {
            y[1] = __shfl_sync(0b011, 101, 0);
            y[2] = __shfl_sync(0b110, 201, 2);
        }
        if (lane == 2) y[3] = __shfl_sync(0b110, 202, 1);
        __syncwarp();
    });
    const int* y = out.data();
    return y[0] == 101 && y[1] == 100 && y[2] == 202 && y[3] == 201;
}

// ---- what must be found --------------------------------------------------------------------------------------------------

__global__ void read(Pointer<const double> x, Pointer<double> y, int i) {
    if (threadIdx.x == 3) y[0] = x[i];
}
__global__ void write(Pointer<double> x, int i) {
    if (threadIdx.x == 3) x[i] = 1;
}

void access_global(std::ptrdiff_t size, int i, bool writes) {
    const Device<double> x(static_cast<std::size_t>(size)), y(1);
    launch({2, 1, 1}, 32, 0, [=, x = x.pointer(), y = y.pointer()] { writes ? write(x, i) : read(x, y, i); });
}
// Between two arrays of as many elements, so that those next to it exist but belong to others.
void access_shared(std::size_t size, int i, bool writes) {
    const Device<double> y(1);
    launch({2, 1, 1}, 32, 3 * size * sizeof(double), [=, y = y.pointer()] {
        const auto x = shared_array<double>(size * sizeof(double), size);
        writes ? write(x, i) : read(x, y, i);
    });
}

double uninitialised_shared() {
    const Device<double> y(2);
    launch(2, 1, sizeof(double), [y = y.pointer()] {
        const auto s = shared_array<double>(0, 1);
        y[blockIdx.x] = s[0];
        s[0] = 1;  // no other block may see it
    });
    return y.data()[0] + y.data()[1];
}

void run_wrong(const std::string& what) {
    launch(1, 64, 0, [&] {
        const int t = static_cast<int>(threadIdx.x);
        if (what == "divergent barrier") {
            if (t < 32) __syncthreads();
            else __syncthreads();
        } else if (what == "barrier against shuffle") {
            if (t == 40) __shfl_sync(0xffffffff, 1, 0);
            else __syncthreads();
        } else if (what == "lane that returned before") {
            if (t == 0) return;
            __shfl_sync(0xffffffff, 1, 0);
        } else if (what == "lane that returns after") {
            if (t == 31) return;
            __shfl_sync(0xffffffff, 1, 0);
        } else if (what == "mask without itself") {
            __syncwarp(1);
        } else if (what == "different masks") {
            if (t % 32 < 16) __syncwarp(0x0001ffff);
            else __syncwarp(0xffffffff);
        } else if (what == "different operations") {
            if (t % 32 < 16) __syncwarp();
            else __any_sync(0xffffffff, 1);
        } else if (what == "width") {
            __shfl_sync(0xffffffff, 1, 0, 12);
        } else if (what == "trap") {
            if (t == 5) __trap();
        } else if (what == "launch in a kernel") {
            launch(1, 1, 0, [] {});
        } else if (what == "misaligned shared memory") {
            pointer_cast<double>(pointer_cast<float>(shared_array<double>(0, 0)) + 1);
        }
    });
}

// Lives on the stacks of threads.
struct Counted {
    explicit Counted(int& count) : count_(count) { ++count_; }
    ~Counted() { --count_; }
    int& count_;
};

// How many objects there were when thread 50 threw in the middle of a block that waits, and how many are left.
std::tuple<int, int, std::string> unwound() {
    int alive = 0, most = 0;
    std::string message;
    try {
        launch(2, 64, 0, [&] {
            const Counted counted(alive);
            most = std::max(most, alive);
            if (threadIdx.x == 50) throw std::length_error("thrown by the kernel");
            __syncthreads();
        });
    } catch (const std::length_error& error) {
        message = error.what();
    }
    return {most, alive, message};
}

// Each of its threads launches a grid of its own that waits at barriers and in warps.
std::vector<double> launches_of_threads(int threads, int repeats) {
    std::vector<double> sums(static_cast<std::size_t>(threads));
    std::vector<std::thread> running;
    for (int i = 0; i < threads; ++i)
        running.emplace_back([&sum = sums[static_cast<std::size_t>(i)], i, repeats] {
            for (int repeat = 0; repeat < repeats; ++repeat)
                launch(3, 64, 64 * sizeof(double), [&] {
                    const auto s = shared_array<double>(0, 64);
                    s[threadIdx.x] = i;
                    __syncthreads();
                    double value = s[63 - static_cast<int>(threadIdx.x)];
                    for (int delta = 16; delta > 0; delta /= 2) value += __shfl_xor_sync(0xffffffff, value, delta);
                    if (threadIdx.x == 0) sum += value;
                });
        });
    for (std::thread& thread : running) thread.join();
    return sums;
}

}  // namespace

PYBIND11_MODULE(_emulation_selftest, m) {
    py::register_exception<Error>(m, "Error", PyExc_RuntimeError);
    py::register_exception<LaunchError>(m, "LaunchError", m.attr("Error"));
    py::register_exception<AccessError>(m, "AccessError", m.attr("Error"));
    py::register_exception<SynchronizationError>(m, "SynchronizationError", m.attr("Error"));

    m.def("set_schedule", &set_schedule);
    m.def("launch", [](const Dim& grid, const Dim& block, std::size_t shared) { launch(dim(grid), dim(block), shared, [] {}); });
    m.def("indices", &indices);
    m.def("block_sums", &block_sums);
    m.def("shifted", &shifted);
    m.def("followed", &followed);
    m.def("votes_of_block", &votes_of_block);
    m.def("shuffled_int", &shuffle_lanes<int>);
    m.def("shuffled_unsigned", &shuffle_lanes<unsigned>);
    m.def("shuffled_long_long", &shuffle_lanes<long long>);
    m.def("shuffled_float", &shuffle_lanes<float>);
    m.def("shuffled_double", &shuffle_lanes<double>);
    m.def("votes_of_warp", &votes_of_warp);
    m.def("overlapping_masks", &overlapping_masks);
    m.def("access_global", &access_global);
    m.def("access_shared", &access_shared);
    m.def("uninitialised_shared", &uninitialised_shared);
    m.def("run_wrong", &run_wrong);
    m.def("unwound", &unwound);
    m.def("launches_of_threads", &launches_of_threads, py::call_guard<py::gil_scoped_release>());
    qcore::selftest::register_parts(m);
}
