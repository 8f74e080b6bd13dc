#include <pybind11/pybind11.h>

#include "bindings/array.hpp"
#include "bindings/module.hpp"
#include "schrodinger/cayley.hpp"

namespace py = pybind11;

namespace qcore::bindings {

namespace {

using schrodinger::Backend;

void cayley(py::handle psi, py::handle bands, py::handle mass, py::handle z, std::int64_t steps, py::handle out, py::handle frames,
            std::int64_t save_every, py::handle kept, std::int64_t checkpoint_every, int backend) {
    const Array apsi(psi, "psi"), abands(bands, "bands"), az(z, "z"), aout(out, "out");
    const OptionalArray amass(mass, "mass"), aframes(frames, "frames"), akept(kept, "kept");
    py::gil_scoped_release release;
    schrodinger::cayley({abands.view(), amass.view(), az.view(), steps, static_cast<Backend>(backend)}, apsi.view(), aout.view(),
                        aframes.view(), save_every, akept.view(), checkpoint_every);
}

void cayley_adjoint(py::handle psi, py::handle bands, py::handle mass, py::handle z, std::int64_t steps, py::handle kept,
                    std::int64_t checkpoint_every, py::handle grad_out, py::handle grad_frames, std::int64_t save_every,
                    py::handle grad_psi, py::handle grad_bands, py::handle grad_mass, py::handle grad_z, int backend) {
    const Array apsi(psi, "psi"), abands(bands, "bands"), az(z, "z"), akept(kept, "kept");
    const Array agrad_out(grad_out, "grad_out"), agrad_psi(grad_psi, "grad_psi");
    const OptionalArray amass(mass, "mass"), agrad_frames(grad_frames, "grad_frames");
    const OptionalArray agrad_bands(grad_bands, "grad_bands"), agrad_mass(grad_mass, "grad_mass"), agrad_z(grad_z, "grad_z");
    py::gil_scoped_release release;
    schrodinger::cayley_adjoint({abands.view(), amass.view(), az.view(), steps, static_cast<Backend>(backend)}, apsi.view(), akept.view(),
                                checkpoint_every, agrad_out.view(), agrad_frames.view(), save_every, agrad_psi.view(), agrad_bands.view(),
                                agrad_mass.view(), agrad_z.view());
}

}  // namespace

void register_schrodinger_cayley(py::module_& m) {
    m.def("schrodinger_cayley", &cayley, py::arg("psi"), py::arg("bands"), py::arg("mass"), py::arg("z"), py::arg("steps"),
          py::arg("out"), py::arg("frames"), py::arg("save_every"), py::arg("kept"), py::arg("checkpoint_every"), py::arg("backend"));
    m.def("schrodinger_cayley_adjoint", &cayley_adjoint, py::arg("psi"), py::arg("bands"), py::arg("mass"), py::arg("z"),
          py::arg("steps"), py::arg("kept"), py::arg("checkpoint_every"), py::arg("grad_out"), py::arg("grad_frames"),
          py::arg("save_every"), py::arg("grad_psi"), py::arg("grad_bands"), py::arg("grad_mass"), py::arg("grad_z"), py::arg("backend"));
}

}  // namespace qcore::bindings
