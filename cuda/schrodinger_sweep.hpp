// The general kernels: a thread for each system, all stages of a launch one after the other, the states interleaved in global
// memory. The alternating sweeps of csrc/schrodinger/sweep.hpp and pull.hpp, where the formulas are explained: a stage reads and
// writes a state once, 32 bytes a point in complex128, and neighbouring threads read neighbouring numbers. They take every order,
// boundary and potential; arithmetic is in float64 always. Bound by memory where there are tens of thousands of systems; with
// fewer, the latency of a row bounds them.
#pragma once

#include "schrodinger_factors.hpp"

namespace qcore::schrodinger {
namespace {

// One vector of the state of a system on its way through the sweeps of a launch: state_j at state[j * pitch].
template <class N, int reach>
class Track {
  public:
    __device__ Track(const Line& line, const Stages& stages, const Factors<N>& factors, Pointer<N> state, std::int64_t system)
        : line_(line), stages_(stages), factors_(factors), state_(state + system), set_(factors.sets > 1 ? system : 0) {
        for (N& x : dot_) x = zero();
    }

    // Before position i of a plain state: eliminates it.
    __device__ void begin(std::int64_t i) {
        use_next(i);
        const std::int64_t step = i % 2 ? -1 : 1;
        for (N& x : eliminated_) x = zero();
        for (std::int64_t k = 0, j = step > 0 ? 0 : line_.n - 1; k < line_.n; ++k, j += step) {
            here_ = state_[j * line_.batch];
            eliminate(j, step, here_);
        }
    }

    // A sweep through position i to the eliminated form of the next, or, where it is to be plain, to that.
    __device__ void start(std::int64_t i, bool plain) {
        back_ = next_;
        back_border_ = next_border_;
        if (line_.periodic) correct(i);
        plain_ = plain;
        if (!plain) use_next(i + 1);
        const N c = line_.template coefficient<N>(pole(i), factors_.sign);
        over_c_kappa_ = inverse(c.times(line_.kappa));
        gain_ = over_c_kappa_.times(line_.cayley ? 2 : 1);
        step_ = i % 2 ? 1 : -1;
        const std::int64_t first = step_ > 0 ? 0 : line_.n - 1;
        for (N& x : eliminated_) x = zero();
        look(first);
        here_ = state_[first * line_.batch];
        y_ = ahead_[0] * here_;
        w_ = reach ? y_ : zero();
        before_ = zero();
        after_here_ = reach == 2 ? at(first + step_) : zero();
    }

    // Row j, whose rows go on with j + step(): chi and psi of the stage. In order 2 chi is still to be divided by c kappa.
    __device__ void solve(std::int64_t j, N& chi, N& psi) {
        if constexpr (reach == 0) {
            const N r = ahead_[0];
            look(j + step_);
            w_ = nmac(r, w_, y_);
            chi = w_;
            if (line_.periodic) chi = mac(correction_[0], border(back_border_, j, 0), chi);
            const N next = at(j + step_);
            y_ = ahead_[0] * next;
            psi = here_ + y_;
            here_ = next;
        } else {
            const N e1 = back_[(j * (1 + 2 * reach) + 1 + reach) * factors_.sets], e2 = reach == 2 ? back_[(j * 5 + 4) * factors_.sets] : zero();
            look(j + step_);
            const N next = reach == 2 ? after_here_ : at(j + step_);
            if (reach == 2) after_here_ = at(j + 2 * step_);
            N after = nmac(ahead_[1], w_, ahead_[0] * next);
            if (reach == 2) after = nmac(ahead_[2], before_, after);
            chi = (before_ + after).times(line_.mass) + w_.times(1 - 2 * line_.mass);
            psi = mac(e1, next, here_);
            if (reach == 2) psi = mac(e2, after_here_, psi);
            if (line_.periodic) {
                chi = chi + w_.times(line_.mass * ((j == 0) + (j == line_.n - 1)));
                for (int i = 0; i < reach; ++i) chi = mac(correction_[i], border(back_border_, j, i), chi);
            }
            before_ = w_;
            w_ = after;
            here_ = next;
        }
    }

    // The state after the stage, in row j.
    __device__ N stepped(N chi, N psi) const {
        if constexpr (reach == 0) return line_.cayley ? mac(gain_, chi, -psi) : gain_ * chi;
        else return line_.cayley ? chi + chi - psi : chi;
    }
    __device__ void put(std::int64_t j, N psi) {
        if (plain_) state_[j * line_.batch] = psi;
        else eliminate(j, step_, psi);
    }

    __device__ std::int64_t step() const { return step_; }
    __device__ std::int64_t first() const { return step_ > 0 ? 0 : line_.n - 1; }
    // 1 / (c kappa)
    __device__ N over_c_kappa() const { return over_c_kappa_; }

  private:
    static constexpr int corrections = reach ? reach : 1;
    static __device__ N zero() { return N::of(0, 0); }

    __device__ std::int64_t pole(std::int64_t i) const { return stages_.at(i) % line_.poles; }
    __device__ N at(std::int64_t j) const { return j >= 0 && j < line_.n ? state_[j * line_.batch] : zero(); }
    __device__ N border(Pointer<const N> from, std::int64_t j, int number) const {
        return from[(j * line_.border_numbers() + number) * factors_.sets];
    }

    __device__ void use_next(std::int64_t i) {
        const std::int64_t slot = Factors<N>::slot(line_, stages_, i);
        next_ = factors_.rows + slot * line_.n * (1 + 2 * reach) * factors_.sets + set_;
        if (line_.periodic) next_border_ = factors_.borders + slot * line_.n * line_.border_numbers() * factors_.sets + set_;
    }

    // Corrections of position i from the dot products, which begin anew.
    __device__ void correct(std::int64_t i) {
        const Pointer<const N> weight = factors_.weights + Factors<N>::slot(line_, stages_, i) * line_.weights() * factors_.sets + set_;
        for (int row = 0; row < corrections; ++row) {
            correction_[row] = zero();
            for (int k = 0; k < corrections; ++k)
                correction_[row] = mac(weight[(row * corrections + k) * factors_.sets], dot_[k], correction_[row]);
        }
        for (N& x : dot_) x = zero();
    }

    // r, s of a row.
    __device__ void look(std::int64_t j) {
        for (int i = 0; i <= reach; ++i)
            ahead_[i] = j >= 0 && j < line_.n ? back_[(j * (1 + 2 * reach) + i) * factors_.sets] : zero();
    }

    __device__ void eliminate(std::int64_t j, std::int64_t step, N psi) {
        N now = psi;
        if constexpr (reach == 0) {
            const std::int64_t from = j - step;
            if (from >= 0 && from < line_.n) now = nmac(next_[from * factors_.sets], eliminated_[0], now);
            if (line_.periodic) dot_[0] = mac(border(next_border_, j, 0), psi, dot_[0]);
        } else {
            for (int i = 0; i < reach; ++i) now = nmac(next_[(j * (1 + 2 * reach) + 1 + reach + i) * factors_.sets], eliminated_[i], now);
            if (reach == 2) eliminated_[1] = eliminated_[0];
            if (line_.periodic)
                for (int i = 0; i < reach; ++i) dot_[i] = mac(border(next_border_, j, reach + i), psi, dot_[i]);
        }
        eliminated_[0] = now;
        state_[j * line_.batch] = now;
    }

    const Line& line_;
    const Stages& stages_;
    const Factors<N>& factors_;
    Pointer<N> state_;
    std::int64_t set_, step_ = 1;
    bool plain_ = false;
    Pointer<const N> back_ = nullptr, next_ = nullptr, back_border_ = nullptr, next_border_ = nullptr;  // of this position and the next
    N gain_, over_c_kappa_;
    N ahead_[1 + reach];        // r, s of the row to come
    N w_, y_, before_;          // w_j; order 2: y_j; else w of the row before
    N here_, after_here_;       // the stored state of this row; with two diagonals, of the next but one
    N eliminated_[corrections]; // of the rows before
    N correction_[corrections], dot_[corrections];
};

template <class N, int reach>
__global__ void __launch_bounds__(128) advance(Line line, Stages stages, Factors<N> factors, Pointer<N> state) {
    for (std::int64_t system = cuda::thread(); system < line.batch; system += cuda::threads()) {
        Track<N, reach> track(line, stages, factors, state, system);
        track.begin(0);
        for (std::int64_t i = 0; i < stages.count; ++i) {
            track.start(i, i + 1 == stages.count);
            for (std::int64_t k = 0, j = track.first(); k < line.n; ++k, j += track.step()) {
                N chi, psi;
                track.solve(j, chi, psi);
                track.put(j, track.stepped(chi, psi));
            }
        }
    }
}

// What the adjoint of some stages works on. Sums are [slice][j][system] of one or two numbers, and [pole][system].
template <class N>
struct Adjoint {
    Pointer<N> mu, psi;              // psi: null where all states are stored
    Pointer<const double> states;    // (stages + 1, batch, n) numbers, of this precision or, below, of the other
    Pointer<const float> narrow_states;
    Pointer<double> potential_sums;
    Pointer<Complex<double>> c_sums;
    std::int64_t first_slice;        // the slice that the sums begin with

    __device__ N stored(std::int64_t i) const {
        constexpr int parts = N::parts;
        if (narrow_states) return N::of(static_cast<double>(narrow_states[i * parts]), static_cast<double>(narrow_states[i * parts + parts - 1]));
        return N::of(states[i * parts], states[i * parts + parts - 1]);
    }
};

template <class N, int reach>
__global__ void __launch_bounds__(128) pull(Line line, Stages stages, Factors<N> factors, Factors<N> back, Adjoint<N> a) {
    const int values = line.complex_potential ? 2 : 1;
    const bool traced = static_cast<bool>(a.psi);
    for (std::int64_t system = cuda::thread(); system < line.batch; system += cuda::threads()) {
        Track<N, reach> mu(line, stages, factors, a.mu, system), psi(line, stages, back, a.psi, traced ? system : 0);
        mu.begin(0);
        if (traced) psi.begin(0);
        for (std::int64_t i = 0; i < stages.count; ++i) {
            const bool last = i + 1 == stages.count;
            mu.start(i, last);
            if (traced) psi.start(i, last);
            const std::int64_t stage = stages.at(i), pole = stage % line.poles, slice = line.slices == 1 ? 0 : stage / line.poles - a.first_slice;
            const N c = line.template coefficient<N>(pole, 1), alpha = N::of(line.cayley ? 2 : 1, 0), over_c = inverse(c);
            // In order 2 what solve gives for nu and chi is still to be divided by c kappa and -c kappa.
            const N to_nu = reach ? N::of(1, 0) : mu.over_c_kappa(), to_chi = reach || !traced ? N::of(1, 0) : psi.over_c_kappa();
            N sum_c = N::of(0, 0);
            for (std::int64_t k = 0, j = mu.first(); k < line.n; ++k, j += mu.step()) {
                N nu, before_nu, chi, change;
                mu.solve(j, nu, before_nu);
                mu.put(j, mu.stepped(nu, before_nu));
                if (traced) {
                    N scaled, after;
                    psi.solve(j, scaled, after);
                    psi.put(j, psi.stepped(scaled, after));
                    chi = to_chi * scaled;
                    change = after - chi;
                } else {
                    const std::int64_t at = (stage * line.batch + system) * line.n + j;
                    const N before = a.stored(at), after = a.stored(at + line.batch * line.n);
                    chi = line.cayley ? (before + after).times(0.5) : after;
                    change = chi - before;
                }
                nu = to_nu * nu;
                sum_c = mac(nu, change, sum_c);
                const N product = alpha * c * nu * chi;
                const std::int64_t at = (slice * line.n + j) * line.batch + system;
                a.potential_sums[at * values] += product.re;
                if (values == 2) a.potential_sums[at * values + 1] += product.imaginary();
            }
            Complex<double>& to = a.c_sums[pole * line.batch + system];
            to = to + convert<Complex<double>>(alpha * over_c * sum_c);
        }
    }
}

}  // namespace
}  // namespace qcore::schrodinger
