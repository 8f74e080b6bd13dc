#include "paths/dmc.hpp"

#include <string>

#include "core/isa.hpp"
#include "paths/dynamics_call.hpp"
#include "paths/walk_kernels.hpp"

namespace qcore {
QC_ISA_OBJECT(paths::WalkKernels, walk_kernels)
}

namespace qcore::paths {

void dmc(const DmcRun& run, Potential potential, const TensorView& coefficients, const Potential* guide,
         const TensorView* guide_coefficients, const TensorView& walkers, const TensorView& reference, const TensorView& measured) {
    double padded[Potential::max_coefficients], guide_padded[Potential::max_coefficients];
    DmcTask task;
    task.run = &run;
    task.potential = padded_potential(potential, coefficients, padded);
    Potential checked_guide;
    if (guide) {
        checked_guide = padded_potential(*guide, *guide_coefficients, guide_padded);
        if (checked_guide.table) fail("guide", "a polynomial", "a table");
        task.guide = &checked_guide;
    }
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
    const WalkKernels& kernels = selected_walk_kernels();
    const auto kernel = walkers.dtype == DType::f32 ? kernels.f32.dmc : kernels.f64.dmc;
    parallel(task.populations, [&](std::int64_t population) {
        DmcTask part = task;
        part.population = population;
        kernel(part);
    });
}

}  // namespace qcore::paths
