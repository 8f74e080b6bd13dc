// The module of the device kernels: `_cuda`, and for the tests `_emulated`, which runs the same kernels on the CPU. Its functions
// are those of `_core`, on arrays of a device.
#include <pybind11/pybind11.h>

#include "bindings/array.hpp"
#include "bindings/module.hpp"
#include "ceiling.hpp"
#include "queue.hpp"

#if defined(QCORE_EMULATION)
#include "emulation.hpp"
#endif

namespace py = pybind11;
using qcore::bindings::Array;

PYBIND11_MODULE(QCORE_DEVICE_MODULE, m, py::mod_gil_not_used()) {
    m.doc() = "Compiled GPU kernels of qcore: the functions of _core, on the current stream of the device that the arrays lie on.";
    py::register_local_exception<qcore::cuda::Unsupported>(m, "Unsupported", PyExc_NotImplementedError);
    m.def("build_info", [] {
        py::dict info;
        info["version"] = QCORE_VERSION;
        info["architectures"] = QCORE_CUDA_ARCHITECTURES;
        int runtime = 0;
        qcore::cuda::check(cudaRuntimeGetVersion(&runtime), "asking for the runtime's version");
        info["runtime"] = std::to_string(runtime / 1000) + "." + std::to_string(runtime % 1000 / 10);
        return info;
    }, "How this module was built.");
    m.def("error_message", [](int error, const std::string& doing) {
        return qcore::cuda::message(static_cast<cudaError_t>(error), doing.c_str());
    }, py::arg("error"), py::arg("doing"), "What a call says when one of CUDA's fails with that cudaError_t; for tests.");
    m.def("copy", [](py::handle x, py::handle out) {
        const Array ax(x, "x"), aout(out, "out");
        py::gil_scoped_release release;
        qcore::cuda::copy(ax.view(), aout.view());
    }, py::arg("x"), py::arg("out"), "out = x, float32: 8 bytes a point, for the bandwidth that benchmarks compare with.");
    m.def("fma_chain", [](py::handle out, std::int64_t steps) {
        const Array aout(out, "out");
        py::gil_scoped_release release;
        qcore::cuda::fma_chain(aout.view(), steps);
    }, py::arg("out"), py::arg("steps"), "8 steps multiply-adds an element of out: for the rate that benchmarks compare with.");
    qcore::bindings::register_paths(m);
    qcore::bindings::register_paths_action(m);
    qcore::bindings::register_paths_dynamics(m);
    qcore::bindings::register_paths_metropolis(m);
    qcore::bindings::register_paths_transfer(m);
    qcore::bindings::register_schrodinger(m);
    qcore::bindings::register_schrodinger_cayley(m);
    qcore::bindings::register_schrodinger_split(m);
    qcore::bindings::register_schrodinger_transparent(m);
    qcore::bindings::register_stencil(m);
#if defined(QCORE_EMULATION)
    m.def("set_schedule", &qcore::emulation::set_schedule, py::arg("seed"),
          "0: threads and blocks in ascending order; else the seed of a shuffled order.");
#endif
}
