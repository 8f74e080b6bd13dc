// HMC of the phi^4 field with a block for each lattice: field, momenta and the state to go back to in shared memory (up to
// 128 x 128 in float32), sites side by side, all trajectories of a call in one launch. For few lattices, or large ones.
//
// Sums over the lattice are made in the CPU's order, so that chains are those of the CPU bit for bit: by one thread each, of warps
// of their own, one addition in float64 after the other. That bounds it: some 25 cycles a site and trajectory, as many as 10
// leapfrog steps of 256 threads on a 32 x 32 lattice take.
#include "paths_hmc.hpp"

#include "launch.hpp"
#include "paths/hmc_phi4.hpp"

namespace qcore {

namespace device {
namespace {

constexpr int block = 256, warp = 32;
constexpr int kinds = 5;  // of sums: down, right, squares, fourth, kinetic

template <class T>
struct Lattice {
    QC_DEVICE Lattice(cuda::SharedMemory& shared, const HmcTask& task)
        : rows(static_cast<int>(task.rows)), columns(static_cast<int>(task.columns)), sites(rows * columns),
          x(shared.array<T>(sites)), p(shared.array<T>(sites)), old(shared.array<T>(sites)), slices(shared.array<double>(rows)),
          sums(shared.array<double>(kinds)) {}

    static std::size_t bytes(const HmcTask& task) {
        using cuda::SharedMemory;
        const int sites = static_cast<int>(task.sites()), rows = static_cast<int>(task.rows);
        return 3 * SharedMemory::bytes<T>(sites) + SharedMemory::bytes<double>(rows) + SharedMemory::bytes<double>(kinds);
    }

    // Sums first ... last, each by a thread.
    QC_DEVICE void add_up(int first, int last) const {
        const int me = static_cast<int>(threadIdx.x), kind = me / warp + first;
        __syncthreads();
        if (me % warp == 0 && kind <= last) {
            double sum = 0;
            for (int y = 0; y < rows; ++y)
                for (int c = 0; c < columns; ++c) sum += static_cast<double>(summand(kind, y, c));
            sums[kind] = sum;
        }
        __syncthreads();
    }

    QC_DEVICE T summand(int kind, int y, int c) const {
        const int i = y * columns + c;
        const T phi = x[i], square = phi * phi;
        if (kind == 2) return square;
        if (kind == 3) return square * square;
        if (kind == 4) return p[i] * (p[i] * T(0.5));
        const int below = (y + 1 < rows ? y + 1 : 0) * columns + c, right = y * columns + (c + 1 < columns ? c + 1 : 0);
        const T step = x[kind == 0 ? below : right] - phi;
        return step * step;
    }

    QC_DEVICE double action(const paths::FieldModel& f) const { return field_action(f, sums[0], sums[1], sums[2], sums[3]); }

    QC_DEVICE void kick(const Kick<T>& by) const {
        const int me = static_cast<int>(threadIdx.x), down_by = block / columns, right_by = block % columns;
        int y = me / columns, c = me % columns;  // of site i, kept without divisions
        for (int i = me; i < sites; i += block) {
            const int here = i - c;
            const T up = x[(y ? y - 1 : rows - 1) * columns + c], down = x[(y + 1 < rows ? y + 1 : 0) * columns + c];
            p[i] = by(up, down, x[here + (c ? c - 1 : columns - 1)], x[here + (c + 1 < columns ? c + 1 : 0)], x[i], p[i]);
            y += down_by;
            c += right_by;
            if (c >= columns) {
                c -= columns;
                ++y;
            }
        }
    }

    QC_DEVICE void move(T h, std::int64_t steps, const paths::FieldModel& f) const {
        const Kick<T> half(h * T(0.5), f), whole(h, f);
        for (std::int64_t s = 0; s <= steps; ++s) {
            kick(s == 0 || s == steps ? half : whole);
            if (s == steps) break;
            __syncthreads();
            for (int i = static_cast<int>(threadIdx.x); i < sites; i += block) x[i] = Vector<T>::fma(h, p[i], x[i]);
            __syncthreads();
        }
    }

    QC_DEVICE void draw(std::uint32_t sweep, std::uint32_t chain, std::uint64_t seed) const {
        using R = Random<T>;
        for (int b = static_cast<int>(threadIdx.x); b * R::normals < sites; b += block) {
            const auto words = R::words(hmc_purpose(0), static_cast<std::uint32_t>(b), sweep, chain, seed);
            T z[R::normals];
            for (int k = 0; k < R::normals / 2; ++k) R::normal(words, k, z[2 * k], z[2 * k + 1]);
            for (int k = 0; k < R::normals && b * R::normals + k < sites; ++k) p[b * R::normals + k] = z[k];
        }
    }

    // What FieldLanes::measure writes.
    QC_DEVICE void measure(const double* now, double action, double weight, Memory<double> out, std::int64_t chains) const {
        const int me = static_cast<int>(threadIdx.x);
        __syncthreads();
        for (int y = me; y < rows; y += block) {
            double sum = 0;
            for (int c = 0; c < columns; ++c) sum += static_cast<double>(x[y * columns + c]);
            slices[y] = sum;
        }
        __syncthreads();
        const double n = static_cast<double>(sites);
        if (me == 0) {
            double total = 0;
            for (int y = 0; y < rows; ++y) total += slices[y];
            const double mean = total / n;
            const double values[] = {action / n, std::fabs(mean), now[2] / n, now[3] / n, n * mean * mean, weight};
            for (int k = 0; k < paths::field_observables; ++k) out[k * chains] = values[k];
        }
        for (int lag = me; lag <= rows / 2; lag += block) {
            double sum = 0;
            for (int y = 0; y < rows; ++y) sum += slices[y] * slices[y + lag < rows ? y + lag : y + lag - rows];
            out[(paths::field_observables + lag) * chains] = sum / n;
        }
    }

    const int rows, columns, sites;
    const cuda::Pointer<T> x, p, old;
    const cuda::Pointer<double> slices, sums;
};

// What steers a chain is worked out by every thread.
template <class T>
__global__ void lattice_kernel(HmcTask task) {
    cuda::SharedMemory shared;
    const Lattice<T> lattice(shared, task);
    const Trajectories& run = task.run;
    const int me = static_cast<int>(threadIdx.x);
    const double centre = log_of(10 * run.step), bound = log_of(run.longest);
    const std::int64_t observables = paths::field_observables + task.rows / 2 + 1;
    for (std::int64_t chain = blockIdx.x; chain < task.chains; chain += gridDim.x) {
        const Memory<T> phi = memory<T>(task.x) + chain * lattice.sites;
        const Memory<double> kept = memory<double>(task.tuning) + chain * 4, measured = memory<double>(task.measured) + chain;
        Tuning tuning;
        tuning.load(kept);
        for (int i = me; i < lattice.sites; i += block) lattice.x[i] = phi[i];
        lattice.add_up(0, 3);
        double now[4], taken = 0;
        for (int k = 0; k < 4; ++k) now[k] = lattice.sums[k];
        double action = lattice.action(task.field);
        for (std::int64_t k = 0; k < run.count; ++k) {
            const std::uint32_t sweep = static_cast<std::uint32_t>(run.first + k), number = static_cast<std::uint32_t>(chain);
            const auto words = philox({hmc_purpose(1), 0, sweep, number}, run.seed);
            const double factor = 1 + run.jitter * (2 * uniform(words[2], words[3]) - 1);
            const T step = static_cast<T>(std::min(exp_of(tuning.log_step(run)), run.longest) * factor);
            lattice.draw(sweep, number, run.seed);
            for (int i = me; i < lattice.sites; i += block) lattice.old[i] = lattice.x[i];
            lattice.add_up(4, 4);
            const double before = lattice.sums[4];
            lattice.move(step, run.steps, task.field);
            lattice.add_up(0, 4);
            const double fresh = lattice.action(task.field), change = (lattice.sums[4] - before) + (fresh - action);
            const double weight = change == change ? exp_of(-change) : 0.0;
            const bool yes = uniform(words[0], words[1]) < weight;
            taken += yes;
            if (yes) {
                action = fresh;
                for (int o = 0; o < 4; ++o) now[o] = lattice.sums[o];
            } else {
                for (int i = me; i < lattice.sites; i += block) lattice.x[i] = lattice.old[i];
            }
            if (run.tune) tuning.learn(std::min(1.0, weight), run, centre, bound);
            lattice.measure(now, action, weight, measured + k * observables * task.chains, task.chains);
        }
        __syncthreads();
        for (int i = me; i < lattice.sites; i += block) phi[i] = lattice.x[i];
        if (me == 0) {
            tuning.save(kept);
            memory<double>(task.accepted)[chain] = run.count ? taken / static_cast<double>(run.count) : 0;
        }
        __syncthreads();
    }
}

template <class T>
void trajectories(const cuda::Queue& queue, const HmcTask& task) {
    cuda::Grid grid = cuda::grid_for(task.chains, 1);
    grid.threads = dim3(block);
    grid.shared = Lattice<T>::bytes(task);
    cuda::launch(queue, lattice_kernel<T>, grid, task);
}

}  // namespace
}  // namespace device

namespace cuda {

bool lattice_blocks(const Queue& queue, const paths::HmcTask& task, DType dtype) {
    constexpr std::int64_t chains_a_site = 16;
    if (task.sites() > (1 << 20) || task.chains > chains_a_site * task.sites()) return false;
    const std::size_t bytes = dtype == DType::f32 ? device::Lattice<float>::bytes(task) : device::Lattice<double>::bytes(task);
    return bytes <= queue.shared_per_block();
}

void lattice_trajectories(const Queue& queue, const paths::HmcTask& task, DType dtype) {
    if (dtype == DType::f32) device::trajectories<float>(queue, task);
    else device::trajectories<double>(queue, task);
}

}  // namespace cuda

}  // namespace qcore
