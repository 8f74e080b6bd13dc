// Long systems, one or few: their windows are the lanes.
//
// A stage couples points the less the farther they are apart: with A = tri and its factors (elimination.hpp, band.hpp),
// |A^{-1}_ij| <= a rho^|i-j|, a the largest diagonal entry of the inverse and rho the largest multiplier of a back substitution from
// either end. For any x = rho e^theta < 1 the entries of a product of stages alpha S + beta are thus below
//     e^(-theta |i-j|) product over the stages of (alpha b (1 + x) / (1 - x) + |beta|),   b = a (1 + 2 m (cosh(ln rho) - 1)),
// so that from a window, with a wall at either end, a few stages of all points can be had that are far enough from both: far enough
// for what is neglected to be below the rounding. A thread runs so many stages of a few windows in its cache before the next ones.
#include <cmath>
#include <complex>
#include <cstring>
#include <vector>

#include "schrodinger/call.hpp"

namespace qcore::schrodinger {

namespace {

using Complex = std::complex<double>;

constexpr double negligible = 1e-19;
constexpr std::int64_t window_points[] = {768, 1536};

struct Decay {
    double rho = 0, largest = 0;  // largest: alpha b
};

// Without the checks for infinities of the standard operators.
Complex product(Complex a, Complex b) { return {a.real() * b.real() - a.imag() * b.imag(), a.real() * b.imag() + a.imag() * b.real()}; }
Complex inverse(Complex a) { return std::conj(a) * (1 / std::norm(a)); }

// Of the stage with coefficient c.
Decay decay(const Plan& p, Complex c) {
    const double m = p.order == 4 ? 1.0 / 12 : 0.0, alpha = p.rule == Rule::cayley ? 2 : 1;
    const auto one_minus_cv = [&](std::int64_t j) {
        if (!p.complex_potential) return 1.0 - c * p.potential[j];
        return 1.0 - product(c, {p.potential[2 * j], p.potential[2 * j + 1]});
    };
    // Pivots from the top; then those from the bottom, and the diagonal of the inverse from both.
    std::vector<Complex> pivots(static_cast<std::size_t>(p.n));
    double rho = 0, least = HUGE_VAL;  // squared
    Complex before = 0;                // the off-diagonal of the last row over its pivot
    for (std::int64_t j = 0; j < p.n; ++j) {
        const Complex one = one_minus_cv(j), off = m * one + c * p.kappa, pivot = one - 2.0 * off - product(off, before);
        before = product(off, inverse(pivot));
        rho = std::max(rho, std::norm(before));
        pivots[static_cast<std::size_t>(j)] = pivot;
    }
    before = 0;
    for (std::int64_t j = p.n - 1; j >= 0; --j) {
        const Complex one = one_minus_cv(j), off = m * one + c * p.kappa, from_below = product(off, before);
        const Complex pivot = one - 2.0 * off - from_below;
        before = product(off, inverse(pivot));
        rho = std::max(rho, std::norm(before));
        least = std::min(least, std::norm(pivots[static_cast<std::size_t>(j)] - from_below));
    }
    rho = std::sqrt(rho);
    return {rho, alpha / std::sqrt(least) * (1 - 2 * m + m * (rho + 1 / rho))};
}

// Points that `passes` times all stages of a step can reach.
double reach(const std::vector<Decay>& stages, std::int64_t passes, double beta) {
    double rho = 0, best = HUGE_VAL;
    for (const Decay& d : stages) rho = std::max(rho, d.rho);
    if (!(rho < 1)) return best;  // also where it is not a number
    for (double share : {0.5, 0.6, 0.7, 0.8, 0.9, 0.95}) {
        const double theta = -share * std::log(rho);
        double growth = 0;
        for (const Decay& d : stages) {
            const double x = d.rho * std::exp(theta);
            growth += std::log(d.largest * (1 + x) / (1 - x) + beta);
        }
        best = std::min(best, (static_cast<double>(passes) * growth - std::log(negligible)) / theta);
    }
    return best;
}

struct Choice {
    Windows windows{};
    std::int64_t points = 0, steps = 0;  // points of a window, steps of a pass
};

// Cycles of a stage for one row of all lanes, and of everything else that a window costs once a pass.
constexpr double sweep_cost = 18, start_cost = 25, factor_cost = 55;

Choice choose(const Plan& p) {
    std::vector<Decay> stages;
    for (std::int64_t s = 0; s < p.poles; ++s) stages.push_back(decay(p, {p.c[2 * s], p.c[2 * s + 1]}));
    Choice choice;
    double least = HUGE_VAL;
    for (std::int64_t points : window_points)
        for (std::int64_t steps : {1, 2, 4, 8, 16, 32}) {
            const double halo = std::ceil(reach(stages, steps, p.rule == Rule::cayley ? 1 : 0));
            if (!(4 * halo < 1.5 * static_cast<double>(points))) continue;
            const double whole = static_cast<double>(points), core = whole - 2 * halo, poles = static_cast<double>(p.poles);
            const double per_stage = sweep_cost + (start_cost + factor_cost * poles) / (static_cast<double>(steps) * poles);
            if (whole / core * per_stage >= least) continue;
            least = whole / core * per_stage;
            choice.points = points;
            choice.steps = steps;
            choice.windows.length = p.n;
            choice.windows.halo = static_cast<std::int64_t>(halo);
            choice.windows.core = points - 2 * choice.windows.halo;
            choice.windows.count = (p.n + choice.windows.core - 1) / choice.windows.core;
        }
    return choice;
}

template <class From, class To>
void convert(const void* from, void* to, std::int64_t count) {
    for (std::int64_t i = 0; i < count; ++i) static_cast<To*>(to)[i] = static_cast<To>(static_cast<const From*>(from)[i]);
}

}  // namespace

bool evolve_in_windows(const Plan& p, const Kernels& kernels, int threads) {
    if (p.n < long_system || p.periodic || p.order == 6 || !p.constant() || p.stages < 4) return false;
    const Choice choice = choose(p);
    if (!choice.steps) return false;

    // Between passes the state is kept in the numbers of the arithmetic.
    const std::int64_t parts = p.is_complex() ? 2 : 1, numbers = p.batch * p.n * parts;
    const bool single = p.dtype == DType::f32 || p.dtype == DType::c64, widened = single && !p.narrow;
    const std::size_t bytes = static_cast<std::size_t>(numbers) * (p.narrow ? 4 : 8);
    const Buffer one = allocate(bytes), other = allocate(bytes);
    void *state = one.get(), *next = other.get();
    if (widened) convert<float, double>(p.psi, state, numbers);
    else std::memcpy(state, p.psi, bytes);
    const auto give = [&](void* to) {
        if (widened) convert<double, float>(state, to, numbers);
        else std::memcpy(to, state, bytes);
    };

    std::vector<double> c(p.c, p.c + 2 * p.poles);
    c.insert(c.end(), p.c, p.c + 2 * p.poles);
    Plan q = p;
    q.n = choice.points;
    q.batch = p.batch * choice.windows.count;
    q.windows = choice.windows;
    q.dtype = p.is_complex() ? (p.narrow ? DType::c64 : DType::c128) : (p.narrow ? DType::f32 : DType::f64);
    q.groups = 1;
    q.shared = nullptr;
    q.frames = nullptr;
    const std::int64_t frame_bytes = p.frame_rows * p.n * dtype_size(p.dtype);
    for (std::int64_t done = 0; done < p.stages;) {
        q.stages = std::min(choice.steps * p.poles, p.stages - done);
        if (p.frames) q.stages = std::min(q.stages, p.save_every - done % p.save_every);
        q.c = c.data() + 2 * (done % p.poles);
        q.psi = state;
        q.out = next;
        parallel((q.batch + kernels.lanes - 1) / kernels.lanes, threads, [&](std::int64_t i) { kernels.forward(q, i); });
        std::swap(state, next);
        done += q.stages;
        if (p.frames && done % p.save_every == 0) give(static_cast<char*>(p.frames) + (done / p.save_every - 1) * frame_bytes);
    }
    give(p.out);
    return true;
}

}  // namespace qcore::schrodinger
