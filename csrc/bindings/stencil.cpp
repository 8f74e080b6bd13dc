#include <pybind11/pybind11.h>

#include "bindings/array.hpp"
#include "bindings/module.hpp"
#include "stencil/chain.hpp"

namespace py = pybind11;

namespace qcore::bindings {

namespace {

stencil::ChainOptions options(double skip, int activation, double slope, int boundary, std::int64_t states_every,
                              std::int64_t checkpoint_every, int backend) {
    stencil::ChainOptions o;
    o.skip = skip;
    o.activation = static_cast<stencil::Activation>(activation);
    o.slope = slope;
    o.boundary = static_cast<Boundary>(boundary);
    o.states_every = states_every;
    o.checkpoint_every = checkpoint_every;
    o.backend = static_cast<stencil::Backend>(backend);
    return o;
}

void residual_chain(py::handle x, py::handle taps, py::handle bias, py::handle y, py::handle states, py::handle checkpoints,
                    double skip, int activation, double slope, int boundary, std::int64_t states_every,
                    std::int64_t checkpoint_every, int backend) {
    const Array ax(x, "x"), ataps(taps, "taps"), ay(y, "y");
    const OptionalArray abias(bias, "bias"), astates(states, "states"), acheckpoints(checkpoints, "checkpoints");
    const auto o = options(skip, activation, slope, boundary, states_every, checkpoint_every, backend);
    py::gil_scoped_release release;
    stencil::residual_chain(ax.view(), ataps.view(), abias.view(), ay.view(), astates.view(), acheckpoints.view(), o);
}

void residual_chain_backward(py::handle grad_y, py::handle grad_states, py::handle x, py::handle checkpoints, py::handle taps,
                             py::handle bias, py::handle grad_x, py::handle grad_taps, py::handle grad_bias, double skip,
                             int activation, double slope, int boundary, std::int64_t states_every,
                             std::int64_t checkpoint_every, int backend) {
    const Array agrad_y(grad_y, "grad_y"), ax(x, "x"), ataps(taps, "taps");
    const Array agrad_x(grad_x, "grad_x"), agrad_taps(grad_taps, "grad_taps");
    const OptionalArray agrad_states(grad_states, "grad_states"), acheckpoints(checkpoints, "checkpoints");
    const OptionalArray abias(bias, "bias"), agrad_bias(grad_bias, "grad_bias");
    const auto o = options(skip, activation, slope, boundary, states_every, checkpoint_every, backend);
    py::gil_scoped_release release;
    stencil::residual_chain_backward(agrad_y.view(), agrad_states.view(), ax.view(), acheckpoints.view(), ataps.view(), abias.view(),
                                     agrad_x.view(), agrad_taps.view(), agrad_bias.view(), o);
}

}  // namespace

void register_stencil(py::module_& m) {
    m.def("stencil_residual_chain", &residual_chain, py::arg("x"), py::arg("taps"), py::arg("bias"), py::arg("y"), py::arg("states"),
          py::arg("checkpoints"), py::arg("skip"), py::arg("activation"), py::arg("slope"), py::arg("boundary"),
          py::arg("states_every"), py::arg("checkpoint_every"), py::arg("backend"));
    m.def("stencil_residual_chain_backward", &residual_chain_backward, py::arg("grad_y"), py::arg("grad_states"), py::arg("x"),
          py::arg("checkpoints"), py::arg("taps"), py::arg("bias"), py::arg("grad_x"), py::arg("grad_taps"), py::arg("grad_bias"),
          py::arg("skip"), py::arg("activation"), py::arg("slope"), py::arg("boundary"), py::arg("states_every"),
          py::arg("checkpoint_every"), py::arg("backend"));
}

}  // namespace qcore::bindings
