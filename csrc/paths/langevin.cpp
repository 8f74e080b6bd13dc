#include "paths/langevin.hpp"

#include <cmath>
#include <string>

#include "paths/dynamics_call.hpp"
#include "paths/walk_kernels.hpp"

namespace qcore::paths {

void langevin(const LangevinRun& run, Potential g, const TensorView& coefficients, const TensorView& x, const TensorView& measured,
              const TensorView& failed) {
    LangevinTask task{};
    task.g = held_potential(g, coefficients, task.terms);
    g = task.g.get();
    const int scheme = static_cast<int>(run.scheme);
    if (scheme < 0 || scheme > static_cast<int>(LangevinScheme::exact)) fail("scheme", "a code from 0 to 4", std::to_string(scheme));
    if (run.scheme == LangevinScheme::exact) {
        bool quadratic = !g.table && g.coefficients[2] > 0;
        for (std::int64_t k = 3; quadratic && k < g.count; ++k) quadratic = g.coefficients[k] == 0;
        if (!quadratic) fail("potential", "a polynomial of second degree, with a minimum, for the exact scheme", "another");
    }
    check_positive("dt", run.dt);
    check_positive("diffusion", run.diffusion);
    check_counter("first", run.first, run.count);
    check_steps(run.first + run.count, run.steps);
    check_lags(run.lags, run.steps);
    check_real_output("x", x);
    check_axes("x", x, 1);
    check_chains(x.shape[0]);
    check_result("measured", measured, {run.count, 3 + static_cast<std::int64_t>(run.lags.size()), x.shape[0]}, {&x});
    check_result("failed", failed, {x.shape[0]}, {&x, &measured});
    task.scheme = run.scheme;
    task.dt = run.dt;
    task.kick = std::sqrt(2 * run.diffusion * run.dt);
    if (run.scheme == LangevinScheme::exact) {
        const double rate = 2 * g.coefficients[2];
        task.centre = -g.coefficients[1] / rate;
        task.decay = std::exp(-rate * run.dt);
        task.kick = std::sqrt(-run.diffusion / rate * std::expm1(-2 * rate * run.dt));
    }
    task.first = run.first;
    task.count = run.count;
    task.steps = run.steps;
    task.lags = run.lags.data();
    task.lag_count = static_cast<std::int64_t>(run.lags.size());
    task.seed = run.seed;
    task.chains = x.shape[0];
    task.x = x.data;
    task.measured = static_cast<double*>(measured.data);
    task.failed = static_cast<double*>(failed.data);
    if (task.chains > 0) langevin_sweeps(task, x.dtype);
}

}  // namespace qcore::paths
