// Crank-Nicolson steps with transparent ends on the CPU: the weights of the ends, the matrix that knows them, and gradients from
// the sums that the kernels of Cayley steps leave.
#include "schrodinger/transparent_run.hpp"

#include <algorithm>
#include <complex>
#include <vector>

#include "schrodinger/cayley_prepare.hpp"

namespace qcore::schrodinger {

namespace {

using Number = std::complex<double>;
using Numbers = std::vector<Number>;

// Taylor coefficients of nu(x), and of its derivatives with respect to s = V / kappa and R.
struct Weights {
    Numbers nu, by_s, by_r;
};

// With B(x) = (1 + x) b(x) = (2 + s - iR) + (2 + s + iR) x and Q = B^2 - 4 (1 + x)^2, a quadratic polynomial a + b x + c x^2,
//     (1 + x) nu = (B - F) / 2,  F = Q^(1/2),  d nu / d b = (1 - B G) / 2,  G = Q^(-1/2),
// and 2 Q F' = Q' F, 2 Q G' = -Q' G give the coefficients of F and G one after the other. |c / a| = 1: rounding doesn't grow.
// The division by 1 + x lets it add up, which the long double makes good.
Weights weights(double s_, double r_, std::int64_t count, bool derivatives) {
    using Real = long double;
    using Long = std::complex<long double>;
    const Real s = s_, r = r_;
    const Long i(0, 1), p0(s, -r), p1(s, r), q0(4 + s, -r), q1(4 + s, r), b0(2 + s, -r), b1(2 + s, r);
    const Long a = p0 * q0, b = p0 * q1 + p1 * q0, c = p1 * q1;
    Long f = std::sqrt(a), f_before = 0;
    if (std::abs(b0 - f) > std::abs(b0 + f)) f = -f;  // the branch that decays away from the grid
    Long g = Real(1) / f, g_before = 0, nu = 0, y = 0, v = 0;
    Weights w;
    for (std::int64_t n = 0; n < count; ++n) {
        const Real k = static_cast<Real>(n);
        nu = ((n == 0 ? b0 : n == 1 ? b1 : Long(0)) - f) / Real(2) - nu;
        w.nu.emplace_back(static_cast<double>(nu.real()), static_cast<double>(nu.imag()));
        if (derivatives) {
            const Long y_before = y;
            y = b0 * g + b1 * g_before - (n == 0 ? Real(1) : Real(0));
            v = (y - y_before) - v;
            const Long by_r = i * v / Real(2);
            w.by_s.emplace_back(static_cast<double>(-y.real() / 2), static_cast<double>(-y.imag() / 2));
            w.by_r.emplace_back(static_cast<double>(by_r.real()), static_cast<double>(by_r.imag()));
        }
        const Long f_next = ((Real(0.5) - k) * b * f + (Real(2) - k) * c * f_before) / (a * (k + 1));
        const Long g_next = -((k + Real(0.5)) * b * g + k * c * g_before) / (a * (k + 1));
        f_before = f;
        f = f_next;
        g_before = g;
        g = g_next;
    }
    return w;
}

// A run of Cayley steps whose matrix and right hand sides know what is beyond the ends.
class Problem {
  public:
    Problem(const Transparent& t, const CayleyRun& checked, bool derivatives) : run(checked), sets(t.potential.shape[0]), t_(t) {
        build(derivatives);
        run.bands = reinterpret_cast<const double*>(bands_.data());
        run.memory = reinterpret_cast<const double*>(memory_.data());
        run.z = reinterpret_cast<const double*>(&z_);
        run.bands_count = run.memory_count = sets;
        run.z_count = 1;
        run.lanewise = sets > 1;
    }

    double potential(std::int64_t set, std::int64_t j) const {
        return static_cast<const double*>(t_.potential.data)[set * run.n + j];
    }
    std::int64_t end(int side) const { return side ? run.n - 1 : 0; }
    bool open(int side) const { return side ? t_.right : t_.left; }
    const Weights& of(std::int64_t set, int side) const {
        return weights_[static_cast<std::size_t>(which_[static_cast<std::size_t>(2 * set + side)])];
    }
    Number band(int b, std::int64_t set, std::int64_t j) const {
        return bands_[static_cast<std::size_t>((b * sets + set) * run.n + j)];
    }
    Number z() const { return z_; }

    CayleyRun run;
    std::int64_t sets;

  private:
    void build(bool derivatives) {
        const std::int64_t n = run.n, steps = run.steps;
        z_ = {0.0, -t_.tau};
        bands_.assign(static_cast<std::size_t>(3 * sets * n), -t_.kappa);
        memory_.assign(static_cast<std::size_t>(2 * sets * steps), 0.0);
        std::vector<double> known;  // potentials of weights_
        for (std::int64_t set = 0; set < sets; ++set) {
            Number* const diagonal = bands_.data() + (sets + set) * n;
            for (std::int64_t j = 0; j < n; ++j) diagonal[j] = 2 * t_.kappa + potential(set, j);
            for (int side = 0; side < 2 && n > 0; ++side) {
                const double v = potential(set, end(side));
                const auto found = std::find(known.begin(), known.end(), v);
                which_.push_back(found - known.begin());
                if (found == known.end()) {
                    known.push_back(v);
                    weights_.push_back(weights(v / t_.kappa, 1 / (t_.tau * t_.kappa), steps, derivatives));
                }
                if (!open(side) || steps == 0) continue;
                const Numbers& nu = of(set, side).nu;
                diagonal[end(side)] -= t_.kappa * nu[0];
                for (std::int64_t m = 0; m < steps; ++m)
                    memory_[static_cast<std::size_t>((side * sets + set) * steps + m)] =
                        -z_ * t_.kappa * nu[static_cast<std::size_t>(m)];
            }
        }
    }

    const Transparent& t_;
    Number z_;
    Numbers bands_, memory_;
    std::vector<Weights> weights_;
    std::vector<std::ptrdiff_t> which_;
};

}  // namespace

void advance_transparent(const Transparent& t, const CayleyRun& checked, const CayleyForward& io) {
    const Problem p(t, checked, false);
    advance(p.run, io, t.backend);
}

void pull_transparent(const Transparent& t, const CayleyRun& checked, const CayleyAdjoint& io, const TensorView* grad_potential,
                      const TensorView* grad_constants) {
    const Problem p(t, checked, grad_potential != nullptr);
    const CayleyRun& run = p.run;
    Sums sums;
    pull_back(run, io, t.backend, grad_potential != nullptr, sums);
    if (!grad_potential) return;

    // dL = 2 nu_i (z dA + A dz)_ij chi_j + 2 nu_i dw_m chi_j at the ends, for the right hand side's weights w_m = -z kappa nu_m.
    double* const to_potential = static_cast<double*>(grad_potential->data);
    std::fill_n(to_potential, grad_potential->numel(), 0.0);
    const std::int64_t n = run.n, steps = run.steps;
    const double ratio = 1 / (t.tau * t.kappa);
    const Number z = p.z(), by_tau(0.0, -1.0);
    std::fill_n(static_cast<double*>(grad_constants->data), grad_constants->numel(), 0.0);
    for (std::int64_t set = 0; set < sums.sets; ++set) {
        double to_kappa = 0, to_tau = 0;
        const double* const sum = sums.bands.data() + set * 3 * n * 2;
        for (int band = 0; band < 3; ++band)
            for (std::int64_t j = 0; j < n; ++j) {
                if ((band == 0 && j == 0) || (band == 2 && j == n - 1)) continue;
                const Number value = 2.0 * number(run, sum + (band * n + j) * 2), a = p.band(band, set, j);
                to_tau += (by_tau * a * value).real();
                if (band == 1) to_potential[set * n + j] += (z * value).real();
                // What is left of a, without V and without the corner, is in proportion to kappa.
                to_kappa += (z * (band == 1 ? 2.0 : -1.0) * value).real();
            }
        for (int side = 0; side < 2; ++side) {
            if (!p.open(side) || steps == 0) continue;
            const Weights& w = p.of(set, side);
            const double v = p.potential(set, p.end(side));
            Number to_s = 0.0, to_r = 0.0;
            for (std::int64_t m = 0; m < steps; ++m) {
                const std::size_t at = static_cast<std::size_t>(m);
                const Number value = 2.0 * number(run, sums.memory.data() + ((set * 2 + side) * steps + m) * 2);
                const Number to_nu = -z * t.kappa * value;
                to_s += to_nu * w.by_s[at];
                to_r += to_nu * w.by_r[at];
                to_kappa -= (z * w.nu[at] * value).real();
                if (m > 0) to_tau -= (by_tau * t.kappa * w.nu[at] * value).real();  // that of m = 0 is in the corner of a
            }
            to_potential[set * n + p.end(side)] += to_s.real() / t.kappa;
            to_kappa += (-v / (t.kappa * t.kappa) * to_s - ratio / t.kappa * to_r).real();
            to_tau -= (ratio / t.tau * to_r).real();
        }
        static_cast<double*>(grad_constants->data)[set] = to_kappa;
        static_cast<double*>(grad_constants->data)[p.sets + set] = to_tau;
    }
}

}  // namespace qcore::schrodinger
