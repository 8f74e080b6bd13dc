// Sweeps along the axes of fields on a device, and what is pointwise between them: launches of schrodinger_split_sweeps.cu.
#pragma once

#include <cstdint>
#include <vector>

#include "launch.hpp"
#include "schrodinger/split_reference.hpp"
#include "schrodinger_number.hpp"

namespace qcore::schrodinger {

using cuda::Pointer;
using cuda::pointer;
using cuda::Queue;
using cuda::Workspace;

// Calls f.operator()<S, N>(): S is what the numbers of psi are stored as, N what is computed with.
template <class F>
void with_numbers(const SplitProblem& p, F&& f) {
    const bool fast = p.arithmetic == Arithmetic::f32;
    switch (p.dtype) {
        case DType::f32:
            if (fast) return f.template operator()<Real<float>, Real<float>>();
            return f.template operator()<Real<float>, Real<double>>();
        case DType::f64: return f.template operator()<Real<double>, Real<double>>();
        case DType::c64:
            if (fast) return f.template operator()<Complex<float>, Complex<float>>();
            return f.template operator()<Complex<float>, Complex<double>>();
        default: return f.template operator()<Complex<double>, Complex<double>>();
    }
}

// How the lines along an axis are swept: `width` lines of a tile, a warp for each, or, with width 0, a thread for each.
struct AxisPlan {
    std::int64_t n, stride;  // points of a line, numbers between neighbours
    bool periodic, identity;
    int width;

    int lanes() const { return width > 0 ? 32 : 1; }
    // Points of a line that a lane goes through; odd, so that lanes read from different banks of shared memory.
    std::int64_t chunk() const { return width > 0 ? ((n + 31) / 32) | 1 : n; }
    std::int64_t pitch() const { return n | 1; }
};

// `plain`: a thread for each line, whatever would be faster.
std::vector<AxisPlan> plan_axes(const SplitProblem& p, std::size_t stored, std::size_t computed, std::size_t shared_limit,
                                bool plain);

// --- factors ---

enum class Variant { forward, inverse, adjoint };  // of e, -e (rule cayley) and conj(e)

// Of a factor (1 - below l) (1 - g l)^{-1} along an axis, divided by g so that the off-diagonals are 1 (split_kernels.hpp):
//     alpha, beta, b    diagonal of T; psi' = alpha psi + beta phi, or psi' = beta phi_j + alpha (phi_{j-1} + phi_{j+1})
//     recover           1 for the first of them, where psi is recovered from the elimination
//     scale             periodic: phi = y + v (w^T y) scale, y without the corners
//     products [5][32]  of -r over 1, 2, 4 ... 16 chunks from each on: how a lane's part of the recurrences depends on others'
//     r, v [chunk][lanes]  reciprocal pivots, T^{-1} w
struct FactorLayout {
    static constexpr std::int64_t products = 5, rounds = 5, head = products + rounds * 32;
    static std::int64_t size(const AxisPlan& axis) { return head + axis.chunk() * axis.lanes() * (axis.periodic ? 2 : 1); }
};

template <class N>
class FactorTables {
  public:
    FactorTables(const Queue& queue, const SplitProblem& p, const std::vector<AxisPlan>& axes, Variant variant);

    int per_stage() const { return per_stage_; }
    // Of the factors of a stage and those of the stages after it.
    Pointer<const N> of(std::int64_t substep, std::int64_t axis, std::int64_t stage) const {
        const std::size_t i = static_cast<std::size_t>(substep) * offsets_.size() + static_cast<std::size_t>(axis);
        return pointer<const N>(static_cast<const N*>(memory_.data()) + substep * per_substep_ + offsets_[i % offsets_.size()] +
                                stage * per_stage_ * sizes_[static_cast<std::size_t>(axis)]);
    }

  private:
    int per_stage_;
    std::vector<std::int64_t> sizes_, offsets_;  // by axis
    std::int64_t per_substep_;
    Workspace memory_;
};

// --- launches ---

// What is done to the numbers of a field when they are written: in this order, each where it is there.
template <class S, class N>
struct Finish {
    Pointer<const N> phase{};  // times a table (1 or B, points)
    Pointer<S> frame{};        // stored there as well
    Pointer<const N> late_phase{};
};

// All fields of a batch, contiguous.
struct Fields {
    std::int64_t batch, points;
    bool shared;  // tables are the same for all of them
};

// `count` factors along an axis, from source to target (which may be the same), finished.
template <class S, class N>
void launch_sweep(const Queue& queue, const Fields& fields, const AxisPlan& axis, Pointer<const N> factors, int count,
                  Pointer<const S> source, Pointer<S> target, const Finish<S, N>& finish);

// Pointwise: source, finished, to target.
template <class S, class N>
void launch_finish(const Queue& queue, const Fields& fields, Pointer<const S> source, Pointer<S> target,
                   const Finish<S, N>& finish);

// n numbers to another type.
template <class From, class To>
void launch_convert(const Queue& queue, Pointer<const From> from, Pointer<To> to, std::int64_t n);

// to = a b, n numbers.
template <class N>
void launch_product(const Queue& queue, Pointer<const N> a, Pointer<const N> b, Pointer<N> to, std::int64_t n);

// The pointwise factors: those given, in the type of the arithmetic, and behind them, where a step both begins and ends with one,
// their product.
template <class N>
class PhaseTables {
  public:
    PhaseTables(const Queue& queue, const SplitProblem& p, bool with_product);

    Pointer<const N> of(std::int64_t q) const {
        if (q == tables_) return pointer<const N>(product_.data());
        return pointer<const N>(data_ + q * size_);
    }

  private:
    std::int64_t tables_, size_;
    Workspace converted_, product_;
    const N* data_;
};

}  // namespace qcore::schrodinger
