// Inner loops of the backward step: the gate d = g * act'(z), the tap gradients, and the folding of a boundary's adjoint.
#pragma once

#include "stencil/step.hpp"

namespace qcore::QC_ISA {
namespace {

// The gate d = g * act'(z), as a function of g and of the state after the step, from which act' can be told; for silu, whose
// output doesn't tell, of z itself.
template <class T, Activation A>
inline typename Simd<T>::V gate(typename Simd<T>::V g, typename Simd<T>::V u, T slope) {
    using V = typename Simd<T>::V;
    if constexpr (A == Activation::relu) return u <= V{} ? V{} : g;
    else if constexpr (A == Activation::leaky_relu) return u > V{} ? g : g * slope;
    else if constexpr (A == Activation::tanh) return g * (T(1) - u * u);
    else if constexpr (A == Activation::silu) {
        const V s = VectorMath<T>::sigmoid(u);
        return g * (s * (T(1) + u * (T(1) - s)));
    } else return g;
}

// Partial sums in the compute type run over at most this many terms a lane before they go to double precision.
constexpr std::int64_t terms_per_flush = 512;

template <class T>
struct GateArgs {
    const T* g;                      // gradient after the step
    T* d;                            // gated gradient, written; may be g
    const std::ptrdiff_t* row;       // offsets of the rows in both
    const T* told_by;                // what act' is told from
    const std::ptrdiff_t* told_row;  // offsets of its rows
    std::int64_t rows, width;
    T slope;
    T* bias_lanes;  // [vector width] running sum of d

    // Tap gradients: lanes[tap][vector width] += d(y, x) u(what the tap reads), over columns [begin, end).
    const T* u;
    const std::ptrdiff_t* source;
    std::int64_t begin, end;
    T* lanes;
    const TapList* list;
};

// f(x, Whole or Part, whether the columns count, where to store) for columns [0, begin), [begin, end) and [end, width) of a row.
// `begin` is a whole number of vectors. Where `end` isn't, what follows it is written again: the store has to spare it.
template <class T, class F>
inline void each_vector_of_tile(std::int64_t begin, std::int64_t end, std::int64_t width, F&& f) {
    using V = typename Simd<T>::V;
    const auto whole = [](const auto&, T* p, V v) { Simd<T>::store(p, v); };
    const auto sparing = [](const auto& kind, T* p, V v) { kind.store(p, v); };
    if (begin > 0) each_vector<T, 0>(0, begin, [&](std::int64_t x, auto kind) { f(x, kind, std::false_type{}, whole); });
    if (end == width) {
        each_vector<T, 0>(begin, end, [&](std::int64_t x, auto kind) { f(x, kind, std::true_type{}, whole); });
    } else {
        each_vector<T, 0>(begin, end, [&](std::int64_t x, auto kind) { f(x, kind, std::true_type{}, sparing); });
        each_vector<T, 0>(end, width, [&](std::int64_t x, auto kind) { f(x, kind, std::false_type{}, whole); });
    }
}

template <class T, Activation A>
QC_KERNEL void gate_rows(const GateArgs<T>& a) {
    using S = Simd<T>;
    using V = typename S::V;
    V sum = S::load(a.bias_lanes);
    for (std::int64_t y = 0; y < a.rows; ++y) {
        const T *g = a.g + a.row[y], *u = a.told_by + a.told_row[y];
        T* q = a.d + a.row[y];
        each_vector_of_tile<T>(a.begin, a.end, a.width, [&](std::int64_t x, auto kind, auto counts, auto store) {
            const V d = kind.keep(gate<T, A>(S::load(g + x), S::load(u + x), a.slope));
            store(kind, q + x, d);
            if (counts) sum += d;
        });
    }
    S::store(a.bias_lanes, sum);
}

// Gate and all nine tap gradients of a 3x3 kernel in one pass.
template <class T, Activation A, int Vectors, int Pitch, int Apart = 1>
QC_KERNEL void gate_box3x3(const GateArgs<T>& a) {
    using S = Simd<T>;
    using V = typename S::V;
    V sum[9], bias = S::load(a.bias_lanes);
    for (int k = 0; k < 9; ++k) sum[k] = S::load(a.lanes + k * S::width);
    each_row_block<4>(a.rows, [&](std::int64_t y, auto block) {
        constexpr int n = block;
        const Rows<const T, Pitch, n + 2> p(a.u, a.source + y);
        const Rows<const T, Pitch, n> g(a.g, a.row + y), u(a.told_by, a.told_row + y);
        const Rows<T, Pitch, n> q(a.d, a.row + y);
        auto column = [&](std::int64_t x, auto kind, auto counts, auto store) {
            V d[n];
            for (int i = 0; i < n; ++i) {
                d[i] = kind.keep(gate<T, A>(S::load(g[i] + x), S::load(u[i] + x), a.slope));
                store(kind, q[i] + x, d[i]);
            }
            if constexpr (!counts) return;
            for (int i = 0; i < n; ++i) bias += d[i];
            for (int j = 0; j < n + 2; ++j) {
                const V left = S::load(p[j] + x - Apart), centre = S::load(p[j] + x), right = S::load(p[j] + x + Apart);
                for (int ky = 0; ky < 3; ++ky) {
                    const int i = j - ky;
                    if (i < 0 || i >= n) continue;
                    sum[3 * ky] = kind.fma(d[i], left, sum[3 * ky]);
                    sum[3 * ky + 1] = kind.fma(d[i], centre, sum[3 * ky + 1]);
                    sum[3 * ky + 2] = kind.fma(d[i], right, sum[3 * ky + 2]);
                }
            }
        };
        if constexpr (Vectors > 0)
            each_vector<T, Vectors>(0, a.width, [&](std::int64_t x, auto kind) {
                column(x, kind, std::true_type{}, [](const auto&, T* to, V v) { S::store(to, v); });
            });
        else each_vector_of_tile<T>(a.begin, a.end, a.width, column);
    });
    for (int k = 0; k < 9; ++k) S::store(a.lanes + k * S::width, sum[k]);
    S::store(a.bias_lanes, bias);
}

// Tap gradients of rows First ... First + Count - 1 of a whole K x K kernel, in one pass whose sums stay in registers.
template <class T, int K, int First, int Count>
QC_KERNEL void square_gradient_pass(const GateArgs<T>& a) {
    using S = Simd<T>;
    using V = typename S::V;
    V sum[Count][K];
    for (int k = 0; k < Count * K; ++k) sum[k / K][k % K] = S::load(a.lanes + (First * K + k) * S::width);
    const std::ptrdiff_t* const source = a.source + a.list->relative[0] + First;
    each_row_block<(Count * K > 25 ? 2 : 4)>(a.rows, [&](std::int64_t y, auto block) {
        constexpr int n = block;
        const Rows<const T, 0, n + Count - 1> p(a.u + a.list->dx[0], source + y);
        const Rows<const T, 0, n> q(a.d, a.row + y);
        each_vector<T, 0>(a.begin, a.end, [&](std::int64_t x, auto kind) {
            V d[n];
            for (int i = 0; i < n; ++i) d[i] = S::load(q[i] + x);
            for (int r = 0; r < n + Count - 1; ++r)
                for (int kx = 0; kx < K; ++kx) {
                    const V u = S::load(p[r] + x + kx);
                    for (int i = 0; i < n; ++i)
                        if (r - i >= 0 && r - i < Count) sum[r - i][kx] = kind.fma(d[i], u, sum[r - i][kx]);
                }
        });
    });
    for (int k = 0; k < Count * K; ++k) S::store(a.lanes + (First * K + k) * S::width, sum[k / K][k % K]);
}

// In passes over so many rows of taps as there are registers for.
template <class T, int K, int First = 0>
void square_gradient(const GateArgs<T>& a) {
    constexpr int fit = vector_registers * 7 / 8 / K, rest = K - First;
    constexpr int count = rest < fit ? rest : fit > 0 ? fit : 1;
    square_gradient_pass<T, K, First, count>(a);
    if constexpr (First + count < K) square_gradient<T, K, First + count>(a);
}

template <class T>
QC_KERNEL void any_gradient(const GateArgs<T>& a) {
    using S = Simd<T>;
    using V = typename S::V;
    constexpr int taps_at_once = 4;
    auto run = [&](std::int64_t first, auto count) {
        constexpr int n = count;
        V sum[n][2];  // two sums a tap, to hide the latency of the fma
        for (int i = 0; i < n; ++i) {
            sum[i][0] = S::load(a.lanes + (first + i) * S::width);
            sum[i][1] = V{};
        }
        for (std::int64_t y = 0; y < a.rows; ++y) {
            const T* const q = a.d + a.row[y];
            const T* p[n];
            for (int i = 0; i < n; ++i) p[i] = a.u + a.source[y + a.list->relative[first + i]] + a.list->dx[first + i];
            each_two_vectors<T>(a.begin, a.end, [&](std::int64_t x, auto vectors, const auto& last) {
                constexpr int m = vectors;
                for (int j = 0; j < m; ++j) {
                    const V d = S::load(q + x + j * S::width);
                    for (int i = 0; i < n; ++i) {
                        const V u = S::load(p[i] + x + j * S::width);
                        sum[i][j] = j < m - 1 ? S::fma(d, u, sum[i][j]) : last.fma(d, u, sum[i][j]);
                    }
                }
            });
        }
        for (int i = 0; i < n; ++i) S::store(a.lanes + (first + i) * S::width, sum[i][0] + sum[i][1]);
    };
    std::int64_t i = 0;
    for (; i + taps_at_once <= a.list->n; i += taps_at_once) run(i, std::integral_constant<int, taps_at_once>{});
    for (; i < a.list->n; ++i) run(i, std::integral_constant<int, 1>{});
}

template <class T>
void list_gradient(const GateArgs<T>& a) {
    switch (a.list->square) {
        case 3: return square_gradient<T, 3>(a);
        case 5: return square_gradient<T, 5>(a);
        case 7: return square_gradient<T, 7>(a);
        default: return any_gradient(a);
    }
}

// f(activation, as a constant).
template <class F>
inline void with_activation(Activation activation, F&& f) {
    switch (activation) {
        case Activation::none: return f(std::integral_constant<Activation, Activation::none>{});
        case Activation::relu: return f(std::integral_constant<Activation, Activation::relu>{});
        case Activation::leaky_relu: return f(std::integral_constant<Activation, Activation::leaky_relu>{});
        case Activation::tanh: return f(std::integral_constant<Activation, Activation::tanh>{});
        case Activation::silu: return f(std::integral_constant<Activation, Activation::silu>{});
    }
}

template <class T>
void gate_only(Activation activation, const GateArgs<T>& args) {
    with_activation(activation, [&](auto a) { gate_rows<T, a>(args); });
}

template <class T, Activation A>
void gate_box_rows(const GateArgs<T>& args) {
    with_shape<T>(args.width, args.source, args.rows, [&](auto vectors, auto pitch, std::int64_t first, std::int64_t count) {
        GateArgs<T> part = args;
        part.source += first;
        part.row += first;
        part.told_row += first;
        part.rows = count;
        gate_box3x3<T, A, vectors, pitch>(part);
    });
}

// The gate, unless it was done, and the tap gradients. A 3x3 kernel's go with the common activations in one pass; with the
// others the gate goes first and d stands in for g.
template <class T>
void gate_with_gradient(Shape shape, Activation activation, GateArgs<T> args, bool gate) {
    if (shape == Shape::list) {
        if (gate) gate_only(activation, args);
        return list_gradient(args);
    }
    if (activation == Activation::relu) return gate_box_rows<T, Activation::relu>(args);
    T already_counted[Simd<T>::width] = {};
    if (activation != Activation::none) {
        gate_only(activation, args);
        args.g = args.d;
        args.bias_lanes = already_counted;
    }
    gate_box_rows<T, Activation::none>(args);
}

// Adds `count` sums of lanes to doubles and clears them.
template <class T>
void flush_lanes(T* lanes, double* total, std::int64_t count) {
    using S = Simd<T>;
    for (std::int64_t i = 0; i < count; ++i) {
        total[i] += S::sum(S::load(lanes + i * S::width));
        S::store(lanes + i * S::width, S::zero());
    }
}

// Copies a boundary's image of each row into its halos. A zero boundary's halos are zero from the start and stay so.
template <class T>
void fill_halo(Boundary boundary, T* plane, const std::ptrdiff_t* row, std::int64_t rows, std::int64_t width, std::int64_t halo) {
    for (std::int64_t i = 1; i <= halo; ++i) {
        const std::int64_t left = source_index(-i, width, boundary), right = source_index(width - 1 + i, width, boundary);
        for (std::int64_t y = 0; y < rows; ++y) {
            T* const p = plane + row[y];
            p[-i] = p[left];
            p[width - 1 + i] = p[right];
        }
    }
}

}  // namespace
}  // namespace qcore::QC_ISA
