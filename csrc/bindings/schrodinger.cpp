#include "schrodinger/evolve.hpp"

#include <pybind11/pybind11.h>

#include "bindings/array.hpp"
#include "bindings/module.hpp"

namespace py = pybind11;

namespace qcore::bindings {

namespace {

schrodinger::Evolution evolution(const Array& potential, double kappa, const HostArray& c, std::int64_t steps, int rule, int order,
                                 int boundary, int arithmetic, int backend) {
    return {potential.view(), kappa, c.view(), steps, static_cast<schrodinger::Rule>(rule), order,
            static_cast<schrodinger::Boundary>(boundary), static_cast<schrodinger::Arithmetic>(arithmetic),
            static_cast<schrodinger::Backend>(backend)};
}

void evolve(py::handle psi, py::handle potential, double kappa, py::handle c, py::handle out, py::handle frames, std::int64_t steps,
            std::int64_t save_every, int rule, int order, int boundary, int arithmetic, int backend) {
    const Array apsi(psi, "psi"), apotential(potential, "potential"), aout(out, "out");
    const HostArray ac(c, "c");
    const OptionalArray aframes(frames, "frames");
    py::gil_scoped_release release;
    schrodinger::evolve(evolution(apotential, kappa, ac, steps, rule, order, boundary, arithmetic, backend), apsi.view(), aout.view(),
                        aframes.view(), save_every);
}

void adjoint(py::handle states, py::handle grad_out, py::handle grad_frames, py::handle potential, double kappa, py::handle c,
             py::handle grad_psi, py::handle grad_potential, py::handle grad_c, std::int64_t steps, std::int64_t save_every, int rule,
             int order, int boundary, int arithmetic, int backend) {
    const Array astates(states, "states"), agrad_out(grad_out, "grad_out"), apotential(potential, "potential");
    const HostArray ac(c, "c");
    const Array agrad_psi(grad_psi, "grad_psi"), agrad_potential(grad_potential, "grad_potential"), agrad_c(grad_c, "grad_c");
    const OptionalArray agrad_frames(grad_frames, "grad_frames");
    py::gil_scoped_release release;
    schrodinger::adjoint(evolution(apotential, kappa, ac, steps, rule, order, boundary, arithmetic, backend), astates.view(),
                         agrad_out.view(), agrad_frames.view(), save_every, agrad_psi.view(), agrad_potential.view(), agrad_c.view());
}

}  // namespace

void register_schrodinger(py::module_& m) {
    m.def("schrodinger_evolve", &evolve, py::arg("psi"), py::arg("potential"), py::arg("kappa"), py::arg("c"), py::arg("out"),
          py::arg("frames"), py::arg("steps"), py::arg("save_every"), py::arg("rule"), py::arg("order"), py::arg("boundary"),
          py::arg("arithmetic"), py::arg("backend"));
    m.def("schrodinger_adjoint", &adjoint, py::arg("states"), py::arg("grad_out"), py::arg("grad_frames"), py::arg("potential"),
          py::arg("kappa"), py::arg("c"), py::arg("grad_psi"), py::arg("grad_potential"), py::arg("grad_c"), py::arg("steps"),
          py::arg("save_every"), py::arg("rule"), py::arg("order"), py::arg("boundary"), py::arg("arithmetic"), py::arg("backend"));
}

}  // namespace qcore::bindings
