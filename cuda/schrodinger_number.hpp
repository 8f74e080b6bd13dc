// Real and complex numbers of one thread. Products that are added to something are written so that they become fused
// multiply-adds.
#pragma once

#include "core/config.hpp"

namespace qcore::schrodinger {

template <class T>
struct Real {
    using Scalar = T;
    template <class U>
    using With = Real<U>;
    static constexpr int parts = 1;

    T re;

    static QC_HD Real of(double re, double) { return {static_cast<T>(re)}; }
    QC_HD Real operator+(Real b) const { return {re + b.re}; }
    QC_HD Real operator-(Real b) const { return {re - b.re}; }
    QC_HD Real operator-() const { return {-re}; }
    QC_HD Real operator*(Real b) const { return {re * b.re}; }
    QC_HD Real times(T factor) const { return {re * factor}; }
    QC_HD Real conjugate() const { return *this; }
    QC_HD bool is_zero() const { return re == 0; }
    QC_HD T imaginary() const { return 0; }
};

template <class T>
struct alignas(2 * sizeof(T)) Complex {
    using Scalar = T;
    template <class U>
    using With = Complex<U>;
    static constexpr int parts = 2;

    T re, im;

    static QC_HD Complex of(double re, double im) { return {static_cast<T>(re), static_cast<T>(im)}; }
    QC_HD Complex operator+(Complex b) const { return {re + b.re, im + b.im}; }
    QC_HD Complex operator-(Complex b) const { return {re - b.re, im - b.im}; }
    QC_HD Complex operator-() const { return {-re, -im}; }
    QC_HD Complex operator*(Complex b) const { return {re * b.re - im * b.im, re * b.im + im * b.re}; }
    QC_HD Complex times(T factor) const { return {re * factor, im * factor}; }
    QC_HD Complex conjugate() const { return {re, -im}; }
    QC_HD bool is_zero() const { return re == 0 && im == 0; }
    QC_HD T imaginary() const { return im; }
};

// a b + c and c - a b.
template <class T>
QC_HD Real<T> mac(Real<T> a, Real<T> b, Real<T> c) {
    return {c.re + a.re * b.re};
}
template <class T>
QC_HD Real<T> nmac(Real<T> a, Real<T> b, Real<T> c) {
    return {c.re - a.re * b.re};
}
template <class T>
QC_HD Complex<T> mac(Complex<T> a, Complex<T> b, Complex<T> c) {
    return {c.re + a.re * b.re - a.im * b.im, c.im + a.re * b.im + a.im * b.re};
}
template <class T>
QC_HD Complex<T> nmac(Complex<T> a, Complex<T> b, Complex<T> c) {
    return {c.re - a.re * b.re + a.im * b.im, c.im - a.re * b.im - a.im * b.re};
}

template <class T>
QC_HD Real<T> inverse(Real<T> a) {
    return {1 / a.re};
}
template <class T>
QC_HD Complex<T> inverse(Complex<T> a) {
    const T scale = 1 / (a.re * a.re + a.im * a.im);
    return {a.re * scale, -a.im * scale};
}

// In other precision.
template <class N, class M>
QC_HD N convert(M a) {
    return N::of(static_cast<double>(a.re), static_cast<double>(a.imaginary()));
}

}  // namespace qcore::schrodinger
