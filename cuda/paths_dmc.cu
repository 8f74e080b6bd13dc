// Diffusion Monte Carlo on a GPU: a block is a population, its threads are walkers. Sums over the population are the partial ones
// of the CPU, a thread for each of them, and the comb's running sum is made by one warp in the CPU's order, so that populations
// are those of the CPU bit for bit. All sweeps of a call are one launch.
//
// Walkers stay in L1 and L2, 50 bytes each in float32. Walkers move some 150 instructions a step; the running sum waits for one
// addition in float64 per walker and bounds large populations. Wants hundreds of populations of up to some 1e4 walkers.
#include "paths/dmc_walkers.hpp"

#include <algorithm>

#include "core/random.hpp"
#include "launch.hpp"

namespace qcore {

namespace device {
namespace {

constexpr int block = 256;
constexpr int sums = paths::dmc_sums, terms = paths::dmc_terms;
static_assert(sums * terms <= block);

// A population's arrays in the workspace.
template <class T>
struct Room {
    static constexpr int normals = Random<T>::normals;

    static QC_HD std::int64_t bytes(std::int64_t size) {
        return size * static_cast<std::int64_t>(sizeof(double) + sizeof(std::int64_t) + (4 + normals) * sizeof(T));
    }

    QC_DEVICE Room(const void* all, std::int64_t slot, std::int64_t size) {
        const char* const begin = static_cast<const char*>(all) + slot * bytes(size);
        weight = memory<double>(begin);
        end = memory<std::int64_t>(begin + 8 * size);
        x = memory<T>(begin + 16 * size);
        local = x + size;
        next = local + size;
        next_local = next + size;
        noise = next_local + size;
    }

    Memory<double> weight;
    Memory<std::int64_t> end;  // place after the last copy of a walker
    Memory<T> x, local, next, next_local;
    Memory<T> noise;  // [step][walker]
};

// What walker i adds to sum `term`.
template <class T>
QC_DEVICE double summand(const Room<T>& room, std::int64_t i, int term) {
    const T w = static_cast<T>(room.weight[i]), y = room.next[i], square = y * y, wx2 = w * square;
    switch (term) {
        case 0: return static_cast<double>(w);
        case 1: return static_cast<double>(w * w);
        case 2: return static_cast<double>(w * room.next_local[i]);
        case 3: return static_cast<double>(w * y);
        case 4: return static_cast<double>(wx2);
        default: return static_cast<double>(wx2 * square);
    }
}

// The comb of the CPU: walker i is copied to the places from end[i - 1] to before end[i]. By the first warp, which adds in order.
template <class T>
QC_DEVICE void comb(const Room<T>& room, std::int64_t size, double u, double total) {
    const double per_weight = static_cast<double>(size) / total, all = static_cast<double>(size);
    const int lane = static_cast<int>(threadIdx.x);
    double reached = 0;
    for (std::int64_t first = 0; first < size; first += 32) {
        const std::int64_t i = first + lane;
        const double weight = i < size ? room.weight[i] : 0.0;
        double mine = 0;
        for (int l = 0; l < 32; ++l) {
            reached += __shfl_sync(0xffffffffu, weight, l);
            if (l == lane) mine = reached;
        }
        const double teeth = mine * per_weight + (1 - u);
        if (i < size) room.end[i] = teeth < all && i + 1 < size ? static_cast<std::int64_t>(teeth) : size;
    }
}

template <class T, class P, bool guided>
__global__ void dmc_kernel(DmcTask task, const void* scratch) {
    using R = Random<T>;
    cuda::SharedMemory shared;
    const cuda::Pointer<double> partial = shared.array<double>(sums * terms), total = shared.array<double>(terms + 1);
    const Walkers<T, P, guided> walkers(task);
    const paths::DmcRun& run = task.run;
    const std::int64_t size = task.size, me = threadIdx.x;
    const Room<T> room(scratch, blockIdx.x, size);
    const Memory<double> measured = memory<double>(task.measured), references = memory<double>(task.reference);
    for (std::int64_t population = blockIdx.x; population < task.populations; population += gridDim.x) {
        const Memory<T> places = memory<T>(task.walkers) + population * size;
        const std::uint32_t word = static_cast<std::uint32_t>(population);
        double reference = references[population];
        std::int64_t drawn = -1;
        for (std::int64_t i = me; i < size; i += block) {
            const T x = places[i];
            room.x[i] = x;
            room.local[i] = walkers.energy(x);
        }
        for (std::int64_t k = 0; k < run.count; ++k) {
            double mean[paths::dmc_observables] = {};
            for (std::int64_t t = 0; t < run.steps; ++t) {
                const std::int64_t number = (run.first + k) * run.steps + t;
                __syncthreads();  // walkers are in their places
                if (number / R::normals != drawn) {
                    drawn = number / R::normals;
                    for (std::int64_t i = me; i < size; i += block) {
                        const auto words = R::words(dmc_purpose(0), word, static_cast<std::uint32_t>(drawn),
                                                    static_cast<std::uint32_t>(i), run.seed);
                        T z[R::normals];
                        for (int n = 0; n < R::normals / 2; ++n) R::normal(words, n, z[2 * n], z[2 * n + 1]);
                        for (int n = 0; n < R::normals; ++n) room.noise[n * size + i] = z[n];
                    }
                }
                const Memory<T> noise = room.noise + number % R::normals * size;
                for (std::int64_t i = me; i < size; i += block) {
                    const T y = walkers.moved(room.x[i], noise[i]), f = walkers.energy(y);
                    room.weight[i] = static_cast<double>(walkers.weight(room.local[i], f, static_cast<T>(reference)));
                    room.next[i] = y;
                    room.next_local[i] = f;
                }
                __syncthreads();
                if (me < sums * terms) {
                    double sum = 0;
                    for (std::int64_t i = me % sums; i < size; i += sums) sum += summand(room, i, static_cast<int>(me / sums));
                    partial[me] = sum;
                }
                __syncthreads();
                if (me < terms) {
                    const cuda::Pointer<double> lane = partial + me * sums;
                    for (int half = sums / 2; half > 0; half /= 2)
                        for (int l = 0; l < half; ++l) lane[l] += lane[l + half];
                    total[me] = lane[0];
                }
                __syncthreads();
                const double weights = total[0], n = static_cast<double>(size);
                mean[0] += reference - log_of(weights / n) / walkers.rate;
                for (int o = 1; o < 5; ++o) mean[o] += total[o + 1] / weights;
                mean[5] += weights * weights / (n * total[1]);
                if (me < 32) {
                    const auto words = philox({dmc_purpose(1), word, static_cast<std::uint32_t>(number), 0}, run.seed);
                    comb(room, size, uniform(words[0], words[1]), weights);
                }
                __syncthreads();
                for (std::int64_t i = me; i < size; i += block) {
                    const T place = room.next[i], energy = room.next_local[i];
                    for (std::int64_t copy = i > 0 ? room.end[i - 1] : 0; copy < room.end[i]; ++copy) {
                        room.x[copy] = place;
                        room.local[copy] = energy;
                    }
                }
            }
            for (int o = 0; o < paths::dmc_observables; ++o) {
                mean[o] /= static_cast<double>(run.steps);
                if (me == 0) measured[(k * paths::dmc_observables + o) * task.populations + population] = mean[o];
            }
            reference = mean[0];
        }
        __syncthreads();
        for (std::int64_t i = me; i < size; i += block) places[i] = room.x[i];
        if (me == 0) references[population] = reference;
        __syncthreads();
    }
}

template <class T, class P, bool guided>
void run(const DmcTask& task) {
    const cuda::Queue queue;
    constexpr std::int64_t room = std::int64_t{4} << 30, most = std::int64_t{1} << 16;
    const std::int64_t fit = room / Room<T>::bytes(task.size);
    const std::int64_t blocks = std::min({task.populations, most, fit < 1 ? std::int64_t{1} : fit});
    const cuda::Workspace scratch(queue, static_cast<std::size_t>(blocks * Room<T>::bytes(task.size)));
    cuda::Grid grid{dim3(static_cast<unsigned>(blocks)), dim3(block)};
    grid.shared = cuda::SharedMemory::bytes<double>(sums * terms) + cuda::SharedMemory::bytes<double>(terms + 1);
    cuda::launch(queue, dmc_kernel<T, P, guided>, grid, task, scratch.data());
}

template <class T>
void run_potential(const DmcTask& task) {
    const bool table = task.potential.get().table;
    if (task.guided) {
        if (table) run<T, TableLanes<T>, true>(task);
        else run<T, PolynomialLanes<T>, true>(task);
    } else {
        if (table) run<T, TableLanes<T>, false>(task);
        else run<T, PolynomialLanes<T>, false>(task);
    }
}

}  // namespace
}  // namespace device

void paths::dmc_sweeps(const DmcTask& task, DType dtype) {
    if (dtype == DType::f32) device::run_potential<float>(task);
    else device::run_potential<double>(task);
}

}  // namespace qcore
