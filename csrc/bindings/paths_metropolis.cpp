#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstdint>
#include <string>
#include <vector>

#include "bindings/array.hpp"
#include "bindings/module.hpp"
#include "core/vector_functions.hpp"
#include "paths/bridge.hpp"
#include "paths/metropolis.hpp"

namespace py = pybind11;

namespace qcore::bindings {

namespace {

void random(std::uint32_t purpose, std::uint32_t site, std::uint32_t sweep, std::uint32_t first_chain, std::uint64_t seed, int kind,
            py::handle out) {
    const Array aout(out, "out");
    py::gil_scoped_release release;
    paths::fill_random(purpose, site, sweep, first_chain, seed, kind, aout.view());
}

void gaussian(py::handle coefficients, py::handle start, py::handle end, double start_sigma, bool closed, std::uint32_t purpose,
              std::int64_t first, std::uint64_t seed, py::handle out) {
    const Array acoefficients(coefficients, "coefficients"), astart(start, "start"), aend(end, "end"), aout(out, "out");
    py::gil_scoped_release release;
    paths::gaussian_chains({acoefficients.view(), astart.view(), aend.view(), start_sigma, closed, purpose, first, seed}, aout.view());
}

void weights(py::handle coefficients, py::handle start, py::handle end, double start_sigma, bool closed, std::uint32_t purpose,
             std::int64_t first, std::uint64_t seed, py::handle potential, bool table, double table_start, double inverse_spacing,
             double scale, double quadratic, bool midpoint, std::int64_t samples, py::handle out) {
    const Array acoefficients(coefficients, "coefficients"), astart(start, "start"), aend(end, "end");
    const Array apotential(potential, "potential", table ? Memory::kernels : Memory::host), aout(out, "out");
    py::gil_scoped_release release;
    paths::chain_weights({acoefficients.view(), astart.view(), aend.view(), start_sigma, closed, purpose, first, seed},
                         {nullptr, 0, table, table_start, inverse_spacing}, apotential.view(), scale, quadratic, midpoint, samples,
                         aout.view());
}

void metropolis(py::handle x, py::handle step, py::handle counts, py::handle measured, py::handle accepted, py::handle histogram,
                py::handle potential, bool table, double table_start, double inverse_spacing, double link, double potential_scale,
                double correction, bool midpoint, bool pinned, bool warmup, const std::vector<int>& moves, std::int64_t segment,
                std::int64_t hits, std::int64_t first, std::int64_t sweeps, std::int64_t every, const std::vector<std::int64_t>& lags,
                double histogram_start, double inverse_bin, std::uint64_t seed) {
    const Array ax(x, "x"), astep(step, "step"), acounts(counts, "counts"), ameasured(measured, "measured");
    const Array aaccepted(accepted, "accepted"), apotential(potential, "potential", table ? Memory::kernels : Memory::host);
    const OptionalArray ahistogram(histogram, "histogram");
    py::gil_scoped_release release;
    paths::metropolis({{nullptr, 0, table, table_start, inverse_spacing}, link, potential_scale, correction, midpoint, pinned, warmup, moves,
                       segment, hits, first, sweeps, every, lags, histogram_start, inverse_bin, seed},
                      apotential.view(), ax.view(), astep.view(), acounts.view(), ameasured.view(), aaccepted.view(), ahistogram.view());
}

void function(const std::string& name, py::handle x, py::handle out) {
    const Array ax(x, "x"), aout(out, "out");
    py::gil_scoped_release release;
    vector_function(name, ax.view(), aout.view());
}

}  // namespace

void register_paths_metropolis(py::module_& m) {
    m.def("vector_function", &function, py::arg("name"), py::arg("x"), py::arg("out"));
    m.def("paths_random", &random, py::arg("purpose"), py::arg("site"), py::arg("sweep"), py::arg("first_chain"), py::arg("seed"),
          py::arg("kind"), py::arg("out"));
    m.def("paths_gaussian", &gaussian, py::arg("coefficients"), py::arg("start"), py::arg("end"), py::arg("start_sigma"),
          py::arg("closed"), py::arg("purpose"), py::arg("first"), py::arg("seed"), py::arg("out"));
    m.def("paths_gaussian_weights", &weights, py::arg("coefficients"), py::arg("start"), py::arg("end"), py::arg("start_sigma"),
          py::arg("closed"), py::arg("purpose"), py::arg("first"), py::arg("seed"), py::arg("potential"), py::arg("table"),
          py::arg("table_start"), py::arg("inverse_spacing"), py::arg("scale"), py::arg("quadratic"), py::arg("midpoint"),
          py::arg("samples"), py::arg("out"));
    m.def("paths_metropolis", &metropolis, py::arg("x"), py::arg("step"), py::arg("counts"), py::arg("measured"), py::arg("accepted"),
          py::arg("histogram"), py::arg("potential"), py::arg("table"), py::arg("table_start"), py::arg("inverse_spacing"),
          py::arg("link"), py::arg("potential_scale"), py::arg("correction"), py::arg("midpoint"), py::arg("pinned"), py::arg("warmup"),
          py::arg("moves"), py::arg("segment"), py::arg("hits"), py::arg("first"), py::arg("sweeps"), py::arg("every"), py::arg("lags"),
          py::arg("histogram_start"), py::arg("inverse_bin"), py::arg("seed"));
}

}  // namespace qcore::bindings
