// A Python array argument as a TensorView: by the DLPack C exchange API (torch), else __dlpack__, else the buffer protocol.
#pragma once

#include <optional>

#include <pybind11/pybind11.h>

#include "core/tensor_view.hpp"

namespace qcore::bindings {

// Where an array has to lie: with the kernels that work on it, or on the host, which reads it before a launch. The same for
// kernels of the CPU.
enum class Memory { kernels, host };

// Keeps alive what the view points to. Refuses, with the argument's name: what isn't an array, an unsupported element type,
// missing memory (a fake or meta tensor), and lazily conjugated or negated views, whose flag DLPack would drop silently.
class Array {
  public:
    Array(pybind11::handle object, const char* name, Memory memory = Memory::kernels);
    Array(const Array&) = delete;
    Array& operator=(const Array&) = delete;
    ~Array();

    const TensorView& view() const { return view_; }

  private:
    bool from_exchange_api(const char* name);
    bool from_dlpack(const char* name);
    bool from_buffer(const char* name);

    pybind11::handle object_;
    pybind11::object owner_;  // capsule or Py_buffer holder, where one is needed
    TensorView view_;
    bool entered_ = false;  // counted among the arrays of this thread's call on a device
};

// Settings that are small and read on the host.
struct HostArray : Array {
    HostArray(pybind11::handle object, const char* name) : Array(object, name, Memory::host) {}
};

// None stands for an absent argument.
class OptionalArray {
  public:
    OptionalArray(pybind11::handle object, const char* name, Memory memory = Memory::kernels) {
        if (!object.is_none()) array_.emplace(object, name, memory);
    }
    const TensorView* view() const { return array_ ? &array_->view() : nullptr; }

  private:
    std::optional<Array> array_;
};

}  // namespace qcore::bindings
