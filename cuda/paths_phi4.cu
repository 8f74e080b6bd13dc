// The action of scalar fields and its gradient: a block goes over a stretch of the sites of one field. Bound by reading the
// field, and for the gradient writing one like it; neighbours come from the cache.
#include <cmath>

#include "paths/phi4_fields.hpp"
#include "paths_action.hpp"

namespace qcore::paths {

namespace {

constexpr int field_threads = 256;
constexpr std::int64_t sites_of_a_part = 1 << 13;

// The sites that a block goes over: those of part `item` % parts of field `item` / parts. Kept as slice and site, without
// divisions.
struct Sites {
    std::int64_t end, at, slice, site;  // of this thread, as numbers in the field

    __device__ Sites(const FieldShape& f, std::int64_t part, std::int64_t part_sites) {
        const std::int64_t begin = part * part_sites;
        end = begin + part_sites < f.points() ? begin + part_sites : f.points();
        at = begin + threadIdx.x;
        slice = at / f.sites;
        site = at % f.sites;
    }
    __device__ bool more() const { return at < end; }
    __device__ void next(const FieldShape& f, std::int64_t slices, std::int64_t sites) {
        at += field_threads;
        slice += slices;
        site += sites;
        if (site >= f.sites) {
            site -= f.sites;
            ++slice;
        }
    }
};

// Slice t of a field, or the mean of it and the next one.
template <class T>
struct Layer {
    Pointer<const T> here, next;
    bool mean;

    __device__ T at(std::int64_t i) const { return mean ? T(0.5) * (here[i] + next[i]) : here[i]; }
};

__device__ inline double slice_weight(const FieldShape& f, std::int64_t t) {
    if (f.periodic) return 1;
    return f.slices == 1 ? 0 : t == 0 || t == f.slices - 1 ? 0.5 : 1;
}

template <class T>
__global__ void sums_kernel(const FieldShape f, std::int64_t batch, std::int64_t parts, const FieldFactors factors,
                            Pointer<const T> phi, Pointer<double> out, Pointer<double> partial) {
    SharedMemory shared;
    const auto rows = shared.array<double>(field_threads / 32 * 4);
    const std::int64_t slices = field_threads / f.sites, sites = field_threads % f.sites;
    for (std::int64_t item = blockIdx.x; item < batch * parts; item += gridDim.x) {
        const Pointer<const T> field = phi + item / parts * f.points();
        Total<T> sums[4];
        int terms = 0;
        for (Sites s(f, item % parts, sites_of_a_part); s.more(); s.next(f, slices, sites)) {
            const bool step = s.slice + 1 < f.slices || f.periodic;
            const Pointer<const T> here = field + s.slice * f.sites;
            const Pointer<const T> after = field + (s.slice + 1 < f.slices ? s.slice + 1 : 0) * f.sites;
            if (step) {
                const T d = after[s.site] - here[s.site];
                sums[0].add(d * d);
            }
            const T w = static_cast<T>(f.midpoint ? (step ? 1.0 : 0.0) : slice_weight(f, s.slice));
            if (w != T(0)) {
                const Layer<T> layer{here, after, f.midpoint};
                const T y = layer.at(s.site), d = layer.at(s.site + 1 < f.sites ? s.site + 1 : 0) - y, square = y * y;
                sums[1].add(w * (d * d));
                sums[2].add(w * square);
                sums[3].add(w * (square * square));
            }
            if (++terms % 16 == 0)
                for (Total<T>& sum : sums) sum.settle();
        }
        double total[4];
        for (int j = 0; j < 4; ++j) {
            double v = sums[j].total();
            for (int by = 16; by > 0; by /= 2) v += __shfl_xor_sync(all_lanes, v, by);
            if (threadIdx.x % 32 == 0) rows[threadIdx.x / 32 * 4 + j] = v;
        }
        __syncthreads();
        if (threadIdx.x == 0) {
            for (int j = 0; j < 4; ++j) {
                total[j] = 0;
                for (int w = 0; w < field_threads / 32; ++w) total[j] += rows[w * 4 + j];
                if (j < 3) total[j] *= 0.5;
                if (parts > 1) partial[4 * item + j] = total[j];
            }
            if (parts == 1)
                for (int r = 0; r < factors.rows; ++r)
                    out[r * batch + item] = factors.combined(r, {total[0], total[1], total[2], total[3]});
        }
        __syncthreads();
    }
}

__global__ void combine_kernel(std::int64_t batch, std::int64_t parts, const FieldFactors factors, Pointer<const double> partial,
                               Pointer<double> out) {
    for (std::int64_t b = cuda::thread(); b < batch; b += cuda::threads()) {
        FieldSums s;
        for (std::int64_t part = 0; part < parts; ++part) {
            const std::int64_t i = 4 * (b * parts + part);
            s.time += partial[i];
            s.space += partial[i + 1];
            s.mass += partial[i + 2];
            s.quartic += partial[i + 3];
        }
        for (int r = 0; r < factors.rows; ++r) out[r * batch + b] = factors.combined(r, s);
    }
}

template <class T>
__global__ void gradient_kernel(const FieldShape f, std::int64_t batch, std::int64_t parts, const FieldFactors factors,
                                Pointer<const T> phi, Pointer<const double> grad, Pointer<T> grad_phi) {
    const std::int64_t slices = field_threads / f.sites, sites = field_threads % f.sites;
    for (std::int64_t item = blockIdx.x; item < batch * parts; item += gridDim.x) {
        const std::int64_t b = item / parts;
        const FieldSums g = factors.pulled(grad + b, batch);
        const T time = static_cast<T>(g.time), space = static_cast<T>(g.space), mass = static_cast<T>(g.mass),
                quartic = static_cast<T>(4 * g.quartic);
        const Pointer<const T> field = phi + b * f.points();
        for (Sites s(f, item % parts, sites_of_a_part); s.more(); s.next(f, slices, sites)) {
            const bool behind = s.slice > 0 || f.periodic, ahead = s.slice + 1 < f.slices || f.periodic;
            const Pointer<const T> here = field + s.slice * f.sites;
            const Pointer<const T> before = field + (s.slice > 0 ? s.slice - 1 : f.slices - 1) * f.sites;
            const Pointer<const T> after = field + (s.slice + 1 < f.slices ? s.slice + 1 : 0) * f.sites;
            const std::int64_t i = s.site, left = i > 0 ? i - 1 : f.sites - 1, right = i + 1 < f.sites ? i + 1 : 0;
            const auto force = [&](const Layer<T>& layer) {
                const T y = layer.at(i);
                return space * ((y - layer.at(left)) - (layer.at(right) - y)) + mass * y + quartic * (y * y * y);
            };
            T sum = 0;
            if (behind) sum += time * (here[i] - before[i]);
            if (ahead) sum += time * (here[i] - after[i]);
            if (f.midpoint) {
                if (behind) sum += T(0.5) * force({before, here, true});
                if (ahead) sum += T(0.5) * force({here, after, true});
            } else if (const T w = static_cast<T>(slice_weight(f, s.slice)); w != T(0)) {
                sum += w * force({here, here, false});
            }
            grad_phi[b * f.points() + s.at] = sum;
        }
    }
}

cuda::Grid grid_of(std::int64_t items) {
    return {dim3(static_cast<unsigned>(items < (1 << 20) ? items : 1 << 20)), dim3(field_threads),
            SharedMemory::bytes<double>(field_threads / 32 * 4)};
}

std::int64_t parts_of(const FieldShape& f) { return (f.points() + sites_of_a_part - 1) / sites_of_a_part; }

template <class T>
void action_of(const FieldCall& p) {
    using cuda::pointer;
    const cuda::Queue queue;
    const std::int64_t parts = parts_of(p.shape);
    const cuda::Workspace partial(queue, parts == 1 ? 0 : static_cast<std::size_t>(4 * p.batch * parts) * sizeof(double));
    cuda::launch(queue, sums_kernel<T>, grid_of(p.batch * parts), p.shape, p.batch, parts, p.factors, pointer<const T>(p.phi),
                 pointer<double>(p.out), pointer<double>(partial.data()));
    if (parts > 1)
        cuda::launch(queue, combine_kernel, cuda::grid_for(p.batch, 128), p.batch, parts, p.factors,
                     pointer<const double>(partial.data()), pointer<double>(p.out));
}

template <class T>
void gradient_of(const FieldCall& p) {
    using cuda::pointer;
    const std::int64_t parts = parts_of(p.shape);
    cuda::launch(cuda::Queue(), gradient_kernel<T>, grid_of(p.batch * parts), p.shape, p.batch, parts, p.factors,
                 pointer<const T>(p.phi), pointer<const double>(p.grad), pointer<T>(p.grad_phi));
}

}  // namespace

void compute_field_action(const FieldCall& p) {
    if (p.reference) cuda::refuse_reference();
    if (p.batch == 0) return;
    p.single ? action_of<float>(p) : action_of<double>(p);
}

void compute_field_gradient(const FieldCall& p) {
    if (p.reference) cuda::refuse_reference();
    if (p.batch == 0) return;
    p.single ? gradient_of<float>(p) : gradient_of<double>(p);
}

}  // namespace qcore::paths
