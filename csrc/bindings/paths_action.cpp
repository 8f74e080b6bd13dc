#include "paths/action.hpp"

#include <pybind11/pybind11.h>

#include "bindings/array.hpp"
#include "bindings/module.hpp"
#include "paths/network.hpp"
#include "paths/phi4.hpp"

namespace py = pybind11;

namespace qcore::bindings {

namespace {

paths::Action settings(const Array& coefficients, bool table, double start, double spacing, int scheme, bool periodic, double lambda,
                       int parameters, double dt, const OptionalArray& x_ini, const OptionalArray& x_fin, bool hold_ends, int backend) {
    return {coefficients.view(), table, start, spacing, static_cast<paths::Scheme>(scheme), periodic, lambda,
            static_cast<paths::Parameters>(parameters), dt, x_ini.view(), x_fin.view(), hold_ends,
            static_cast<paths::ActionBackend>(backend)};
}

void action(py::handle x, py::handle x_ini, py::handle x_fin, py::handle coefficients, py::handle factors, py::handle out, bool table,
            double start, double spacing, int scheme, bool periodic, double lambda, int parameters, double dt, bool hold_ends,
            int backend) {
    const Array ax(x, "x"), acoefficients(coefficients, "coefficients"), aout(out, "out");
    const HostArray afactors(factors, "factors");
    const OptionalArray aini(x_ini, "x_ini"), afin(x_fin, "x_fin");
    py::gil_scoped_release release;
    paths::action(settings(acoefficients, table, start, spacing, scheme, periodic, lambda, parameters, dt, aini, afin, hold_ends, backend),
                  ax.view(), afactors.view(), aout.view());
}

void action_gradient(py::handle x, py::handle x_ini, py::handle x_fin, py::handle coefficients, py::handle factors, py::handle grad,
                     py::handle grad_x, py::handle grad_ini, py::handle grad_fin, py::handle grad_coefficients, bool table,
                     double start, double spacing, int scheme, bool periodic, double lambda, int parameters, double dt,
                     bool hold_ends, int backend) {
    const Array ax(x, "x"), acoefficients(coefficients, "coefficients");
    const HostArray afactors(factors, "factors");
    const Array agrad(grad, "grad"), agrad_x(grad_x, "grad_x");
    const OptionalArray aini(x_ini, "x_ini"), afin(x_fin, "x_fin"), agrad_ini(grad_ini, "grad_ini"), agrad_fin(grad_fin, "grad_fin");
    const OptionalArray agrad_coefficients(grad_coefficients, "grad_coefficients");
    py::gil_scoped_release release;
    paths::action_gradient(
        settings(acoefficients, table, start, spacing, scheme, periodic, lambda, parameters, dt, aini, afin, hold_ends, backend),
        ax.view(), afactors.view(), agrad.view(), agrad_x.view(), agrad_ini.view(), agrad_fin.view(), agrad_coefficients.view());
}

void integrate(py::handle w, py::handle x_ini, py::handle x_fin, py::handle x, int parameters, double dt) {
    const Array aw(w, "w"), aini(x_ini, "x_ini"), ax(x, "x");
    const OptionalArray afin(x_fin, "x_fin");
    py::gil_scoped_release release;
    paths::integrate(static_cast<paths::Parameters>(parameters), dt, aw.view(), aini.view(), afin.view(), ax.view());
}

void integrate_adjoint(py::handle grad_x, py::handle grad_w, py::handle grad_ini, py::handle grad_fin, int parameters, double dt) {
    const Array agrad_x(grad_x, "grad_x"), agrad_w(grad_w, "grad_w"), agrad_ini(grad_ini, "grad_ini");
    const OptionalArray agrad_fin(grad_fin, "grad_fin");
    py::gil_scoped_release release;
    paths::integrate_adjoint(static_cast<paths::Parameters>(parameters), dt, agrad_x.view(), agrad_w.view(), agrad_ini.view(),
                             agrad_fin.view());
}

void phi4_action(py::handle phi, py::handle factors, py::handle out, bool midpoint, bool periodic, bool reference) {
    const Array aphi(phi, "phi"), aout(out, "out");
    const HostArray afactors(factors, "factors");
    py::gil_scoped_release release;
    paths::phi4_action({midpoint, periodic, reference}, aphi.view(), afactors.view(), aout.view());
}

void phi4_gradient(py::handle phi, py::handle factors, py::handle grad, py::handle grad_phi, bool midpoint, bool periodic,
                   bool reference) {
    const Array aphi(phi, "phi"), agrad(grad, "grad"), agrad_phi(grad_phi, "grad_phi");
    const HostArray afactors(factors, "factors");
    py::gil_scoped_release release;
    paths::phi4_gradient({midpoint, periodic, reference}, aphi.view(), afactors.view(), agrad.view(), agrad_phi.view());
}

}  // namespace

void register_paths_action(py::module_& m) {
    m.def("paths_action", &action, py::arg("x"), py::arg("x_ini"), py::arg("x_fin"), py::arg("coefficients"), py::arg("factors"),
          py::arg("out"), py::arg("table"), py::arg("start"), py::arg("spacing"), py::arg("scheme"), py::arg("periodic"),
          py::arg("lambda_"), py::arg("parameters"), py::arg("dt"), py::arg("hold_ends"), py::arg("backend"));
    m.def("paths_action_gradient", &action_gradient, py::arg("x"), py::arg("x_ini"), py::arg("x_fin"), py::arg("coefficients"),
          py::arg("factors"), py::arg("grad"), py::arg("grad_x"), py::arg("grad_ini"), py::arg("grad_fin"),
          py::arg("grad_coefficients"), py::arg("table"), py::arg("start"), py::arg("spacing"), py::arg("scheme"), py::arg("periodic"),
          py::arg("lambda_"), py::arg("parameters"), py::arg("dt"), py::arg("hold_ends"), py::arg("backend"));
    m.def("paths_integrate", &integrate, py::arg("w"), py::arg("x_ini"), py::arg("x_fin"), py::arg("x"), py::arg("parameters"),
          py::arg("dt"));
    m.def("paths_integrate_adjoint", &integrate_adjoint, py::arg("grad_x"), py::arg("grad_w"), py::arg("grad_ini"),
          py::arg("grad_fin"), py::arg("parameters"), py::arg("dt"));
    m.def("paths_phi4_action", &phi4_action, py::arg("phi"), py::arg("factors"), py::arg("out"), py::arg("midpoint"),
          py::arg("periodic"), py::arg("reference"));
    m.def("paths_phi4_gradient", &phi4_gradient, py::arg("phi"), py::arg("factors"), py::arg("grad"), py::arg("grad_phi"),
          py::arg("midpoint"), py::arg("periodic"), py::arg("reference"));
}

}  // namespace qcore::bindings
