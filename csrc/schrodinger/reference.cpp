#include "schrodinger/reference.hpp"

#include <algorithm>
#include <complex>
#include <utility>
#include <vector>

namespace qcore::schrodinger {

namespace {

using Complex = std::complex<double>;
using Vector = std::vector<Complex>;

// A square matrix with two diagonals on either side of the main one, whose corners wrap around or are cut off.
class Banded {
  public:
    Banded(std::int64_t n, bool periodic) : n_(n), periodic_(periodic), entries_(static_cast<std::size_t>(5 * n)) {}

    // Where offset d from row j leads, or -1.
    std::int64_t column(std::int64_t j, std::int64_t d) const {
        const std::int64_t k = j + d;
        if (k >= 0 && k < n_) return k;
        return periodic_ ? ((k % n_) + n_) % n_ : -1;
    }
    Complex& at(std::int64_t j, std::int64_t d) { return entries_[static_cast<std::size_t>(5 * j + d + 2)]; }
    Complex at(std::int64_t j, std::int64_t d) const { return entries_[static_cast<std::size_t>(5 * j + d + 2)]; }

    Vector times(const Vector& x) const {
        Vector y(x.size());
        for (std::int64_t j = 0; j < n_; ++j)
            for (std::int64_t d = -2; d <= 2; ++d)
                if (const std::int64_t k = column(j, d); k >= 0) y[static_cast<std::size_t>(j)] += at(j, d) * x[static_cast<std::size_t>(k)];
        return y;
    }

    std::int64_t size() const { return n_; }

  private:
    std::int64_t n_;
    bool periodic_;
    Vector entries_;
};

// Gaussian elimination on sparse rows. Below the diagonal a column has entries in the next two rows and, where the corners wrap
// around, in the last two. Without pivoting: 1 - cH and its leading blocks are regular for Hermitian H unless c is real.
class Solver {
  public:
    explicit Solver(const Banded& a) : n_(a.size()), rows_(static_cast<std::size_t>(n_)) {
        for (std::int64_t j = 0; j < n_; ++j)
            for (std::int64_t d = -2; d <= 2; ++d)
                if (const std::int64_t k = a.column(j, d); k >= 0) entry(j, k) += a.at(j, d);
        for (std::int64_t k = 0; k < n_; ++k)
            for (std::int64_t i = k + 1; i < n_; i = i >= k + 2 ? std::max(i + 1, n_ - 2) : i + 1) {
                const Complex factor = entry(i, k) / entry(k, k);
                if (factor == 0.0) continue;
                const std::vector<Entry>& pivot = rows_[static_cast<std::size_t>(k)];
                for (const Entry& e : pivot)
                    if (e.column > k) entry(i, e.column) -= factor * e.value;
                steps_.push_back({k, i, factor});
            }
    }

    Vector solve(Vector b) const {
        for (const Step& s : steps_) b[static_cast<std::size_t>(s.to)] -= s.factor * b[static_cast<std::size_t>(s.from)];
        for (std::int64_t j = n_ - 1; j >= 0; --j) {
            Complex diagonal = 0, sum = b[static_cast<std::size_t>(j)];
            for (const Entry& e : rows_[static_cast<std::size_t>(j)]) {
                if (e.column == j) diagonal = e.value;
                else if (e.column > j) sum -= e.value * b[static_cast<std::size_t>(e.column)];
            }
            b[static_cast<std::size_t>(j)] = sum / diagonal;
        }
        return b;
    }

  private:
    struct Entry {
        std::int64_t column;
        Complex value;
    };
    struct Step {
        std::int64_t from, to;
        Complex factor;
    };

    Complex& entry(std::int64_t j, std::int64_t k) {
        auto& row = rows_[static_cast<std::size_t>(j)];
        for (Entry& e : row)
            if (e.column == k) return e.value;
        return row.emplace_back(Entry{k, 0.0}).value;
    }

    std::int64_t n_;
    std::vector<std::vector<Entry>> rows_;
    std::vector<Step> steps_;
};

// (1 - c H)^{-1} of one system: with L_r = (l - q l^2) / (1 - m l) the matrix is T (1 - m l)^{-1},
//     T = (1 - c V)(1 - m l) - c kappa (l - q l^2).
class Resolvent {
  public:
    Resolvent(const Evolution& e, const Complex* potential, Complex c)
        : mass_(mass(e)), solver_(matrix(e, potential, c)) {}

    Vector operator()(const Vector& psi) const { return mass_.times(solver_.solve(psi)); }

  private:
    static bool periodic(const Evolution& e) { return e.boundary == Boundary::periodic; }
    static double m(int order) { return order == 2 ? 0.0 : order == 4 ? 1.0 / 12 : 2.0 / 15; }
    static double q(int order) { return order == 6 ? 1.0 / 20 : 0.0; }

    static Banded mass(const Evolution& e) {
        const std::int64_t n = e.potential.shape[2];
        Banded a(n, periodic(e));
        for (std::int64_t j = 0; j < n; ++j) {
            a.at(j, 0) = 1.0 - 2.0 * m(e.order);
            a.at(j, -1) = a.at(j, 1) = m(e.order);
        }
        return a;
    }

    static Solver matrix(const Evolution& e, const Complex* potential, Complex c) {
        const std::int64_t n = e.potential.shape[2];
        Banded a(n, periodic(e));
        for (std::int64_t j = 0; j < n; ++j) {
            const Complex one = 1.0 - c * potential[j], first = -one * m(e.order) - c * e.kappa, second = c * e.kappa * q(e.order);
            a.at(j, 0) += one;
            for (std::int64_t d : {-1, 0, 1}) {
                const double l = d ? -1.0 : 2.0;
                a.at(j, d) += first * l;
                if (a.column(j, d) < 0) continue;  // nothing beyond a wall, on the way to l^2 either
                for (std::int64_t f : {-1, 0, 1}) a.at(j, d + f) += second * l * (f ? -1.0 : 2.0);
            }
        }
        return Solver(a);
    }

    Banded mass_;
    Solver solver_;
};

// One system of a batch at a time, in complex numbers whatever the types.
struct Access {
    static Complex get(const TensorView& t, std::int64_t i) {
        switch (t.dtype) {
            case DType::f32: return static_cast<const float*>(t.data)[i];
            case DType::f64: return static_cast<const double*>(t.data)[i];
            case DType::c64: return static_cast<const std::complex<float>*>(t.data)[i];
            default: return static_cast<const Complex*>(t.data)[i];
        }
    }
    static void set(const TensorView& t, std::int64_t i, Complex value) {
        switch (t.dtype) {
            case DType::f32: static_cast<float*>(t.data)[i] = static_cast<float>(value.real()); break;
            case DType::f64: static_cast<double*>(t.data)[i] = value.real(); break;
            case DType::c64: static_cast<std::complex<float>*>(t.data)[i] = std::complex<float>(value); break;
            default: static_cast<Complex*>(t.data)[i] = value;
        }
    }
    static Vector row(const TensorView& t, std::int64_t index, std::int64_t n) {
        Vector v(static_cast<std::size_t>(n));
        for (std::int64_t j = 0; j < n; ++j) v[static_cast<std::size_t>(j)] = get(t, index * n + j);
        return v;
    }
    static void set_row(const TensorView& t, std::int64_t index, const Vector& v) {
        const auto n = static_cast<std::int64_t>(v.size());
        for (std::int64_t j = 0; j < n; ++j) set(t, index * n + j, v[static_cast<std::size_t>(j)]);
    }
};

// The resolvents that one system meets: those of its M stages, made anew for every step where the potential changes.
class Stages {
  public:
    Stages(const Evolution& e, std::int64_t system, double sign)
        : e_(e), system_(e.potential.shape[1] == 1 ? 0 : system), sign_(sign) {}

    std::int64_t per_step() const { return e_.c.shape[0]; }
    Complex c(std::int64_t stage) const { return static_cast<const Complex*>(e_.c.data)[stage % per_step()]; }
    std::int64_t slice(std::int64_t stage) const { return e_.potential.shape[0] == 1 ? 0 : stage / per_step(); }
    std::int64_t potential_row(std::int64_t stage) const { return slice(stage) * e_.potential.shape[1] + system_; }

    const Resolvent& at(std::int64_t stage) {
        if (slice(stage) != made_) {
            made_ = slice(stage);
            resolvents_.clear();
            const Vector potential = Access::row(e_.potential, potential_row(stage), e_.potential.shape[2]);
            for (std::int64_t s = 0; s < per_step(); ++s) resolvents_.emplace_back(e_, potential.data(), sign_ * c(s));
        }
        return resolvents_[static_cast<std::size_t>(stage % per_step())];
    }

  private:
    const Evolution& e_;
    std::int64_t system_, made_ = -1;
    double sign_;
    std::vector<Resolvent> resolvents_;
};

}  // namespace

void evolve_reference(const Evolution& e, const TensorView& psi, const TensorView& out, const TensorView* frames,
                      std::int64_t save_every) {
    const std::int64_t batch = psi.shape[0], n = psi.shape[1], stages = e.steps * e.c.shape[0];
    for (std::int64_t b = 0; b < batch; ++b) {
        Stages resolvents(e, b, 1.0);
        Vector state = Access::row(psi, b, n);
        for (std::int64_t k = 0; k < stages; ++k) {
            Vector chi = resolvents.at(k)(state);
            if (e.rule == Rule::cayley)
                for (std::size_t j = 0; j < chi.size(); ++j) chi[j] = 2.0 * chi[j] - state[j];
            state = std::move(chi);
            if (frames && (k + 1) % save_every == 0) Access::set_row(*frames, ((k + 1) / save_every - 1) * batch + b, state);
        }
        Access::set_row(out, b, state);
    }
}

void adjoint_reference(const Evolution& e, const TensorView& states, const TensorView& grad_out, const TensorView* grad_frames,
                       std::int64_t save_every, const TensorView& grad_psi, const TensorView& grad_potential,
                       const TensorView& grad_c) {
    const std::int64_t batch = grad_out.shape[0], n = grad_out.shape[1], stages = e.steps * e.c.shape[0];
    const bool cayley = e.rule == Rule::cayley, traced = states.ndim == 2;
    Vector sum_potential(static_cast<std::size_t>(grad_potential.numel())), sum_c(static_cast<std::size_t>(e.c.shape[0]));
    for (std::int64_t b = 0; b < batch; ++b) {
        Stages resolvents(e, b, 1.0), inverse(e, b, -1.0);
        Vector mu = Access::row(grad_out, b, n), after = Access::row(states, traced ? b : stages * batch + b, n);
        for (Complex& m : mu) m = std::conj(m);
        for (std::int64_t k = stages - 1; k >= 0; --k) {
            if (grad_frames && (k + 1) % save_every == 0) {
                const Vector g = Access::row(*grad_frames, ((k + 1) / save_every - 1) * batch + b, n);
                for (std::size_t j = 0; j < mu.size(); ++j) mu[j] += std::conj(g[j]);
            }
            const Vector nu = resolvents.at(k)(mu);
            Vector chi = traced ? inverse.at(k)(after) : after, before(after.size());
            for (std::size_t j = 0; j < chi.size(); ++j) {
                if (traced) before[j] = 2.0 * chi[j] - after[j];
                else before[j] = Access::get(states, (k * batch + b) * n + static_cast<std::int64_t>(j));
                if (cayley && !traced) chi[j] = 0.5 * (before[j] + after[j]);
            }
            const Complex c = resolvents.c(k);
            const double alpha = cayley ? 2.0 : 1.0;
            const auto row = static_cast<std::size_t>(resolvents.potential_row(k) * n);
            for (std::size_t j = 0; j < mu.size(); ++j) {
                sum_potential[row + j] += alpha * c * nu[j] * chi[j];
                sum_c[static_cast<std::size_t>(k % e.c.shape[0])] += alpha * nu[j] * (chi[j] - before[j]) / c;
                mu[j] = cayley ? 2.0 * nu[j] - mu[j] : nu[j];
            }
            after = std::move(before);
        }
        for (Complex& m : mu) m = std::conj(m);
        Access::set_row(grad_psi, b, mu);
    }
    for (std::size_t i = 0; i < sum_potential.size(); ++i)
        Access::set(grad_potential, static_cast<std::int64_t>(i), std::conj(sum_potential[i]));
    for (std::size_t i = 0; i < sum_c.size(); ++i) Access::set(grad_c, static_cast<std::int64_t>(i), std::conj(sum_c[i]));
}

}  // namespace qcore::schrodinger
