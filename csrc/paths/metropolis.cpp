#include "paths/metropolis.hpp"

#include <algorithm>
#include <cmath>
#include <string>

#include "core/check.hpp"
#include "paths/metropolis_kernels.hpp"
#include "paths/potential_check.hpp"

namespace qcore::paths {

namespace {

TensorView like(std::initializer_list<std::int64_t> shape) {
    TensorView t;
    for (std::int64_t n : shape) t.shape[t.ndim++] = n;
    return t;
}

void check_array(const char* name, const TensorView& t, const TensorView& shape) {
    check_dtype(name, t, DType::f64);
    check_shape(name, t, shape);
    check_output(name, t);
}

void check_range(const char* name, std::int64_t value, std::int64_t least, std::int64_t most) {
    if (value < least || value > most)
        fail(name, "a number from " + std::to_string(least) + " to " + std::to_string(most), std::to_string(value));
}

void check_positive(const char* name, double value) {
    if (!(value > 0) || !std::isfinite(value)) fail(name, "a finite number > 0", std::to_string(value));
}

void check_call(const MetropolisCall& c, std::int64_t beads) {
    constexpr std::int64_t numbers = std::int64_t{1} << 32;  // a counter word has 32 bits
    const std::int64_t links = c.pinned ? beads - 1 : beads;
    check_positive("link", c.link);
    check_positive("potential_scale", c.potential_scale);
    if (!(c.correction >= 0)) fail("correction", "a number >= 0", std::to_string(c.correction));
    if (c.correction > 0 && c.midpoint) fail("correction", "0 with the midpoint rule", std::to_string(c.correction));
    check_range("moves", static_cast<std::int64_t>(c.moves.size()), 1, MetropolisTask::most_moves);
    check_range("first", c.first, 0, numbers);
    check_range("sweeps", c.sweeps, 0, numbers - c.first);
    check_range("every", c.every, 1, numbers);
    check_range("hits", c.hits, 1, 1 << 15);
    check_range("segment", c.segment, 1, std::max<std::int64_t>(links, 1));
    for (const int move : c.moves) {
        check_range("moves", move, 0, move_kinds - 1);
        if (c.pinned && (move == static_cast<int>(Move::displacement) || move == static_cast<int>(Move::reflection)))
            fail("moves", "none of the whole path: its ends are pinned", std::to_string(move));
        if (move == static_cast<int>(Move::bisection)) {
            if (c.segment & (c.segment - 1)) fail("segment", "a power of two for bisection", std::to_string(c.segment));
            if (c.midpoint) fail("moves", "no bisection with the midpoint rule", std::to_string(move));
        }
    }
    for (const std::int64_t lag : c.lags) check_range("lags", lag, 0, c.pinned ? links - links / 2 : beads - 1);
}

}  // namespace

void metropolis(const MetropolisCall& call, const TensorView& coefficients, const TensorView& x, const TensorView& step,
                const TensorView& counts, const TensorView& measured, const TensorView& accepted, const TensorView* histogram) {
    if (x.dtype != DType::f32 && x.dtype != DType::f64) fail("x", "dtype float32 or float64", dtype_name(x.dtype));
    if (x.ndim != 2) fail("x", "shape (beads, chains)", x.shape_text());
    check_output("x", x);
    const std::int64_t beads = x.shape[0], chains = x.shape[1], moves = static_cast<std::int64_t>(call.moves.size());
    check_range("x", beads, 2, (std::int64_t{1} << 31) - 1);
    check_range("x", chains, 0, std::int64_t{1} << 32);
    check_call(call, beads);
    const Potential potential = checked_potential(call.potential, coefficients);
    const std::int64_t measurements = (call.first + call.sweeps) / call.every - call.first / call.every;
    check_array("step", step, like({2, chains}));
    check_array("counts", counts, like({2, moves, chains}));
    check_array("measured", measured, like({measurements, 4 + static_cast<std::int64_t>(call.lags.size()), chains}));
    check_array("accepted", accepted, like({chains}));
    if (histogram) {
        if (histogram->ndim != 1) fail("histogram", "shape (bins,)", histogram->shape_text());
        check_array("histogram", *histogram, *histogram);
        check_positive("inverse_bin", call.inverse_bin);
    }
    const TensorView none;
    const TensorView* const written[] = {&x, &step, &counts, &measured, &accepted, histogram ? histogram : &none};
    const char* const names[] = {"x", "step", "counts", "measured", "accepted", "histogram"};
    const int arrays = histogram ? 6 : 5;
    for (int i = 0; i < arrays; ++i) {
        check_disjoint(names[i], *written[i], "potential", coefficients);
        for (int j = 0; j < i; ++j) check_disjoint(names[i], *written[i], names[j], *written[j]);
    }

    MetropolisTask task{};
    // Polynomials up to the fourth degree are filled up to it with zeros: the kernels have that case unrolled.
    task.potential = HeldPotential(potential, few_terms, potential.table ? 1 : call.potential_scale);
    task.terms = !potential.table && potential.count <= few_terms ? few_terms : 0;
    task.link = call.link;
    task.potential_scale = call.potential_scale;
    task.correction = call.correction;
    task.midpoint = call.midpoint;
    task.pinned = call.pinned;
    task.warmup = call.warmup;
    std::copy(call.moves.begin(), call.moves.end(), task.moves);
    task.move_count = static_cast<int>(moves);
    task.segment = call.segment;
    task.hits = call.hits;
    task.first = call.first;
    task.sweeps = call.sweeps;
    task.every = call.every;
    task.lags = call.lags.data();
    task.lag_count = static_cast<std::int64_t>(call.lags.size());
    task.histogram_start = call.histogram_start;
    task.inverse_bin = call.inverse_bin;
    task.seed = call.seed;
    task.beads = beads;
    task.links = call.pinned ? beads - 1 : beads;
    task.chains = chains;
    task.bins = histogram ? histogram->shape[0] : 0;
    task.measurements = measurements;
    task.x = x.data;
    task.step = static_cast<double*>(step.data);
    task.counts = static_cast<double*>(counts.data);
    task.measured = static_cast<double*>(measured.data);
    task.accepted = static_cast<double*>(accepted.data);
    task.histogram = histogram ? static_cast<double*>(histogram->data) : nullptr;
    if (chains > 0) metropolis_sweeps(task, x.dtype);
}

}  // namespace qcore::paths
