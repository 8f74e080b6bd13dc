// A block of systems, one a lane, through all steps: chunks of the batch whose states stay in the second-level cache.
#pragma once

#include "core/parallel.hpp"
#include "schrodinger/cayley_sweeps.hpp"

namespace qcore::QC_ISA {
namespace {

using schrodinger::CayleyAdjoint;
using schrodinger::CayleyForward;
using schrodinger::CayleyRun;

// Scratch memory cut into pieces: once to count, once to hand out.
class Pieces {
  public:
    explicit Pieces(double* memory) : memory_(memory) {}
    double* take(std::int64_t doubles) {
        double* const piece = memory_ ? memory_ + used_ : nullptr;
        used_ += (doubles + 7) / 8 * 8 + 24;  // so that rows of two pieces don't fall on the same cache sets
        used_ = (used_ + 7) / 8 * 8;
        return piece;
    }
    std::size_t bytes() const { return static_cast<std::size_t>(used_) * sizeof(double); }

  private:
    double* memory_;
    std::int64_t used_ = 0;
};

// Calls layout(pieces) to count and then to hand out this thread's scratch.
template <class F>
void allot(F layout) {
    Pieces count(nullptr);
    layout(count);
    Pieces hand_out(static_cast<double*>(thread_scratch(count.bytes())));
    layout(hand_out);
}

// --- coefficients of the systems of a lanewise run ---

template <class X>
class Coefficients {
  public:
    Coefficients(const CayleyRun& run, std::int64_t first, std::int64_t count) : run_(run), first_(first), count_(count) {}

    // T = M + sign z A in lanes, [3][n], then factored in place: k over the lower band, r over the diagonal, t over the upper.
    bool factor(double sign, double* rows) const {
        const std::int64_t n = run_.n;
        for (int band = 0; band < 3; ++band)
            for (std::int64_t lane = 0; lane < X::lanes; ++lane) {
                const std::int64_t s = system(lane);
                const double* const z = at(run_.z, run_.z_count, s, 1, 0);
                const double zr = sign * z[0], zi = X::parts == 2 ? sign * z[X::parts - 1] : 0.0;
                const double* const a = at(run_.bands, run_.bands_count, s, n, band);
                const double* const m = run_.mass ? at(run_.mass, run_.mass_count, s, n, band) : nullptr;
                double* const to = rows + band * n * X::size + lane;
                for (std::int64_t j = 0; j < n; ++j) {
                    const bool read = band == 1 || (band == 0 ? j > 0 : j + 1 < n);
                    double re = m ? 0.0 : band == 1 ? 1.0 : 0.0, im = 0;
                    if (read) {
                        const double* const e = a + j * X::parts;
                        const double ei = X::parts == 2 ? e[X::parts - 1] : 0.0;
                        if (m) {
                            re = m[j * X::parts];
                            if (X::parts == 2) im = m[j * X::parts + X::parts - 1];
                        }
                        re += zr * e[0] - zi * ei;
                        im += zr * ei + zi * e[0];
                    }
                    to[j * X::size] = read ? re : 0.0;
                    if (X::parts == 2) to[j * X::size + X::lanes] = read ? im : 0.0;
                }
            }
        auto good = X::S::zero() == X::S::zero();
        X r = X::zero(), upper = X::zero();
        for (std::int64_t j = 0; j < n; ++j) {
            double *const lower = rows + j * X::size, *const diagonal = lower + n * X::size, *const above = diagonal + n * X::size;
            const X k = X::load(lower) * r, d = X::load(diagonal), taken = k * upper, pivot = d - taken;
            upper = X::load(above);
            r = X::inverse(pivot);
            k.store(lower);
            r.store(diagonal);
            (r * upper).store(above);
            const typename X::V kept = X::magnitude(pivot) / (X::magnitude(d) + X::magnitude(taken));
            good &= (kept > schrodinger::lost_pivot) & (X::magnitude(r) < __builtin_inf());
        }
        for (int lane = 0; lane < X::lanes; ++lane)
            if (!good[lane]) return false;
        return true;
    }

    void mass(double* rows) const {
        for (int band = 0; band < 3; ++band)
            for (std::int64_t lane = 0; lane < X::lanes; ++lane) {
                const double* const m = at(run_.mass, run_.mass_count, system(lane), run_.n, band);
                for (std::int64_t j = 0; j < run_.n; ++j)
                    for (int c = 0; c < X::parts; ++c) {
                        const bool read = band == 1 || (band == 0 ? j > 0 : j + 1 < run_.n);
                        rows[(band * run_.n + j) * X::size + c * X::lanes + lane] = read ? m[j * X::parts + c] : 0.0;
                    }
            }
    }

    // Weights of the ends, [2][steps].
    void memory(double* rows) const {
        for (int side = 0; side < 2; ++side)
            for (std::int64_t lane = 0; lane < X::lanes; ++lane) {
                const double* const w = at(run_.memory, run_.memory_count, system(lane), run_.steps, side);
                for (std::int64_t m = 0; m < run_.steps; ++m)
                    for (int c = 0; c < X::parts; ++c)
                        rows[(side * run_.steps + m) * X::size + c * X::lanes + lane] = w[m * X::parts + c];
            }
    }

  private:
    // A lane without a system does what the last one does.
    std::int64_t system(std::int64_t lane) const { return first_ + (lane < count_ ? lane : count_ - 1); }
    static const double* at(const double* p, std::int64_t sets, std::int64_t s, std::int64_t length, int band) {
        return p + ((band * sets + (sets > 1 ? s : 0)) * length) * X::parts;
    }

    const CayleyRun& run_;
    std::int64_t first_, count_;
};

// --- forward ---

template <class X, int G, class T>
void alternating_forward(const CayleyRun& run, const CayleyForward& io, std::int64_t first, std::int64_t count) {
    const std::int64_t n = run.n, offset = first * n * X::parts, state = run.batch * n * X::parts;
    double *y = nullptr, *part = nullptr;
    allot([&](Pieces& p) {
        y = p.take(n * G * X::size);
        part = p.take(tile * G * X::size);
    });
    auto save = [&](std::int64_t step, auto* to) {
        for (std::int64_t begin = 0; begin < n; begin += tile) {
            const std::int64_t end = begin + tile < n ? begin + tile : n;
            if (step % 2 == 0) recover<X, G, true>(n, begin, end, run.down, y, part);
            else recover<X, G, false>(n, begin, end, run.up, y, part);
            write_tile<X, G>(part, n, count, begin, end, 1.0, to + offset);
        }
    };
    read_rows<X, G>(static_cast<const T*>(io.psi) + offset, n, count, 1.0, y);
    eliminate<X, G>(n, run.up, y);
    for (std::int64_t m = 1; m <= run.steps; ++m) {
        if (m % 2) alternating_sweep<X, G, true>(n, run.down, y);
        else alternating_sweep<X, G, false>(n, run.up, y);
        if (io.save_every && m % io.save_every == 0) save(m, static_cast<T*>(io.frames) + (m / io.save_every - 1) * state);
        if (io.kept && io.checkpoint_every && m % io.checkpoint_every == 0 && m < run.steps)
            save(m, io.kept + (m / io.checkpoint_every - 1) * state);
    }
    if (io.kept && !io.checkpoint_every) save(run.steps, io.kept);
    save(run.steps, static_cast<T*>(io.out));
}

template <class X, bool lanewise, bool with_mass, bool with_ends, class T>
bool forward(const CayleyRun& run, const CayleyForward& io, std::int64_t first, std::int64_t count) {
    const std::int64_t n = run.n, offset = first * n * X::parts, state = run.batch * n * X::parts;
    double *psi = nullptr, *u = nullptr, *rows = nullptr, *mass = nullptr, *memory = nullptr, *chi = nullptr, *ends = nullptr;
    allot([&](Pieces& p) {
        psi = p.take(n * X::size);
        u = p.take(n * X::size);
        if (lanewise) rows = p.take(3 * n * X::size);
        if (lanewise && with_mass) mass = p.take(3 * n * X::size);
        if (lanewise && with_ends) memory = p.take(2 * run.steps * X::size);
        if (with_ends) chi = p.take(2 * run.steps * X::size);
        ends = p.take(4 * X::size);  // right hand sides, then chi
    });
    Factors f = run.factors;
    const double* m_rows = run.mass_rows;
    const double* weights = run.memory;
    if constexpr (lanewise) {
        const Coefficients<X> coefficients(run, first, count);
        if (!coefficients.factor(-1.0, rows)) return false;
        f = {rows, rows + n * X::size, rows + 2 * n * X::size};
        if constexpr (with_mass) coefficients.mass(mass), m_rows = mass;
        if constexpr (with_ends) coefficients.memory(memory), weights = memory;
    }
    const std::int64_t side = run.steps * (lanewise ? X::size : X::parts);
    read_rows<X, 1>(static_cast<const T*>(io.psi) + offset, n, count, 1.0, psi);
    for (std::int64_t m = 1; m <= run.steps; ++m) {
        if constexpr (with_ends)
            for (int e = 0; e < 2; ++e)
                convolve<X, lanewise>(m - 1, weights + e * side, chi + e * run.steps * X::size, ends + e * X::size);
        two_sweeps<X, lanewise, with_mass, with_ends>(n, f, m_rows, psi, u, ends, ends + 2 * X::size);
        if constexpr (with_ends)
            for (int e = 0; e < 2; ++e) {
                X::load(ends + (2 + e) * X::size).store(chi + (e * run.steps + m - 1) * X::size);
                if (io.trace)
                    for (int kind = 0; kind < 2; ++kind)  // chi, right hand sides
                        write_tile<X, 1>(ends + ((1 - kind) * 2 + e) * X::size, 1, count, 0, 1, 1.0,
                                         io.trace + (((kind * run.steps + m - 1) * 2 + e) * run.batch + first) * X::parts);
            }
        if (io.save_every && m % io.save_every == 0)
            write_rows<X, 1>(psi, n, count, 1.0, static_cast<T*>(io.frames) + (m / io.save_every - 1) * state + offset);
        if (io.kept && io.checkpoint_every && m % io.checkpoint_every == 0 && m < run.steps)
            write_rows<X, 1>(psi, n, count, 1.0, io.kept + (m / io.checkpoint_every - 1) * state + offset);
    }
    if (io.kept && !io.checkpoint_every) write_rows<X, 1>(psi, n, count, 1.0, io.kept + offset);
    write_rows<X, 1>(psi, n, count, 1.0, static_cast<T*>(io.out) + offset);
    return true;
}

// --- adjoint ---

template <class X, bool lanewise, bool with_mass, bool with_ends, class T>
class Adjoint {
  public:
    Adjoint(const CayleyRun& run, const CayleyAdjoint& io, std::int64_t first, std::int64_t count)
        : run_(run), io_(io), first_(first), count_(count), offset_(first * run.n * X::parts), state_(run.batch * run.n * X::parts) {
        const std::int64_t n = run.n, k = io.checkpoint_every, size = n * X::size;
        traced_ = io.sums && !k;
        segment_ = k && k < run.steps ? k : run.steps;
        const std::int64_t sums = (with_mass ? 6 : 3) * size, states = io.sums && k ? segment_ + 1 : traced_;
        allot([&](Pieces& p) {
            rows_.mu = p.take(size);
            rows_.v = p.take(size);
            rows_.u = p.take(size);
            trajectory_ = p.take(states * size);
            rows_.sums = p.take(io.sums ? sums : 0);
            if (lanewise) own_ = p.take(3 * size);
            if (lanewise && traced_) own_back_ = p.take(3 * size);
            if (lanewise && with_mass) own_mass_ = p.take(3 * size);
            if (with_ends) {
                if (lanewise) own_memory_ = p.take(2 * run.steps * X::size);
                nu_ = p.take(2 * run.steps * X::size);
                chi_ = p.take(run.steps * X::size);
                products_ = p.take(run.steps * X::size);
            }
            ends_ = p.take(4 * X::size);
        });
        rows_.source = ends_;
        rows_.ends = ends_ + 2 * X::size;
        if (io.sums)
            for (std::int64_t i = 0; i < sums; ++i) rows_.sums[i] = 0;
        f_ = run.factors;
        back_ = run.back;
        mass_ = run.mass_rows;
        weights_ = run.memory;
    }

    bool run() {
        const std::int64_t n = run_.n;
        if constexpr (lanewise) {
            const Coefficients<X> coefficients(run_, first_, count_);
            if (!coefficients.factor(-1.0, own_)) return false;
            f_ = {own_, own_ + n * X::size, own_ + 2 * n * X::size};
            if (traced_) {
                if (!coefficients.factor(1.0, own_back_)) return false;
                back_ = {own_back_, own_back_ + n * X::size, own_back_ + 2 * n * X::size};
            }
            if constexpr (with_mass) coefficients.mass(own_mass_), mass_ = own_mass_;
            if constexpr (with_ends) coefficients.memory(own_memory_), weights_ = own_memory_;
        }
        // mu is the derivative itself, the conjugate of what torch calls the gradient.
        read_rows<X, 1>(static_cast<const T*>(io_.grad_out) + offset_, n, count_, -1.0, rows_.mu);
        if (!io_.sums) {
            for (std::int64_t m = run_.steps; m > 0; --m) step<States::none>(m);
        } else if (traced_) {
            rows_.after = trajectory_;
            read_rows<X, 1>(io_.kept + offset_, n, count_, 1.0, rows_.after);
            for (std::int64_t m = run_.steps; m > 0; --m) step<States::traced>(m);
        } else {
            for (std::int64_t end = run_.steps; end > 0;) {
                const std::int64_t begin = (end - 1) / segment_ * segment_;
                replay(begin, end);
                for (std::int64_t m = end; m > begin; --m) {
                    rows_.after = state(m - begin);
                    rows_.before = state(m - begin - 1);
                    step<States::known>(m);
                }
                end = begin;
            }
        }
        write_rows<X, 1>(rows_.mu, n, count_, -1.0, static_cast<T*>(io_.grad_psi) + offset_);
        if (io_.sums) hand_out(rows_.sums, (with_mass ? 6 : 3) * n, io_.sums, false);
        if constexpr (with_ends)
            if (io_.memory_sums)
                for (int e = 0; e < 2; ++e) {
                    for (std::int64_t m = 0; m < run_.steps; ++m) read_end(0, m, e, chi_ + m * X::size);
                    correlate<X>(run_.steps, nu_ + e * run_.steps * X::size, chi_, products_);
                    hand_out(products_, run_.steps, io_.memory_sums + e * run_.steps * X::parts, true);
                }
        return true;
    }

  private:
    double* state(std::int64_t i) const { return trajectory_ + i * run_.n * X::size; }

    void replay(std::int64_t begin, std::int64_t end) {
        const std::int64_t n = run_.n;
        if (begin == 0) read_rows<X, 1>(static_cast<const T*>(io_.psi) + offset_, n, count_, 1.0, state(0));
        else read_rows<X, 1>(io_.kept + (begin / segment_ - 1) * state_ + offset_, n, count_, 1.0, state(0));
        for (std::int64_t m = begin; m < end; ++m) {
            const double* const from = state(m - begin);
            double* const to = state(m - begin + 1);
            for (std::int64_t i = 0; i < n * X::size; i += X::lanes) X::S::store(to + i, X::S::load(from + i));
            if constexpr (with_ends)
                for (int e = 0; e < 2; ++e) read_end(1, m, e, ends_ + e * X::size);
            two_sweeps<X, lanewise, with_mass, with_ends>(n, f_, mass_, to, rows_.u, ends_, ends_ + 2 * X::size);
        }
    }

    // From after step m to before it.
    template <States states>
    void step(std::int64_t m) {
        const std::int64_t n = run_.n, done = run_.steps - m;
        if (io_.grad_frames && m % io_.save_every == 0) {
            read_rows<X, 1>(static_cast<const T*>(io_.grad_frames) + (m / io_.save_every - 1) * state_ + offset_, n, count_, -1.0, rows_.u);
            for (std::int64_t i = 0; i < n * X::size; i += X::lanes)
                X::S::store(rows_.mu + i, X::S::load(rows_.mu + i) + X::S::load(rows_.u + i));
        }
        if constexpr (with_ends)
            for (int e = 0; e < 2; ++e)
                convolve<X, lanewise>(done, weights_ + e * run_.steps * (lanewise ? X::size : X::parts), nu_ + e * run_.steps * X::size,
                                      ends_ + e * X::size);
        adjoint_step<X, lanewise, with_mass, with_ends, states>(n, f_, back_, mass_, rows_);
        if constexpr (with_ends)
            for (int e = 0; e < 2; ++e) X::load(rows_.ends + e * X::size).store(nu_ + (e * run_.steps + done) * X::size);
    }

    void read_end(int kind, std::int64_t m, int e, double* to) const {
        read_rows<X, 1>(io_.trace + (((kind * run_.steps + m) * 2 + e) * run_.batch + first_) * X::parts, 1, count_, 1.0, to);
    }

    // Rows to numbers: summed over the block's systems in order, or one set for each.
    void hand_out(const double* rows, std::int64_t length, double* to, bool sides) const {
        const std::int64_t set = length * X::parts * (sides ? 2 : 1);
        for (std::int64_t j = 0; j < length; ++j)
            for (int c = 0; c < X::parts; ++c) {
                double total = 0;
                for (std::int64_t lane = 0; lane < count_; ++lane) {
                    const double value = rows[j * X::size + c * X::lanes + lane];
                    if (lanewise) to[(first_ + lane) * set + j * X::parts + c] = value;
                    else total += value;
                }
                if (!lanewise) to[j * X::parts + c] = total;
            }
    }

    const CayleyRun& run_;
    const CayleyAdjoint& io_;
    std::int64_t first_, count_, offset_, state_, segment_ = 0;
    bool traced_ = false;
    AdjointRows rows_{};
    double *trajectory_ = nullptr, *own_ = nullptr, *own_back_ = nullptr, *own_mass_ = nullptr, *own_memory_ = nullptr;
    double *nu_ = nullptr, *chi_ = nullptr, *products_ = nullptr, *ends_ = nullptr;
    Factors f_{}, back_{};
    const double *mass_ = nullptr, *weights_ = nullptr;
};

}  // namespace
}  // namespace qcore::QC_ISA
