// One register function per kernel family.
#pragma once

#include <pybind11/pybind11.h>

namespace qcore::bindings {

void register_paths(pybind11::module_& m);
void register_paths_action(pybind11::module_& m);
void register_paths_dynamics(pybind11::module_& m);
void register_paths_metropolis(pybind11::module_& m);
void register_paths_transfer(pybind11::module_& m);
void register_schrodinger(pybind11::module_& m);
void register_schrodinger_cayley(pybind11::module_& m);
void register_schrodinger_split(pybind11::module_& m);
void register_schrodinger_transparent(pybind11::module_& m);
void register_stencil(pybind11::module_& m);

}  // namespace qcore::bindings
