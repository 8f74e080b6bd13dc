// Actions of given paths.
#include "paths_network.hpp"

namespace qcore::paths {

namespace {

// Links that a lane takes at once: a coefficient is then read once for all of them.
constexpr int beads_at_once = 4;

template <class T>
class Sums {
  public:
    __device__ explicit Sums(const ActionRows& a) : a_(a) {}

    // The first `some` of P links from x[i], bead first + i stride, to y[i], each with what lies on its first bead.
    template <int P, class V>
    __device__ void add(const V& potential, const T (&x)[P], const T (&y)[P], std::int64_t first, std::int64_t stride, int some) {
        Jet<T> jet[P];
        if (on_links(a_.form)) {
            T middle[P];
#pragma unroll
            for (int i = 0; i < P; ++i) middle[i] = T(0.5) * (x[i] + y[i]);
            if (a_.form == Form::van_vleck) potential.template at<2>(middle, jet);
            else potential.template at<0>(middle, jet);
        } else if (a_.form == Form::corrected) {
            potential.template at<1>(x, jet);
        } else {
            potential.template at<0>(x, jet);
        }
#pragma unroll
        for (int i = 0; i < P; ++i) {
            if (i >= some) break;
            const T d = y[i] - x[i];
            kinetic_.add(d * d);
            if (on_links(a_.form)) {
                potential_.add(jet[i].value);
                if (a_.form == Form::van_vleck) correction_.add(std::log(T(1) - static_cast<T>(a_.lambda) * jet[i].curvature));
            } else {
                bead(jet[i], first + i * stride);
            }
        }
        if (++terms_ % 16 == 0) {
            kinetic_.settle();
            potential_.settle();
            correction_.settle();
        }
    }
    // The last bead of an open path, which no link begins at.
    template <class V>
    __device__ void end(const V& potential, T x) {
        if (on_links(a_.form)) return;
        const T at[1] = {x};
        Jet<T> jet[1];
        potential.template at<1>(at, jet);
        bead(jet[0], a_.beads - 1);
    }

    __device__ ActionSums total(const Share& share) const {
        return {0.5 * share.sum(kinetic_.total()), share.sum(potential_.total()), share.sum(correction_.total())};
    }

  private:
    __device__ void bead(const Jet<T>& jet, std::int64_t i) {
        if (a_.form == Form::beads && i > 0 && i < a_.beads - 1) return potential_.add(jet.value);
        if (const T w = static_cast<T>(weight(a_.plain, i, a_.beads)); w != T(0)) potential_.add(w * jet.value);
        if (a_.form != Form::corrected) return;
        if (const T w = static_cast<T>(weight(a_.squared, i, a_.beads)); w != T(0)) correction_.add(w * jet.slope * jet.slope);
    }

    const ActionRows& a_;
    Total<T> kinetic_, potential_, correction_;
    int terms_ = 0;
};

__device__ void finish(const Share& share, const ActionFactors& factors, std::int64_t item, const ActionSums& s,
                       Pointer<double> out, Pointer<double> partial) {
    if (share.lane() != 0 || item >= share.items()) return;
    if (share.parts == 1) {
        for (int r = 0; r < factors.rows; ++r) out[r * share.batch + item] = factors.combined(r, s);
        return;
    }
    partial[3 * item] = s.kinetic;
    partial[3 * item + 1] = s.potential;
    partial[3 * item + 2] = s.correction;
}

template <class T, bool table>
__global__ void action_kernel(const ActionRows a, const Share share, const ActionFactors factors,
                              Pointer<const double> coefficients,
                              Pointer<const T> x, Pointer<double> out, Pointer<double> partial, int staged) {
    constexpr int P = beads_at_once;
    SharedMemory shared;
    const Pointer<T> stage = shared.array<T>(staged);
    const std::int64_t links = links_of(a);
    for (std::int64_t first = blockIdx.x * share.slots(); first < share.items(); first += gridDim.x * share.slots()) {
        const auto potential = potential_of<T, table>(a, coefficients, share, first, stage);
        const std::int64_t item = first + share.slot();
        Sums<T> sums(a);
        if (item < share.items()) {
            const std::int64_t begin = item % share.parts * share.part_links;
            const std::int64_t end = begin + share.part_links < links ? begin + share.part_links : links;
            const Pointer<const T> row = x + item / share.parts * a.beads;
            for (std::int64_t n = begin + share.lane(); n < end; n += P * share.lanes) {
                T from[P], to[P];
                int some = 0;
#pragma unroll
                for (int i = 0; i < P; ++i) {
                    const std::int64_t m = n + i * share.lanes;
                    const bool in = m < end;
                    from[i] = in ? row[m] : T(0);
                    to[i] = in ? row[m + 1 < a.beads ? m + 1 : 0] : T(0);
                    some += in;
                }
                sums.template add<P>(potential, from, to, n, share.lanes, some);
            }
            if (share.lane() == 0 && end == links && links > 0 && !a.periodic) sums.end(potential, row[a.beads - 1]);
        }
        finish(share, factors, item, sums.total(share), out, partial);
    }
}

// Of path networks: beads in float64, as they come.
template <class T, bool table>
__global__ void network_action_kernel(const ActionRows a, const Share share, const ActionFactors factors,
                                      Pointer<const double> coefficients,
                                      std::int64_t given, bool twice, double dt, Pointer<const T> w, Pointer<const T> x_ini,
                                      Pointer<const T> x_fin, Pointer<double> out, int staged) {
    SharedMemory shared;
    const Pointer<double> stage = shared.array<double>(staged);
    const std::int64_t links = links_of(a);
    for (std::int64_t first = blockIdx.x * share.slots(); first < share.batch; first += gridDim.x * share.slots()) {
        const auto potential = potential_of<double, table>(a, coefficients, share, first, stage);
        const std::int64_t item = first + share.slot(), path = item < share.batch ? item : share.batch - 1;
        const double ini = static_cast<double>(x_ini[path]);
        double bead = ini;  // the last one of an open path
        Integration<T> path_of(share, w + path * given, given, twice, dt, ini);
        Sums<double> sums(a);
        for (std::int64_t begin = 0; begin < links; begin += share.lanes) {
            const std::int64_t n = begin + share.lane();
            double from[1], to[1];
            path_of.next(from[0], to[0]);
            if (n >= links) continue;
            if (x_fin && n > given) from[0] = static_cast<double>(x_fin[path]);
            if (n >= given) to[0] = n == given && x_fin ? static_cast<double>(x_fin[path]) : ini;
            sums.template add<1>(potential, from, to, n, 0, 1);
            bead = to[0];
        }
        // Its last link was the turn of this lane:
        if (links > 0 && !a.periodic && share.lane() == (links - 1) % share.lanes) sums.end(potential, bead);
        finish(share, factors, item, sums.total(share), out, nullptr);
    }
}

__global__ void combine_kernel(std::int64_t batch, std::int64_t parts, const ActionFactors factors, Pointer<const double> partial,
                               Pointer<double> out) {
    for (std::int64_t b = cuda::thread(); b < batch; b += cuda::threads()) {
        ActionSums s;
        for (std::int64_t part = 0; part < parts; ++part) {
            const std::int64_t i = 3 * (b * parts + part);
            s.kinetic += partial[i];
            s.potential += partial[i + 1];
            s.correction += partial[i + 2];
        }
        for (int r = 0; r < factors.rows; ++r) out[r * batch + b] = factors.combined(r, s);
    }
}

template <class T, bool table>
void of_beads(const cuda::Queue& queue, const ActionCall& p) {
    using cuda::pointer;
    const Share share = share_of(p.batch, links_of(p.rows), beads_at_once, false);
    const int staged = staged_numbers(p.rows, share);
    const cuda::Workspace partial(queue, share.parts == 1 ? 0 : static_cast<std::size_t>(3 * share.items()) * sizeof(double));
    cuda::launch(queue, action_kernel<T, table>, grid_of(share, SharedMemory::bytes<T>(staged)), p.rows, share, p.factors,
                 pointer<const double>(p.rows.potential.coefficients), pointer<const T>(p.x), pointer<double>(p.out),
                 pointer<double>(partial.data()), staged);
    if (share.parts > 1)
        cuda::launch(queue, combine_kernel, cuda::grid_for(p.batch, 128), p.batch, share.parts, p.factors,
                     pointer<const double>(partial.data()), pointer<double>(p.out));
}

template <class T, bool table>
void of_network(const cuda::Queue& queue, const ActionCall& p) {
    using cuda::pointer;
    const Share share = share_of(p.batch, links_of(p.rows), 1, true);
    const int staged = staged_numbers(p.rows, share);
    cuda::launch(queue, network_action_kernel<T, table>, grid_of(share, SharedMemory::bytes<double>(staged)), p.rows, share,
                 p.factors,
                 pointer<const double>(p.rows.potential.coefficients), p.given, p.network.twice, p.network.dt,
                 pointer<const T>(p.x),
                 pointer<const T>(p.network.x_ini), pointer<const T>(p.network.x_fin), pointer<double>(p.out), staged);
}

template <class T>
void with_potential(const cuda::Queue& queue, const ActionCall& p) {
    if (p.from_beads) p.rows.potential.table ? of_beads<T, true>(queue, p) : of_beads<T, false>(queue, p);
    else p.rows.potential.table ? of_network<T, true>(queue, p) : of_network<T, false>(queue, p);
}

}  // namespace

void compute_action(const ActionCall& p) {
    if (p.reference) cuda::refuse_reference();
    if (p.batch == 0) return;
    const cuda::Queue queue;
    p.single ? with_potential<float>(queue, p) : with_potential<double>(queue, p);
}

}  // namespace qcore::paths
