// What the kernels of the actions have in common: how paths are shared out among lanes, and a potential at several points.
//
// A path is gone along by a power of two of neighbouring lanes, up to a warp, so that reads of a row are coalesced; long paths
// are cut into parts of a fixed number of links. Sums go from T to float64 after a few terms, and are added up in a fixed
// order. What bounds the kernels is reading the paths, 4 or 8 bytes a bead; a path network's beads are made in registers.
#pragma once

#include <cmath>

#include "launch.hpp"
#include "paths/action_rows.hpp"

namespace qcore::paths {

using cuda::Pointer;
using cuda::SharedMemory;

constexpr unsigned all_lanes = 0xffffffffu;
constexpr int action_threads = 256;

// Which paths, and which links of them, a lane goes along. Blocks go over `slots` items at a time, an item being a part of a
// path.
struct Share {
    std::int64_t batch, parts, part_links;
    int lanes;

    __device__ int slot() const { return static_cast<int>(threadIdx.x) / lanes; }
    __device__ int lane() const { return static_cast<int>(threadIdx.x) % lanes; }
    __host__ __device__ std::int64_t slots() const { return action_threads / lanes; }
    __host__ __device__ std::int64_t items() const { return batch * parts; }

    // Over all lanes of an item, in all of them.
    __device__ double sum(double v) const {
        for (int by = lanes / 2; by > 0; by /= 2) v += __shfl_xor_sync(all_lanes, v, by);
        return v;
    }
    // Over the lanes up to this one.
    __device__ double running(double v) const {
        for (int by = 1; by < lanes; by *= 2) {
            const double before = __shfl_up_sync(all_lanes, v, by, lanes);
            if (lane() >= by) v += before;
        }
        return v;
    }
    __device__ double last(double v) const { return __shfl_sync(all_lanes, v, lanes - 1, lanes); }
    __device__ double previous(double v) const { return __shfl_up_sync(all_lanes, v, 1, lanes); }
};

// Adds up in T for a few terms, then in float64.
template <class T>
class Total {
  public:
    __device__ void add(T v) { part_ += v; }
    __device__ void settle() {
        total_ += static_cast<double>(part_);
        part_ = 0;
    }
    __device__ double total() const { return total_ + static_cast<double>(part_); }

  private:
    T part_ = 0;
    double total_ = 0;
};

template <class T>
struct Jet {
    T value = 0, slope = 0, curvature = 0, third = 0;
};

// Of a path, its coefficients in shared memory. `order` is that of the highest derivative that is asked for.
template <class T>
class Polynomial {
  public:
    __device__ Polynomial(Pointer<const T> coefficients, int terms) : c_(coefficients), count_(terms) {}

    // Horner's rule for each derivative by itself, begun with a coefficient and not with zero: at infinity they stay infinite.
    template <int order, int P>
    __device__ void at(const T (&x)[P], Jet<T> (&jet)[P]) const {
#pragma unroll
        for (int i = 0; i < P; ++i) jet[i] = term<order>(count_ - 1);
        for (int k = count_ - 2; k >= 0; --k) {
            const Jet<T> c = term<order>(k);
#pragma unroll
            for (int i = 0; i < P; ++i) {
                Jet<T>& j = jet[i];
                j.value = j.value * x[i] + c.value;
                if (order > 0 && k > 0) j.slope = j.slope * x[i] + c.slope;
                if (order > 1 && k > 1) j.curvature = j.curvature * x[i] + c.curvature;
                if (order > 2 && k > 2) j.third = j.third * x[i] + c.third;
            }
        }
    }

  private:
    template <int order>
    __device__ Jet<T> term(int k) const {
        Jet<T> t;
        t.value = c_[k];
        if (order > 0 && k > 0) t.slope = static_cast<T>(k) * t.value;
        if (order > 1 && k > 1) t.curvature = static_cast<T>(k - 1) * t.slope;
        if (order > 2 && k > 2) t.third = static_cast<T>(k - 2) * t.curvature;
        return t;
    }

    Pointer<const T> c_;
    int count_;
};

// Where x lies in a table: the cell, how far into it, and how far past the table's ends.
struct Place {
    std::int64_t cell;
    double in, beyond;

    __device__ Place(const Potential& p, double x) {
        const double u = (x - p.start) * p.inverse_spacing;
        cell = u > 0 ? (u < static_cast<double>(p.count) ? static_cast<std::int64_t>(u) : p.count - 1) : 0;
        const double f = u - static_cast<double>(cell);
        in = f > 1 ? 1 : f < 0 ? 0 : f;
        beyond = f - in;
    }
};

template <class T>
struct Table {
    Pointer<const double> cells;
    Potential p;

    template <int order, int P>
    __device__ void at(const T (&x)[P], Jet<T> (&jet)[P]) const {
        for (int i = 0; i < P; ++i) {
            const Place at(p, static_cast<double>(x[i]));
            const Pointer<const double> c = cells + 4 * at.cell;
            const double slope = c[1] + at.in * (2 * c[2] + at.in * 3 * c[3]), scale = p.inverse_spacing;
            jet[i].value = static_cast<T>(c[0] + at.in * (c[1] + at.in * (c[2] + at.in * c[3])) + at.beyond * slope);
            jet[i].slope = static_cast<T>(slope * scale);
            if (order > 1) jet[i].curvature = static_cast<T>(at.beyond == 0 ? (2 * c[2] + 6 * c[3] * at.in) * scale * scale : 0);
        }
    }
};

// The potential of this slot's path: staged by all threads of the block, whose items go from `first` on.
template <class T, bool table>
__device__ auto potential_of(const ActionRows& a, Pointer<const double> coefficients, const Share& share, std::int64_t first,
                             Pointer<T> staged) {
    if constexpr (table) {
        return Table<T>{coefficients, a.potential};
    } else {
        const int count = static_cast<int>(a.potential.count);
        const std::int64_t rows = a.next_potential ? share.slots() : 1;
        __syncthreads();
        for (std::int64_t i = threadIdx.x; i < rows * count; i += blockDim.x) {
            const std::int64_t item = first + i / count, path = item < share.items() ? item / share.parts : 0;
            staged[i] = static_cast<T>(coefficients[path * a.next_potential + i % count]);
        }
        __syncthreads();
        return Polynomial<T>(Pointer<const T>(staged) + (a.next_potential ? share.slot() * count : 0), count);
    }
}

// Numbers that `potential_of` stages at most.
inline int staged_numbers(const ActionRows& a, const Share& share) {
    if (a.potential.table) return 1;
    return static_cast<int>(a.potential.count * (a.next_potential ? share.slots() : 1));
}

__device__ inline bool on_links(Form form) { return form == Form::middles || form == Form::van_vleck; }

// Of bead i of `beads`.
__device__ inline double weight(const BeadWeights& w, std::int64_t i, std::int64_t beads) {
    return i == 0 ? w.first : i == beads - 1 ? w.last : i % 2 ? w.odd : w.even;
}

__device__ __host__ inline std::int64_t links_of(const ActionRows& a) { return a.beads - (a.periodic ? 0 : 1); }

constexpr std::int64_t links_of_a_part = 1 << 14;

// `each`: neighbouring beads that a lane takes before the others' turn comes.
inline Share share_of(std::int64_t batch, std::int64_t numbers, int each, bool whole) {
    Share s{batch, 1, numbers, 1};
    while (s.lanes < 32 && s.lanes * each < numbers) s.lanes *= 2;
    if (!whole && numbers > links_of_a_part) {
        s.parts = (numbers + links_of_a_part - 1) / links_of_a_part;
        s.part_links = links_of_a_part;
    }
    return s;
}

inline cuda::Grid grid_of(const Share& s, std::size_t shared) {
    cuda::Grid grid = cuda::grid_for(s.items() * s.lanes, action_threads);
    grid.shared = shared;
    return grid;
}

}  // namespace qcore::paths
