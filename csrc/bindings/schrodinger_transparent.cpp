#include "schrodinger/transparent.hpp"

#include <pybind11/pybind11.h>

#include "bindings/array.hpp"
#include "bindings/module.hpp"

namespace py = pybind11;

namespace qcore::bindings {

namespace {

using schrodinger::Backend;

void transparent(py::handle psi, py::handle potential, double kappa, double tau, std::int64_t steps, bool left, bool right, py::handle out,
                 py::handle frames, std::int64_t save_every, py::handle kept, std::int64_t checkpoint_every, py::handle trace, int backend) {
    const Array apsi(psi, "psi"), apotential(potential, "potential"), aout(out, "out");
    const OptionalArray aframes(frames, "frames"), akept(kept, "kept"), atrace(trace, "trace");
    py::gil_scoped_release release;
    schrodinger::transparent({apotential.view(), kappa, tau, steps, left, right, static_cast<Backend>(backend)}, apsi.view(), aout.view(),
                             aframes.view(), save_every, akept.view(), checkpoint_every, atrace.view());
}

void transparent_adjoint(py::handle psi, py::handle potential, double kappa, double tau, std::int64_t steps, bool left, bool right,
                         py::handle kept, std::int64_t checkpoint_every, py::handle trace, py::handle grad_out, py::handle grad_frames,
                         std::int64_t save_every, py::handle grad_psi, py::handle grad_potential, py::handle grad_constants, int backend) {
    const Array apsi(psi, "psi"), apotential(potential, "potential"), akept(kept, "kept"), atrace(trace, "trace");
    const Array agrad_out(grad_out, "grad_out"), agrad_psi(grad_psi, "grad_psi");
    const OptionalArray agrad_frames(grad_frames, "grad_frames"), agrad_potential(grad_potential, "grad_potential");
    const OptionalArray agrad_constants(grad_constants, "grad_constants");
    py::gil_scoped_release release;
    schrodinger::transparent_adjoint({apotential.view(), kappa, tau, steps, left, right, static_cast<Backend>(backend)}, apsi.view(),
                                     akept.view(), checkpoint_every, atrace.view(), agrad_out.view(), agrad_frames.view(), save_every,
                                     agrad_psi.view(), agrad_potential.view(), agrad_constants.view());
}

}  // namespace

void register_schrodinger_transparent(py::module_& m) {
    m.def("schrodinger_transparent", &transparent, py::arg("psi"), py::arg("potential"), py::arg("kappa"), py::arg("tau"),
          py::arg("steps"), py::arg("left"), py::arg("right"), py::arg("out"), py::arg("frames"), py::arg("save_every"),
          py::arg("kept"), py::arg("checkpoint_every"), py::arg("trace"), py::arg("backend"));
    m.def("schrodinger_transparent_adjoint", &transparent_adjoint, py::arg("psi"), py::arg("potential"), py::arg("kappa"),
          py::arg("tau"), py::arg("steps"), py::arg("left"), py::arg("right"), py::arg("kept"), py::arg("checkpoint_every"),
          py::arg("trace"), py::arg("grad_out"), py::arg("grad_frames"), py::arg("save_every"), py::arg("grad_psi"),
          py::arg("grad_potential"), py::arg("grad_constants"), py::arg("backend"));
}

}  // namespace qcore::bindings
