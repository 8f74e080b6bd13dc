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
    // Signs are changed on what comes from the state: instructions have them for free, while a broadcast with a sign costs one.
    Number operator-() const {
        Number z;
        for (int i = 0; i < parts; ++i) z.part[i] = -part[i];
        return z;
    }
    // c a + sum.
    static Number fma(const R* c, const Number& a, const Number& sum) {
        const V re = S::set(c[0]);
        Number z;
        if constexpr (complex) {
            const V im = S::set(c[1]);
            z.part[0] = S::fma(re, a.part[0], S::fma(im, -a.part[1], sum.part[0]));
            z.part[1] = S::fma(re, a.part[1], S::fma(im, a.part[0], sum.part[1]));
        } else {
            z.part[0] = S::fma(re, a.part[0], sum.part[0]);
        }
        return z;
    }
    // i c a - sum.
    static Number turned(R c, const Number& a, const Number& sum) {
        const V im = S::set(c);
        Number z;
        if constexpr (complex) {
            z.part[0] = S::fma(im, -a.part[1], -sum.part[0]);
            z.part[1] = S::fma(im, a.part[0], -sum.part[1]);
        } else {
            z.part[0] = -sum.part[0];
        }
        return z;
    }
    static Number mul(const R* c, const Number& a) {
        const V re = S::set(c[0]);
        Number z;
        if constexpr (complex) {
            const V im = S::set(c[1]);
            z.part[0] = S::fma(re, a.part[0], im * -a.part[1]);
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

template <int i>
struct Index {
    static constexpr int value = i;
};

// f(Index<0>), f(Index<1>) ...: what is indexed by them lives in registers.
template <class F, int... I>
inline void unrolled(F&& f, std::integer_sequence<int, I...>) {
    (f(Index<I>{}), ...);
}

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
    constexpr auto each_group = std::make_integer_sequence<int, groups>{};
    constexpr auto each_point = std::make_integer_sequence<int, block>{};
    const std::int64_t n = a.n;
    R* const y = a.scratch + pitch;
    for (std::int64_t i = 0; i < pitch; ++i) a.scratch[i] = y[n * pitch + i] = 0;
    T* line[groups][width];
    for (int g = 0; g < groups; ++g)
        for (int i = 0; i < width; ++i) {
            const std::int64_t k = g * width + i;
            line[g][i] = static_cast<T*>(a.lines) + (k < a.count ? k : a.count - 1) * a.stride * parts;
        }
    N last[groups], phi[groups], sum[groups], next_sum[groups], behind[groups], before[groups];
    // The factor that is eliminated and the one that is back-substituted, copied so that no store can change them.
    SweepFactor<R> out = a.factors[0], in = a.factors[0];
    bool turned = false;  // psi' = i b phi - psi: Crank-Nicolson at order 2
    R* delta = nullptr;
    const bool summed = a.sums != nullptr;

    const auto eliminate = [&](std::int64_t j, std::int64_t from_start, auto group, const N& psi) {
        constexpr int g = decltype(group)::value;
        if (out.v) next_sum[g] = N::fma(out.v + j * parts, psi, next_sum[g]);
        last[g] = N::mul(out.r + from_start * parts, psi - last[g]);
        last[g].store(y + j * pitch + g * parts * width);
    };
    const auto substitute = [&](std::int64_t j, auto toward, auto group) {
        constexpr int g = decltype(group)::value, direction = decltype(toward)::value;
        const std::int64_t from_start = (direction > 0 ? n - 1 - j : j) * parts;
        const R* const here = y + j * pitch + g * parts * width;
        const N z = N::load(here), old = N::fma(in.p + from_start, z, N::load(here + direction * pitch));
        phi[g] = N::fma(in.r + from_start, -phi[g], z);
        const N whole = in.v ? N::fma(in.correction + j * parts, sum[g], phi[g]) : phi[g];
        const N psi = turned ? N::turned(in.beta[1], whole, old) : N::fma(in.beta, whole, N::mul(in.alpha, old));
        if (delta) {
            R* const change = delta + j * pitch + g * parts * width;
            if (summed) {
                behind[g] = behind[g].plus_product(psi, N::load(change));
                before[g] = before[g].plus_product(old, N::load(change));
            } else {
                (psi - old).store(change);
            }
        }
        return psi;
    };
    const auto begin = [&](std::int64_t k) {
        in = a.factors[k > 0 ? k - 1 : 0];
        out = a.factors[k < a.factor_count ? k : 0];
        turned = complex && in.alpha[0] == -1 && in.alpha[1] == 0 && in.beta[0] == 0;
        delta = a.delta && k > 0 ? a.delta + (k - 1) * a.delta_stride : nullptr;
        for (int g = 0; g < groups; ++g) {
            sum[g] = next_sum[g];
            last[g] = phi[g] = next_sum[g] = behind[g] = before[g] = N::zero();
        }
    };
    const auto finish = [&](std::int64_t k) {
        if (!summed) return;
        for (int g = 0; g < groups; ++g) {
            behind[g].reduce(a.sums + 4 * (k - 1), a.count - g * width);
            before[g].reduce(a.sums + 4 * (k - 1) + 2, a.count - g * width);
        }
    };

    for (int g = 0; g < groups; ++g) next_sum[g] = N::zero();
    begin(0);
    const auto read = [&](std::int64_t j, auto... tail) {
        const int points = lane_count(width, tail...) / parts;
        V v[groups][width];
        for (int g = 0; g < groups; ++g) {
            for (int i = 0; i < width; ++i) v[g][i] = State::load(line[g][i] + j * parts, tail...);
            transpose_lanes<R>(v[g]);
        }
        // Point by point, all groups: each recurrence has to wait for itself, and they fill each other's time.
        unrolled([&](auto point) {
            constexpr int k = decltype(point)::value;
            if (sizeof...(tail) && k >= points) return;
            unrolled([&](auto group) {
                N psi;
                for (int i = 0; i < parts; ++i) psi.part[i] = v[decltype(group)::value][k * parts + i];
                eliminate(j + k, j + k, group, psi);
            }, each_group);
        }, each_point);
    };
    std::int64_t j = 0;
    for (; j + block <= n; j += block) read(j);
    if (j < n) read(j, static_cast<int>(n - j) * parts);

    for (std::int64_t k = 1; k < a.factor_count; ++k) {
        begin(k);
        if (k % 2)
            for (std::int64_t i = 0; i < n; ++i)
                unrolled([&](auto g) { eliminate(n - 1 - i, i, g, substitute(n - 1 - i, Index<-1>{}, g)); }, each_group);
        else
            for (std::int64_t i = 0; i < n; ++i) unrolled([&](auto g) { eliminate(i, i, g, substitute(i, Index<1>{}, g)); }, each_group);
        finish(k);
    }

    begin(a.factor_count);
    const auto write = [&](std::int64_t from, auto toward, auto... tail) {
        constexpr int direction = decltype(toward)::value;
        const int points = lane_count(width, tail...) / parts;
        V v[groups][width];
        if constexpr (sizeof...(tail))
            for (auto& group : v)
                for (V& lane : group) lane = S::zero();
        unrolled([&](auto point) {
            constexpr int k = direction > 0 ? decltype(point)::value : block - 1 - decltype(point)::value;
            if (sizeof...(tail) && k >= points) return;
            unrolled([&](auto group) {
                const N psi = substitute(from + k, toward, group);
                for (int i = 0; i < parts; ++i) v[decltype(group)::value][k * parts + i] = psi.part[i];
            }, each_group);
        }, each_point);
        for (int g = 0; g < groups; ++g) {
            transpose_lanes<R>(v[g]);
            for (int i = 0; i < width; ++i)
                if (g * width + i < a.count) State::store(line[g][i] + from * parts, v[g][i], tail...);
        }
    };
    const std::int64_t whole = n / block;
    const int rest = static_cast<int>(n % block) * parts;
    if (a.factor_count % 2) {
        if (rest) write(whole * block, Index<-1>{}, rest);
        for (std::int64_t i = whole; i-- > 0;) write(i * block, Index<-1>{});
    } else {
        for (std::int64_t i = 0; i < whole; ++i) write(i * block, Index<1>{});
        if (rest) write(whole * block, Index<1>{}, rest);
    }
    finish(a.factor_count);
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
