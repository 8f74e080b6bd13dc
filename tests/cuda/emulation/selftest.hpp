// What the files of the selftest share.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cstddef>
#include <vector>

#include "emulation.hpp"

namespace qcore::selftest {

// An array on the emulated device, registered for as long as it lives.
template <class T>
class Device {
public:
    explicit Device(std::vector<T> values) : values_(std::move(values)) {
        emulation::register_memory(values_.data(), values_.size() * sizeof(T));
    }
    explicit Device(std::size_t size, T value = T{}) : Device(std::vector<T>(size, value)) {}
    ~Device() { emulation::unregister_memory(values_.data()); }
    Device(const Device&) = delete;
    Device& operator=(const Device&) = delete;

    std::size_t size() const { return values_.size(); }
    const T* data() const { return values_.data(); }
    emulation::Pointer<T> pointer() const { return emulation::pointer<T>(values_.data()); }
    pybind11::array_t<T> array(const std::vector<std::size_t>& shape) const {
        return pybind11::array_t<T>(shape, values_.data());
    }

private:
    std::vector<T> values_;
};

// Pointers, registered memory, intrinsics, the runtime's functions.
void register_parts(pybind11::module_& m);

}  // namespace qcore::selftest
