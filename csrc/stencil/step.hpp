// Inner loops of one stencil step over the rows of a padded plane, and activations on rows.
#pragma once

#include "core/simd.hpp"
#include "core/vector_math.hpp"
#include "stencil/plan.hpp"

namespace qcore::QC_ISA {
namespace {

using stencil::Activation;
using stencil::Shape;
using stencil::TapList;

template <class T>
struct StepArgs {
    const T* u;                    // plane read
    const std::ptrdiff_t* source;  // table entry of the first output row
    T* v;                          // plane written
    const std::ptrdiff_t* row;     // offsets of the output rows
    std::int64_t rows, width;
    const T* taps;
    T bias, slope;
    const TapList* list;
};

// Activations that cost an instruction or two are applied in the step, the others in a pass of their own.
enum class Inline { none, relu, leaky_relu };

// All lanes of a vector, or the first few of a row's last one; results are then zero in the others. A row's last vector is
// stored whole: its pad is there for that, and a masked store would hold up the loads of the next step.
template <class T>
struct Whole {
    using S = Simd<T>;
    using V = typename S::V;
    static V keep(V v) { return v; }
    static V relu(V v) { return S::relu(v); }
    static V load(const T* p) { return S::load(p); }
    static void store(T* p, V v) { S::store(p, v); }
    static V fma(V a, V b, V c) { return S::fma(a, b, c); }
};
template <class T>
struct Part {
    using S = Simd<T>;
    using V = typename S::V;
    typename S::Lanes lanes;
    V keep(V v) const { return S::keep(v, lanes); }
    V relu(V v) const { return S::relu(v, lanes); }
    V load(const T* p) const { return S::load(p, lanes); }
    void store(T* p, V v) const { S::store(p, v, lanes); }
    V fma(V a, V b, V c) const { return S::fma(a, b, c, lanes); }
};

// f(x, Whole or Part) for the vectors of columns [begin, end), the last one as a Part. Vectors > 0: there are just so many,
// known at compile time, and the loop unrolls.
template <class T, int Vectors, class F>
inline void each_vector(std::int64_t begin, std::int64_t end, F&& f) {
    constexpr int width = Simd<T>::width;
    std::int64_t x = begin;
    if constexpr (Vectors > 0) {
        for (int i = 0; i < Vectors - 1; ++i, x += width) f(x, Whole<T>{});
    } else {
        for (; x + width < end; x += width) f(x, Whole<T>{});
    }
    if (Vectors > 0 || x < end) f(x, Part<T>{{static_cast<int>(end - x)}});
}

template <class T, Inline A, class Kind>
inline typename Simd<T>::V activate_inline(typename Simd<T>::V z, T slope, const Kind& kind) {
    using V = typename Simd<T>::V;
    if constexpr (A == Inline::relu) return kind.relu(z);
    else if constexpr (A == Inline::leaky_relu) return kind.keep(z <= V{} ? z * slope : z);
    else return kind.keep(z);
}

// Where the rows of a block start: a table entry each or, where they lie `Pitch` apart, one address and constants.
template <class T, int Pitch, int Count>
struct Rows {
    T* first;
    Rows(T* plane, const std::ptrdiff_t* offset) : first(plane + offset[0]) {}
    T* operator[](int i) const { return first + i * Pitch; }
};
template <class T, int Count>
struct Rows<T, 0, Count> {
    T* p[Count];
    Rows(T* plane, const std::ptrdiff_t* offset) {
        for (int i = 0; i < Count; ++i) p[i] = plane + offset[i];
    }
    T* operator[](int i) const { return p[i]; }
};

// Rows go in blocks: a row that is loaded once serves the output rows above, at and below it.
template <int Block, class F>
inline void each_row_block(std::int64_t rows, F&& f) {
    std::int64_t y = 0;
    for (; y + Block <= rows; y += Block) f(y, std::integral_constant<int, Block>{});
    for (; y < rows; ++y) f(y, std::integral_constant<int, 1>{});
}

// Apart: how far points that are neighbours in x lie from each other in memory.
template <class T, Inline A, int Vectors, int Pitch, int Apart = 1>
QC_KERNEL void star5_step(const StepArgs<T>& a) {
    using S = Simd<T>;
    using V = typename S::V;
    const V up = S::set(a.taps[0]), left = S::set(a.taps[1]), centre = S::set(a.taps[2]), right = S::set(a.taps[3]),
            down = S::set(a.taps[4]), bias = S::set(a.bias);
    each_row_block<4>(a.rows, [&](std::int64_t y, auto block) {
        constexpr int n = block;
        const Rows<const T, Pitch, n + 2> p(a.u, a.source + y);
        const Rows<T, Pitch, n> q(a.v, a.row + y);
        each_vector<T, Vectors>(0, a.width, [&](std::int64_t x, auto kind) {
            V u[n + 2];
            for (int i = 0; i < n + 2; ++i) u[i] = S::load(p[i] + x);
            for (int i = 0; i < n; ++i) {
                V z = S::fma(up, u[i], bias);
                z = S::fma(left, S::load(p[i + 1] + x - Apart), z);
                z = S::fma(centre, u[i + 1], z);
                z = S::fma(right, S::load(p[i + 1] + x + Apart), z);
                z = S::fma(down, u[i + 2], z);
                S::store(q[i] + x, activate_inline<T, A>(z, a.slope, kind));
            }
        });
    });
}

template <class T, Inline A, int Vectors, int Pitch, int Apart = 1>
QC_KERNEL void box3x3_step(const StepArgs<T>& a) {
    using S = Simd<T>;
    using V = typename S::V;
    V k[9];
    for (int i = 0; i < 9; ++i) k[i] = S::set(a.taps[i]);
    const V bias = S::set(a.bias);
    each_row_block<4>(a.rows, [&](std::int64_t y, auto block) {
        constexpr int n = block;
        const Rows<const T, Pitch, n + 2> p(a.u, a.source + y);
        const Rows<T, Pitch, n> q(a.v, a.row + y);
        each_vector<T, Vectors>(0, a.width, [&](std::int64_t x, auto kind) {
            V z[n];
            for (int i = 0; i < n; ++i) z[i] = bias;
            for (int j = 0; j < n + 2; ++j) {
                const V left = S::load(p[j] + x - Apart), centre = S::load(p[j] + x), right = S::load(p[j] + x + Apart);
                for (int i = 0; i < n; ++i) {
                    const int ky = j - i;
                    if (ky < 0 || ky > 2) continue;
                    z[i] = S::fma(k[3 * ky], left, z[i]);
                    z[i] = S::fma(k[3 * ky + 1], centre, z[i]);
                    z[i] = S::fma(k[3 * ky + 2], right, z[i]);
                }
            }
            for (int i = 0; i < n; ++i) S::store(q[i] + x, activate_inline<T, A>(z[i], a.slope, kind));
        });
    });
}

// f(x, vectors, Whole or Part for the last of them) for the columns of a row, two vectors at a time.
template <class T, class F>
inline void each_two_vectors(std::int64_t begin, std::int64_t end, F&& f) {
    constexpr std::int64_t width = Simd<T>::width;
    using One = std::integral_constant<int, 1>;
    using Two = std::integral_constant<int, 2>;
    std::int64_t x = begin;
    for (; x + 2 * width < end; x += 2 * width) f(x, Two{}, Whole<T>{});
    const std::int64_t rest = end - x;
    if (rest > width) f(x, Two{}, Part<T>{{static_cast<int>(rest - width)}});
    else if (rest > 0) f(x, One{}, Part<T>{{static_cast<int>(rest)}});
}

// Sums of a block of rows by a few vectors: so many that none waits for the one before, each starting from the bias.
template <class T, int Rows, int Vectors>
struct Block {
    using S = Simd<T>;
    typename S::V z[Rows][Vectors];

    explicit Block(typename S::V bias) {
        for (auto& row : z)
            for (auto& v : row) v = bias;
    }
    template <Inline A, class To, class Last>
    void store(const To& q, std::int64_t x, T slope, const Last& last) const {
        for (int i = 0; i < Rows; ++i)
            for (int j = 0; j < Vectors; ++j) {
                T* const to = q[i] + x + j * S::width;
                if (j < Vectors - 1) S::store(to, activate_inline<T, A>(z[i][j], slope, Whole<T>{}));
                else S::store(to, activate_inline<T, A>(z[i][j], slope, last));
            }
    }
};

// A whole K x K kernel: what is loaded serves all rows of the block.
template <class T, Inline A, int K>
QC_KERNEL void square_step(const StepArgs<T>& a) {
    using S = Simd<T>;
    using V = typename S::V;
    const V bias = S::set(a.bias);
    const std::ptrdiff_t* const source = a.source + a.list->relative[0];
    each_row_block<4>(a.rows, [&](std::int64_t y, auto block) {
        constexpr int n = block;
        const Rows<const T, 0, n + K - 1> p(a.u + a.list->dx[0], source + y);
        const Rows<T, 0, n> q(a.v, a.row + y);
        each_two_vectors<T>(0, a.width, [&](std::int64_t x, auto vectors, const auto& last) {
            constexpr int m = vectors;
            Block<T, n, m> sum(bias);
            for (int r = 0; r < n + K - 1; ++r)
                for (int kx = 0; kx < K; ++kx) {
                    V u[m];
                    for (int j = 0; j < m; ++j) u[j] = S::load(p[r] + x + kx + j * S::width);
                    for (int i = 0; i < n; ++i) {
                        const int ky = r - i;
                        if (ky < 0 || ky >= K) continue;
                        const V tap = S::set(a.taps[K * ky + kx]);
                        for (int j = 0; j < m; ++j) sum.z[i][j] = S::fma(tap, u[j], sum.z[i][j]);
                    }
                }
            sum.template store<A>(q, x, a.slope, last);
        });
    });
}

template <class T, Inline A>
QC_KERNEL void any_step(const StepArgs<T>& a) {
    using S = Simd<T>;
    using V = typename S::V;
    const V bias = S::set(a.bias);
    const std::int64_t taps = a.list->n;
    each_row_block<4>(a.rows, [&](std::int64_t y, auto block) {
        constexpr int n = block;
        const Rows<T, 0, n> q(a.v, a.row + y);
        each_two_vectors<T>(0, a.width, [&](std::int64_t x, auto vectors, const auto& last) {
            constexpr int m = vectors;
            Block<T, n, m> sum(bias);
            for (std::int64_t k = 0; k < taps; ++k) {
                const V tap = S::set(a.taps[k]);
                const std::ptrdiff_t* const source = a.source + y + a.list->relative[k];
                const T* const u = a.u + a.list->dx[k] + x;
                for (int i = 0; i < n; ++i)
                    for (int j = 0; j < m; ++j) sum.z[i][j] = S::fma(tap, S::load(u + source[i] + j * S::width), sum.z[i][j]);
            }
            sum.template store<A>(q, x, a.slope, last);
        });
    });
}

template <class T, Inline A>
void list_step(const StepArgs<T>& a) {
    switch (a.list->square) {
        case 3: return square_step<T, A, 3>(a);
        case 5: return square_step<T, A, 5>(a);
        case 7: return square_step<T, A, 7>(a);
        default: return any_step<T, A>(a);
    }
}

// f(vectors of a row, pitch, first row, rows) on all rows of a plane with a 3x3 kernel. The first two are constants: two
// vectors a row, two or three vectors apart (images 17 to 32 points wide, with AVX-512 and float), where no loop nor table of
// rows is needed; or 0, 0 for any other. The edge rows, whose neighbours may lie elsewhere, go first where they have to.
template <class T, class F>
__attribute__((always_inline)) inline void with_shape(std::int64_t width, const std::ptrdiff_t* source, std::int64_t rows, F&& f) {
    constexpr int w = Simd<T>::width;
    using Zero = std::integral_constant<int, 0>;
    using Two = std::integral_constant<int, 2>;
    if (width <= w || width > 2 * w) return f(Zero{}, Zero{}, 0, rows);
    auto run = [&](std::int64_t first, std::int64_t count) {
        const std::ptrdiff_t pitch = source[first + 1] - source[first];
        const bool regular = source[first + count + 1] - source[first] == (count + 1) * pitch;
        if (regular && pitch == 2 * w) f(Two{}, std::integral_constant<int, 2 * w>{}, first, count);
        else if (regular && pitch == 3 * w) f(Two{}, std::integral_constant<int, 3 * w>{}, first, count);
        else f(Zero{}, Zero{}, first, count);
    };
    if (rows < 3 || source[1] - source[0] == source[2] - source[1]) return run(0, rows);
    run(0, 1);
    run(rows - 1, 1);
    run(1, rows - 2);
}

// One step without the activations that have a pass of their own (activate_row).
template <class T, Inline A>
void step_rows(Shape shape, const StepArgs<T>& args) {
    if (shape == Shape::list) return list_step<T, A>(args);
    with_shape<T>(args.width, args.source, args.rows, [&](auto vectors, auto pitch, std::int64_t first, std::int64_t count) {
        constexpr auto star = star5_step<T, A, vectors, pitch>, box = box3x3_step<T, A, vectors, pitch>;
        const auto kernel = shape == Shape::star5 ? star : box;
        if (count == args.rows) return kernel(args);
        StepArgs<T> part = args;
        part.source += first;
        part.row += first;
        part.rows = count;
        kernel(part);
    });
}

template <class T>
void step_rows(Shape shape, Activation activation, const StepArgs<T>& args) {
    if (activation == Activation::relu) step_rows<T, Inline::relu>(shape, args);
    else if (activation == Activation::leaky_relu) step_rows<T, Inline::leaky_relu>(shape, args);
    else step_rows<T, Inline::none>(shape, args);
}

template <class T>
QC_KERNEL void activate_row(Activation activation, T* p, std::int64_t width) {
    using S = Simd<T>;
    using M = VectorMath<T>;
    each_vector<T, 0>(0, width, [&](std::int64_t x, auto kind) {
        const auto z = S::load(p + x);
        S::store(p + x, kind.keep(activation == Activation::tanh ? M::tanh(z) : z * M::sigmoid(z)));
    });
}

}  // namespace
}  // namespace qcore::QC_ISA
