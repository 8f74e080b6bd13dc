#include <pybind11/pybind11.h>

#include "bindings/array.hpp"
#include "bindings/module.hpp"
#include "paths/transfer.hpp"

namespace py = pybind11;

namespace qcore::bindings {

namespace {

// The arguments of a chain, kept alive.
struct ChainArgument {
    Array psi, taps;
    OptionalArray factor, psi_sign, taps_sign, factor_sign;
    std::int64_t steps;
    int boundary, semiring;
    bool scaled;
    int backend;

    transfer::Chain chain() const {
        return {psi.view(), taps.view(), factor.view(), psi_sign.view(), taps_sign.view(), factor_sign.view(),
                steps, static_cast<Boundary>(boundary), static_cast<transfer::Semiring>(semiring), scaled,
                static_cast<transfer::Backend>(backend)};
    }
};

void forward(py::handle psi, py::handle taps, py::handle factor, py::handle psi_sign, py::handle taps_sign, py::handle factor_sign,
             py::handle out, py::handle second, py::handle kept, std::int64_t steps, int boundary, int semiring, bool scaled,
             std::int64_t keep_every, int backend) {
    const ChainArgument c{{psi, "psi"}, {taps, "taps"}, {factor, "factor"}, {psi_sign, "psi_sign"}, {taps_sign, "taps_sign"},
                          {factor_sign, "factor_sign"}, steps, boundary, semiring, scaled, backend};
    const Array aout(out, "out");
    const OptionalArray asecond(second, "second"), akept(kept, "kept");
    py::gil_scoped_release release;
    transfer::forward(c.chain(), aout.view(), asecond.view(), akept.view(), keep_every);
}

void adjoint(py::handle grad, py::handle kept, py::handle psi, py::handle taps, py::handle factor, py::handle psi_sign,
             py::handle taps_sign, py::handle factor_sign, py::handle grad_psi, py::handle grad_taps, py::handle grad_factor,
             std::int64_t steps, int boundary, int semiring, bool scaled, std::int64_t keep_every, int backend) {
    const ChainArgument c{{psi, "psi"}, {taps, "taps"}, {factor, "factor"}, {psi_sign, "psi_sign"}, {taps_sign, "taps_sign"},
                          {factor_sign, "factor_sign"}, steps, boundary, semiring, scaled, backend};
    const Array agrad(grad, "grad"), agrad_psi(grad_psi, "grad_psi");
    const OptionalArray akept(kept, "kept"), agrad_taps(grad_taps, "grad_taps"), agrad_factor(grad_factor, "grad_factor");
    py::gil_scoped_release release;
    transfer::adjoint(c.chain(), agrad.view(), akept.view(), keep_every, agrad_psi.view(), agrad_taps.view(), agrad_factor.view());
}

void best_path(py::handle psi, py::handle taps, py::handle factor, py::handle ends, py::handle sites, std::int64_t steps, int boundary) {
    const py::none none;
    const int max = static_cast<int>(transfer::Semiring::max);
    const ChainArgument c{{psi, "psi"}, {taps, "taps"}, {factor, "factor"}, {none, "psi_sign"}, {none, "taps_sign"},
                          {none, "factor_sign"}, steps, boundary, max, false, 0};
    const Array aends(ends, "ends"), asites(sites, "sites");
    py::gil_scoped_release release;
    transfer::best_path(c.chain(), aends.view(), asites.view());
}

}  // namespace

void register_paths_transfer(py::module_& m) {
    m.def("paths_transfer_forward", &forward, py::arg("psi"), py::arg("taps"), py::arg("factor"), py::arg("psi_sign"), py::arg("taps_sign"),
          py::arg("factor_sign"), py::arg("out"), py::arg("second"), py::arg("kept"), py::arg("steps"), py::arg("boundary"),
          py::arg("semiring"), py::arg("scaled"), py::arg("keep_every"), py::arg("backend"));
    m.def("paths_transfer_adjoint", &adjoint, py::arg("grad"), py::arg("kept"), py::arg("psi"), py::arg("taps"), py::arg("factor"),
          py::arg("psi_sign"), py::arg("taps_sign"), py::arg("factor_sign"), py::arg("grad_psi"), py::arg("grad_taps"),
          py::arg("grad_factor"), py::arg("steps"), py::arg("boundary"), py::arg("semiring"), py::arg("scaled"), py::arg("keep_every"),
          py::arg("backend"));
    m.def("paths_transfer_best_path", &best_path, py::arg("psi"), py::arg("taps"), py::arg("factor"), py::arg("ends"), py::arg("sites"),
          py::arg("steps"), py::arg("boundary"));
}

}  // namespace qcore::bindings
