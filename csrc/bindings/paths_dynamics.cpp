#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <vector>

#include "bindings/array.hpp"
#include "bindings/module.hpp"
#include "paths/dmc.hpp"
#include "paths/hmc.hpp"
#include "paths/langevin.hpp"

namespace py = pybind11;

namespace qcore::bindings {

namespace {

using Integer = std::int64_t;
using Integers = std::vector<std::int64_t>;

// A polynomial is read before a launch, a table by the kernels.
Memory potential_memory(bool table) { return table ? Memory::kernels : Memory::host; }

paths::Potential potential_of(bool table, double start, double inverse_spacing) {
    paths::Potential p;
    p.table = table;
    p.start = start;
    p.inverse_spacing = inverse_spacing;
    return p;
}

paths::PathModel path_model(bool table, double start, double inverse_spacing, double mass, double hbar, double dt, double frequency,
                            const Integers& lags) {
    return {potential_of(table, start, inverse_spacing), mass, hbar, dt, frequency, lags};
}

paths::Trajectories trajectories(Integer first, Integer count, Integer steps, double jitter, bool tune, double target, double step,
                                 double longest, std::uint64_t seed) {
    return {first, count, steps, jitter, tune, target, step, longest, seed};
}

void hmc_paths(py::handle potential, bool table, double start, double inverse_spacing, double mass, double hbar, double dt, double frequency,
               const Integers& lags, Integer first, Integer count, Integer steps, double jitter, bool tune, double target, double step,
               double longest, std::uint64_t seed, py::handle x, py::handle tuning, py::handle measured, py::handle accepted) {
    const Array apotential(potential, "potential", potential_memory(table)), ax(x, "x"), atuning(tuning, "tuning"), ameasured(measured, "measured"),
        aaccepted(accepted, "accepted");
    py::gil_scoped_release release;
    paths::hmc_paths(path_model(table, start, inverse_spacing, mass, hbar, dt, frequency, lags), apotential.view(),
                     trajectories(first, count, steps, jitter, tune, target, step, longest, seed), ax.view(), atuning.view(),
                     ameasured.view(), aaccepted.view());
}

void hmc_phi4(double row_stiffness, double column_stiffness, double quadratic, double quartic, Integer first, Integer count, Integer steps, double jitter, bool tune,
              double target, double step, double longest, std::uint64_t seed, py::handle phi, py::handle tuning, py::handle measured,
              py::handle accepted) {
    const Array aphi(phi, "phi"), atuning(tuning, "tuning"), ameasured(measured, "measured"), aaccepted(accepted, "accepted");
    py::gil_scoped_release release;
    paths::hmc_phi4({row_stiffness, column_stiffness, quadratic, quartic}, trajectories(first, count, steps, jitter, tune, target, step, longest, seed), aphi.view(),
                    atuning.view(), ameasured.view(), aaccepted.view());
}

void leapfrog_paths(py::handle potential, bool table, double start, double inverse_spacing, double mass, double hbar, double dt,
                    double frequency, double step, Integer steps, py::handle x, py::handle momenta, py::handle energies) {
    const Array apotential(potential, "potential", potential_memory(table)), ax(x, "x"), amomenta(momenta, "momenta"), aenergies(energies, "energies");
    py::gil_scoped_release release;
    paths::leapfrog_paths(path_model(table, start, inverse_spacing, mass, hbar, dt, frequency, {}), apotential.view(), step, steps, ax.view(),
                          amomenta.view(), aenergies.view());
}

void leapfrog_phi4(double row_stiffness, double column_stiffness, double quadratic, double quartic, double step, Integer steps, py::handle phi, py::handle momenta,
                   py::handle energies) {
    const Array aphi(phi, "phi"), amomenta(momenta, "momenta"), aenergies(energies, "energies");
    py::gil_scoped_release release;
    paths::leapfrog_phi4({row_stiffness, column_stiffness, quadratic, quartic}, step, steps, aphi.view(), amomenta.view(), aenergies.view());
}

void langevin(py::handle potential, bool table, double start, double inverse_spacing, int scheme, double dt, double diffusion, Integer first,
              Integer count, Integer steps, const Integers& lags, std::uint64_t seed, py::handle x, py::handle measured, py::handle failed) {
    const Array apotential(potential, "potential", potential_memory(table)), ax(x, "x"), ameasured(measured, "measured"), afailed(failed, "failed");
    py::gil_scoped_release release;
    paths::langevin({static_cast<paths::LangevinScheme>(scheme), dt, diffusion, first, count, steps, lags, seed},
                    potential_of(table, start, inverse_spacing), apotential.view(), ax.view(), ameasured.view(), afailed.view());
}

void dmc(py::handle potential, bool table, double start, double inverse_spacing, py::handle guide, double mass, double hbar, double dt,
         Integer first, Integer count, Integer steps, std::uint64_t seed, py::handle walkers, py::handle reference, py::handle measured) {
    const Array apotential(potential, "potential", potential_memory(table)), awalkers(walkers, "walkers"), areference(reference, "reference"),
        ameasured(measured, "measured");
    const OptionalArray aguide(guide, "guide", Memory::host);
    const paths::Potential polynomial;
    py::gil_scoped_release release;
    paths::dmc({mass, hbar, dt, first, count, steps, seed}, potential_of(table, start, inverse_spacing), apotential.view(),
               aguide.view() ? &polynomial : nullptr, aguide.view(), awalkers.view(), areference.view(), ameasured.view());
}

}  // namespace

void register_paths_dynamics(py::module_& m) {
    using py::arg;
    m.def("paths_hmc", &hmc_paths, arg("potential"), arg("table"), arg("start"), arg("inverse_spacing"), arg("mass"), arg("hbar"), arg("dt"),
          arg("frequency"), arg("lags"), arg("first"), arg("count"), arg("steps"), arg("jitter"), arg("tune"), arg("target"), arg("step"),
          arg("longest"), arg("seed"), arg("x"), arg("tuning"), arg("measured"), arg("accepted"));
    m.def("paths_hmc_phi4", &hmc_phi4, arg("row_stiffness"), arg("column_stiffness"), arg("quadratic"), arg("quartic"), arg("first"), arg("count"), arg("steps"),
          arg("jitter"), arg("tune"), arg("target"), arg("step"), arg("longest"), arg("seed"), arg("phi"), arg("tuning"), arg("measured"),
          arg("accepted"));
    m.def("paths_leapfrog", &leapfrog_paths, arg("potential"), arg("table"), arg("start"), arg("inverse_spacing"), arg("mass"), arg("hbar"),
          arg("dt"), arg("frequency"), arg("step"), arg("steps"), arg("x"), arg("momenta"), arg("energies"));
    m.def("paths_leapfrog_phi4", &leapfrog_phi4, arg("row_stiffness"), arg("column_stiffness"), arg("quadratic"), arg("quartic"), arg("step"), arg("steps"), arg("phi"),
          arg("momenta"), arg("energies"));
    m.def("paths_langevin", &langevin, arg("potential"), arg("table"), arg("start"), arg("inverse_spacing"), arg("scheme"), arg("dt"),
          arg("diffusion"), arg("first"), arg("count"), arg("steps"), arg("lags"), arg("seed"), arg("x"), arg("measured"), arg("failed"));
    m.def("paths_dmc", &dmc, arg("potential"), arg("table"), arg("start"), arg("inverse_spacing"), arg("guide"), arg("mass"), arg("hbar"),
          arg("dt"), arg("first"), arg("count"), arg("steps"), arg("seed"), arg("walkers"), arg("reference"), arg("measured"));
}

}  // namespace qcore::bindings
