#include "schrodinger/cayley_prepare.hpp"

#include <algorithm>
#include <cmath>
#include <string>
#include <type_traits>
#include <utility>

#include "core/check.hpp"
#include "core/isa.hpp"
#include "core/parallel.hpp"

namespace qcore {
QC_ISA_OBJECT(schrodinger::CayleyKernels, cayley_kernels)
}

namespace qcore::schrodinger {

namespace {

using Number = std::complex<double>;
using Numbers = std::vector<Number>;

template <class F>
void parallel(std::int64_t n, int threads, F&& body) {
    parallel_for(n, threads, [](void* f, std::int64_t i) { (*static_cast<std::remove_reference_t<F>*>(f))(i); }, &body);
}

double size(Number a) { return std::fabs(a.real()) + std::fabs(a.imag()); }

void append(std::vector<double>& to, const Number& a, int parts) {
    to.push_back(a.real());
    if (parts == 2) to.push_back(a.imag());
}

std::vector<double> packed(const Numbers& a, int parts) {
    std::vector<double> to;
    to.reserve(a.size() * static_cast<std::size_t>(parts));
    for (const Number& x : a) append(to, x, parts);
    return to;
}

Bands mirrored(Bands b) {
    std::swap(b.lower, b.upper);
    for (Numbers* a : {&b.lower, &b.diagonal, &b.upper}) std::reverse(a->begin(), a->end());
    return b;
}

// M + sign z A.
Bands system_matrix(const CayleyRun& run, std::int64_t system, double sign) {
    Bands t = bands_of(run, run.bands, run.bands_count, system);
    const Number z = sign * number(run, run.z + (run.z_count > 1 ? system : 0) * run.parts);
    for (Numbers* a : {&t.lower, &t.diagonal, &t.upper})
        for (Number& x : *a) x *= z;
    if (!run.mass) {
        for (Number& x : t.diagonal) x += 1.0;
        return t;
    }
    const Bands m = bands_of(run, run.mass, run.mass_count, system);
    for (std::size_t j = 0; j < t.diagonal.size(); ++j) {
        t.lower[j] += m.lower[j];
        t.diagonal[j] += m.diagonal[j];
        t.upper[j] += m.upper[j];
    }
    return t;
}

// Row of the first pivot that can't be used, or -1.
std::int64_t eliminate(const Bands& t, Elimination& e) {
    const std::size_t n = t.diagonal.size();
    e.k.assign(n, 0.0);
    e.r.assign(n, 0.0);
    e.t.assign(n, 0.0);
    e.pivot.assign(n, 0.0);
    for (std::size_t j = 0; j < n; ++j) {
        Number taken = 0.0;
        if (j > 0) {
            e.k[j] = t.lower[j] * e.r[j - 1];
            taken = e.k[j] * t.upper[j - 1];
        }
        e.pivot[j] = t.diagonal[j] - taken;
        e.r[j] = 1.0 / e.pivot[j];
        if (j + 1 < n) e.t[j] = e.r[j] * t.upper[j];
        const double kept = size(e.pivot[j]) / (size(t.diagonal[j]) + size(taken));
        if (!(kept > lost_pivot && std::isfinite(size(e.r[j])) && std::isfinite(size(e.pivot[j])) && std::isfinite(size(e.t[j]))))
            return static_cast<std::int64_t>(j);
    }
    return -1;
}

[[noreturn]] void fail_pivot(std::int64_t row, std::int64_t system) {
    fail("diagonal, off_diagonal, z, mass_matrix", "M - z A that elimination without pivoting can factor",
         "a pivot that is zero, not finite or lost to rounding, in row " + std::to_string(row) + " of system " + std::to_string(system));
}

// How much a rounding of the eliminated vector may grow on the way back to psi, at most: what alternating sweeps cost in digits.
double recovery_growth(const Bands& t, const Elimination& e) {
    double y = 0, growth = 0;
    for (std::size_t j = 0; j < t.diagonal.size(); ++j) {
        const double lower = j ? std::abs(t.lower[j]) : 0.0, before = y;
        y = std::abs(e.r[j]) * (1.0 + lower * before);
        growth = std::max(growth, std::abs(e.pivot[j]) * y + lower * before);
    }
    return growth;
}
constexpr double most_growth = 1e4;

// Factors that all systems share, and the memory they are in.
struct Shared {
    std::vector<double> k, r, t, back_k, back_r, back_t, mass, down, up;

    void prepare(CayleyRun& run, bool back, bool alternate) {
        Elimination e = schrodinger::eliminate(run, 0, -1.0);
        if (alternate) alternating(run, e);
        fill(run.factors, e, run.parts, k, r, t);
        if (back) {
            e = schrodinger::eliminate(run, 0, 1.0);
            fill(run.back, e, run.parts, back_k, back_r, back_t);
        }
        if (run.mass) {
            const Bands m = bands_of(run, run.mass, run.mass_count, 0);
            for (const Numbers* a : {&m.lower, &m.diagonal, &m.upper})
                for (const Number& x : *a) append(mass, x, run.parts);
            run.mass_rows = mass.data();
        }
    }

  private:
    static void fill(Factors& f, const Elimination& e, int parts, std::vector<double>& ks, std::vector<double>& rs, std::vector<double>& ts) {
        ks = packed(e.k, parts);
        rs = packed(e.r, parts);
        ts = packed(e.t, parts);
        f = {ks.data(), rs.data(), ts.data()};
    }

    void alternating(CayleyRun& run, const Elimination& e) {
        const Bands matrix = system_matrix(run, 0, -1.0), flipped = mirrored(matrix);
        Elimination far;
        if (eliminate(flipped, far) >= 0) return;  // this end can't be started from: the other kernel doesn't need to
        if (!(recovery_growth(matrix, e) < most_growth && recovery_growth(flipped, far) < most_growth)) return;
        const std::size_t n = matrix.diagonal.size();
        for (std::size_t j = 0; j < n; ++j) {
            const Number q = far.r[n - 1 - j], lower = j ? matrix.lower[j] : 0.0, upper = j + 1 < n ? matrix.upper[j] : 0.0;
            for (const Number& x : {e.t[j], e.pivot[j], lower, q, q * upper}) append(down, x, run.parts);
            for (const Number& x : {q * lower, far.pivot[n - 1 - j], upper, e.r[j], e.r[j] * lower}) append(up, x, run.parts);
        }
        run.down = down.data();
        run.up = up.data();
    }
};

constexpr std::int64_t cache_bytes = 512 * 1024;           // of states that two vectors of systems may take
constexpr std::int64_t points_per_thread = std::int64_t{1} << 15;

int threads_for(const CayleyRun& run) {
    const std::int64_t work = run.n * run.batch * std::max<std::int64_t>(run.steps, 1) / points_per_thread;
    return static_cast<int>(std::clamp<std::int64_t>(work, 1, max_threads()));
}

// A lanewise kernel has found a pivot that it can't use: which?
[[noreturn]] void find_broken(const CayleyRun& run, std::int64_t first, std::int64_t count) {
    for (double sign : {-1.0, 1.0})
        for (std::int64_t s = first; s < first + count; ++s) {
            Elimination e;
            const std::int64_t row = eliminate(system_matrix(run, s, sign), e);
            if (row >= 0) fail_pivot(row, s);
        }
    fail_pivot(0, first);
}

}  // namespace

Number number(const CayleyRun& run, const double* p) { return {p[0], run.parts == 2 ? p[1] : 0.0}; }

Bands bands_of(const CayleyRun& run, const double* bands, std::int64_t count, std::int64_t system) {
    Bands b;
    Numbers* const of[3] = {&b.lower, &b.diagonal, &b.upper};
    for (int band = 0; band < 3; ++band) {
        const double* const p = bands + (band * count + (count > 1 ? system : 0)) * run.n * run.parts;
        of[band]->resize(static_cast<std::size_t>(run.n));
        for (std::int64_t j = 0; j < run.n; ++j)
            if (band == 1 || (band == 0 ? j > 0 : j + 1 < run.n)) (*of[band])[static_cast<std::size_t>(j)] = number(run, p + j * run.parts);
    }
    return b;
}

Elimination eliminate(const CayleyRun& run, std::int64_t system, double sign) {
    Elimination e;
    const std::int64_t row = eliminate(system_matrix(run, system, sign), e);
    if (row >= 0) fail_pivot(row, system);
    return e;
}

void advance(CayleyRun run, const CayleyForward& io, Backend backend) {
    if (run.n == 0 || run.batch == 0) return;
    if (backend == Backend::reference) return reference_forward(run, io);
    const CayleyKernels& kernels = selected_cayley_kernels();
    Shared shared;
    if (!run.lanewise) shared.prepare(run, false, run.steps > 0 && !run.mass && !run.memory);
    const int threads = threads_for(run);
    const std::int64_t lanes = kernels.lanes;
    const bool wide = run.down && 2 * lanes * run.n * run.parts * 8 <= cache_bytes && (run.batch + 2 * lanes - 1) / (2 * lanes) >= threads;
    const std::int64_t block = wide && run.batch > lanes ? 2 * lanes : lanes;
    parallel((run.batch + block - 1) / block, threads, [&](std::int64_t i) {
        const std::int64_t first = i * block, count = std::min(block, run.batch - first);
        if (!kernels.forward(run, io, first, count, static_cast<int>(block / lanes))) find_broken(run, first, count);
    });
}

void pull_back(CayleyRun run, CayleyAdjoint io, Backend backend, bool wanted, Sums& sums) {
    if (run.n == 0 || run.batch == 0) return;
    const bool reference = backend == Backend::reference;
    const CayleyKernels& kernels = selected_cayley_kernels();
    const std::int64_t lanes = kernels.lanes, blocks = (run.batch + lanes - 1) / lanes;
    const std::int64_t set = (run.mass ? 6 : 3) * run.n * run.parts, memory_set = run.memory ? 2 * run.steps * run.parts : 0;
    sums.sets = reference || run.lanewise ? run.batch : blocks;
    if (wanted) {
        sums.bands.assign(static_cast<std::size_t>(sums.sets * set), 0.0);
        sums.memory.assign(static_cast<std::size_t>(sums.sets * memory_set), 0.0);
        io.sums = sums.bands.data();
        io.memory_sums = sums.memory.data();
    }
    if (reference) {
        reference_adjoint(run, io);
    } else {
        Shared shared;
        if (!run.lanewise) shared.prepare(run, wanted && !io.checkpoint_every, false);
        parallel(blocks, threads_for(run), [&](std::int64_t i) {
            CayleyAdjoint own = io;
            if (wanted && !run.lanewise) {
                own.sums += i * set;
                own.memory_sums += i * memory_set;
            }
            const std::int64_t first = i * lanes, count = std::min(lanes, run.batch - first);
            if (!kernels.adjoint(run, own, first, count)) find_broken(run, first, count);
        });
    }
    if (run.lanewise) return;
    for (std::int64_t i = 1; i < sums.sets && wanted; ++i) {
        for (std::int64_t j = 0; j < set; ++j) sums.bands[static_cast<std::size_t>(j)] += sums.bands[static_cast<std::size_t>(i * set + j)];
        for (std::int64_t j = 0; j < memory_set; ++j)
            sums.memory[static_cast<std::size_t>(j)] += sums.memory[static_cast<std::size_t>(i * memory_set + j)];
    }
    sums.sets = 1;
}

}  // namespace qcore::schrodinger
