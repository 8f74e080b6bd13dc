#include "bindings/module.hpp"

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "core/ceiling.hpp"
#include "core/isa.hpp"
#include "core/parallel.hpp"

namespace py = pybind11;

#define QC_TEXT_(x) #x
#define QC_TEXT(x) QC_TEXT_(x)

PYBIND11_MODULE(_core, m, py::mod_gil_not_used()) {
    m.doc() = "Compiled CPU kernels of qcore. Arguments are positional arrays; shapes and types are in the C++ headers.";

    m.def("build_info", [] {
        py::dict info;
        info["version"] = QCORE_VERSION;
        info["compiler"] = QCORE_COMPILER;
        info["build_type"] = QCORE_BUILD_TYPE;
        info["flags"] = QCORE_FLAGS;
        info["openmp"] = QC_TEXT(_OPENMP);
        info["pybind11"] = QC_TEXT(PYBIND11_VERSION_MAJOR) "." QC_TEXT(PYBIND11_VERSION_MINOR);
        return info;
    }, "How this module was built.");
    m.def("isa", [] { return qcore::isa_name(qcore::isa_selected()); }, "The instruction-set variant in use.");
    m.def("isa_available", [] {
        std::vector<std::string> names;
        for (qcore::Isa isa : qcore::isa_available()) names.emplace_back(qcore::isa_name(isa));
        return names;
    }, "The variants this processor runs, slowest first.");
    m.def("num_threads", &qcore::max_threads, "Threads a kernel called now may use.");

    m.def("measure_fma_rate", [](const std::string& dtype, double seconds, int threads) {
        if (dtype != "float32" && dtype != "float64") throw py::value_error("dtype: expected float32 or float64, got " + dtype);
        if (threads < 1) throw py::value_error("threads: expected at least 1, got " + std::to_string(threads));
        py::gil_scoped_release release;
        return qcore::measure_fma_rate(dtype == "float32", seconds, threads);
    }, py::arg("dtype"), py::arg("seconds"), py::arg("threads"), "Fused multiply-adds per second from registers.");
    m.def("measure_triad", [](double megabytes, double seconds, int threads) {
        if (threads < 1) throw py::value_error("threads: expected at least 1, got " + std::to_string(threads));
        py::gil_scoped_release release;
        return qcore::measure_triad(megabytes, seconds, threads);
    }, py::arg("megabytes"), py::arg("seconds"), py::arg("threads"), "Bytes per second of c = a + s b, 12 bytes a point.");

    qcore::isa_selected();  // a wrong QCORE_ISA fails the import, with its own message
    qcore::bindings::register_paths(m);
    qcore::bindings::register_paths_action(m);
    qcore::bindings::register_paths_dynamics(m);
    qcore::bindings::register_paths_metropolis(m);
    qcore::bindings::register_paths_transfer(m);
    qcore::bindings::register_schrodinger(m);
    qcore::bindings::register_schrodinger_cayley(m);
    qcore::bindings::register_schrodinger_split(m);
    qcore::bindings::register_stencil(m);
}
