#include "paths/hmc.hpp"

#include <cmath>
#include <string>

#include "paths/dynamics_call.hpp"
#include "paths/hmc_kernels.hpp"

namespace qcore::paths {

namespace {

void check(const Trajectories& run) {
    check_counter("first", run.first, run.count);
    if (run.steps < 1) fail("steps", "at least 1", std::to_string(run.steps));
    if (!(run.jitter >= 0 && run.jitter < 1)) fail("jitter", "a number from 0 to below 1", std::to_string(run.jitter));
    if (!(run.target > 0 && run.target < 1)) fail("target", "a number between 0 and 1", std::to_string(run.target));
    check_positive("step", run.step);
    if (!(run.longest > 0)) fail("longest", "a number > 0", std::to_string(run.longest));
}

void check(const PathModel& model, std::int64_t slices) {
    check_positive("mass", model.mass);
    check_positive("hbar", model.hbar);
    check_positive("dt", model.dt);
    if (!(model.frequency >= 0 && std::isfinite(model.frequency))) fail("frequency", "a finite number >= 0", std::to_string(model.frequency));
    if (slices < 1) fail("x", "at least one slice", std::to_string(slices));
    check_lags(model.lags, slices - 1);
}

void check(const FieldModel& model) {
    check_positive("row_stiffness", model.row_stiffness);
    check_positive("column_stiffness", model.column_stiffness);
    if (!std::isfinite(model.quadratic)) fail("quadratic", "a finite number", std::to_string(model.quadratic));
    if (!(model.quartic >= 0 && std::isfinite(model.quartic))) fail("quartic", "a finite number >= 0", std::to_string(model.quartic));
}

void sample(HmcTask task, const TensorView& x, std::int64_t observables, const TensorView& tuning, const TensorView& measured,
            const TensorView& accepted) {
    check_real_output("x", x);
    check_chains(task.chains);
    check_result("tuning", tuning, {task.chains, 4}, {&x});
    check_result("measured", measured, {task.run.count, observables, task.chains}, {&x, &tuning});
    check_result("accepted", accepted, {task.chains}, {&x, &tuning, &measured});
    task.x = x.data;
    task.tuning = static_cast<double*>(tuning.data);
    task.measured = static_cast<double*>(measured.data);
    task.accepted = static_cast<double*>(accepted.data);
    if (task.chains > 0) hmc_trajectories(task, x.dtype);
}

void leapfrog(HmcTask task, const TensorView& x, const TensorView& momenta, const TensorView& energies) {
    check_real_output("x", x);
    check_chains(task.chains);
    check_dtype("momenta", momenta, x.dtype);
    check_shape("momenta", momenta, x);
    check_output("momenta", momenta);
    check_disjoint("momenta", momenta, "x", x);
    check_result("energies", energies, {2, task.chains}, {&x, &momenta});
    task.x = x.data;
    task.momenta = momenta.data;
    task.energies = static_cast<double*>(energies.data);
    if (task.chains > 0) hmc_leapfrog(task, x.dtype);
}

OscillatorMasses oscillator_masses(const PathModel& model, std::int64_t slices) {
    const double angle = 2 * std::asinh(model.frequency * model.dt / 2), r = std::exp(-angle);
    return {angle, r, r / (model.mass / (model.hbar * model.dt)), -1 / std::expm1(-angle * static_cast<double>(slices))};
}

HmcTask path_task(const Trajectories& run, const PathModel& model, const TensorView& coefficients, const TensorView& x) {
    check_axes("x", x, 2);
    check_sites(x.shape[1]);
    HmcTask task;
    task.run = run;
    task.potential = held_potential(model.potential, coefficients, task.terms);
    check(model, x.shape[1]);
    task.mass = model.mass;
    task.hbar = model.hbar;
    task.dt = model.dt;
    task.frequency = model.frequency;
    if (model.frequency > 0) task.masses = oscillator_masses(model, x.shape[1]);
    task.lags = model.lags.data();
    task.lag_count = static_cast<std::int64_t>(model.lags.size());
    task.chains = x.shape[0];
    task.rows = x.shape[1];
    return task;
}

HmcTask field_task(const Trajectories& run, const FieldModel& model, const TensorView& phi) {
    check_axes("phi", phi, 3);
    check(model);
    HmcTask task;
    task.of = HmcTask::Of::fields;
    task.run = run;
    task.field = model;
    task.chains = phi.shape[0];
    task.rows = phi.shape[1];
    task.columns = phi.shape[2];
    if (task.sites() < 1) fail("phi", "at least one site", phi.shape_text());
    check_sites(task.sites());
    return task;
}

Trajectories alone(double step, std::int64_t steps) {
    Trajectories run;
    run.steps = steps;
    if (!std::isfinite(step)) fail("step", "a finite number", std::to_string(step));
    check(run);
    return run;
}

}  // namespace

void hmc_paths(const PathModel& model, const TensorView& coefficients, const Trajectories& run, const TensorView& x,
               const TensorView& tuning, const TensorView& measured, const TensorView& accepted) {
    const HmcTask task = path_task(run, model, coefficients, x);
    check(run);
    sample(task, x, path_observables + static_cast<std::int64_t>(model.lags.size()), tuning, measured, accepted);
}

void hmc_phi4(const FieldModel& model, const Trajectories& run, const TensorView& phi, const TensorView& tuning,
              const TensorView& measured, const TensorView& accepted) {
    const HmcTask task = field_task(run, model, phi);
    check(run);
    sample(task, phi, field_observables + task.rows / 2 + 1, tuning, measured, accepted);
}

void leapfrog_paths(const PathModel& model, const TensorView& coefficients, double step, std::int64_t steps, const TensorView& x,
                    const TensorView& momenta, const TensorView& energies) {
    HmcTask task = path_task(alone(step, steps), model, coefficients, x);
    task.step = step;
    leapfrog(task, x, momenta, energies);
}

void leapfrog_phi4(const FieldModel& model, double step, std::int64_t steps, const TensorView& phi, const TensorView& momenta,
                   const TensorView& energies) {
    HmcTask task = field_task(alone(step, steps), model, phi);
    task.step = step;
    leapfrog(task, phi, momenta, energies);
}

}  // namespace qcore::paths
