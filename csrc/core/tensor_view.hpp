// A non-owning view of a dense strided tensor: what every kernel entry point takes.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "core/dtype.hpp"

namespace qcore {

enum class Device : std::uint8_t { cpu, cuda };

struct TensorView {
    static constexpr int max_ndim = 8;

    void* data = nullptr;
    DType dtype = DType::f32;
    Device device = Device::cpu;
    int device_index = 0;
    bool read_only = false;
    int ndim = 0;
    std::array<std::int64_t, max_ndim> shape{};
    std::array<std::int64_t, max_ndim> stride{};  // in elements

    std::int64_t numel() const {
        std::int64_t n = 1;
        for (int i = 0; i < ndim; ++i) n *= shape[i];
        return n;
    }

    bool contiguous() const {
        if (numel() == 0) return true;  // whatever strides an empty array reports
        std::int64_t expected = 1;
        for (int i = ndim - 1; i >= 0; --i) {
            if (shape[i] != 1 && stride[i] != expected) return false;
            expected *= shape[i];
        }
        return true;
    }

    std::string shape_text() const {
        std::string text = "(";
        for (int i = 0; i < ndim; ++i) {
            if (i) text += ", ";
            text += std::to_string(shape[i]);
        }
        return text + (ndim == 1 ? ",)" : ")");
    }
};

}  // namespace qcore
