// Metropolis sweeps of one vector of chains. Included by files compiled per instruction set, with contraction off: chains are then
// the same for every instruction set that has a fused multiply-add.
#pragma once

#include <cmath>

#include "core/config.hpp"
#include "core/parallel.hpp"
#include "core/random.hpp"
#include "paths/metropolis_action.hpp"

namespace qcore::QC_ISA {
namespace {

using paths::MetropolisCall;
using paths::Move;

// The chains of a task, kept together in scratch from the first sweep of a call to the last.
template <class T, class P>
class Chains {
  public:
    using S = Simd<T>;
    using V = typename S::V;
    using R = Random<T>;
    using Math = VectorMath<T>;

    explicit Chains(const MetropolisTask& t)
        : t_(t), c_(*t.call), action_(t), beads_(t.beads), link_(static_cast<T>(c_.link)), free_(c_.pinned ? 1 : 0),
          moving_(c_.pinned ? t.beads - 2 : t.beads), stream_(static_cast<std::uint32_t>(t.first_chain), c_.seed) {
        const std::int64_t room = c_.segment + 8;  // normals come in blocks
        const std::int64_t numbers = (beads_ + 2 * room) * S::width + 2 * c_.segment;
        x_ = static_cast<T*>(thread_scratch(static_cast<std::size_t>(numbers) * sizeof(T)));
        y_ = x_ + beads_ * S::width;
        z_ = y_ + room * S::width;
        share_ = z_ + room * S::width;
        sigma_ = share_ + c_.segment;
        for (std::int64_t r = 0; r < c_.segment; ++r) {
            share_[r] = T(1) / static_cast<T>(r + 1);
            sigma_[r] = std::sqrt(static_cast<T>(r) * share_[r] / link_);
        }
    }

    void run() {
        load();
        std::int64_t measurement = 0;
        for (std::int64_t k = 0; k < c_.sweeps; ++k) {
            const std::int64_t number = c_.first + k;
            sweep_ = static_cast<std::uint32_t>(number);
            for (std::size_t m = 0; m < c_.moves.size(); ++m) make(m, static_cast<Move>(c_.moves[m]), number);
            if ((number + 1) % c_.every == 0) measure(measurement++);
        }
        save();
    }

  private:
    static constexpr int most_moves = 8;
    typedef std::conditional_t<sizeof(T) == 4, std::int32_t, std::int64_t> Int;
    typedef Int VI __attribute__((vector_size(vector_bytes)));

    V at(std::int64_t i) const { return S::load(x_ + i * S::width); }
    void put(std::int64_t i, V v) { S::store(x_ + i * S::width, v); }
    std::int64_t left(std::int64_t i) const { return i ? i - 1 : beads_ - 1; }
    std::int64_t right(std::int64_t i) const { return i + 1 < beads_ ? i + 1 : 0; }

    // --- state ---

    QC_APART void load() {
        const T* const from = static_cast<const T*>(t_.x) + t_.first_chain;
        for (std::int64_t i = 0; i < beads_; ++i)
            for (int l = 0; l < S::width; ++l) x_[i * S::width + l] = l < t_.count ? from[i * t_.chains + l] : T(0);
        for (int k = 0; k < 2; ++k)
            for (int l = 0; l < S::width; ++l)
                step_[k][l] = l < t_.count ? static_cast<T>(t_.step[k * t_.chains + t_.first_chain + l]) : T(1);
    }

    QC_APART void save() {
        T* const to = static_cast<T*>(t_.x) + t_.first_chain;
        for (std::int64_t i = 0; i < beads_; ++i)
            for (int l = 0; l < t_.count; ++l) to[i * t_.chains + l] = x_[i * S::width + l];
        const std::int64_t moves = static_cast<std::int64_t>(c_.moves.size());
        for (int l = 0; l < t_.count; ++l) {
            const std::int64_t chain = t_.first_chain + l;
            for (int k = 0; k < 2; ++k) t_.step[k * t_.chains + chain] = static_cast<double>(step_[k][l]);
            if (!c_.warmup)
                for (std::int64_t m = 0; m < moves; ++m) {
                    t_.counts[m * t_.chains + chain] += proposed_[m];
                    t_.counts[(moves + m) * t_.chains + chain] += taken_[m][l];
                }
            t_.accepted[chain] = proposed_[0] > 0 ? taken_[0][l] / proposed_[0] : 0.0;
        }
    }

    // --- moves ---

    std::uint32_t purpose(std::size_t move, std::uint32_t slot) const {
        return static_cast<std::uint32_t>(Purpose::metropolis) << 24 | static_cast<std::uint32_t>(move) << 16 | slot;
    }

    typename R::Words words(std::size_t move, std::uint32_t slot, std::int64_t site) const {
        return stream_.words(purpose(move, slot), static_cast<std::uint32_t>(site), sweep_);
    }
    QC_APART void words_apart(std::size_t move, std::uint32_t slot, std::int64_t site, typename R::Words& w) const {
        w = words(move, slot, site);
    }

    // u < exp(-ds); a NaN is refused. The least u is above exp(-40).
    static VI accept(V u, V ds) {
        return u < Math::exp_bounded(-Math::clamp(ds, T(0), T(40)));
    }

    void make(std::size_t m, Move move, std::int64_t number) {
        accepted_ = VI{};
        double proposals = 0;
        switch (move) {
            case Move::single: proposals = single(m); break;
            case Move::staging: proposals = segments(m, false); break;
            case Move::bisection: proposals = segments(m, true); break;
            case Move::displacement: proposals = global(m, false); break;
            case Move::reflection: proposals = global(m, true); break;
        }
        for (int l = 0; l < S::width; ++l) taken_[m][l] += static_cast<double>(accepted_[l]);
        proposed_[m] += proposals;
        if (!c_.warmup) return;
        if (move == Move::single) tune(0, proposals, number);
        if (move == Move::displacement) tune(1, proposals, number);
    }

    // Robbins and Monro (1951): towards accepting half of the proposals, by ever smaller changes.
    QC_APART void tune(int k, double proposals, std::int64_t number) {
        if (proposals == 0) return;
        const T gain = static_cast<T>(2 / std::pow(1.0 + static_cast<double>(number), 0.6));
        const V accepted = __builtin_convertvector(accepted_, V) * static_cast<T>(1 / proposals);
        const V step = step_[k] * Math::exp_bounded((accepted - T(0.5)) * gain);
        step_[k] = step > T(1e6) ? V{} + T(1e6) : (step < T(1e-6) ? V{} + T(1e-6) : step);
    }

    // A block of random words serves two beads in single precision and one in double.
    double single(std::size_t m) {
        if (!c_.midpoint && action_.plain()) single_beads<true>(m);
        else single_beads<false>(m);
        return static_cast<double>(moving_ * c_.hits);
    }

    // `plain`: the potential at beads, without correction.
    template <bool plain>
    QC_KERNEL void single_beads(std::size_t m) {
        constexpr int per = R::uniforms / 2;
        const std::int64_t even = (moving_ + 1) / 2;
        const auto bead = [&](std::int64_t q) { return free_ + (q < even ? 2 * q : 2 * (q - even) + 1); };
        // Copies that no store can alias, so that they stay in registers.
        const Action<T, P> action = action_;
        const V width = step_[0], link = V{} + link_;
        T* const path = x_;
        VI accepted{};
        const auto change_of = [&](std::int64_t i, V x, V next) {
            const V before = S::load(path + left(i) * S::width), after = S::load(path + right(i) * S::width);
            V change;
            if constexpr (plain) change = action.plain_value(next) - action.plain_value(x);
            else if (c_.midpoint)
                change = (action.value((next + before) * T(0.5)) - action.value((x + before) * T(0.5))) +
                         (action.value((next + after) * T(0.5)) - action.value((x + after) * T(0.5)));
            else change = action.value(next) - action.value(x);
            return S::fma(link * (next - x), (next + x) - (before + after), change);
        };
        const auto update = [&](std::int64_t i, V place, V chance) {
            const V x = S::load(path + i * S::width), next = S::fma(width, place - T(0.5), x);
            const VI yes = accept(chance, change_of(i, x, next));
            S::store(path + i * S::width, yes ? next : x);
            accepted -= yes;
        };
        const auto block = [&](const typename R::Words& w, std::int64_t q) {
            update(bead(q), R::uniform(w, 0), R::uniform(w, 1));
            if (per == 2 && q + 1 < moving_) update(bead(q + 1), R::uniform(w, per), R::uniform(w, per + 1));
        };
        // Two blocks at a time where all their beads are of one parity, so that none waits for another; the first even bead
        // and the last of an odd number are neighbours and must not meet.
        std::int64_t q = 0;
        while (q < moving_) {
            const bool pair = q + 2 * per <= moving_ && (q >= even || q + 2 * per <= even) && even > 2 * per;
            for (std::int64_t hit = 0; hit < c_.hits; ++hit) {
                if (pair) {
                    typename R::Words w[2];
                    stream_.template words<2>(purpose(m, static_cast<std::uint32_t>(hit)), static_cast<std::uint32_t>(q / per), sweep_, w);
                    V x[2 * per], next[2 * per];
                    VI yes[2 * per];
                    for (int j = 0; j < 2 * per; ++j) {
                        x[j] = S::load(path + bead(q + j) * S::width);
                        next[j] = S::fma(width, R::uniform(w[j / per], j % per * 2) - T(0.5), x[j]);
                    }
                    for (int j = 0; j < 2 * per; ++j)
                        yes[j] = accept(R::uniform(w[j / per], j % per * 2 + 1), change_of(bead(q + j), x[j], next[j]));
                    for (int j = 0; j < 2 * per; ++j) {
                        S::store(path + bead(q + j) * S::width, yes[j] ? next[j] : x[j]);
                        accepted -= yes[j];
                    }
                } else block(words(m, static_cast<std::uint32_t>(hit), q / per), q);
            }
            q += pair ? 2 * per : per;
        }
        accepted_ = accepted;
    }

    // Where segments begin, the same for all chains: independent of what they are, so that each remains a chain of its own law.
    std::int64_t offset(std::size_t m, std::int64_t below) const {
        const std::uint32_t all = 0xffffffffu;
        const auto w = philox({purpose(m, 0xffff), all, sweep_, all}, c_.seed);
        return static_cast<std::int64_t>((std::uint64_t{w[0]} * static_cast<std::uint64_t>(below)) >> 32);
    }

    double segments(std::size_t m, bool halves) {
        const std::int64_t l = c_.segment;
        double proposals = 0;
        const auto grow = [&](std::int64_t begin, std::int64_t length) {
            if (length < 2) return;
            const std::int64_t number = static_cast<std::int64_t>(proposals);
            accepted_ -= halves ? bisect(m, number, begin, length) : stage(m, number, begin, length);
            ++proposals;
        };
        if (!c_.pinned) {
            const std::int64_t from = offset(m, t_.links);
            for (std::int64_t s = 0; s + l <= t_.links; s += l) grow((from + s) % t_.links, l);
        } else {
            const std::int64_t from = offset(m, l);
            if (!halves) grow(0, from);
            std::int64_t s = from;
            for (; s + l <= t_.links; s += l) grow(s, l);
            if (!halves) grow(s, t_.links - s);
        }
        return proposals;
    }

    // y_0 and y_length are beads of the path; between them the new ones.
    std::int64_t wrap(std::int64_t i) const { return i < beads_ ? i : i - beads_; }
    V new_bead(std::int64_t k) const { return S::load(y_ + k * S::width); }

    QC_KERNEL void draw_normals(std::size_t m, std::int64_t number, std::int64_t count) {
        V a, b;
        const std::int64_t blocks = (c_.segment + R::normals - 1) / R::normals;
        for (std::int64_t k = 0; k < count; k += R::normals) {
            const auto w = words(m, 0, number * blocks + k / R::normals);
            for (int i = 0; i < R::normals / 2; ++i) {
                R::normal(w, i, a, b);
                S::store(z_ + (k + 2 * i) * S::width, a);
                S::store(z_ + (k + 2 * i + 1) * S::width, b);
            }
        }
    }

    QC_APART void take(std::int64_t begin, std::int64_t length, VI yes) {
        for (std::int64_t k = 1; k < length; ++k) {
            const std::int64_t i = wrap(begin + k);
            put(i, yes ? new_bead(k) : at(i));
        }
    }

    // Levy's construction: each bead given the one before and the segment's end.
    QC_KERNEL VI stage(std::size_t m, std::int64_t number, std::int64_t begin, std::int64_t length) {
        draw_normals(m, number, length - 1);
        const V end = at(wrap(begin + length));
        V y = at(begin), x = y, change{};
        for (std::int64_t k = 1; k <= length; ++k) {
            const std::int64_t remaining = length - k;
            const V y0 = y, x0 = x;
            x = at(wrap(begin + k));
            if (remaining > 0) {
                const V drift = S::fma(end - y, V{} + share_[remaining], y);
                y = S::fma(V{} + sigma_[remaining], S::load(z_ + (k - 1) * S::width), drift);
                S::store(y_ + k * S::width, y);
            } else y = end;
            if (c_.midpoint) change += action_.value((y + y0) * T(0.5)) - action_.value((x + x0) * T(0.5));
            else if (remaining > 0) change += action_.value(y) - action_.value(x);
        }
        typename R::Words w;
        words_apart(m, 1, number, w);
        const VI yes = accept(R::uniform(w, 0), change);
        take(begin, length, yes);
        return yes;
    }

    // At spacing h the beads at multiples of h carry the potential of h steps (Ceperley 1995, section V.F).
    QC_KERNEL VI bisect(std::size_t m, std::int64_t number, std::int64_t begin, std::int64_t length) {
        draw_normals(m, number, length - 1);
        S::store(y_, at(begin));
        S::store(y_ + length * S::width, at(wrap(begin + length)));
        V sum{}, before{};
        VI yes = VI{} - 1;
        std::int64_t drawn = 0;
        int level = 0;
        typename R::Words w{};
        for (std::int64_t h = length / 2; h >= 1; h /= 2, ++level) {
            const T sigma = std::sqrt(static_cast<T>(h) / (T(2) * link_));
            for (std::int64_t k = h; k < length; k += 2 * h) {
                const V y = S::fma(V{} + sigma, S::load(z_ + drawn++ * S::width), (new_bead(k - h) + new_bead(k + h)) * T(0.5));
                S::store(y_ + k * S::width, y);
                sum += action_.value(y) - action_.value(at(wrap(begin + k)));
            }
            if (level % R::uniforms == 0) words_apart(m, static_cast<std::uint32_t>(1 + level / R::uniforms), number, w);
            const V change = sum * static_cast<T>(h);
            yes &= accept(R::uniform(w, level % R::uniforms), change - before);
            before = change;
        }
        take(begin, length, yes);
        return yes;
    }

    QC_KERNEL double global(std::size_t m, bool reflected) {
        typename R::Words w;
        words_apart(m, 0, 0, w);
        const V shift = reflected ? V{} : step_[1] * (R::uniform(w, 0) - T(0.5));
        const auto moved = [&](V x) { return reflected ? -x : x + shift; };
        V change{}, before = at(beads_ - 1);
        for (std::int64_t i = 0; i < beads_; ++i) {
            const V x = at(i), place = c_.midpoint ? (x + before) * T(0.5) : x;
            change += action_.value(moved(place)) - action_.value(place);
            before = x;
        }
        const VI yes = accept(R::uniform(w, 1), change);
        for (std::int64_t i = 0; i < beads_; ++i) put(i, yes ? moved(at(i)) : at(i));
        accepted_ -= yes;
        return 1;
    }

    // --- measurements ---

    void measure(std::int64_t measurement) {
        const std::int64_t lags = static_cast<std::int64_t>(c_.lags.size());
        double* const out = t_.measured + measurement * (4 + lags) * t_.chains + t_.first_chain;
        if (c_.pinned) measure_pinned(out);
        else measure_closed(out);
        if (t_.histogram) add_to_histogram();
    }

    QC_APART void write(double* out, std::int64_t observable, const LaneSum<T>& sum, double factor, double constant = 0) const {
        for (int l = 0; l < t_.count; ++l) out[observable * t_.chains + l] = constant + factor * sum.total[l];
    }

    static constexpr std::int64_t together = 32;  // terms added in the vector's own precision

    QC_KERNEL void measure_closed(double* out) const {
        LaneSum<T> virial, thermodynamic, squares, fourths;
        const double per_bead = 1.0 / static_cast<double>(beads_);
        V before = at(beads_ - 1);
        for (std::int64_t i = 0; i < beads_; ++i) {
            const V x = at(i), square = x * x, step = x - before;
            V a, b;
            action_.energies(c_.midpoint ? (x + before) * T(0.5) : x, a, b);
            virial.add(a);
            thermodynamic.add(S::fma(step * step, V{} - link_ * T(0.5), b));
            squares.add(square);
            fourths.add(square * square);
            before = x;
            if ((i + 1) % together == 0 || i + 1 == beads_)
                for (LaneSum<T>* sum : {&virial, &thermodynamic, &squares, &fourths}) sum->flush();
        }
        write(out, 0, virial, 1);
        write(out, 1, thermodynamic, 1, 0.5 * static_cast<double>(beads_));
        write(out, 2, squares, per_bead);
        write(out, 3, fourths, per_bead);
        for (std::size_t k = 0; k < c_.lags.size(); ++k) {
            LaneSum<T> products;
            std::int64_t j = c_.lags[k];
            for (std::int64_t i = 0; i < beads_; ++i) {
                products.add(at(i) * at(j));
                j = right(j);
                if ((i + 1) % together == 0 || i + 1 == beads_) products.flush();
            }
            write(out, 4 + static_cast<std::int64_t>(k), products, per_bead);
        }
    }

    QC_KERNEL void measure_pinned(double* out) const {
        LaneSum<T> action, squares, fourths;
        const std::int64_t middle = t_.links / 2;
        V before = at(0);
        if (!c_.midpoint) action.add(action_.value(before) * T(0.5));
        for (std::int64_t i = 1; i < beads_; ++i) {
            const V x = at(i), square = x * x;
            const bool last = i + 1 == beads_;
            if (c_.midpoint) action.add(action_.value((x + before) * T(0.5)));
            else action.add(action_.value(x) * (last ? T(0.5) : T(1)));
            if (!last) {
                squares.add(square);
                fourths.add(square * square);
            }
            before = x;
            if (i % together == 0 || last)
                for (LaneSum<T>* sum : {&action, &squares, &fourths}) sum->flush();
        }
        const double per_bead = moving_ > 0 ? 1.0 / static_cast<double>(moving_) : 0.0;
        write(out, 0, action, 1);
        write_product(out, 1, middle, middle);
        write(out, 2, squares, per_bead);
        write(out, 3, fourths, per_bead);
        for (std::size_t k = 0; k < c_.lags.size(); ++k)
            write_product(out, 4 + static_cast<std::int64_t>(k), middle, middle + c_.lags[k]);
    }

    void write_product(double* out, std::int64_t observable, std::int64_t i, std::int64_t j) const {
        LaneSum<T> product;
        product.add(at(i) * at(j));
        product.flush();
        write(out, observable, product, 1);
    }

    void add_to_histogram() const {
        for (std::int64_t i = free_; i < free_ + moving_; ++i)
            for (int l = 0; l < t_.count; ++l) {
                const double bin = (static_cast<double>(x_[i * S::width + l]) - c_.histogram_start) * c_.inverse_bin;
                if (bin >= 0 && bin < static_cast<double>(t_.bins)) t_.histogram[static_cast<std::int64_t>(bin)] += 1;
            }
    }

    const MetropolisTask& t_;
    const MetropolisCall& c_;
    const Action<T, P> action_;
    const std::int64_t beads_;
    const T link_;
    const std::int64_t free_, moving_;  // first bead that moves, and how many do
    const typename R::Stream stream_;
    std::uint32_t sweep_ = 0;
    V step_[2];
    VI accepted_{};
    double proposed_[most_moves] = {}, taken_[most_moves][S::width] = {};
    T *x_, *y_, *z_;       // path, segment, normals
    T *share_, *sigma_;    // of a bridge's next bead, by the links that remain after it: weight of the end, spread
};

template <class T, class P>
void metropolis_sweeps(const MetropolisTask& t) {
    Chains<T, P>(t).run();
}

}  // namespace
}  // namespace qcore::QC_ISA
