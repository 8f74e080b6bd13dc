#include "paths/metropolis.hpp"

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "core/check.hpp"
#include "core/parallel.hpp"
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
    check_range("moves", static_cast<std::int64_t>(c.moves.size()), 1, 8);
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
    MetropolisCall checked = call;
    checked.potential = checked_potential(call.potential, coefficients);
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

    std::vector<double> scaled;
    if (!checked.potential.table)
        for (std::int64_t k = 0; k < std::max<std::int64_t>(checked.potential.count, 5); ++k)
            scaled.push_back(k < checked.potential.count ? checked.potential.coefficients[k] * call.potential_scale : 0.0);
    const int potential = checked.potential.table ? 2 : scaled.size() == 5 ? 0 : 1;
    checked.potential.count = checked.potential.table ? checked.potential.count : static_cast<std::int64_t>(scaled.size());

    const MetropolisKernels& kernels = selected_metropolis_kernels();
    const bool wide = x.dtype == DType::f64;
    const std::int64_t lanes = kernels.lanes[wide], blocks = (chains + lanes - 1) / lanes;
    const std::int64_t bins = histogram ? histogram->shape[0] : 0;
    std::vector<double> histograms(static_cast<std::size_t>(blocks * bins));  // counts: their sum is exact in any order
    struct Context {
        MetropolisTask task;
        void (*sweeps)(const MetropolisTask&);
        std::int64_t lanes;
        double* histograms;
    } context{{&checked, scaled.data(), beads, call.pinned ? beads - 1 : beads, chains, 0, 0, x.data, static_cast<double*>(step.data),
               static_cast<double*>(counts.data), static_cast<double*>(measured.data), static_cast<double*>(accepted.data), nullptr, bins},
              kernels.sweeps[wide][potential],
              lanes,
              histograms.data()};
    parallel_for(blocks, max_threads(), [](void* p, std::int64_t block) {
        const Context& shared = *static_cast<const Context*>(p);
        MetropolisTask task = shared.task;
        task.first_chain = block * shared.lanes;
        task.count = std::min(shared.lanes, task.chains - task.first_chain);
        if (task.bins > 0) task.histogram = shared.histograms + block * task.bins;
        shared.sweeps(task);
    }, &context);
    double* const total = histogram ? static_cast<double*>(histogram->data) : nullptr;
    for (std::int64_t block = 0; block < blocks; ++block)
        for (std::int64_t i = 0; i < bins; ++i) total[i] += histograms[static_cast<std::size_t>(block * bins + i)];
}

}  // namespace qcore::paths
