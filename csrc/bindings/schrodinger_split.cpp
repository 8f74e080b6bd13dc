#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <vector>

#include "bindings/array.hpp"
#include "bindings/module.hpp"
#include "schrodinger/split.hpp"

namespace py = pybind11;

namespace qcore::bindings {

namespace {

using Integers = std::vector<std::int64_t>;

schrodinger::Split split(const Array& phases, const HostArray& e, const Integers& program, const std::vector<int>& boundary,
                         std::int64_t steps, int rule, int order, int arithmetic, int backend) {
    std::vector<schrodinger::Boundary> ends;
    for (const int code : boundary) ends.push_back(static_cast<schrodinger::Boundary>(code));
    return {phases.view(), e.view(), program, ends, steps, static_cast<schrodinger::Rule>(rule), order,
            static_cast<schrodinger::Arithmetic>(arithmetic), static_cast<schrodinger::Backend>(backend)};
}

void evolve(py::handle psi, py::handle phases, py::handle e, py::handle out, py::handle frames, const Integers& program,
            const std::vector<int>& boundary, std::int64_t steps, std::int64_t save_every, int rule, int order, int arithmetic,
            int backend) {
    const Array apsi(psi, "psi"), aphases(phases, "phases"), aout(out, "out");
    const HostArray ae(e, "e");
    const OptionalArray aframes(frames, "frames");
    py::gil_scoped_release release;
    schrodinger::split_evolve(split(aphases, ae, program, boundary, steps, rule, order, arithmetic, backend), apsi.view(), aout.view(),
                              aframes.view(), save_every);
}

void adjoint(py::handle states, py::handle grad_out, py::handle grad_frames, py::handle phases, py::handle e, py::handle grad_psi,
             py::handle grad_phases, py::handle grad_e, const Integers& program, const std::vector<int>& boundary, std::int64_t steps,
             std::int64_t save_every, std::int64_t first, int rule, int order, int arithmetic, int backend) {
    const Array astates(states, "states"), agrad_out(grad_out, "grad_out"), aphases(phases, "phases");
    const Array agrad_psi(grad_psi, "grad_psi");
    const HostArray ae(e, "e");
    const OptionalArray agrad_frames(grad_frames, "grad_frames"), agrad_phases(grad_phases, "grad_phases"), agrad_e(grad_e, "grad_e");
    py::gil_scoped_release release;
    schrodinger::split_adjoint(split(aphases, ae, program, boundary, steps, rule, order, arithmetic, backend), astates.view(),
                               agrad_out.view(), agrad_frames.view(), save_every, first, agrad_psi.view(), agrad_phases.view(),
                               agrad_e.view());
}

}  // namespace

void register_schrodinger_split(py::module_& m) {
    m.def("schrodinger_split_evolve", &evolve, py::arg("psi"), py::arg("phases"), py::arg("e"), py::arg("out"), py::arg("frames"),
          py::arg("program"), py::arg("boundary"), py::arg("steps"), py::arg("save_every"), py::arg("rule"), py::arg("order"),
          py::arg("arithmetic"), py::arg("backend"));
    m.def("schrodinger_split_adjoint", &adjoint, py::arg("states"), py::arg("grad_out"), py::arg("grad_frames"), py::arg("phases"),
          py::arg("e"), py::arg("grad_psi"), py::arg("grad_phases"), py::arg("grad_e"), py::arg("program"), py::arg("boundary"),
          py::arg("steps"), py::arg("save_every"), py::arg("first"), py::arg("rule"), py::arg("order"), py::arg("arithmetic"),
          py::arg("backend"));
}

}  // namespace qcore::bindings
