// Pointwise activations of a stencil chain and their derivatives, one point at a time.
#pragma once

#include <cmath>
#include <complex>

#include "core/config.hpp"

namespace qcore::stencil {

enum class Activation : int { none = 0, relu = 1, leaky_relu = 2, tanh = 3, silu = 4 };

// Comparisons are written so that a NaN takes the branch that keeps it.
template <class T>
QC_HD T activate(T z, Activation activation, T slope) {
    switch (activation) {
        case Activation::none: return z;
        case Activation::relu: return z <= T(0) ? T(0) : z;
        case Activation::leaky_relu: return z <= T(0) ? slope * z : z;
        case Activation::tanh: return std::tanh(z);
        case Activation::silu: return z / (T(1) + std::exp(-z));
    }
    return z;
}

// d activate / dz at pre-activation z; 0 (relu) and slope (leaky_relu) at z = 0, as in torch.
template <class T>
QC_HD T activate_derivative(T z, Activation activation, T slope) {
    switch (activation) {
        case Activation::none: return T(1);
        case Activation::relu: return z <= T(0) ? T(0) : T(1);
        case Activation::leaky_relu: return z > T(0) ? T(1) : slope;  // of a NaN: slope, as in torch
        case Activation::tanh: {
            const T u = std::tanh(z);
            return T(1) - u * u;
        }
        case Activation::silu: {
            const T s = T(1) / (T(1) + std::exp(-z));
            return s * (T(1) + z * (T(1) - s));
        }
    }
    return T(1);
}

// Complex fields go through linear chains only.
template <class T>
QC_HD std::complex<T> activate(std::complex<T> z, Activation, std::complex<T>) {
    return z;
}
template <class T>
QC_HD std::complex<T> activate_derivative(std::complex<T>, Activation, std::complex<T>) {
    return T(1);
}

}  // namespace qcore::stencil
