// The sweeps of split_kernels.hpp on vectors. Included by a file that is compiled for each instruction set.
//
// Strided axes: the vectors hold adjacent columns, complex numbers as they are stored (re, im, re, im ...). The axis along memory:
// blocks are transposed in registers, a vector then holds one number of as many lines.
#pragma once

#include "core/config.hpp"
#include "core/simd.hpp"
#include "schrodinger/split_kernels.hpp"

namespace qcore::QC_ISA {
namespace {

using schrodinger::LineSweep;
using schrodinger::RowSweep;
using schrodinger::SweepFactor;

// Between storage T and arithmetic R; n: that many lanes only.
template <class T, class R>
struct Io {
    using S = Simd<R>;
    using V = typename S::V;
    static constexpr bool same = sizeof(T) == sizeof(R);
    typedef T Stored __attribute__((vector_size(S::width * sizeof(T)), aligned(alignof(T)), may_alias));

    static V load(const T* p) {
        if constexpr (same) return S::load(p);
        else return __builtin_convertvector(*reinterpret_cast<const Stored*>(p), V);
    }
    static void store(T* p, V v) {
        if constexpr (same) S::store(p, v);
        else *reinterpret_cast<Stored*>(p) = __builtin_convertvector(v, Stored);
    }
    static V load(const T* p, int n) {
        if constexpr (same) return S::load(p, {n});
        V v{};
        for (int i = 0; i < n; ++i) v[i] = static_cast<R>(p[i]);
        return v;
    }
    static void store(T* p, V v, int n) {
        if constexpr (same) S::store(p, v, {n});
        else
            for (int i = 0; i < n; ++i) p[i] = static_cast<T>(v[i]);
    }
};

template <class R, int... I>
inline typename Simd<R>::V swap_pairs(typename Simd<R>::V v, std::integer_sequence<int, I...>) {
    return __builtin_shufflevector(v, v, (I ^ 1)...);
}
template <class R, int... I>
inline typename Simd<R>::V first_of_pairs(typename Simd<R>::V v, std::integer_sequence<int, I...>) {
    return __builtin_shufflevector(v, v, (I & ~1)...);
}
template <class R, int... I>
inline typename Simd<R>::V second_of_pairs(typename Simd<R>::V v, std::integer_sequence<int, I...>) {
    return __builtin_shufflevector(v, v, (I | 1)...);
}
template <class R, int... I>
inline typename Simd<R>::V alternate_signs(std::integer_sequence<int, I...>) {
    return typename Simd<R>::V{(I & 1 ? R(1) : R(-1))...};
}

// Arithmetic on columns: a vector of real numbers, or of pairs (re, im).
template <class R, bool complex>
struct Columns {
    using S = Simd<R>;
    using V = typename S::V;
    static constexpr auto lanes = std::make_integer_sequence<int, S::width>{};

    // A number for all columns.
    struct Scalar {
        V re, im;  // im: with alternating signs
        explicit Scalar(const R* c) : re(S::set(c[0])), im(complex ? S::set(c[1]) * alternate_signs<R>(lanes) : V{}) {}
    };
    static const R* at(const R* table, std::int64_t i) { return table + i * (complex ? 2 : 1); }
    static V swap(V v) { return swap_pairs<R>(v, lanes); }
    static V fma(const Scalar& c, V v, V sum) {
        const V r = S::fma(c.re, v, sum);
        if constexpr (complex) return S::fma(c.im, swap(v), r);
        else return r;
    }
    static V mul(const Scalar& c, V v) {
        if constexpr (complex) return S::fma(c.im, swap(v), c.re * v);
        else return c.re * v;
    }
    static V mul(V a, V b) {
        if constexpr (!complex) return a * b;
        const V im = second_of_pairs<R>(b, lanes) * alternate_signs<R>(lanes);
        return S::fma(im, swap(a), first_of_pairs<R>(b, lanes) * a);
    }
    // Sums of a conj(b).
    struct Sum {
        V along{}, across{};
        void add(V a, V b) {
            along = S::fma(a, b, along);
            if constexpr (complex) across = S::fma(a, swap(b), across);
        }
        void reduce(double* to) const {
            to[0] += S::sum(along);
            if constexpr (complex) to[1] += S::sum(across * alternate_signs<R>(lanes));
        }
    };
};

template <class T, class R, bool complex, bool in, bool out>
QC_KERNEL void row_sweep(const RowSweep<R>& a) {
    using C = Columns<R, complex>;
    using S = Simd<R>;
    using V = typename S::V;
    using State = Io<T, R>;
    using Own = Io<R, R>;
    using Scalar = typename C::Scalar;
    constexpr int parts = complex ? 2 : 1;
    const R zero[2] = {0, 0};
    const std::int64_t width = a.columns * parts, stride = a.stride * parts;
    const std::int64_t n = in ? a.in->n : out ? a.out->n : a.last;
    const Scalar alpha(in ? a.in->alpha : zero), beta(in ? a.in->beta : zero);
    typename C::Sum behind, before;
    for (std::int64_t i = 0; i < a.last - a.first; ++i) {
        const std::int64_t j = a.direction > 0 ? a.first + i : a.last - 1 - i, ahead = j + a.direction, back = j - a.direction;
        const std::int64_t from_start = a.direction > 0 ? j : n - 1 - j;
        const bool start = from_start == 0, end = from_start == n - 1;
        const T* const source = static_cast<const T*>(a.source) + j * stride;
        const T* const next = in && !end ? static_cast<const T*>(a.source) + ahead * stride : static_cast<const T*>(a.zeros);
        T* const target = static_cast<T*>(a.target) + j * stride;
        const T* const last = out && !start ? static_cast<const T*>(a.target) + back * stride : static_cast<const T*>(a.zeros);
        const R* const phase = a.phase ? a.phase + j * a.phase_stride * parts : nullptr;
        const R* const late_phase = a.late_phase ? a.late_phase + j * a.phase_stride * parts : nullptr;
        T* const frame = a.frame ? static_cast<T*>(a.frame) + j * stride : nullptr;
        const T* const add = a.add ? static_cast<const T*>(a.add) + j * stride : nullptr;
        R* const delta = a.delta ? a.delta + (j - a.first) * width : nullptr;
        const bool periodic_in = in && a.in->v, periodic_out = out && a.out->v;
        // The elimination of `in` began where this sweep ends.
        const Scalar minus_r([&] {
            Scalar s(in ? C::at(a.in->r, n - 1 - from_start) : zero);
            s.re = -s.re;
            s.im = -s.im;
            return s;
        }());
        const Scalar p(in ? C::at(a.in->p, n - 1 - from_start) : zero), r(out ? C::at(a.out->r, from_start) : zero);
        const Scalar correction(periodic_in ? C::at(a.in->correction, j) : zero), v(periodic_out ? C::at(a.out->v, j) : zero);

        const auto step = [&](std::int64_t c, auto... tail) {
            V psi = State::load(source + c, tail...);
            if constexpr (in) {
                V phi = start ? psi : C::fma(minus_r, Own::load(a.carry + c, tail...), psi);
                Own::store(a.carry + c, phi, tail...);
                const V old = C::fma(p, psi, State::load(next + c, tail...));
                if (periodic_in) phi = C::fma(correction, Own::load(a.in_sum + c, tail...), phi);
                psi = C::fma(beta, phi, C::mul(alpha, old));
                if (delta) {
                    if (a.sums) {
                        const V change = Own::load(delta + c, tail...);
                        behind.add(psi, change);
                        before.add(old, change);
                    } else {
                        Own::store(delta + c, psi - old, tail...);
                    }
                }
            }
            if (phase) psi = C::mul(psi, Own::load(phase + c, tail...));
            if (frame) State::store(frame + c, psi, tail...);
            if (add) psi += State::load(add + c, tail...);
            if (late_phase) psi = C::mul(psi, Own::load(late_phase + c, tail...));
            if constexpr (out) {
                if (periodic_out) Own::store(a.out_sum + c, C::fma(v, psi, start ? S::zero() : Own::load(a.out_sum + c, tail...)), tail...);
                psi = C::mul(r, psi - State::load(last + c, tail...));
            }
            State::store(target + c, psi, tail...);
        };
        std::int64_t c = 0;
        for (; c + S::width <= width; c += S::width) step(c);
        if (c < width) step(c, static_cast<int>(width - c));
    }
    if (in && a.sums) {
        behind.reduce(a.sums);
        before.reduce(a.sums + 2);
    }
}

template <class T, class R, bool complex>
void rows(const RowSweep<R>& a) {
    if (a.in) a.out ? row_sweep<T, R, complex, true, true>(a) : row_sweep<T, R, complex, true, false>(a);
    else a.out ? row_sweep<T, R, complex, false, true>(a) : row_sweep<T, R, complex, false, false>(a);
}

// One round of a transposition: swaps the off-diagonal quarters of each block of 2 half x 2 half.
template <class R, int half, int... I>
inline void transpose_round(typename Simd<R>::V (&rows)[Simd<R>::width], std::integer_sequence<int, I...>) {
    constexpr int n = Simd<R>::width;
    if constexpr (half < n)
        for (int i = 0; i < n; ++i) {
            if (i & half) continue;
            const auto a = rows[i], b = rows[i + half];
            rows[i] = __builtin_shufflevector(a, b, (I & half ? n + I - half : I)...);
            rows[i + half] = __builtin_shufflevector(a, b, (I & half ? n + I : I + half)...);
        }
}

// Vector i lane k <-> vector k lane i.
template <class R>
inline void transpose_lanes(typename Simd<R>::V (&rows)[Simd<R>::width]) {
    constexpr auto lanes = std::make_integer_sequence<int, Simd<R>::width>{};
    transpose_round<R, 1>(rows, lanes);
    transpose_round<R, 2>(rows, lanes);
    transpose_round<R, 4>(rows, lanes);
    transpose_round<R, 8>(rows, lanes);
}

// A number in each lane.
template <class R, bool complex>
struct Number {
    using S = Simd<R>;
    using V = typename S::V;
    static constexpr int parts = complex ? 2 : 1;
    V part[parts];

    static Number zero() {
        Number z;
        for (V& v : z.part) v = S::zero();
        return z;
    }
    static Number load(const R* p) {
        Number z;
        for (int i = 0; i < parts; ++i) z.part[i] = S::load(p + i * S::width);
        return z;
    }
    void store(R* p) const {
        for (int i = 0; i < parts; ++i) S::store(p + i * S::width, part[i]);
    }
    Number operator-(const Number& b) const {
        Number z;
        for (int i = 0; i < parts; ++i) z.part[i] = part[i] - b.part[i];
        return z;
    }
    // c a + sum, with sign -1: sum - c a.
    template <int sign = 1>
    static Number fma(const R* c, const Number& a, const Number& sum) {
        const V re = S::set(sign * c[0]);
        Number z;
        if constexpr (complex) {
            const V im = S::set(sign * c[1]);
            z.part[0] = S::fma(re, a.part[0], S::fma(-im, a.part[1], sum.part[0]));
            z.part[1] = S::fma(re, a.part[1], S::fma(im, a.part[0], sum.part[1]));
        } else {
            z.part[0] = S::fma(re, a.part[0], sum.part[0]);
        }
        return z;
    }
    static Number mul(const R* c, const Number& a) {
        const V re = S::set(c[0]);
        Number z;
        if constexpr (complex) {
            const V im = S::set(c[1]);
            z.part[0] = S::fma(re, a.part[0], -im * a.part[1]);
            z.part[1] = S::fma(re, a.part[1], im * a.part[0]);
        } else {
            z.part[0] = re * a.part[0];
        }
        return z;
    }
    // *this + a conj(b).
    Number plus_product(const Number& a, const Number& b) const {
        Number z;
        z.part[0] = S::fma(a.part[0], b.part[0], part[0]);
        if constexpr (complex) {
            z.part[0] = S::fma(a.part[1], b.part[1], z.part[0]);
            z.part[1] = S::fma(a.part[1], b.part[0], S::fma(-a.part[0], b.part[1], part[1]));
        }
        return z;
    }
    // Adds lanes [0, n) to a complex sum.
    void reduce(double* to, std::int64_t n) const {
        for (int i = 0; i < parts; ++i)
            for (int k = 0; k < S::width && k < n; ++k) to[i] += part[i][k];
    }
};

inline int lane_count(int all) { return all; }
inline int lane_count(int, int tail) { return tail; }

// Up to `groups` vectors of lines. Between the two ends of the scratch, which stay zero, point j of all lines stands at row j + 1.
template <class T, class R, bool complex, int groups>
QC_KERNEL void line_sweep(const LineSweep<R>& a) {
    using S = Simd<R>;
    using V = typename S::V;
    using N = Number<R, complex>;
    using State = Io<T, R>;
    constexpr int parts = N::parts, width = S::width, block = width / parts;  // points of a block
    constexpr std::int64_t pitch = static_cast<std::int64_t>(groups) * parts * width;
    const std::int64_t n = a.n;
    R* const y = a.scratch + pitch;
    for (std::int64_t i = 0; i < pitch; ++i) a.scratch[i] = y[n * pitch + i] = 0;
    T* line[groups][width];
    for (int g = 0; g < groups; ++g)
        for (int i = 0; i < width; ++i) {
            const std::int64_t k = g * width + i;
            line[g][i] = static_cast<T*>(a.lines) + (k < a.count ? k : a.count - 1) * a.stride * parts;
        }
    const auto at = [](const R* table, std::int64_t i) { return table + i * parts; };
    N last[groups], phi[groups], sum[groups], next_sum[groups], behind[groups], before[groups];

    const auto eliminate = [&](const SweepFactor<R>& f, std::int64_t j, std::int64_t from_start, int g, const N& psi) {
        if (f.v) next_sum[g] = N::fma(at(f.v, j), psi, next_sum[g]);
        last[g] = N::mul(at(f.r, from_start), psi - last[g]);
        last[g].store(y + j * pitch + g * parts * width);
    };
    const auto substitute = [&](const SweepFactor<R>& f, std::int64_t j, int direction, int g, R* delta) {
        const std::int64_t from_start = direction > 0 ? n - 1 - j : j;
        const R* const here = y + j * pitch + g * parts * width;
        const N z = N::load(here), old = N::fma(at(f.p, from_start), z, N::load(here + direction * pitch));
        phi[g] = N::template fma<-1>(at(f.r, from_start), phi[g], z);
        const N whole = f.v ? N::fma(at(f.correction, j), sum[g], phi[g]) : phi[g];
        const N psi = N::fma(f.beta, whole, N::mul(f.alpha, old));
        if (delta) {
            R* const change = delta + j * pitch + g * parts * width;
            if (a.sums) {
                behind[g] = behind[g].plus_product(psi, N::load(change));
                before[g] = before[g].plus_product(old, N::load(change));
            } else {
                (psi - old).store(change);
            }
        }
        return psi;
    };
    const auto begin = [&] {
        for (int g = 0; g < groups; ++g) {
            sum[g] = next_sum[g];
            last[g] = phi[g] = next_sum[g] = behind[g] = before[g] = N::zero();
        }
    };
    const auto finish = [&](std::int64_t k) {
        if (!a.sums) return;
        for (int g = 0; g < groups; ++g) {
            behind[g].reduce(a.sums + 4 * k, a.count - g * width);
            before[g].reduce(a.sums + 4 * k + 2, a.count - g * width);
        }
    };

    for (int g = 0; g < groups; ++g) next_sum[g] = N::zero();
    begin();
    const SweepFactor<R>& first = a.factors[0];
    const auto read = [&](std::int64_t j, auto... tail) {
        const int points = lane_count(width, tail...) / parts;
        for (int g = 0; g < groups; ++g) {
            V v[width];
            for (int i = 0; i < width; ++i) v[i] = State::load(line[g][i] + j * parts, tail...);
            transpose_lanes<R>(v);
            for (int k = 0; k < block; ++k) {
                if (k >= points) break;
                N psi;
                for (int i = 0; i < parts; ++i) psi.part[i] = v[k * parts + i];
                eliminate(first, j + k, j + k, g, psi);
            }
        }
    };
    std::int64_t j = 0;
    for (; j + block <= n; j += block) read(j);
    if (j < n) read(j, static_cast<int>(n - j) * parts);

    int direction = -1;
    for (std::int64_t k = 1; k < a.factor_count; ++k, direction = -direction) {
        begin();
        R* const delta = a.delta ? a.delta + (k - 1) * a.delta_stride : nullptr;
        for (std::int64_t i = 0; i < n; ++i) {
            const std::int64_t row = direction > 0 ? i : n - 1 - i;
            for (int g = 0; g < groups; ++g) eliminate(a.factors[k], row, i, g, substitute(a.factors[k - 1], row, direction, g, delta));
        }
        finish(k - 1);
    }

    begin();
    const SweepFactor<R>& final = a.factors[a.factor_count - 1];
    R* const delta = a.delta ? a.delta + (a.factor_count - 1) * a.delta_stride : nullptr;
    const auto write = [&](std::int64_t from, auto... tail) {
        const int points = lane_count(width, tail...) / parts;
        for (int g = 0; g < groups; ++g) {
            V v[width]{};
            for (int k = 0; k < block; ++k) {
                const int place = direction > 0 ? k : block - 1 - k;
                if (place >= points) continue;
                const N psi = substitute(final, from + place, direction, g, delta);
                for (int i = 0; i < parts; ++i) v[place * parts + i] = psi.part[i];
            }
            transpose_lanes<R>(v);
            for (int i = 0; i < width; ++i)
                if (g * width + i < a.count) State::store(line[g][i] + from * parts, v[i], tail...);
        }
    };
    const std::int64_t whole = n / block;
    const int rest = static_cast<int>(n % block) * parts;
    if (direction < 0 && rest) write(whole * block, rest);
    for (std::int64_t i = 0; i < whole; ++i) write((direction > 0 ? i : whole - 1 - i) * block);
    if (direction > 0 && rest) write(whole * block, rest);
    finish(a.factor_count - 1);
}

template <class T, class R, bool complex>
void lines(const LineSweep<R>& a) {
    if (a.count > Simd<R>::width) line_sweep<T, R, complex, 2>(a);
    else line_sweep<T, R, complex, 1>(a);
}

template <class T, bool complex>
QC_KERNEL void accumulate(double* sum, const void* grad, const void* psi, std::int64_t n) {
    const T *g = static_cast<const T*>(grad), *p = static_cast<const T*>(psi);
    if constexpr (complex)
        for (std::int64_t i = 0; i < n; ++i) {
            const double gr = g[2 * i], gi = g[2 * i + 1], pr = p[2 * i], pi = p[2 * i + 1];
            sum[2 * i] += gr * pr + gi * pi;
            sum[2 * i + 1] += gi * pr - gr * pi;
        }
    else
        for (std::int64_t i = 0; i < n; ++i) sum[i] += static_cast<double>(g[i]) * p[i];
}

}  // namespace
}  // namespace qcore::QC_ISA
