// A factor applied along a line by a warp, whose lanes hold consecutive chunks of it, or by a single thread (lanes = 1).
//
// The elimination y_j = r_j (psi_j - y_{j-1}) and the back-substitution phi_j = y_j - r_j phi_{j+1} are linear recurrences: what
// comes out of a chunk is a number of its own plus the product of its -r times what comes in. Each lane finds the former, five
// rounds of shuffles with products known beforehand give all lanes what comes in, and they go through their chunk again. The
// pivots are those of the whole line, so this is elimination as on the CPU; |r| < 1 keeps what the lanes pass on from growing.
#pragma once

#include "schrodinger_split_sweeps.hpp"

namespace qcore::schrodinger {
namespace {

constexpr unsigned whole_warp = 0xffffffffu;

template <class T>
__device__ inline Real<T> from_lane(Real<T> a, int lane) {
    return {__shfl_sync(whole_warp, a.re, lane)};
}
template <class T>
__device__ inline Complex<T> from_lane(Complex<T> a, int lane) {
    return {__shfl_sync(whole_warp, a.re, lane), __shfl_sync(whole_warp, a.im, lane)};
}

// A factor's table as one lane reads it.
template <class N, int lanes>
struct FactorView {
    Pointer<const N> table;
    std::int64_t chunk;
    int lane;

    __device__ N alpha() const { return table[0]; }
    __device__ N beta() const { return table[1]; }
    __device__ N diagonal() const { return table[2]; }
    __device__ bool recover() const { return table[3].re != 0; }
    __device__ N scale() const { return table[4]; }
    __device__ N product(int round, int of) const { return table[FactorLayout::products + round * 32 + of]; }
    // Point i of this lane's chunk; -1: the last point of the chunk before.
    __device__ N r(std::int64_t i) const { return table[FactorLayout::head + place(i)]; }
    __device__ N v(std::int64_t i) const { return table[FactorLayout::head + chunk * lanes + place(i)]; }

  private:
    __device__ std::int64_t place(std::int64_t i) const { return i >= 0 ? i * lanes + lane : (chunk - 1) * lanes + lane - 1; }
};

// What the lanes before (up) or behind this one bring to its chunk, from what each chunk makes of nothing; `mine` becomes what
// comes out of the chunk.
template <class N>
__device__ N carried_up(const FactorView<N, 32>& f, N& mine) {
    for (int round = 0; round < FactorLayout::rounds; ++round) {
        const int distance = 1 << round, from = f.lane - distance;
        const N other = from_lane(mine, from < 0 ? 0 : from);
        if (from >= 0) mine = mac(f.product(round, from + 1), other, mine);
    }
    const N before = from_lane(mine, f.lane > 0 ? f.lane - 1 : 0);
    return f.lane > 0 ? before : N{};
}
template <class N>
__device__ N carried_down(const FactorView<N, 32>& f, N& mine) {
    for (int round = 0; round < FactorLayout::rounds; ++round) {
        const int distance = 1 << round, from = f.lane + distance;
        const N other = from_lane(mine, from > 31 ? 31 : from);
        if (from < 32) mine = mac(f.product(round, f.lane), other, mine);
    }
    const N behind = from_lane(mine, f.lane < 31 ? f.lane + 1 : 31);
    return f.lane < 31 ? behind : N{};
}

// Numbers of a line, `stride` apart: read from source, y and the result in target, which may be the same.
template <class S, class N>
struct Line {
    Pointer<const S> source;
    Pointer<S> target;
    std::int64_t stride;

    __device__ N psi(std::int64_t j) const { return convert<N>(source[j * stride]); }
    __device__ N get(std::int64_t j) const { return convert<N>(target[j * stride]); }
    __device__ void put(std::int64_t j, N value) const { target[j * stride] = convert<S>(value); }
};

template <int lanes, class N, class L>
__device__ void apply_factor(const FactorView<N, lanes>& f, std::int64_t n, bool periodic, const L& line) {
    const std::int64_t first = f.lane * f.chunk;
    const std::int64_t count = first >= n ? 0 : n - first < f.chunk ? n - first : f.chunk;

    N before{};  // y in front of the chunk
    if constexpr (lanes > 1) {
        N out{};
#pragma unroll 4
        for (std::int64_t i = 0; i < count; ++i) out = f.r(i) * (line.psi(first + i) - out);
        before = carried_up(f, out);
    }
    N y = before, opening{}, weight = N::of(1, 0);  // opening: phi at the chunk's first point, if phi were 0 behind it
#pragma unroll 4
    for (std::int64_t i = 0; i < count; ++i) {
        const N r = f.r(i);
        y = r * (line.psi(first + i) - y);
        line.put(first + i, y);
        opening = mac(weight, y, opening);
        weight = -(weight * r);
    }
    N behind{};  // phi behind the chunk
    if constexpr (lanes > 1) behind = carried_down(f, opening);

    // Periodic: phi + v correction, of which the numbers at both ends are wanted first.
    N correction{}, phi_first{}, phi_last{}, v_first{}, v_last{};
    if (periodic) {
        phi_first = opening;
        phi_last = y;
        v_first = f.v(0);
        v_last = f.v(count > 0 ? count - 1 : 0);
        if constexpr (lanes > 1) {
            const int owner = static_cast<int>((n - 1) / f.chunk);
            phi_first = from_lane(phi_first, 0);
            v_first = from_lane(v_first, 0);
            phi_last = from_lane(phi_last, owner);
            v_last = from_lane(v_last, owner);
        }
        correction = f.scale() * (phi_first - phi_last);
    }
    if (count == 0) return;

    const N alpha = f.alpha(), beta = f.beta(), diagonal = f.diagonal();
    const bool recover = f.recover();
    const auto corrected = [&](N phi, std::int64_t i) { return periodic ? mac(f.v(i), correction, phi) : phi; };
    N y_here = line.get(first + count - 1), phi = nmac(f.r(count - 1), behind, y_here), here = corrected(phi, count - 1);
    N next{};
    if (first + count < n)
        next = periodic ? mac(f.table[FactorLayout::head + f.chunk * lanes + f.lane + 1], correction, behind) : behind;
    else if (periodic) next = mac(v_first, correction, phi_first);
    for (std::int64_t i = count - 1; i >= 0; --i) {
        const std::int64_t j = first + i;
        N y_before = before, r_before{}, phi_before{}, other{};
        if (i > 0) y_before = line.get(j - 1);
        if (j > 0) {
            r_before = f.r(i - 1);
            phi_before = nmac(r_before, phi, y_before);
            other = i > 0 ? corrected(phi_before, i - 1) : periodic ? mac(f.v(-1), correction, phi_before) : phi_before;
        } else if (periodic) {
            other = mac(v_last, correction, phi_last);
        }
        if (recover) {
            N p = diagonal - r_before;
            if (periodic && (j == 0 || j == n - 1)) p.re += 1;
            line.put(j, mac(beta, here, alpha * mac(p, y_here, y_before)));
        } else {
            line.put(j, mac(beta, here, alpha * (other + next)));
        }
        next = here;
        here = other;
        phi = phi_before;
        y_here = y_before;
    }
}

}  // namespace
}  // namespace qcore::schrodinger
