#include "paths/dmc.hpp"

#include <string>

#include "paths/dynamics_call.hpp"
#include "paths/walk_kernels.hpp"

namespace qcore::paths {

void dmc(const DmcRun& run, Potential potential, const TensorView& coefficients, const Potential* guide,
         const TensorView* guide_coefficients, const TensorView& walkers, const TensorView& reference, const TensorView& measured) {
    DmcTask task{};
    task.run = run;
    int terms;
    task.potential = held_potential(potential, coefficients, terms);
    task.guided = guide;
    if (guide) task.guide = held_potential(*guide, *guide_coefficients, terms);
    if (guide && guide->table) fail("guide", "a polynomial", "a table");
    check_positive("mass", run.mass);
    check_positive("hbar", run.hbar);
    check_positive("dt", run.dt);
    check_counter("first", run.first, run.count);
    check_steps(run.first + run.count, run.steps);
    check_real_output("walkers", walkers);
    check_axes("walkers", walkers, 2);
    task.populations = walkers.shape[0];
    task.size = walkers.shape[1];
    check_chains(task.populations);
    if (task.size < 1) fail("walkers", "at least one in a population", walkers.shape_text());
    check_sites(task.size);
    check_result("reference", reference, {task.populations}, {&walkers});
    check_result("measured", measured, {run.count, dmc_observables, task.populations}, {&walkers, &reference});
    task.walkers = walkers.data;
    task.reference = static_cast<double*>(reference.data);
    task.measured = static_cast<double*>(measured.data);
    if (task.populations > 0) dmc_sweeps(task, walkers.dtype);
}

}  // namespace qcore::paths
