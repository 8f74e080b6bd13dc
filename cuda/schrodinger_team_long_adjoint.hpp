// Gradients of systems that several blocks share: what happens to the points of a stage of schrodinger_team_long.hpp on its way
// back.
#pragma once

#include "schrodinger_team_long.hpp"

namespace qcore::schrodinger {
namespace {

// What stages back have in common: their sums.
template <class N>
struct LongSums {
    Line line;
    Pointer<double> potential_sums;     // (slices, batch, n) conjugate numbers of the potential, from slice `first_slice` on
    std::int64_t first_slice;
    Pointer<Complex<double>> c_sums;    // [pole][block of the run]
    std::int64_t first_block, blocks;   // the launch's first, and all
    std::int64_t first_number, numbers; // of the launch's first system, and of all
    bool scaled;                        // order 2: nu is still to be divided by c kappa, a traced chi by -c kappa

    __device__ N c(std::int64_t stage) const { return line.template coefficient<N>(stage % line.poles, 1); }
    __device__ N over_c_kappa(std::int64_t stage) const {
        return scaled ? inverse(c(stage).times(line.kappa)) : N::of(1, 0);
    }
    __device__ void add(std::int64_t stage, std::int64_t at, N product) const {
        const std::int64_t slice = line.slices > 1 ? stage / line.poles - first_slice : 0,
                           to = slice * numbers + first_number + at;
        if (!line.complex_potential) {
            potential_sums[to] += product.re;
            return;
        }
        potential_sums[2 * to] += product.re;
        potential_sums[2 * to + 1] -= product.imaginary();
    }
    // A stage's sum for c, of the block.
    __device__ void add_c(std::int64_t stage, std::int64_t item, N sum, Pointer<N> parts) const {
        const int lane = static_cast<int>(threadIdx.x);
        for (int k = 0; k < 5; ++k) sum = sum + shift_down(sum, 1 << k);
        if (lane % warp == 0) parts[lane / warp] = sum;
        __syncthreads();
        if (lane > 0) return;
        for (int v = 1; v < static_cast<int>(blockDim.x) / warp; ++v) sum = sum + parts[v];
        Complex<double>& to = c_sums[stage % line.poles * blocks + first_block + item];
        to = to + convert<Complex<double>>(sum);
    }
};

// mu. Its nu are kept for the state that is traced back, or summed with states that are known.
template <class N>
struct LongMu {
    LongSums<N> sums;
    bool opens;                            // whether the launch begins with the run's last stage
    Rows<N> grad_out, grad_frames, grad_psi;
    std::int64_t save_every;
    Pointer<const N> mu;                   // (batch, n), where it goes on
    Pointer<N> nu;                         // (batch, n); null: the states are known
    Rows<N> states;
    std::int64_t stage;
    N change = N::of(0, 0);

    __device__ N start(std::int64_t at) const {
        const std::int64_t i = sums.first_number + at;
        return opens ? with_frame(stage + 1, at, grad_out.get(i).conjugate()) : mu[i];
    }
    __device__ void update(std::int64_t at, N scaled, N) {
        const std::int64_t i = sums.first_number + at;
        if (nu) {
            nu[i] = scaled;
            return;
        }
        const N before = states.get(stage * sums.numbers + i), after = states.get((stage + 1) * sums.numbers + i);
        const N chi = sums.line.cayley ? (before + after).times(0.5) : after;
        const N c = sums.c(stage), factor = (c * sums.over_c_kappa(stage)).times(sums.line.cayley ? 2 : 1);
        sums.add(stage, at, factor * scaled * chi);
        change = mac(scaled, chi - before, change);
    }
    __device__ N finish(std::int64_t at, N x) const {
        if (stage > 0) return with_frame(stage, at, x);
        grad_psi.set(sums.first_number + at, x.conjugate());
        return x;
    }
    __device__ void close(std::int64_t item, Pointer<N> parts) {
        if (nu) return;
        const N factor = (sums.over_c_kappa(stage) * inverse(sums.c(stage))).times(sums.line.cayley ? 2 : 1);
        sums.add_c(stage, item, factor * change, parts);
        change = N::of(0, 0);
    }

  private:
    // The state after so many stages.
    __device__ N with_frame(std::int64_t stages, std::int64_t at, N x) const {
        if (!save_every || stages % save_every) return x;
        return x + grad_frames.get((stages / save_every - 1) * sums.numbers + sums.first_number + at).conjugate();
    }
};

// The state of Cayley stages, traced back.
template <class N>
struct LongBack {
    LongSums<N> sums;
    Rows<N> psi;             // behind the launch's last stage
    Pointer<const N> nu;     // (batch, n)
    std::int64_t stage;
    N change = N::of(0, 0);

    __device__ N start(std::int64_t at) const { return psi.get(sums.first_number + at); }
    __device__ void update(std::int64_t at, N scaled, N after) {
        const N over = sums.over_c_kappa(stage), its_nu = nu[sums.first_number + at];
        const N chi = sums.scaled ? -(over * scaled) : scaled;
        sums.add(stage, at, (sums.c(stage) * over * its_nu * chi).times(2));
        change = mac(its_nu, after - chi, change);
    }
    __device__ N finish(std::int64_t, N x) const { return x; }
    __device__ void close(std::int64_t item, Pointer<N> parts) {
        sums.add_c(stage, item, (sums.over_c_kappa(stage) * inverse(sums.c(stage)) * change).times(2), parts);
        change = N::of(0, 0);
    }
};

}  // namespace
}  // namespace qcore::schrodinger
