#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <string>
#include <vector>

#include "bindings/array.hpp"
#include "bindings/module.hpp"
#include "core/philox.hpp"
#include "paths/path_sum.hpp"

namespace py = pybind11;

namespace qcore::bindings {

namespace {

using Integers = std::vector<std::int64_t>;

void transfer(py::handle taps, const Integers& offsets, py::handle gates, py::handle bias, const Integers& outputs, int boundary,
              py::handle weights, py::handle from_bias, py::handle exponents) {
    const Array ataps(taps, "taps"), agates(gates, "gates"), aweights(weights, "weights"), afrom_bias(from_bias, "from_bias");
    const OptionalArray abias(bias, "bias"), aexponents(exponents, "exponents");
    py::gil_scoped_release release;
    paths::transfer({ataps.view(), offsets, agates.view(), abias.view(), outputs, static_cast<Boundary>(boundary)}, aweights.view(),
                    afrom_bias.view(), aexponents.view());
}

void enumerate(py::handle taps, const Integers& offsets, py::handle gates, const Integers& outputs, int boundary, py::handle weights,
               py::handle starts) {
    const Array ataps(taps, "taps"), agates(gates, "gates"), aweights(weights, "weights"), astarts(starts, "starts");
    py::gil_scoped_release release;
    paths::enumerate({ataps.view(), offsets, agates.view(), nullptr, outputs, static_cast<Boundary>(boundary)}, aweights.view(),
                     astarts.view());
}

void sample(py::handle taps, const Integers& offsets, py::handle gates, py::handle bias, const Integers& outputs, int boundary,
            py::handle psi0, std::int64_t samples, std::uint64_t seed, std::int64_t first, py::handle mean, py::handle variance) {
    const Array ataps(taps, "taps"), agates(gates, "gates"), apsi0(psi0, "psi0"), amean(mean, "mean"), avariance(variance, "variance");
    const OptionalArray abias(bias, "bias");
    py::gil_scoped_release release;
    paths::sample({ataps.view(), offsets, agates.view(), abias.view(), outputs, static_cast<Boundary>(boundary)}, apsi0.view(), samples,
                  seed, first, amean.view(), avariance.view());
}

std::vector<std::uint32_t> random_words(const std::vector<std::uint32_t>& counter, std::uint64_t key) {
    if (counter.size() != 4) throw py::value_error("counter: expected 4 words, got " + std::to_string(counter.size()));
    const auto words = philox({counter[0], counter[1], counter[2], counter[3]}, key);
    return {words.begin(), words.end()};
}

}  // namespace

void register_paths(py::module_& m) {
    m.def("philox", &random_words, py::arg("counter"), py::arg("key"), "Philox4x32-10: four random words of a counter and a key.");
    m.def("paths_transfer", &transfer, py::arg("taps"), py::arg("offsets"), py::arg("gates"), py::arg("bias"), py::arg("outputs"),
          py::arg("boundary"), py::arg("weights"), py::arg("from_bias"), py::arg("exponents"));
    m.def("paths_enumerate", &enumerate, py::arg("taps"), py::arg("offsets"), py::arg("gates"), py::arg("outputs"), py::arg("boundary"),
          py::arg("weights"), py::arg("starts"));
    m.def("paths_sample", &sample, py::arg("taps"), py::arg("offsets"), py::arg("gates"), py::arg("bias"), py::arg("outputs"),
          py::arg("boundary"), py::arg("psi0"), py::arg("samples"), py::arg("seed"), py::arg("first"), py::arg("mean"),
          py::arg("variance"));
}

}  // namespace qcore::bindings
