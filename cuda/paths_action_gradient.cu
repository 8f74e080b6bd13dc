// Derivatives of actions by the beads, by a path network's parameters, and by the potential.
//
// By the beads every lane works out one after the other, from it and its neighbours. A network's beads go through global memory
// in float64, so many paths at a time. By the potential each block sums its paths' moments in float64, a fixed number of
// blocks, or for a table the threads of a block each own some of its cells.
#include <algorithm>

#include "paths_network.hpp"

namespace qcore::paths {

namespace {

// A fixed number, and no property of a device: sums over paths don't depend on it.
constexpr std::int64_t most_sum_blocks = 512;
constexpr std::int64_t work_bytes = 256 << 20;

template <class T, bool table>
__global__ void gradient_kernel(const ActionRows a, const Share share, const ActionFactors factors, bool hold_ends,
                                Pointer<const double> coefficients, Pointer<const T> x, Pointer<const double> grad,
                                std::int64_t grad_stride,
                                Pointer<T> grad_x, int staged) {
    SharedMemory shared;
    const Pointer<T> stage = shared.array<T>(staged);
    const std::int64_t links = links_of(a), last = a.beads - 1;
    const T lambda = static_cast<T>(a.lambda);
    for (std::int64_t first = blockIdx.x * share.slots(); first < share.items(); first += gridDim.x * share.slots()) {
        const auto potential = potential_of<T, table>(a, coefficients, share, first, stage);
        const std::int64_t item = first + share.slot();
        if (item >= share.items()) continue;
        const std::int64_t path = item / share.parts, begin = item % share.parts * share.part_links;
        const std::int64_t end = begin + share.part_links < a.beads ? begin + share.part_links : a.beads;
        const ActionSums g = factors.pulled(grad + path, grad_stride);
        const T of_kinetic = static_cast<T>(g.kinetic), of_potential = static_cast<T>(g.potential);
        const T of_correction = static_cast<T>(g.correction);
        const Pointer<const T> row = x + path * a.beads;
        for (std::int64_t n = begin + share.lane(); n < end; n += share.lanes) {
            const bool from_left = n > 0 || a.periodic, to_right = n < last || a.periodic;
            const T here = row[n], left = from_left ? row[n > 0 ? n - 1 : last] : here;
            const T right = to_right ? row[n < last ? n + 1 : 0] : here;
            T sum = ((from_left ? here - left : T(0)) - (to_right ? right - here : T(0))) * of_kinetic;
            if (on_links(a.form)) {
                const T middle[2] = {T(0.5) * (left + here), T(0.5) * (here + right)};
                const bool there[2] = {from_left, to_right};
                Jet<T> jet[2];
                if (a.form == Form::van_vleck) potential.template at<3>(middle, jet);
                else potential.template at<1>(middle, jet);
#pragma unroll
                for (int i = 0; i < 2; ++i) {
                    if (!there[i]) continue;
                    sum += T(0.5) * of_potential * jet[i].slope;
                    if (a.form == Form::van_vleck)
                        sum -= T(0.5) * of_correction * (lambda * jet[i].third / (T(1) - lambda * jet[i].curvature));
                }
            } else if (links > 0) {
                const T at[1] = {here};
                Jet<T> jet[1];
                const T plain = static_cast<T>(weight(a.plain, n, a.beads));
                if (a.form == Form::corrected) {
                    potential.template at<2>(at, jet);
                    if (const T squared = static_cast<T>(weight(a.squared, n, a.beads)); squared != T(0))
                        sum += 2 * of_correction * squared * (jet[0].slope * jet[0].curvature);
                } else {
                    potential.template at<1>(at, jet);
                }
                if (plain != T(0)) sum += of_potential * plain * jet[0].slope;
            }
            grad_x[path * a.beads + n] = hold_ends && (n == 0 || n == last) ? T(0) : sum;
        }
    }
}

// What V, V' and V'' at a point of a path are multiplied by in the derivative of the action.
struct Pull {
    double value = 0, slope = 0, curvature = 0;
};

// Point n of a path: a bead, or the middle of a link.
template <class T>
struct Points {
    const ActionRows& a;

    __device__ std::int64_t count() const { return on_links(a.form) ? links_of(a) : links_of(a) > 0 ? a.beads : 0; }
    __device__ double at(Pointer<const T> row, std::int64_t n) const {
        const double here = static_cast<double>(row[n]);
        return on_links(a.form) ? 0.5 * (here + static_cast<double>(row[n + 1 < a.beads ? n + 1 : 0])) : here;
    }
    // For V known at the point.
    template <class V>
    __device__ Pull pull(const V& potential, const ActionSums& g, std::int64_t n, double y) const {
        if (a.form == Form::middles) return {g.potential, 0, 0};
        const double of[1] = {y};
        Jet<double> jet[1];
        if (a.form == Form::van_vleck) {
            potential.template at<2>(of, jet);
            return {g.potential, 0, -g.correction * a.lambda / (1 - a.lambda * jet[0].curvature)};
        }
        Pull p{g.potential * weight(a.plain, n, a.beads), 0, 0};
        if (a.form == Form::corrected) {
            potential.template at<1>(of, jet);
            p.slope = 2 * g.correction * weight(a.squared, n, a.beads) * jet[0].slope;
        }
        return p;
    }
};

// out: (B, K) where every path has coefficients of its own, else one row of K sums for each block, to which it is added.
template <class T>
__global__ void coefficients_kernel(const ActionRows a, const Share share, const ActionFactors factors,
                                    Pointer<const double> coefficients,
                                    Pointer<const T> x, Pointer<const double> grad, std::int64_t grad_stride,
                                    Pointer<double> out, int staged) {
    constexpr int most = Potential::max_coefficients;
    SharedMemory shared;
    const Pointer<double> stage = shared.array<double>(staged), rows = shared.array<double>(action_threads / 32 * most);
    const Points<T> points{a};
    const int count = static_cast<int>(a.potential.count);
    double sums[most]{};
    for (std::int64_t first = blockIdx.x * share.slots(); first < share.items(); first += gridDim.x * share.slots()) {
        const auto potential = potential_of<double, false>(a, coefficients, share, first, stage);
        const std::int64_t path = first + share.slot();
        if (path < share.batch) {
            const ActionSums g = factors.pulled(grad + path, grad_stride);
            const Pointer<const T> row = x + path * a.beads;
            for (std::int64_t n = share.lane(); n < points.count(); n += share.lanes) {
                const double y = points.at(row, n);
                const Pull p = points.pull(potential, g, n, y);
                double power = 1, below = 0, beneath = 0;  // y^k, y^(k-1), y^(k-2)
#pragma unroll
                for (int k = 0; k < most; ++k) {
                    if (k >= count) break;
                    sums[k] += p.value * power + k * (p.slope * below + (k - 1) * (p.curvature * beneath));
                    beneath = below;
                    below = power;
                    power *= y;
                }
            }
        }
        if (a.next_potential == 0) continue;
#pragma unroll
        for (int k = 0; k < most; ++k) {
            if (k >= count) break;
            const double sum = share.sum(sums[k]);
            if (share.lane() == 0 && path < share.batch) out[path * count + k] = sum;
            sums[k] = 0;
        }
    }
    if (a.next_potential) return;
#pragma unroll
    for (int k = 0; k < most; ++k) {
        if (k >= count) break;
        double sum = sums[k];
        for (int by = 16; by > 0; by /= 2) sum += __shfl_xor_sync(all_lanes, sum, by);
        if (threadIdx.x % 32 == 0) rows[threadIdx.x / 32 * most + k] = sum;
    }
    __syncthreads();
    if (static_cast<int>(threadIdx.x) >= count) return;
    double sum = 0;
    for (int w = 0; w < action_threads / 32; ++w) sum += rows[w * most + threadIdx.x];
    out[static_cast<std::int64_t>(blockIdx.x) * count + threadIdx.x] += sum;
}

// The points of a block's paths, as many at a time as there are threads; each thread adds up those in its own cells, in order.
template <class T>
__global__ void cells_kernel(const ActionRows a, std::int64_t batch, const ActionFactors factors,
                             Pointer<const double> coefficients,
                             Pointer<const T> x, Pointer<const double> grad, std::int64_t grad_stride, Pointer<double> out) {
    SharedMemory shared;
    const auto cell = shared.array<std::int64_t>(action_threads);
    const auto terms = shared.array<double>(4 * action_threads);
    const Points<T> points{a};
    const Table<double> potential{coefficients, a.potential};
    const Pointer<double> sums = out + blockIdx.x * a.potential.count * 4;
    const std::int64_t count = points.count(), each = (batch + gridDim.x - 1) / gridDim.x, me = threadIdx.x;
    const std::int64_t from = blockIdx.x * each, to = from + each < batch ? from + each : batch, all = (to - from) * count;
    for (std::int64_t begin = 0; begin < all; begin += action_threads) {
        const std::int64_t i = begin + me;
        cell[me] = -1;
        if (i < all) {
            const std::int64_t path = from + i / count, n = i % count;
            const double y = points.at(x + path * a.beads, n);
            Pull p = points.pull(potential, factors.pulled(grad + path, grad_stride), n, y);
            p.slope *= a.potential.inverse_spacing;
            const Place at(a.potential, y);
            if (p.value != 0 || p.slope != 0) cell[me] = at.cell;
            terms[4 * me] = p.value;
            terms[4 * me + 1] = p.value * (at.in + at.beyond) + p.slope;
            terms[4 * me + 2] = p.value * (at.in * at.in + 2 * at.beyond * at.in) + p.slope * 2 * at.in;
            terms[4 * me + 3] = p.value * (at.in * at.in * at.in + 3 * at.beyond * at.in * at.in) + p.slope * 3 * at.in * at.in;
        }
        __syncthreads();
        for (int j = 0; j < action_threads; ++j)
            if (cell[j] >= 0 && cell[j] % action_threads == me)
                for (int k = 0; k < 4; ++k) sums[4 * cell[j] + k] += terms[4 * j + k];
        __syncthreads();
    }
}

__global__ void add_up_kernel(Pointer<const double> sums, std::int64_t parts, std::int64_t count, Pointer<double> out) {
    for (std::int64_t i = cuda::thread(); i < count; i += cuda::threads()) {
        double total = 0;
        for (std::int64_t part = 0; part < parts; ++part) total += sums[part * count + i];
        out[i] = total;
    }
}

// A stretch of a call's paths.
struct Stretch {
    const ActionCall& p;
    std::int64_t first, batch;

    template <class T>
    Pointer<T> of(const void* data, std::int64_t length) const {
        return data ? cuda::pointer<T>(static_cast<const T*>(data) + first * length) : Pointer<T>();
    }
    Pointer<const double> grad() const { return of<const double>(p.grad, 1); }
    Pointer<const double> coefficients() const { return of<const double>(p.rows.potential.coefficients, p.rows.next_potential); }
};

template <class T, bool table>
void by_beads(const cuda::Queue& queue, const Stretch& s, Pointer<const T> x, Pointer<T> grad_x) {
    const ActionCall& p = s.p;
    const Share share = share_of(s.batch, p.rows.beads, 1, false);
    const int staged = staged_numbers(p.rows, share);
    cuda::launch(queue, gradient_kernel<T, table>, grid_of(share, SharedMemory::bytes<T>(staged)), p.rows, share, p.factors,
                 p.hold_ends, s.coefficients(), x, s.grad(), p.batch, grad_x, staged);
}

// Sums of blocks for a potential that paths share.
class CoefficientSums {
  public:
    CoefficientSums(const cuda::Queue& queue, const ActionCall& p)
        : queue_(queue), p_(p), wanted_(p.grad_coefficients != nullptr), shared_(p.rows.next_potential == 0),
          blocks_(std::clamp<std::int64_t>((p.batch * p.rows.beads + 4095) / 4096, 1, most_sum_blocks)),
          sums_(queue, wanted_ && shared_ ? bytes() : 0) {
        if (wanted_ && shared_) queue.zero(sums_.data(), bytes());
    }

    template <class T>
    void add(const Stretch& s, Pointer<const T> x) const {
        if (!wanted_) return;
        if (p_.rows.potential.table) {
            cuda::Grid grid{dim3(static_cast<unsigned>(blocks_)), dim3(action_threads),
                            SharedMemory::bytes<std::int64_t>(action_threads) + SharedMemory::bytes<double>(4 * action_threads)};
            return cuda::launch(queue_, cells_kernel<T>, grid, p_.rows, s.batch, p_.factors, s.coefficients(), x, s.grad(),
                                p_.batch, rows());
        }
        const Share share = share_of(s.batch, p_.rows.beads, 1, true);
        const int staged = staged_numbers(p_.rows, share);
        cuda::Grid grid = grid_of(share, SharedMemory::bytes<double>(staged) +
                                             SharedMemory::bytes<double>(action_threads / 32 * Potential::max_coefficients));
        if (shared_) grid.blocks = dim3(static_cast<unsigned>(blocks_));
        cuda::launch(queue_, coefficients_kernel<T>, grid, p_.rows, share, p_.factors, s.coefficients(), x, s.grad(), p_.batch,
                     shared_ ? rows() : s.of<double>(p_.grad_coefficients, p_.rows.next_potential), staged);
    }
    void store() const {
        if (wanted_ && shared_)
            cuda::launch(queue_, add_up_kernel, cuda::grid_for(p_.coefficients, 128), rows(), blocks_, p_.coefficients,
                         cuda::pointer<double>(p_.grad_coefficients));
    }

  private:
    std::size_t bytes() const { return static_cast<std::size_t>(blocks_ * p_.coefficients) * sizeof(double); }
    Pointer<double> rows() const { return cuda::pointer<double>(sums_.data()); }

    const cuda::Queue& queue_;
    const ActionCall& p_;
    bool wanted_, shared_;
    std::int64_t blocks_;
    cuda::Workspace sums_;
};

template <class T, bool table>
void of_beads(const cuda::Queue& queue, const ActionCall& p) {
    const CoefficientSums sums(queue, p);
    if (p.batch) {
        const Stretch all{p, 0, p.batch};
        by_beads<T, table>(queue, all, cuda::pointer<const T>(p.x), cuda::pointer<T>(p.grad_x));
        sums.add<T>(all, cuda::pointer<const T>(p.x));
    }
    sums.store();
}

template <class T, bool table>
void of_network(const cuda::Queue& queue, const ActionCall& p) {
    const CoefficientSums sums(queue, p);
    const std::int64_t beads = p.rows.beads, rows = std::max<std::int64_t>(std::min(p.batch, work_bytes / (16 * beads)), 1);
    const std::size_t bytes = static_cast<std::size_t>(rows * beads) * sizeof(double);
    const cuda::Workspace x(queue, p.batch ? bytes : 0), grad_x(queue, p.batch ? bytes : 0);
    const auto at = [](const void* data, std::int64_t element) -> void* {
        return data ? const_cast<T*>(static_cast<const T*>(data) + element) : nullptr;
    };
    for (std::int64_t first = 0; first < p.batch; first += rows) {
        const Stretch s{p, first, std::min(rows, p.batch - first)};
        const bool pinned = p.network.x_fin != nullptr;
        integrate_rows(queue, {s.batch, p.given, p.network.twice, p.single, pinned, p.network.dt, at(p.x, first * p.given),
                               x.data(), at(p.network.x_ini, first), at(p.network.x_fin, first)}, true);
        by_beads<double, table>(queue, s, cuda::pointer<const double>(x.data()), cuda::pointer<double>(grad_x.data()));
        sums.add<double>(s, cuda::pointer<const double>(x.data()));
        integrate_rows_adjoint(queue,
                               {s.batch, p.given, p.network.twice, p.single, pinned, p.network.dt, at(p.grad_x, first * p.given),
                                       grad_x.data(), at(p.grad_ini, first), at(p.grad_fin, first)}, true);
    }
    sums.store();
}

template <class T>
void with_potential(const cuda::Queue& queue, const ActionCall& p) {
    if (p.from_beads) p.rows.potential.table ? of_beads<T, true>(queue, p) : of_beads<T, false>(queue, p);
    else p.rows.potential.table ? of_network<T, true>(queue, p) : of_network<T, false>(queue, p);
}

}  // namespace

void compute_action_gradient(const ActionCall& p) {
    if (p.reference) cuda::refuse_reference();
    const cuda::Queue queue;
    p.single ? with_potential<float>(queue, p) : with_potential<double>(queue, p);
}

}  // namespace qcore::paths
