// Real and complex numbers, one a lane. Every product that is added to something is an explicit fused multiply-add, so that a
// lane's result depends on nothing but its own numbers.
#pragma once

#include "core/simd.hpp"

namespace qcore::QC_ISA {
namespace {

// c - a b. Written with a negated factor instead, the negation would be carried out, and in scalars before they are spread.
template <class T>
inline typename Simd<T>::V subtract_product(typename Simd<T>::V a, typename Simd<T>::V b, typename Simd<T>::V c) {
    using V [[maybe_unused]] = typename Simd<T>::V;
#if defined(__AVX512F__)
    if constexpr (sizeof(T) == 4) return (V)_mm512_fnmadd_ps((__m512)a, (__m512)b, (__m512)c);
    else return (V)_mm512_fnmadd_pd((__m512d)a, (__m512d)b, (__m512d)c);
#elif defined(__AVX2__) && defined(__FMA__)
    if constexpr (sizeof(T) == 4) return (V)_mm256_fnmadd_ps((__m256)a, (__m256)b, (__m256)c);
    else return (V)_mm256_fnmadd_pd((__m256d)a, (__m256d)b, (__m256d)c);
#else
    return c - a * b;
#endif
}

template <class T>
struct Real {
    using Scalar = T;
    using S = Simd<T>;
    template <class U>
    using With = Real<U>;
    static constexpr int parts = 1, width = S::width;

    typename S::V re;

    static Real zero() { return {S::zero()}; }
    static Real load(const T* p) { return {S::load(p)}; }
    static Real broadcast(const T* p) { return {S::set(p[0])}; }
    static Real of(double re, double) { return {S::set(static_cast<T>(re))}; }
    void store(T* p) const { S::store(p, re); }

    Real operator+(Real b) const { return {re + b.re}; }
    Real operator-(Real b) const { return {re - b.re}; }
    Real operator-() const { return {-re}; }
    Real operator*(Real b) const { return {re * b.re}; }
    Real times(typename S::V factor) const { return {re * factor}; }
    Real times_plus(typename S::V factor, Real c) const { return {S::fma(re, factor, c.re)}; }
    auto size() const { return re < T(0) ? -re : re; }  // squared for complex numbers: only compared with another size
};

template <class T>
inline Real<T> mac(Real<T> a, Real<T> b, Real<T> c) {
    return {Simd<T>::fma(a.re, b.re, c.re)};
}
template <class T>
inline Real<T> nmac(Real<T> a, Real<T> b, Real<T> c) {
    return {subtract_product<T>(a.re, b.re, c.re)};
}
template <class T>
inline Real<T> inverse(Real<T> a) {
    return {Simd<T>::set(T(1)) / a.re};
}
template <class T, class Mask>
inline Real<T> select(Mask mask, Real<T> a, Real<T> b) {
    return {mask ? a.re : b.re};
}

template <class T>
struct Complex {
    using Scalar = T;
    using S = Simd<T>;
    template <class U>
    using With = Complex<U>;
    static constexpr int parts = 2, width = S::width;

    typename S::V re, im;

    static Complex zero() { return {S::zero(), S::zero()}; }
    static Complex load(const T* p) { return {S::load(p), S::load(p + width)}; }
    static Complex broadcast(const T* p) { return {S::set(p[0]), S::set(p[1])}; }
    static Complex of(double re, double im) { return {S::set(static_cast<T>(re)), S::set(static_cast<T>(im))}; }
    void store(T* p) const {
        S::store(p, re);
        S::store(p + width, im);
    }

    Complex operator+(Complex b) const { return {re + b.re, im + b.im}; }
    Complex operator-(Complex b) const { return {re - b.re, im - b.im}; }
    Complex operator-() const { return {-re, -im}; }
    Complex operator*(Complex b) const { return {subtract_product<T>(im, b.im, re * b.re), S::fma(im, b.re, re * b.im)}; }
    Complex times(typename S::V factor) const { return {re * factor, im * factor}; }
    Complex times_plus(typename S::V factor, Complex c) const { return {S::fma(re, factor, c.re), S::fma(im, factor, c.im)}; }
    auto size() const { return S::fma(re, re, im * im); }
};

// a b + c and c - a b.
template <class T>
inline Complex<T> mac(Complex<T> a, Complex<T> b, Complex<T> c) {
    using S = Simd<T>;
    return {subtract_product<T>(a.im, b.im, S::fma(a.re, b.re, c.re)), S::fma(a.im, b.re, S::fma(a.re, b.im, c.im))};
}
template <class T>
inline Complex<T> nmac(Complex<T> a, Complex<T> b, Complex<T> c) {
    using S = Simd<T>;
    return {S::fma(a.im, b.im, subtract_product<T>(a.re, b.re, c.re)),
            subtract_product<T>(a.im, b.re, subtract_product<T>(a.re, b.im, c.im))};
}
// a conj(b) + c.
template <class T>
inline Real<T> mac_conjugate(Real<T> a, Real<T> b, Real<T> c) {
    return mac(a, b, c);
}
template <class T>
inline Complex<T> mac_conjugate(Complex<T> a, Complex<T> b, Complex<T> c) {
    using S = Simd<T>;
    return {S::fma(a.im, b.im, S::fma(a.re, b.re, c.re)), S::fma(a.im, b.re, subtract_product<T>(a.re, b.im, c.im))};
}
template <class T>
inline Complex<T> inverse(Complex<T> a) {
    const auto scale = Simd<T>::set(T(1)) / a.size();
    return {a.re * scale, -a.im * scale};
}
template <class T, class Mask>
inline Complex<T> select(Mask mask, Complex<T> a, Complex<T> b) {
    return {mask ? a.re : b.re, mask ? a.im : b.im};
}

// A coefficient of row j: its own for every lane, or the same for all.
template <class N, bool per_lane>
inline N coefficient(const typename N::Scalar* p, std::int64_t j) {
    if constexpr (per_lane) return N::load(p + j * N::parts * N::width);
    else return N::broadcast(p + j * N::parts);
}

}  // namespace
}  // namespace qcore::QC_ISA
