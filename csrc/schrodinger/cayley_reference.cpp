// The plain way: one system at a time, every state kept.
#include <complex>
#include <vector>

#include "schrodinger/cayley_prepare.hpp"

namespace qcore::schrodinger {

namespace {

using Number = std::complex<double>;
using Numbers = std::vector<Number>;

class Reference {
  public:
    Reference(const CayleyRun& run, std::int64_t system)
        : run_(run), system_(system), n_(static_cast<std::size_t>(run.n)), factors_(eliminate(run, system, -1.0)) {
        if (run.mass) mass_ = bands_of(run, run.mass, run.mass_count, system);
    }

    // (1 + k)^{-1}, pivots, (1 + t)^{-1}.
    Numbers solve(const Elimination& e, Numbers x) const {
        for (std::size_t j = 1; j < n_; ++j) x[j] -= e.k[j] * x[j - 1];
        x[n_ - 1] *= e.r[n_ - 1];
        for (std::size_t j = n_ - 1; j-- > 0;) x[j] = e.r[j] * x[j] - e.t[j] * x[j + 1];
        return x;
    }
    Numbers solve(Numbers x) const { return solve(factors_, std::move(x)); }
    Numbers solve_transposed(Numbers x) const {
        for (std::size_t j = 1; j < n_; ++j) x[j] -= factors_.t[j - 1] * x[j - 1];
        x[n_ - 1] *= factors_.r[n_ - 1];
        for (std::size_t j = n_ - 1; j-- > 0;) x[j] = factors_.r[j] * x[j] - factors_.k[j + 1] * x[j + 1];
        return x;
    }

    Numbers times_mass(const Numbers& x, bool transposed) const {
        if (!run_.mass) return x;
        Numbers y(n_);
        for (std::size_t j = 0; j < n_; ++j) {
            y[j] = mass_.diagonal[j] * x[j];
            if (j > 0) y[j] += (transposed ? mass_.upper[j - 1] : mass_.lower[j]) * x[j - 1];
            if (j + 1 < n_) y[j] += (transposed ? mass_.lower[j + 1] : mass_.upper[j]) * x[j + 1];
        }
        return y;
    }

    Number weight(int side, std::int64_t m) const {
        const std::int64_t sets = run_.memory_count, set = sets > 1 ? system_ : 0;
        return number(run_, run_.memory + ((side * sets + set) * run_.steps + m) * run_.parts);
    }
    // sum over k < m of weight_{m-k} past_k.
    Number convolve(int side, const Numbers& past) const {
        Number sum = 0.0;
        const std::int64_t m = static_cast<std::int64_t>(past.size());
        for (std::int64_t k = 0; k < m; ++k) sum += weight(side, m - k) * past[static_cast<std::size_t>(k)];
        return sum;
    }

    template <class T>
    Numbers read(const T* p, std::int64_t state, bool conjugate) const {
        Numbers x(n_);
        for (std::size_t j = 0; j < n_; ++j) {
            const T* const q = p + ((state * run_.batch + system_) * run_.n + static_cast<std::int64_t>(j)) * run_.parts;
            x[j] = {static_cast<double>(q[0]), run_.parts == 2 ? (conjugate ? -1.0 : 1.0) * static_cast<double>(q[1]) : 0.0};
        }
        return x;
    }
    template <class T>
    void write(const Numbers& x, bool conjugate, T* p, std::int64_t state) const {
        for (std::size_t j = 0; j < n_; ++j) {
            T* const q = p + ((state * run_.batch + system_) * run_.n + static_cast<std::int64_t>(j)) * run_.parts;
            q[0] = static_cast<T>(x[j].real());
            if (run_.parts == 2) q[1] = static_cast<T>((conjugate ? -1.0 : 1.0) * x[j].imag());
        }
    }

    // One step; `past` holds chi at the ends, `source` gets their right hand sides.
    Numbers step(const Numbers& psi, Numbers (&past)[2], Number (&source)[2]) const {
        Numbers rhs = times_mass(psi, false);
        if (run_.memory) {
            for (int e = 0; e < 2; ++e) rhs[e ? n_ - 1 : 0] += source[e] = convolve(e, past[e]);
        }
        const Numbers chi = solve(rhs);
        for (int e = 0; e < 2; ++e) past[e].push_back(chi[e ? n_ - 1 : 0]);
        Numbers next(n_);
        for (std::size_t j = 0; j < n_; ++j) next[j] = 2.0 * chi[j] - psi[j];
        return next;
    }

    template <class T>
    void forward(const CayleyForward& io) const {
        Numbers psi = read(static_cast<const T*>(io.psi), 0, false), past[2];
        for (std::int64_t m = 1; m <= run_.steps; ++m) {
            Number source[2];
            psi = step(psi, past, source);
            if (io.trace)
                for (int e = 0; e < 2; ++e)
                    for (int kind = 0; kind < 2; ++kind) {
                        const Number value = kind ? source[e] : past[e].back();
                        double* const p = io.trace + (((kind * run_.steps + m - 1) * 2 + e) * run_.batch + system_) * 2;
                        p[0] = value.real();
                        p[1] = value.imag();
                    }
            if (io.save_every && m % io.save_every == 0) write(psi, false, static_cast<T*>(io.frames), m / io.save_every - 1);
            if (io.kept && io.checkpoint_every && m % io.checkpoint_every == 0 && m < run_.steps)
                write(psi, false, io.kept, m / io.checkpoint_every - 1);
        }
        if (io.kept && !io.checkpoint_every) write(psi, false, io.kept, 0);
        write(psi, false, static_cast<T*>(io.out), 0);
    }

    template <class T>
    void adjoint(const CayleyAdjoint& io) const {
        const std::int64_t steps = run_.steps;
        std::vector<Numbers> states;
        Numbers chi_ends[2];
        if (io.checkpoint_every) {
            states.push_back(read(static_cast<const T*>(io.psi), 0, false));
            for (std::int64_t m = 0; m < steps; ++m) {
                Number source[2];
                states.push_back(step(states.back(), chi_ends, source));
            }
        } else if (io.sums) {
            const Elimination back = eliminate(run_, system_, 1.0);
            states.assign(static_cast<std::size_t>(steps) + 1, {});
            states.back() = read(io.kept, 0, false);
            for (std::size_t m = states.size() - 1; m-- > 0;) {
                const Numbers chi = solve(back, times_mass(states[m + 1], false));
                for (std::size_t j = 0; j < n_; ++j) states[m].push_back(2.0 * chi[j] - states[m + 1][j]);
            }
        }
        Numbers mu = read(static_cast<const T*>(io.grad_out), 0, true), nu_ends[2];
        for (std::int64_t m = steps; m > 0; --m) {
            if (io.grad_frames && m % io.save_every == 0) {
                const Numbers g = read(static_cast<const T*>(io.grad_frames), m / io.save_every - 1, true);
                for (std::size_t j = 0; j < n_; ++j) mu[j] += g[j];
            }
            Numbers nu = mu;
            if (run_.memory)
                for (int e = 0; e < 2; ++e) nu[e ? n_ - 1 : 0] += convolve(e, nu_ends[e]);
            nu = solve_transposed(nu);
            for (int e = 0; e < 2; ++e) nu_ends[e].push_back(nu[e ? n_ - 1 : 0]);
            if (io.sums) accumulate(io, nu, states[static_cast<std::size_t>(m - 1)], states[static_cast<std::size_t>(m)]);
            const Numbers pulled = times_mass(nu, true);
            for (std::size_t j = 0; j < n_; ++j) mu[j] = 2.0 * pulled[j] - mu[j];
        }
        write(mu, true, static_cast<T*>(io.grad_psi), 0);
        if (io.memory_sums && run_.memory)
            for (int e = 0; e < 2; ++e)
                for (std::int64_t m = 0; m < steps; ++m) {
                    Number sum = 0.0;
                    for (std::int64_t i = 0; m + i < steps; ++i)
                        sum += nu_ends[e][static_cast<std::size_t>(steps - 1 - m - i)] * chi_ends[e][static_cast<std::size_t>(i)];
                    add(io.memory_sums, (system_ * 2 + e) * steps + m, sum);
                }
    }

  private:
    void add(double* to, std::int64_t i, Number value) const {
        to[i * run_.parts] += value.real();
        if (run_.parts == 2) to[i * run_.parts + 1] += value.imag();
    }

    void accumulate(const CayleyAdjoint& io, const Numbers& nu, const Numbers& before, const Numbers& after) const {
        const std::int64_t sets = run_.mass ? 6 : 3;
        for (std::int64_t band = 0; band < sets; ++band)
            for (std::int64_t i = 0; i < run_.n; ++i) {
                const std::int64_t j = i + band % 3 - 1;
                if (j < 0 || j >= run_.n) continue;
                const std::size_t at = static_cast<std::size_t>(j);
                const Number of = band < 3 ? 0.5 * (before[at] + after[at]) : 0.5 * (before[at] - after[at]);
                add(io.sums, (system_ * sets + band) * run_.n + i, nu[static_cast<std::size_t>(i)] * of);
            }
    }

    const CayleyRun& run_;
    std::int64_t system_;
    std::size_t n_;
    Elimination factors_;
    Bands mass_;
};

}  // namespace

void reference_forward(const CayleyRun& run, const CayleyForward& io) {
    for (std::int64_t s = 0; s < run.batch; ++s) {
        const Reference r(run, s);
        if (run.single) r.forward<float>(io);
        else r.forward<double>(io);
    }
}

void reference_adjoint(const CayleyRun& run, const CayleyAdjoint& io) {
    for (std::int64_t s = 0; s < run.batch; ++s) {
        const Reference r(run, s);
        if (run.single) r.adjoint<float>(io);
        else r.adjoint<double>(io);
    }
}

}  // namespace qcore::schrodinger
