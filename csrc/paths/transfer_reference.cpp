#include <algorithm>
#include <cmath>
#include <complex>
#include <limits>
#include <type_traits>
#include <vector>

#include "paths/transfer_sums.hpp"

namespace qcore::transfer {

namespace {

using Complex = std::complex<double>;

// One problem in float64 (complex128 where the tensors are complex), its whole trajectory kept.
template <class T, class N>
class Chain1 {
    static constexpr double nothing = -std::numeric_limits<double>::infinity();

  public:
    Chain1(const Plan& p, Semiring semiring, std::int64_t b) : p_(p), semiring_(semiring), b_(b), states_(p.steps + 1), signs_(p.steps + 1) {
        states_[0] = row(p.psi, b);
        signs_[0] = signs(p.psi_sign, b);
        for (std::int64_t t = 0; t < p.steps; ++t) step(t);
    }

    void store() const {
        put(p_.out, b_, scaled(states_.back()));
        for (std::int64_t i = 1; i <= kept_states(p_.steps, p_.keep_every); ++i) keep(i);
        if (semiring_ != Semiring::log || !p_.second) return;
        put(p_.second, b_, signs_.back());
    }

    void pull(std::int64_t task) {
        std::vector<N> grad = row(p_.grad, b_);
        if (p_.scaled) {
            const double factor = std::ldexp(1.0, -static_cast<int>(exponent(states_.back())));
            for (N& g : grad) g *= factor;
        }
        for (std::int64_t t = p_.steps - 1; t >= 0; --t) grad = back(t, grad, task);
        if (semiring_ != Semiring::linear)
            for (std::int64_t x = 0; x < p_.sites; ++x)
                if (weightless(0, x)) grad[at(x)] = 0.0;
        put(p_.grad_psi, b_, grad);
    }

  private:
    static std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }

    std::vector<N> row(const void* data, std::int64_t i) const {
        const T* const from = static_cast<const T*>(data) + i * p_.sites;
        return std::vector<N>(from, from + p_.sites);
    }
    std::vector<N> signs(const void* data, std::int64_t i) const { return data ? row(data, i) : std::vector<N>(at(p_.sites), N(1.0)); }
    void put(void* data, std::int64_t i, const std::vector<N>& values) const {
        for (std::int64_t x = 0; x < p_.sites; ++x) static_cast<T*>(data)[i * p_.sites + x] = static_cast<T>(values[at(x)]);
    }

    N tap(std::int64_t t, std::int64_t k) const { return N(static_cast<const T*>(p_.taps)[p_.tap_row(t, b_) * p_.kernel + k]); }
    N tap_sign(std::int64_t t, std::int64_t k) const {
        return p_.taps_sign ? N(static_cast<const T*>(p_.taps_sign)[p_.tap_row(t, b_) * p_.kernel + k]) : N(1.0);
    }
    N factor(std::int64_t t, std::int64_t x) const {
        if (!p_.factor) return N(semiring_ == Semiring::linear ? 1.0 : 0.0);
        return N(static_cast<const T*>(p_.factor)[p_.factor_row(t, b_) * p_.sites + x]);
    }
    N factor_sign(std::int64_t t, std::int64_t x) const {
        return p_.factor_sign ? N(static_cast<const T*>(p_.factor_sign)[p_.factor_row(t, b_) * p_.sites + x]) : N(1.0);
    }

    // The site that tap k of output x reads, or -1.
    std::int64_t source(std::int64_t x, std::int64_t k) const {
        return source_index(x + k - p_.kernel / 2, p_.sites, p_.periodic ? Boundary::periodic : Boundary::zero);
    }

    bool weightless(std::int64_t t, std::int64_t x) const {
        return states_[at(t)][at(x)] == N(nothing) || (semiring_ == Semiring::log && signs_[at(t)][at(x)] == N(0.0));
    }

    void step(std::int64_t t) {
        std::vector<N>& next = states_[at(t + 1)];
        next.resize(at(p_.sites));
        signs_[at(t + 1)] = std::vector<N>(at(p_.sites), N(1.0));
        for (std::int64_t x = 0; x < p_.sites; ++x) {
            if (semiring_ == Semiring::linear) next[at(x)] = factor(t, x) * sum(t, x);
            else if constexpr (std::is_same_v<N, double>) next[at(x)] = semiring_ == Semiring::max ? best(t, x).first + factor(t, x) : log_sum(t, x);
        }
    }

    N sum(std::int64_t t, std::int64_t x) const {
        N total = 0.0;
        for (std::int64_t k = 0; k < p_.kernel; ++k)
            if (const std::int64_t y = source(x, k); y >= 0) total += tap(t, k) * states_[at(t)][at(y)];
        return total;
    }

    double log_sum(std::int64_t t, std::int64_t x) {
        double most = nothing, total = 0.0;
        auto each = [&](auto&& f) {
            for (std::int64_t k = 0; k < p_.kernel; ++k)
                if (const std::int64_t y = source(x, k); y >= 0)
                    f(std::real(tap(t, k) + states_[at(t)][at(y)]), std::real(tap_sign(t, k) * signs_[at(t)][at(y)]));
        };
        each([&](double log, double sign) { most = sign != 0.0 && !(log <= most) ? log : most; });
        const double shift = std::isfinite(most) ? most : 0.0;
        each([&](double log, double sign) { total += sign == 0.0 ? 0.0 : sign * std::exp(log - shift); });
        total *= std::real(factor_sign(t, x));
        signs_[at(t + 1)][at(x)] = total > 0.0 ? 1.0 : total < 0.0 ? -1.0 : total;
        return std::log(std::fabs(total)) + shift + std::real(factor(t, x));
    }

    std::pair<double, std::int64_t> best(std::int64_t t, std::int64_t x) const {
        std::pair<double, std::int64_t> found{nothing, -1};
        for (std::int64_t k = 0; k < p_.kernel; ++k)
            if (const std::int64_t y = source(x, k); y >= 0) {
                const double value = std::real(tap(t, k) + states_[at(t)][at(y)]);
                if (value > found.first || std::isnan(value)) found = {value, k};
            }
        return found;
    }

    std::vector<N> back(std::int64_t t, const std::vector<N>& grad, std::int64_t task) const {
        std::vector<N> to(at(p_.sites), N(0.0));
        double* const taps = p_.sum_taps ? p_.sum_taps + ((p_.tap_batch == 1 ? task * p_.tap_steps * p_.tap_batch : 0) + p_.tap_row(t, b_)) * p_.kernel * parts
                                         : nullptr;
        double* const factors = p_.sum_factor ? p_.sum_factor + ((p_.factor_batch == 1 ? task * p_.factor_steps * p_.factor_batch : 0) +
                                                                 p_.factor_row(t, b_)) * p_.sites * parts
                                              : nullptr;
        auto add = [](double* sums, std::int64_t i, N value) {
            if (!sums) return;
            sums[i * parts] += std::real(value);
            if constexpr (parts == 2) sums[i * parts + 1] += std::imag(value);
        };
        for (std::int64_t x = 0; x < p_.sites; ++x) {
            const N g = grad[at(x)];
            if (semiring_ == Semiring::linear) {
                add(factors, x, g * conj(sum(t, x)));
                for (std::int64_t k = 0; k < p_.kernel; ++k)
                    if (const std::int64_t y = source(x, k); y >= 0) {
                        to[at(y)] += g * conj(factor(t, x)) * conj(tap(t, k));
                        add(taps, k, g * conj(factor(t, x)) * conj(states_[at(t)][at(y)]));
                    }
            } else if constexpr (std::is_same_v<N, double>) {
                if (weightless(t + 1, x)) continue;
                add(factors, x, g);
                const std::int64_t chosen = semiring_ == Semiring::max ? best(t, x).second : -1;
                for (std::int64_t k = 0; k < p_.kernel; ++k) {
                    const std::int64_t y = source(x, k);
                    if (y < 0 || weightless(t, y) || (chosen >= 0 && k != chosen)) continue;
                    double share = 1.0;
                    if (chosen < 0) {
                        share = std::exp(tap(t, k) + states_[at(t)][at(y)] + factor(t, x) - states_[at(t + 1)][at(x)]);
                        share *= tap_sign(t, k) * signs_[at(t)][at(y)] * factor_sign(t, x) * signs_[at(t + 1)][at(x)];
                    }
                    to[at(y)] += g * share;
                    add(taps, k, g * share);
                }
            }
        }
        return to;
    }

    static N conj(N value) {
        if constexpr (parts == 2) return std::conj(value);
        else return value;
    }

    // The power of two that brings the largest part to [1, 2).
    std::int64_t exponent(const std::vector<N>& state) const {
        double most = 0.0;
        for (const N& v : state) most = std::max({most, std::fabs(std::real(v)), std::fabs(std::imag(v))});
        return most > 0.0 && std::isfinite(most) ? std::ilogb(most) : 0;
    }
    std::vector<N> scaled(std::vector<N> state) const {
        if (!p_.scaled) return state;
        const std::int64_t e = exponent(state);
        static_cast<double*>(p_.second)[b_] = static_cast<double>(e);
        for (N& v : state) v *= std::ldexp(1.0, -static_cast<int>(e));
        return state;
    }

    // Logarithms are kept as the fused kernel keeps them: mantissa and exponent.
    void keep(std::int64_t i) const {
        const std::vector<N>& state = states_[at(i * p_.keep_every)];
        if (semiring_ != Semiring::log) return put(p_.kept, (i - 1) * p_.batch + b_, state);
        std::vector<N> mantissa(state.size()), power(state.size());
        for (std::int64_t x = 0; x < p_.sites; ++x) {
            const double log = std::real(state[at(x)]), n = std::isfinite(log) ? std::floor(log / std::log(2.0)) : 0.0;
            mantissa[at(x)] = std::exp(log - n * std::log(2.0)) * signs_[at(i * p_.keep_every)][at(x)];
            power[at(x)] = n;
        }
        put(p_.kept, 2 * (i - 1) * p_.batch + b_, mantissa);
        put(p_.kept, (2 * (i - 1) + 1) * p_.batch + b_, power);
    }

    static constexpr std::int64_t parts = std::is_same_v<N, Complex> ? 2 : 1;
    const Plan& p_;
    Semiring semiring_;
    std::int64_t b_;
    std::vector<std::vector<N>> states_, signs_;
};

template <class T, class N>
void run(const Plan& p, Semiring semiring, bool backwards) {
    for (std::int64_t b = 0; b < p.batch; ++b) {
        Chain1<T, N> chain(p, semiring, b);
        if (backwards) chain.pull(0);
        else chain.store();
    }
}

void dispatch(const Plan& p, Semiring semiring, DType dtype, bool backwards) {
    switch (dtype) {
        case DType::f32: return run<float, double>(p, semiring, backwards);
        case DType::c64: return run<std::complex<float>, Complex>(p, semiring, backwards);
        case DType::c128: return run<Complex, Complex>(p, semiring, backwards);
        default: return run<double, double>(p, semiring, backwards);
    }
}

}  // namespace

void reference_forward(const Plan& p, Semiring semiring, DType dtype) { dispatch(p, semiring, dtype, false); }

void reference_adjoint(const Plan& plan, Semiring semiring, DType dtype) {
    Plan p = plan;
    p.tasks = 1;
    const GradientSums sums(p, dtype);
    dispatch(p, semiring, dtype, true);
    sums.store();
}

}  // namespace qcore::transfer
