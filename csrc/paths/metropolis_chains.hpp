// Metropolis sweeps of one vector of chains. Included by files compiled per instruction set and by CUDA sources, with contraction
// off: chains are then the same wherever there is a fused multiply-add.
#pragma once

#include <cmath>

#include "core/random.hpp"
#include "core/scalar_math.hpp"
#include "paths/lane_memory.hpp"
#include "paths/metropolis_action.hpp"

namespace qcore::QC_ISA {
namespace {

using paths::BridgeStep;
using paths::Move;

#if defined(QC_ON_DEVICE)
using Counter = unsigned long long;  // of a histogram that all chains share
#else
using Counter = double;
#endif

// The chains of a vector, from the first sweep of a call to the last.
template <class T, class P>
class Chains {
  public:
    using S = Vector<T>;
    using V = typename S::V;
    using VI = typename S::VI;
    using Mask = typename S::Mask;
    using R = Random<T>;
    using Math = VectorMath<T>;

    // Of a lane.
    static QC_HD std::int64_t scratch_bytes(const MetropolisTask& t) {
        return (rows_held(t) + 2 * room(t)) * static_cast<std::int64_t>(sizeof(T));
    }

    QC_DEVICE Chains(const MetropolisTask& t, const P& potential, const BridgeStep<T>* bridge, std::int64_t first_chain,
                     int count, Counter* histogram, Scratch scratch)
        : t_(t), first_chain_(first_chain), count_(count), action_(t, potential), beads_(t.beads), link_(static_cast<T>(t.link)),
          free_(t.pinned ? 1 : 0), moving_(t.pinned ? t.beads - 2 : t.beads),
          stream_(static_cast<std::uint32_t>(first_chain), t.seed),
          x_(borrow<T, S::width>(scratch, t.x, t.beads, t.chains, first_chain, count)),
          y_(scratch.template rows<T, S::width>(room(t))), z_(scratch.template rows<T, S::width>(room(t))),
          bridge_(memory<const BridgeStep<T>>(bridge)), histogram_(memory<Counter>(histogram)) {}

    QC_DEVICE void run() {
        load();
        std::int64_t measurement = 0;
        for (std::int64_t k = 0; k < t_.sweeps; ++k) {
            const std::int64_t number = t_.first + k;
            sweep_ = static_cast<std::uint32_t>(number);
            for (int m = 0; m < t_.move_count; ++m) make(m, static_cast<Move>(t_.moves[m]), number);
            if ((number + 1) % t_.every == 0) measure(measurement++);
        }
        save();
    }

  private:
    static constexpr int most_moves = MetropolisTask::most_moves;

    static QC_HD std::int64_t room(const MetropolisTask& t) { return t.segment + 8; }  // normals come in blocks
#if defined(QC_ON_DEVICE)
    static QC_HD std::int64_t rows_held(const MetropolisTask&) { return 0; }
#else
    static std::int64_t rows_held(const MetropolisTask& t) { return t.beads; }
#endif

    QC_DEVICE V at(std::int64_t i) const { return S::load(x_[i]); }
    QC_DEVICE void put(std::int64_t i, V v) { S::store(x_[i], v); }
    QC_DEVICE std::int64_t left(std::int64_t i) const { return i ? i - 1 : beads_ - 1; }
    QC_DEVICE std::int64_t right(std::int64_t i) const { return i + 1 < beads_ ? i + 1 : 0; }

    // --- state ---

    QC_APART void load() {
        const Memory<const double> step = memory<const double>(t_.step) + first_chain_;
        for (int k = 0; k < 2; ++k)
            for (int l = 0; l < S::width; ++l)
                S::set_lane(step_[k], l, l < count_ ? static_cast<T>(step[k * t_.chains + l]) : T(1));
    }

    QC_APART void save() {
        give_back(x_, t_.x, beads_, t_.chains, first_chain_, count_);
        const Memory<double> step = memory<double>(t_.step), counts = memory<double>(t_.counts);
        const Memory<double> accepted = memory<double>(t_.accepted);
        for (int l = 0; l < count_; ++l) {
            const std::int64_t chain = first_chain_ + l;
            for (int k = 0; k < 2; ++k) step[k * t_.chains + chain] = static_cast<double>(S::lane(step_[k], l));
            if (!t_.warmup)
                for (int m = 0; m < t_.move_count; ++m) {
                    counts[m * t_.chains + chain] += proposed_[m];
                    counts[(t_.move_count + m) * t_.chains + chain] += taken_[m][l];
                }
            accepted[chain] = proposed_[0] > 0 ? taken_[0][l] / proposed_[0] : 0.0;
        }
    }

    // --- moves ---

    QC_DEVICE std::uint32_t purpose(int move, std::uint32_t slot) const {
        return static_cast<std::uint32_t>(Purpose::metropolis) << 24 | static_cast<std::uint32_t>(move) << 16 | slot;
    }

    QC_DEVICE typename R::Words words(int move, std::uint32_t slot, std::int64_t site) const {
        return stream_.words(purpose(move, slot), static_cast<std::uint32_t>(site), sweep_);
    }
    QC_APART void words_apart(int move, std::uint32_t slot, std::int64_t site, typename R::Words& w) const {
        w = words(move, slot, site);
    }

    // u < exp(-ds); a NaN is refused. The least u is above exp(-40).
    QC_DEVICE static Mask accept(V u, V ds) {
        return u < Math::exp_bounded(-Math::clamp(ds, T(0), T(40)));
    }

    QC_DEVICE void make(int m, Move move, std::int64_t number) {
        accepted_ = VI{};
        double proposals = 0;
        switch (move) {
            case Move::single: proposals = single(m); break;
            case Move::staging: proposals = segments(m, false); break;
            case Move::bisection: proposals = segments(m, true); break;
            case Move::displacement: proposals = global(m, false); break;
            case Move::reflection: proposals = global(m, true); break;
        }
        for (int l = 0; l < S::width; ++l) taken_[m][l] += static_cast<double>(S::lane(accepted_, l));
        proposed_[m] += proposals;
        if (!t_.warmup) return;
        if (move == Move::single) tune(0, proposals, number);
        if (move == Move::displacement) tune(1, proposals, number);
    }

    // Robbins and Monro (1951): towards accepting half of the proposals, by ever smaller changes.
    QC_APART void tune(int k, double proposals, std::int64_t number) {
        if (proposals == 0) return;
        const T gain = static_cast<T>(2 / power_of(1.0 + static_cast<double>(number), 0.6));
        const V accepted = S::template convert<V>(accepted_) * static_cast<T>(1 / proposals);
        const V step = step_[k] * Math::exp_bounded((accepted - T(0.5)) * gain);
        step_[k] = step > T(1e6) ? V{} + T(1e6) : (step < T(1e-6) ? V{} + T(1e-6) : step);
    }

    // A block of random words serves two beads in single precision and one in double.
    QC_DEVICE double single(int m) {
        if (!t_.midpoint && action_.plain()) single_beads<true>(m);
        else single_beads<false>(m);
        return static_cast<double>(moving_ * t_.hits);
    }

    // `plain`: the potential at beads, without correction.
    template <bool plain>
    QC_LANE_KERNEL void single_beads(int m) {
        constexpr int per = R::uniforms / 2;
        // Copies that no store can alias, so that they stay in registers.
        const Action<T, P> action = action_;
        const V width = step_[0], link = V{} + link_;
        const Rows<T, S::width> path = x_;
        const std::int64_t beads = beads_, free = free_, moving = moving_, even = (moving + 1) / 2, hits = t_.hits;
        const std::uint32_t sweep = sweep_;
        const typename R::Stream stream = stream_;
        VI accepted{};
        const auto bead = [&](std::int64_t q) { return free + (q < even ? 2 * q : 2 * (q - even) + 1); };
        const auto at_left = [&](std::int64_t i) { return S::load(path[i ? i - 1 : beads - 1]); };
        const auto at_right = [&](std::int64_t i) { return S::load(path[i + 1 < beads ? i + 1 : 0]); };
        const auto change_of = [&](V before, V x, V after, V next) {
            V change;
            if constexpr (plain) change = action.plain_value(next) - action.plain_value(x);
            else if (t_.midpoint)
                change = (action.value((next + before) * T(0.5)) - action.value((x + before) * T(0.5))) +
                         (action.value((next + after) * T(0.5)) - action.value((x + after) * T(0.5)));
            else change = action.value(next) - action.value(x);
            return S::fma(link * (next - x), (next + x) - (before + after), change);
        };
        const auto update = [&](std::int64_t i, V place, V chance) {
            const V x = S::load(path[i]), next = S::fma(width, place - T(0.5), x);
            const Mask yes = accept(chance, change_of(at_left(i), x, at_right(i), next));
            S::store(path[i], yes ? next : x);
            accepted = S::count(accepted, yes);
        };
        const auto block = [&](const typename R::Words& w, std::int64_t q) {
            update(bead(q), R::uniform(w, 0), R::uniform(w, 1));
            if (per == 2 && q + 1 < moving) update(bead(q + 1), R::uniform(w, per), R::uniform(w, per + 1));
        };
        // Two blocks at a time where all their beads are of one parity, so that none waits for another; the first even bead
        // and the last of an odd number are neighbours and must not meet.
        std::int64_t q = 0;
        while (q < moving) {
            const bool pair = q + 2 * per <= moving && (q >= even || q + 2 * per <= even) && even > 2 * per;
            for (std::int64_t hit = 0; hit < hits; ++hit) {
                const std::uint32_t use = purpose(m, static_cast<std::uint32_t>(hit)), site = static_cast<std::uint32_t>(q / per);
                if (pair) {
                    typename R::Words w[2];
                    stream.template words<2>(use, site, sweep, w);
                    const std::int64_t first = bead(q);
                    V x[2 * per], between[2 * per + 1], next[2 * per];
                    Mask yes[2 * per];
                    between[0] = at_left(first);
                    between[2 * per] = at_right(first + 4 * per - 2);
                    for (int j = 1; j < 2 * per; ++j) between[j] = S::load(path[first + 2 * j - 1]);
                    for (int j = 0; j < 2 * per; ++j) {
                        x[j] = S::load(path[first + 2 * j]);
                        next[j] = S::fma(width, R::uniform(w[j / per], j % per * 2) - T(0.5), x[j]);
                    }
                    for (int j = 0; j < 2 * per; ++j)
                        yes[j] = accept(R::uniform(w[j / per], j % per * 2 + 1),
                                        change_of(between[j], x[j], between[j + 1], next[j]));
                    for (int j = 0; j < 2 * per; ++j) {
                        S::store(path[first + 2 * j], yes[j] ? next[j] : x[j]);
                        accepted = S::count(accepted, yes[j]);
                    }
                } else block(stream.words(use, site, sweep), q);
            }
            q += pair ? 2 * per : per;
        }
        accepted_ = accepted;
    }

    // Where segments begin, the same for all chains: independent of what they are, so that each remains a chain of its own law.
    QC_DEVICE std::int64_t offset(int m, std::int64_t below) const {
        const std::uint32_t all = 0xffffffffu;
        const auto w = philox({purpose(m, 0xffff), all, sweep_, all}, t_.seed);
        return static_cast<std::int64_t>((std::uint64_t{w[0]} * static_cast<std::uint64_t>(below)) >> 32);
    }

    QC_DEVICE double segments(int m, bool halves) {
        const std::int64_t l = t_.segment;
        double proposals = 0;
        const auto grow = [&](std::int64_t begin, std::int64_t length) {
            if (length < 2) return;
            const std::int64_t number = static_cast<std::int64_t>(proposals);
            accepted_ = S::count(accepted_, halves ? bisect(m, number, begin, length) : stage(m, number, begin, length));
            ++proposals;
        };
        if (!t_.pinned) {
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
    QC_DEVICE std::int64_t wrap(std::int64_t i) const { return i < beads_ ? i : i - beads_; }
    QC_DEVICE V new_bead(std::int64_t k) const { return S::load(y_[k]); }

    QC_LANE_KERNEL void draw_normals(int m, std::int64_t number, std::int64_t count) {
        V a, b;
        const std::int64_t blocks = (t_.segment + R::normals - 1) / R::normals;
        for (std::int64_t k = 0; k < count; k += R::normals) {
            const auto w = words(m, 0, number * blocks + k / R::normals);
            for (int i = 0; i < R::normals / 2; ++i) {
                R::normal(w, i, a, b);
                S::store(z_[k + 2 * i], a);
                S::store(z_[k + 2 * i + 1], b);
            }
        }
    }

    QC_APART void take(std::int64_t begin, std::int64_t length, Mask yes) {
        for (std::int64_t k = 1; k < length; ++k) {
            const std::int64_t i = wrap(begin + k);
            put(i, yes ? new_bead(k) : at(i));
        }
    }

    // Levy's construction: each bead given the one before and the segment's end.
    QC_LANE_KERNEL Mask stage(int m, std::int64_t number, std::int64_t begin, std::int64_t length) {
        draw_normals(m, number, length - 1);
        const V end = at(wrap(begin + length));
        V y = at(begin), x = y, change{};
        for (std::int64_t k = 1; k <= length; ++k) {
            const std::int64_t remaining = length - k;
            const V y0 = y, x0 = x;
            x = at(wrap(begin + k));
            if (remaining > 0) {
                const BridgeStep<T> next = bridge_[remaining];
                const V drift = S::fma(end - y, V{} + next.share, y);
                y = S::fma(V{} + next.sigma, S::load(z_[k - 1]), drift);
                S::store(y_[k], y);
            } else y = end;
            if (t_.midpoint) change += action_.value((y + y0) * T(0.5)) - action_.value((x + x0) * T(0.5));
            else if (remaining > 0) change += action_.value(y) - action_.value(x);
        }
        typename R::Words w;
        words_apart(m, 1, number, w);
        const Mask yes = accept(R::uniform(w, 0), change);
        take(begin, length, yes);
        return yes;
    }

    // At spacing h the beads at multiples of h carry the potential of h steps (Ceperley 1995, section V.F).
    QC_LANE_KERNEL Mask bisect(int m, std::int64_t number, std::int64_t begin, std::int64_t length) {
        draw_normals(m, number, length - 1);
        S::store(y_[0], at(begin));
        S::store(y_[length], at(wrap(begin + length)));
        V sum{}, before{};
        Mask yes = S::everywhere();
        std::int64_t drawn = 0;
        int level = 0;
        typename R::Words w{};
        for (std::int64_t h = length / 2; h >= 1; h /= 2, ++level) {
            const T sigma = std::sqrt(static_cast<T>(h) / (T(2) * link_));
            for (std::int64_t k = h; k < length; k += 2 * h) {
                const V y = S::fma(V{} + sigma, S::load(z_[drawn++]), (new_bead(k - h) + new_bead(k + h)) * T(0.5));
                S::store(y_[k], y);
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

    QC_LANE_KERNEL double global(int m, bool reflected) {
        typename R::Words w;
        words_apart(m, 0, 0, w);
        const V shift = reflected ? V{} : step_[1] * (R::uniform(w, 0) - T(0.5));
        const auto moved = [&](V x) { return reflected ? -x : x + shift; };
        V change{}, before = at(beads_ - 1);
        for (std::int64_t i = 0; i < beads_; ++i) {
            const V x = at(i), place = t_.midpoint ? (x + before) * T(0.5) : x;
            change += action_.value(moved(place)) - action_.value(place);
            before = x;
        }
        const Mask yes = accept(R::uniform(w, 1), change);
        for (std::int64_t i = 0; i < beads_; ++i) put(i, yes ? moved(at(i)) : at(i));
        accepted_ = S::count(accepted_, yes);
        return 1;
    }

    // --- measurements ---

    QC_DEVICE void measure(std::int64_t measurement) {
        const Memory<double> out = memory<double>(t_.measured) + (measurement * (4 + t_.lag_count) * t_.chains + first_chain_);
        if (t_.pinned) measure_pinned(out);
        else measure_closed(out);
        if (t_.bins > 0) add_to_histogram();
    }

    QC_APART void write(Memory<double> out, std::int64_t observable, const LaneSum<T>& sum, double factor,
                        double constant = 0) const {
        for (int l = 0; l < count_; ++l) out[observable * t_.chains + l] = constant + factor * sum.total[l];
    }

    static constexpr std::int64_t together = 32;  // terms added in the vector's own precision

    QC_LANE_KERNEL void measure_closed(Memory<double> out) const {
        LaneSum<T> virial, thermodynamic, squares, fourths;
        const double per_bead = 1.0 / static_cast<double>(beads_);
        V before = at(beads_ - 1);
        for (std::int64_t i = 0; i < beads_; ++i) {
            const V x = at(i), square = x * x, step = x - before;
            V a, b;
            action_.energies(t_.midpoint ? (x + before) * T(0.5) : x, a, b);
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
        for (std::int64_t k = 0; k < t_.lag_count; ++k) {
            LaneSum<T> products;
            std::int64_t j = lag(k);
            for (std::int64_t i = 0; i < beads_; ++i) {
                products.add(at(i) * at(j));
                j = right(j);
                if ((i + 1) % together == 0 || i + 1 == beads_) products.flush();
            }
            write(out, 4 + k, products, per_bead);
        }
    }

    QC_LANE_KERNEL void measure_pinned(Memory<double> out) const {
        LaneSum<T> action, squares, fourths;
        const std::int64_t middle = t_.links / 2;
        V before = at(0);
        if (!t_.midpoint) action.add(action_.value(before) * T(0.5));
        for (std::int64_t i = 1; i < beads_; ++i) {
            const V x = at(i), square = x * x;
            const bool last = i + 1 == beads_;
            if (t_.midpoint) action.add(action_.value((x + before) * T(0.5)));
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
        for (std::int64_t k = 0; k < t_.lag_count; ++k) write_product(out, 4 + k, middle, middle + lag(k));
    }

    QC_DEVICE std::int64_t lag(std::int64_t k) const { return memory<const std::int64_t>(t_.lags)[k]; }

    QC_DEVICE void write_product(Memory<double> out, std::int64_t observable, std::int64_t i, std::int64_t j) const {
        LaneSum<T> product;
        product.add(at(i) * at(j));
        product.flush();
        write(out, observable, product, 1);
    }

    QC_DEVICE void add_to_histogram() const {
        for (std::int64_t i = free_; i < free_ + moving_; ++i)
            for (int l = 0; l < count_; ++l) {
                const double bin = (static_cast<double>(x_[i][l]) - t_.histogram_start) * t_.inverse_bin;
                if (bin >= 0 && bin < static_cast<double>(t_.bins)) {
                    Counter& n = histogram_[static_cast<std::int64_t>(bin)];
#if defined(QC_ON_DEVICE)
                    atomicAdd(&n, Counter{1});
#else
                    n += 1;
#endif
                }
            }
    }

    const MetropolisTask& t_;
    const std::int64_t first_chain_;
    const int count_;
    const Action<T, P> action_;
    const std::int64_t beads_;
    const T link_;
    const std::int64_t free_, moving_;  // first bead that moves, and how many do
    const typename R::Stream stream_;
    std::uint32_t sweep_ = 0;
    V step_[2];
    VI accepted_{};
    double proposed_[most_moves] = {}, taken_[most_moves][S::width] = {};
    const Rows<T, S::width> x_, y_, z_;  // path, segment, normals
    const Memory<const BridgeStep<T>> bridge_;
    const Memory<Counter> histogram_;
};

}  // namespace
}  // namespace qcore::QC_ISA
