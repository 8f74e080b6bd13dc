#include <pybind11/pybind11.h>

#include "bindings/array.hpp"
#include "bindings/module.hpp"

namespace py = pybind11;

namespace qcore::bindings {

void register_paths_metropolis(py::module_&) {}

}  // namespace qcore::bindings
