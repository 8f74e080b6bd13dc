// A real or complex number in each lane of a vector, and tiles of systems brought to lanes. For files compiled per instruction set.
#pragma once

#include "core/simd.hpp"

namespace qcore::QC_ISA {
namespace {

// c - a b. Said outright: of fma(-a, b, c) the compiler makes a negated scalar that is spread by shuffles, on a port that
// multiplies as well.
inline Simd<double>::V minus_product(Simd<double>::V a, Simd<double>::V b, Simd<double>::V c) {
#if defined(__AVX512F__)
    return (Simd<double>::V)_mm512_fnmadd_pd((__m512d)a, (__m512d)b, (__m512d)c);
#elif defined(__AVX2__) && defined(__FMA__)
    return (Simd<double>::V)_mm256_fnmadd_pd((__m256d)a, (__m256d)b, (__m256d)c);
#else
    return c - a * b;
#endif
}

// Products are summed by explicit fused instructions alone, so that every use of them rounds alike.
struct Real {
    using S = Simd<double>;
    using V = S::V;
    static constexpr int parts = 1, lanes = S::width, size = lanes;
    V re;

    static Real zero() { return {S::zero()}; }
    static Real load(const double* p) { return {S::load(p)}; }
    static Real broadcast(const double* p) { return {S::set(p[0])}; }
    void store(double* p) const { S::store(p, re); }

    friend Real operator+(Real a, Real b) { return {a.re + b.re}; }
    friend Real operator-(Real a, Real b) { return {a.re - b.re}; }
    friend Real operator*(Real a, Real b) { return {a.re * b.re}; }
    static Real plus_product(Real c, Real a, Real b) { return {S::fma(a.re, b.re, c.re)}; }     // c + a b
    static Real minus_product(Real c, Real a, Real b) { return {QC_ISA::minus_product(a.re, b.re, c.re)}; }  // c - a b
    static Real twice_minus(Real a, Real b) { return {S::fma(S::set(2.0), a.re, -b.re)}; }      // 2 a - b
    static Real mean(Real a, Real b) { return {S::fma(S::set(0.5), a.re, S::set(0.5) * b.re)}; }
    static Real inverse(Real a) { return {S::set(1.0) / a.re}; }
    static V magnitude(Real a) { return a.re < 0.0 ? -a.re : a.re; }
};

struct Complex {
    using S = Simd<double>;
    using V = S::V;
    static constexpr int parts = 2, lanes = S::width, size = 2 * lanes;
    V re, im;

    static Complex zero() { return {S::zero(), S::zero()}; }
    static Complex load(const double* p) { return {S::load(p), S::load(p + lanes)}; }
    static Complex broadcast(const double* p) { return {S::set(p[0]), S::set(p[1])}; }
    void store(double* p) const {
        S::store(p, re);
        S::store(p + lanes, im);
    }

    friend Complex operator+(Complex a, Complex b) { return {a.re + b.re, a.im + b.im}; }
    friend Complex operator-(Complex a, Complex b) { return {a.re - b.re, a.im - b.im}; }
    friend Complex operator*(Complex a, Complex b) {
        return {QC_ISA::minus_product(a.im, b.im, a.re * b.re), S::fma(a.im, b.re, a.re * b.im)};
    }
    static Complex plus_product(Complex c, Complex a, Complex b) {
        return {QC_ISA::minus_product(a.im, b.im, S::fma(a.re, b.re, c.re)), S::fma(a.im, b.re, S::fma(a.re, b.im, c.im))};
    }
    static Complex minus_product(Complex c, Complex a, Complex b) {
        return {S::fma(a.im, b.im, QC_ISA::minus_product(a.re, b.re, c.re)),
                QC_ISA::minus_product(a.im, b.re, QC_ISA::minus_product(a.re, b.im, c.im))};
    }
    static Complex twice_minus(Complex a, Complex b) {
        const V two = S::set(2.0);
        return {S::fma(two, a.re, -b.re), S::fma(two, a.im, -b.im)};
    }
    static Complex mean(Complex a, Complex b) {
        const V half = S::set(0.5);
        return {S::fma(half, a.re, half * b.re), S::fma(half, a.im, half * b.im)};
    }
    static Complex inverse(Complex a) {
        const V scale = S::set(1.0) / S::fma(a.re, a.re, a.im * a.im);
        return {a.re * scale, -a.im * scale};
    }
    static V magnitude(Complex a) { return (a.re < 0.0 ? -a.re : a.re) + (a.im < 0.0 ? -a.im : a.im); }
};

// --- between systems one after the other and rows [j][group][part][lane] ---

constexpr std::int64_t tile = 16;  // grid points that are moved at once: the cache lines of a tile's lanes stay in L1

// Systems 0 ... count - 1 of a (count, n) array; lanes without a system get zeros. `sign` multiplies imaginary parts.
template <class X, int G, class T>
void read_rows(const T* from, std::int64_t n, std::int64_t count, double sign, double* rows) {
    for (std::int64_t begin = 0; begin < n; begin += tile) {
        const std::int64_t end = begin + tile < n ? begin + tile : n;
        for (std::int64_t lane = 0; lane < G * X::lanes; ++lane) {
            double* const to = rows + lane / X::lanes * X::size + lane % X::lanes;
            for (std::int64_t j = begin; j < end; ++j)
                for (int c = 0; c < X::parts; ++c)
                    to[j * G * X::size + c * X::lanes] =
                        lane < count ? (c ? sign : 1.0) * static_cast<double>(from[(lane * n + j) * X::parts + c]) : 0.0;
        }
    }
}

// Points [begin, end) of every system, from rows of those points alone.
template <class X, int G, class T>
void write_tile(const double* rows, std::int64_t n, std::int64_t count, std::int64_t begin, std::int64_t end, double sign, T* to) {
    for (std::int64_t lane = 0; lane < count; ++lane) {
        const double* const from = rows + lane / X::lanes * X::size + lane % X::lanes;
        for (std::int64_t j = begin; j < end; ++j)
            for (int c = 0; c < X::parts; ++c)
                to[(lane * n + j) * X::parts + c] =
                    static_cast<T>((c ? sign : 1.0) * from[(j - begin) * G * X::size + c * X::lanes]);
    }
}

template <class X, int G, class T>
void write_rows(const double* rows, std::int64_t n, std::int64_t count, double sign, T* to) {
    for (std::int64_t begin = 0; begin < n; begin += tile)
        write_tile<X, G>(rows + begin * G * X::size, n, count, begin, begin + tile < n ? begin + tile : n, sign, to);
}

}  // namespace
}  // namespace qcore::QC_ISA
