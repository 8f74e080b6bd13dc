// A sweep reads every number of a field once and writes it once: a block holds a tile of lines in shared memory, a warp for each
// line, and applies all factors along the axis there. Lines along memory are loaded line by line; across memory a tile is as many
// neighbouring lines as make sectors whole, so nothing is ever transposed. Bound by memory: 32 bytes a point and axis in
// complex128 (7.4 ps on an H200), 16 in complex64; the arithmetic, about 50 multiply-adds in float64, would take 3 ps.
// Lines too long for shared memory get a thread each, which walks through global memory.
#include "schrodinger_split_sweeps.hpp"

#include <algorithm>
#include <cmath>

#include "schrodinger/split_factors.hpp"
#include "schrodinger_split_lines.hpp"

namespace qcore::schrodinger {

using cuda::Grid;
using cuda::grid_for;
using cuda::launch;
using cuda::SharedMemory;

std::vector<AxisPlan> plan_axes(const SplitProblem& p, std::size_t stored, std::size_t computed, std::size_t shared_limit,
                                bool plain) {
    std::vector<AxisPlan> axes;
    std::int64_t stride = p.points;
    for (std::int64_t d = 0; d < p.axes(); ++d) {
        const std::int64_t n = p.sizes[static_cast<std::size_t>(d)];
        stride /= n;
        const bool periodic = p.boundary[static_cast<std::size_t>(d)] == Boundary::periodic;
        AxisPlan axis{n, stride, periodic, periodic && n == 1, 0};
        // 64 bytes side by side and two blocks a multiprocessor where that fits, a sector of 32 bytes where one does.
        const std::size_t line = static_cast<std::size_t>(axis.pitch()) * computed, whole = std::max<std::size_t>(1, 32 / stored);
        std::size_t width = std::min<std::size_t>(8, 64 / stored);
        while (width > whole && width * line > shared_limit / 2) width /= 2;
        while (width > 1 && width * line > shared_limit) width /= 2;
        if (!plain && width * line <= shared_limit) axis.width = static_cast<int>(width);
        axes.push_back(axis);
    }
    return axes;
}

namespace {

// --- factors ---

constexpr int factors_per_launch = 32;

// Factors in the widest arithmetic.
template <class W>
struct Coefficients {
    W alpha[factors_per_launch], beta[factors_per_launch], diagonal[factors_per_launch];
    bool recover[factors_per_launch];
};

// v of a factor's table, as a line.
template <class N>
struct OwnLine {
    Pointer<N> v;
    std::int64_t chunk;
    int lanes;

    __device__ std::int64_t place(std::int64_t j) const { return j % chunk * lanes + j / chunk; }
    __device__ N psi(std::int64_t j) const { return v[place(j)]; }
    __device__ N get(std::int64_t j) const { return v[place(j)]; }
    __device__ void put(std::int64_t j, N value) const { v[place(j)] = value; }
};

// A warp for each factor. The pivots come one after another, until they don't change any more.
template <class W, class N, int lanes>
__global__ void prepare_factors(Coefficients<W> c, std::int64_t n, std::int64_t chunk, bool periodic, Pointer<N> tables,
                                std::int64_t size) {
    const int lane = static_cast<int>(threadIdx.x), factor = static_cast<int>(blockIdx.x);
    const Pointer<N> table = tables + factor * size;
    const OwnLine<N> rs{table + FactorLayout::head, chunk, lanes}, vs{rs.v + chunk * lanes, chunk, lanes};
    const W diagonal = c.diagonal[factor];
    const W ends = W::of(periodic ? 1 : 0, 0);
    W r{};
    std::int64_t known = n;
    if (lane == 0) {
        for (std::int64_t j = 0; j < n; ++j) {
            W pivot = diagonal - r;
            if (j == 0) pivot = pivot + ends;
            if (j == n - 1) pivot = pivot + ends;
            const W before = r;
            r = inverse(pivot);
            rs.put(j, convert<N>(r));
            if (j > 0 && j + 1 < n && r.re == before.re && r.imaginary() == before.imaginary()) {
                known = j + 1;
                break;
            }
        }
        table[0] = table[3] = table[4] = N{};
        table[1] = N::of(1, 0);
    }
    known = __shfl_sync(whole_warp, static_cast<long long>(known), 0);
    r = from_lane(r, 0);
    for (std::int64_t j = known + lane; j < n; j += 32) rs.put(j, convert<N>(j == n - 1 ? inverse(diagonal - r + ends) : r));
    __syncwarp();
    const FactorView<N, lanes> view{table, chunk, lanes > 1 ? lane : 0};
    if constexpr (lanes > 1) {
        N product = N::of(1, 0);
        for (std::int64_t i = 0; i < chunk && lane * chunk + i < n; ++i) product = -(product * view.r(i));
        for (int round = 0; round < FactorLayout::rounds; ++round) {
            table[FactorLayout::products + round * 32 + lane] = product;
            const int other = lane + (1 << round);
            product = product * from_lane(product, other < 32 ? other : 31);
        }
        __syncwarp();
    }
    if (periodic && lane < lanes) {
        // v = T^{-1} w, w = (1, 0 ... 0, -1): what a factor gives that is phi alone.
        for (std::int64_t j = view.lane * chunk; j < (view.lane + 1) * chunk && j < n; ++j)
            vs.put(j, N::of((j == 0) - (j == n - 1), 0));
        apply_factor(view, n, false, vs);
    }
    __syncwarp();
    if (lane > 0) return;
    if (periodic) table[4] = inverse(N::of(1, 0) - (vs.get(0) - vs.get(n - 1)));
    table[0] = convert<N>(c.alpha[factor]);
    table[1] = convert<N>(c.beta[factor]);
    table[2] = convert<N>(diagonal);
    table[3] = N::of(c.recover[factor] ? 1 : 0, 0);
}

// --- sweeps ---

template <class S, class N>
struct Sweep {
    Fields fields;
    std::int64_t n, stride, pitch, chunk;
    bool periodic;
    Pointer<const N> factors;
    std::int64_t factor_size;
    int count;
    Pointer<const S> source;
    Pointer<S> target;
    Finish<S, N> finish;

    std::int64_t lines() const { return fields.batch * fields.points / n; }
};

// The number `at` of all fields, on its way to memory; in_field: its place in the table.
template <class S, class N>
__device__ S finished(const Finish<S, N>& f, N value, std::int64_t at, std::int64_t in_table) {
    if (f.phase) value = value * f.phase[in_table];
    if (f.frame) f.frame[at] = convert<S>(value);
    if (f.late_phase) value = value * f.late_phase[in_table];
    return convert<S>(value);
}

template <class S, class N>
__global__ void sweep_tiles(Sweep<S, N> s, std::int64_t lines, int width) {
    SharedMemory shared;
    const auto tile = shared.array<N>(static_cast<int>(width * s.pitch));
    const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
    // Of the numbers of a tile a thread loads and stores those of one line, every 32nd.
    const bool along = s.stride == 1;
    const int own = along ? warp : static_cast<int>(threadIdx.x) % width;
    const int start = along ? lane : static_cast<int>(threadIdx.x) / width;
    const Pointer<N> column = tile + own * s.pitch;
    for (std::int64_t first = static_cast<std::int64_t>(blockIdx.x) * width; first < lines;
         first += static_cast<std::int64_t>(gridDim.x) * width) {
        const std::int64_t line = first + own, base = line / s.stride * s.stride * s.n + line % s.stride;
        const bool there = line < lines;
        if (there)
#pragma unroll 4
            for (std::int64_t j = start; j < s.n; j += 32) column[j] = convert<N>(s.source[base + j * s.stride]);
        __syncthreads();
        if (first + warp < lines) {
            const Pointer<N> row = tile + warp * s.pitch;
            for (int k = 0; k < s.count; ++k)
                apply_factor(FactorView<N, 32>{s.factors + k * s.factor_size, s.chunk, lane}, s.n, s.periodic,
                             Line<N, N>{row, row, 1});
        }
        __syncthreads();
        const std::int64_t table = s.fields.shared ? base % s.fields.points : base;
        if (there)
#pragma unroll 4
            for (std::int64_t j = start; j < s.n; j += 32) {
                const std::int64_t at = base + j * s.stride;
                s.target[at] = finished(s.finish, column[j], at, table + j * s.stride);
            }
        __syncthreads();
    }
}

template <class S, class N>
__global__ void sweep_long_lines(Sweep<S, N> s, std::int64_t lines) {
    for (std::int64_t line = cuda::thread(); line < lines; line += cuda::threads()) {
        const std::int64_t base = line / s.stride * s.stride * s.n + line % s.stride;
        const Pointer<S> target = s.target + base;
        for (int k = 0; k < s.count; ++k) {
            const Pointer<const S> from = k == 0 ? s.source + base : Pointer<const S>(target);
            apply_factor(FactorView<N, 1>{s.factors + k * s.factor_size, s.chunk, 0}, s.n, s.periodic,
                         Line<S, N>{from, target, s.stride});
        }
    }
}

// --- pointwise ---

template <class S, class N>
__global__ void finish_fields(Fields fields, Pointer<const S> source, Pointer<S> target, Finish<S, N> finish) {
    const std::int64_t n = fields.batch * fields.points;
    for (std::int64_t i = cuda::thread(); i < n; i += cuda::threads())
        target[i] = finished(finish, convert<N>(source[i]), i, fields.shared ? i % fields.points : i);
}

template <class From, class To>
__global__ void convert_numbers(Pointer<const From> from, Pointer<To> to, std::int64_t n) {
    for (std::int64_t i = cuda::thread(); i < n; i += cuda::threads()) to[i] = convert<To>(from[i]);
}

template <class N>
__global__ void multiply_numbers(Pointer<const N> a, Pointer<const N> b, Pointer<N> to, std::int64_t n) {
    for (std::int64_t i = cuda::thread(); i < n; i += cuda::threads()) to[i] = a[i] * b[i];
}

template <class N>
N as(std::complex<double> c) {
    return N::of(c.real(), c.imag());
}

}  // namespace

template <class N>
FactorTables<N>::FactorTables(const Queue& queue, const SplitProblem& p, const std::vector<AxisPlan>& axes, Variant variant)
    : per_stage_(static_cast<int>(stage_factors(0.0, p.order, p.rule).size())), per_substep_([&] {
          std::int64_t total = 0;
          for (const AxisPlan& axis : axes) {
              sizes_.push_back(FactorLayout::size(axis));
              offsets_.push_back(total);
              total += sizes_.back() * p.stages * per_stage_;
          }
          return total;
      }()),
      memory_(queue, static_cast<std::size_t>(p.substeps * per_substep_) * sizeof(N)) {
    using W = typename N::template With<double>;
    for (std::int64_t a = 0; a < p.substeps; ++a)
        for (std::int64_t d = 0; d < p.axes(); ++d) {
            const AxisPlan& axis = axes[static_cast<std::size_t>(d)];
            if (axis.identity) continue;
            std::vector<Factor> factors;
            for (std::int64_t m = 0; m < p.stages; ++m) {
                std::complex<double> e = p.stage(a, d, m);
                e = variant == Variant::inverse ? -e : variant == Variant::adjoint ? std::conj(e) : e;
                for (const Factor& f : stage_factors(e, p.order, p.rule)) factors.push_back(f);
            }
            const std::int64_t count = static_cast<std::int64_t>(factors.size());
            for (std::int64_t begin = 0; begin < count; begin += factors_per_launch) {
                const std::int64_t part = std::min<std::int64_t>(factors_per_launch, count - begin);
                Coefficients<W> c{};
                for (std::int64_t k = 0; k < part; ++k) {
                    const Factor& f = factors[static_cast<std::size_t>(begin + k)];
                    // Near the identity phi is next to nothing but exact: nothing is lost to a g that isn't 0.
                    const std::complex<double> g = std::abs(f.g) < 1e-18 ? 1e-18 : f.g;
                    // alpha psi + beta phi cancel where g is small beside below, neighbours where below is large.
                    c.recover[k] = !(std::abs(f.below) <= 0.25);
                    c.alpha[k] = as<W>(f.below / g);
                    c.beta[k] = as<W>(c.recover[k] ? (g - f.below) / g / g : (1.0 - 2.0 * f.below) / g);
                    c.diagonal[k] = as<W>((1.0 - 2.0 * g) / g);
                }
                const std::size_t at = static_cast<std::size_t>(d);
                N* const to = static_cast<N*>(memory_.data()) + a * per_substep_ + offsets_[at] + begin * sizes_[at];
                const Grid grid{dim3(static_cast<unsigned>(part)), dim3(32), 0};
                const auto run = [&](auto kernel) {
                    launch(queue, kernel, grid, c, axis.n, axis.chunk(), axis.periodic, pointer<N>(to), sizes_[at]);
                };
                if (axis.lanes() > 1) run(prepare_factors<W, N, 32>);
                else run(prepare_factors<W, N, 1>);
            }
        }
}

template <class S, class N>
void launch_sweep(const Queue& queue, const Fields& fields, const AxisPlan& axis, Pointer<const N> factors, int count,
                  Pointer<const S> source, Pointer<S> target, const Finish<S, N>& finish) {
    const Sweep<S, N> s{fields, axis.n, axis.stride, axis.pitch(), axis.chunk(), axis.periodic, factors, FactorLayout::size(axis),
                        count, source, target, finish};
    const std::int64_t lines = s.lines();
    if (axis.width == 0) {
        launch(queue, sweep_long_lines<S, N>, grid_for(lines, 64), s, lines);
        if (finish.phase || finish.frame || finish.late_phase) launch_finish<S, N>(queue, fields, target, target, finish);
        return;
    }
    Grid grid = grid_for((lines + axis.width - 1) / axis.width, 1);
    grid.threads = dim3(static_cast<unsigned>(32 * axis.width));
    grid.shared = SharedMemory::bytes<N>(static_cast<int>(axis.width * axis.pitch()));
    launch(queue, sweep_tiles<S, N>, grid, s, lines, axis.width);
}

template <class S, class N>
void launch_finish(const Queue& queue, const Fields& fields, Pointer<const S> source, Pointer<S> target,
                   const Finish<S, N>& finish) {
    launch(queue, finish_fields<S, N>, grid_for(fields.batch * fields.points, 256), fields, source, target, finish);
}

template <class From, class To>
void launch_convert(const Queue& queue, Pointer<const From> from, Pointer<To> to, std::int64_t n) {
    launch(queue, convert_numbers<From, To>, grid_for(n, 256), from, to, n);
}

template <class N>
void launch_product(const Queue& queue, Pointer<const N> a, Pointer<const N> b, Pointer<N> to, std::int64_t n) {
    launch(queue, multiply_numbers<N>, grid_for(n, 256), a, b, to, n);
}

template <class N>
PhaseTables<N>::PhaseTables(const Queue& queue, const SplitProblem& p, bool with_product)
    : tables_(p.tables), size_(p.phases_batch * p.points),
      converted_(queue, sizeof(typename N::Scalar) == 8 ? 0 : static_cast<std::size_t>(tables_ * size_) * sizeof(N)),
      product_(queue, with_product ? static_cast<std::size_t>(size_) * sizeof(N) : 0) {
    using W = typename N::template With<double>;
    if (sizeof(typename N::Scalar) == 8) {
        data_ = static_cast<const N*>(p.phases);
    } else {
        data_ = static_cast<const N*>(converted_.data());
        if (tables_ > 0) launch_convert<W, N>(queue, pointer<const W>(p.phases), pointer<N>(converted_.data()), tables_ * size_);
    }
    if (with_product)
        launch_product<N>(queue, of(p.program.front()), of(p.program.back()), pointer<N>(product_.data()), size_);
}

#define QC_SPLIT_STORAGE(S, N)                                                                                               \
    template void launch_sweep<S, N>(const Queue&, const Fields&, const AxisPlan&, Pointer<const N>, int, Pointer<const S>,  \
                                     Pointer<S>, const Finish<S, N>&);                                                       \
    template void launch_finish<S, N>(const Queue&, const Fields&, Pointer<const S>, Pointer<S>, const Finish<S, N>&);       \
    template void launch_convert<S, N>(const Queue&, Pointer<const S>, Pointer<N>, std::int64_t);
#define QC_SPLIT_NUMBER(N)                                                                                                   \
    QC_SPLIT_STORAGE(N, N)                                                                                                   \
    template class FactorTables<N>;                                                                                          \
    template class PhaseTables<N>;                                                                                           \
    template void launch_product<N>(const Queue&, Pointer<const N>, Pointer<const N>, Pointer<N>, std::int64_t);
QC_SPLIT_NUMBER(Real<float>)
QC_SPLIT_NUMBER(Real<double>)
QC_SPLIT_NUMBER(Complex<float>)
QC_SPLIT_NUMBER(Complex<double>)
QC_SPLIT_STORAGE(Real<float>, Real<double>)
QC_SPLIT_STORAGE(Complex<float>, Complex<double>)

}  // namespace qcore::schrodinger
