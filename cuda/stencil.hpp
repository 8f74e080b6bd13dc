// What the stencil kernels share: fields in device memory, the settings of a step, and numbers of every type that a chain takes.
#pragma once

#include <cmath>
#include <cstdint>
#include <type_traits>

#include "launch.hpp"
#include "stencil/problem.hpp"

namespace qcore::stencil {

using cuda::launch;
using cuda::Pointer;
using cuda::pointer;
using cuda::Queue;
using cuda::Workspace;

template <class T>
struct alignas(2 * sizeof(T)) Complex {
    T re, im;

    Complex() = default;
    QC_HD Complex(T real, T imag = T(0)) : re(real), im(imag) {}
    QC_HD Complex operator+(Complex b) const { return {re + b.re, im + b.im}; }
    QC_HD Complex operator*(Complex b) const { return {re * b.re - im * b.im, re * b.im + im * b.re}; }
    QC_HD Complex operator*(T b) const { return {re * b, im * b}; }
};

template <class S>
struct RealOf {
    using Type = S;
    static constexpr bool complex = false;
};
template <class T>
struct RealOf<Complex<T>> {
    using Type = T;
    static constexpr bool complex = true;
};
template <class S>
constexpr bool is_complex_number = RealOf<S>::complex;

template <class S>
QC_HD S conjugate(S a) {
    if constexpr (is_complex_number<S>) return S(a.re, -a.im);
    else return a;
}

// A sum of products in float64: the terms' own product is rounded in float64 as well.
template <class S>
using Sum = std::conditional_t<is_complex_number<S>, Complex<double>, double>;
template <class S>
QC_HD Sum<S> widen(S a) {
    if constexpr (is_complex_number<S>) return {static_cast<double>(a.re), static_cast<double>(a.im)};
    else return a;
}
template <class K, class S>
QC_HD K narrow(S a) {
    using R = typename RealOf<K>::Type;
    if constexpr (is_complex_number<K>) return K(static_cast<R>(a.re), static_cast<R>(a.im));
    else if constexpr (is_complex_number<S>) return static_cast<K>(a.re);
    else return static_cast<K>(a);
}

// Storage element <-> number of the computation.
template <class S, class T>
QC_HD S from_storage(T value) {
    if constexpr (std::is_same_v<T, bfloat16> || std::is_same_v<T, float16>) return S(static_cast<float>(value));
    else return S(value);
}

// A (step, B, C, D, H, W) field of elements T.
template <class T>
struct Elements {
    Pointer<T> data;
    std::int64_t step_stride, batch_stride, channel_stride, z_stride, y_stride, x_stride;

    Elements() = default;
    explicit Elements(const Field& f, std::int64_t step = 0)
        : data(pointer<T>(f.data)), step_stride(f.step_stride), batch_stride(f.batch_stride), channel_stride(f.channel_stride),
          z_stride(f.z_stride), y_stride(f.y_stride), x_stride(f.x_stride) {
        if (f.data) data += step * f.step_stride;
    }
};

// f(types) with the number of the computation S, of storage T and of the taps K of a call.
template <class S_, class T_, class K_>
struct Types {
    using S = S_;
    using T = T_;
    using K = K_;
};
template <class F>
void with_types(const Problem& p, F&& f) {
    using c64 = Complex<float>;
    using c128 = Complex<double>;
    switch (p.storage) {
        case DType::f32: return f(Types<float, float, float>{});
        case DType::f64: return f(Types<double, double, double>{});
        case DType::bf16: return f(Types<float, bfloat16, float>{});
        case DType::f16: return f(Types<float, float16, float>{});
        case DType::c64: return p.complex_taps ? f(Types<c64, c64, c64>{}) : f(Types<c64, c64, float>{});
        case DType::c128: return p.complex_taps ? f(Types<c128, c128, c128>{}) : f(Types<c128, c128, double>{});
    }
}

// Step by step through memory: any grid, kernel, boundary and type.
void stepwise_forward(const Problem& p);
void stepwise_backward(const Problem& p);

}  // namespace qcore::stencil
