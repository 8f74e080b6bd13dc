// Cayley steps of systems that several blocks share, see schrodinger_team_long.hpp: three launches solve for a chi, others take
// products with its neighbours.
#pragma once

#include <optional>

#include "schrodinger_cayley_states.hpp"
#include "schrodinger_team_long_run.hpp"

namespace qcore::schrodinger {
namespace {

// Row j of M x or, transposed, of M^T x; x(j) are numbers of system s.
template <class N, class X>
__device__ N mass_row(const Coefficients<N>& c, bool transposed, std::int64_t s, std::int64_t j, X x) {
    if (!c.mass) return x(j);
    N sum = c.mass_band(1, s, j) * x(j);
    if (j > 0) sum = mac(transposed ? c.mass_band(2, s, j - 1) : c.mass_band(0, s, j), x(j - 1), sum);
    if (j + 1 < c.n) sum = mac(transposed ? c.mass_band(0, s, j + 1) : c.mass_band(2, s, j), x(j + 1), sum);
    return sum;
}

// From right hand sides to what solves for them. Numbers are those of the launch's systems.
template <class N, class Right, class Take>
struct Solve {
    Coefficients<N> c;
    Right right;  // number (s, j) of the right hand side
    Take take;    // what becomes of chi: the right hand side that follows, where one does

    static constexpr std::int64_t stage = 0;

    __device__ N start(std::int64_t at) const { return right(c, at / c.n, at % c.n); }
    __device__ void update(std::int64_t, N, N) const {}
    __device__ N finish(std::int64_t at, N chi) const { return take(at / c.n, at % c.n, chi); }
    __device__ void close(std::int64_t, Pointer<N>) const {}
};

// M x.
template <class N>
struct TimesMass {
    States<N> x;

    __device__ N operator()(const Coefficients<N>& c, std::int64_t s, std::int64_t j) const {
        return mass_row(c, false, s, j, [&](std::int64_t i) { return x.get(0, s, i); });
    }
};
template <class N>
struct ItsOwn {
    States<N> x;

    __device__ N operator()(const Coefficients<N>&, std::int64_t s, std::int64_t j) const { return x.get(0, s, j); }
};

// The state after step m.
template <class N>
struct TakeStep {
    CayleySteps<N> a;
    States<N> before, after;
    std::int64_t m;

    __device__ N operator()(std::int64_t s, std::int64_t j, N chi) const {
        const N psi = chi + chi - before.get(0, s, j);
        after.set(0, s, j, psi);
        if (a.save_every && m % a.save_every == 0) a.frames.set(m / a.save_every - 1, s, j, psi);
        if (a.checkpoint_every && m % a.checkpoint_every == 0 && m < a.steps) a.kept.set(m / a.checkpoint_every - 1, s, j, psi);
        if (m == a.steps) a.out.set(0, s, j, psi);
        if (m == a.steps && a.keeps_last) a.kept.set(0, s, j, psi);
        return psi;
    }
};
template <class N>
struct TakeChi {
    States<N> to;

    __device__ N operator()(std::int64_t s, std::int64_t j, N chi) const {
        to.set(0, s, j, chi);
        return chi;
    }
};

// mu behind step m: mu <- 2 M^T nu - mu, or what comes to the last state, and what comes to frames.
template <class N>
__global__ void mu_behind(Coefficients<N> c, CayleyPull<N> p, States<N> mu, States<N> nu, bool first, std::int64_t m) {
    for (std::int64_t i = cuda::thread(); i < p.systems * c.n; i += cuda::threads()) {
        const std::int64_t s = i / c.n, j = i % c.n;
        N value;
        if (first) {
            value = p.mu.get(0, s, j).conjugate();
        } else {
            const N once = mass_row(c, true, s, j, [&](std::int64_t k) { return nu.get(0, s, k); });
            value = once + once - mu.get(0, s, j);
        }
        if (p.save_every && m % p.save_every == 0 && m > p.first_step)
            value = value + p.grad_frames.get(m / p.save_every - 1, s, j).conjugate();
        mu.set(0, s, j, value);
        if (m == p.first_step) p.to_mu.set(0, s, j, value.conjugate());
    }
}

// Adds a step to the sums, from number `state` of `after` and, `traced`, chi, which tell the state before; else from the number
// before that as well.
template <class N>
__global__ void add_to_sums(Coefficients<N> c, CayleyPull<N> p, States<N> nu, States<N> after, std::int64_t state, bool traced,
                            States<N> chi, States<N> before) {
    for (std::int64_t i = cuda::thread(); i < p.systems * c.n; i += cuda::threads()) {
        const std::int64_t s = i / c.n, j = i % c.n;
        const N its_nu = nu.get(0, s, j);
        for (int b = 0; b < 3; ++b) {
            if (!c.there(b, j)) continue;
            const std::int64_t k = j + b - 1;
            const N last = after.get(state, s, k),
                    middle = traced ? chi.get(0, s, k) : (after.get(state - 1, s, k) + last).times(0.5);
            const auto add = [&](int band, N x) {
                N& sum = p.sums[(band * p.systems + s) * c.n + j];
                sum = mac(its_nu, x, sum);
            };
            add(b, middle);
            if (c.mass) add(3 + b, middle - last);
            if (traced && b == 1) before.set(0, s, j, middle + middle - last);
        }
    }
}

// One state of a launch's systems.
template <class N>
class StateMemory {
  public:
    StateMemory(const Queue& queue, const Line& line, bool wanted = true)
        : states_{{}, line.batch, line.n, 0}, memory_(queue, wanted ? bytes_of(line.n * line.batch, sizeof(N)) : 0) {
        states_.rows = rows<N, N>(memory_.data());
    }
    const States<N>& operator*() const { return states_; }

  private:
    States<N> states_;
    const Workspace memory_;
};

// What advance_any() and pull_any() do.
template <class N>
void advance_long(const Queue& queue, const Coefficients<N>& c, const Line& line, const Team& team, const CayleySteps<N>& a) {
    LongStates<N, 1> solver(queue, line, team, a.tables.sets);
    const StateMemory<N> psi(queue, line);
    solver.begin(line, 0, a.tables);
    for (std::int64_t m = 1; m <= a.steps; ++m) {
        const States<N> before = m > 1 ? *psi : a.psi;
        const Solve<N, TimesMass<N>, TakeStep<N>> work{c, {before}, {a, before, *psi, m}};
        if (m == 1 || c.mass) solver.start(work);
        solver.stage(work, m < a.steps && !c.mass ? 0 : -1);
    }
}

template <class N>
void pull_long(const Queue& queue, const Coefficients<N>& c, const Line& line, const Team& team, const CayleyPull<N>& p, Known known) {
    const bool traced = known == Known::last;
    LongStates<N, 1> to_nu(queue, line, team, p.tables.sets);
    std::optional<LongStates<N, 1>> to_chi;
    to_nu.begin(line, 0, p.tables);
    if (traced) to_chi.emplace(queue, line, team, p.back.sets).begin(line, 0, p.back);
    const auto solve = [&](const LongStates<N, 1>& solver, const auto& work) {
        solver.start(work);
        solver.stage(work, -1);
    };
    const StateMemory<N> mu(queue, line), nu(queue, line), chi(queue, line, traced), one(queue, line, traced), other(queue, line, traced);
    const cuda::Grid points = grid_for(line.batch * line.n, 256);
    States<N> after = p.states;
    const std::int64_t last = p.first_step + p.steps;
    launch(queue, mu_behind<N>, points, c, p, *mu, *nu, true, last);
    for (std::int64_t m = last; m > p.first_step; --m) {
        solve(to_nu, Solve<N, ItsOwn<N>, TakeChi<N>>{c, {*mu}, {*nu}});
        const States<N> before = (last - m) % 2 ? *other : *one;
        if (traced) solve(*to_chi, Solve<N, TimesMass<N>, TakeChi<N>>{c, {after}, {*chi}});
        if (known != Known::nothing)
            launch(queue, add_to_sums<N>, points, c, p, *nu, after, traced ? 0 : m - p.first_step, traced, *chi, before);
        if (traced) after = before;
        launch(queue, mu_behind<N>, points, c, p, *mu, *nu, false, m - 1);
    }
}

}  // namespace
}  // namespace qcore::schrodinger
