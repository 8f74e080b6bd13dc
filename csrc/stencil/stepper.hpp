// One step of the chain, forward or backward, on some rows of a padded plane: the inner loops put together.
#pragma once

#include "stencil/gradient.hpp"
#include "stencil/row_io.hpp"

namespace qcore::QC_ISA {
namespace {

using stencil::Plan;

template <class T>
class Stepper {
  public:
    using S = Simd<T>;

    explicit Stepper(const Plan& plan)
        : plan_(plan),
          problem_(*plan.problem),
          layout_(plan.layout),
          boundary_(problem_.options.boundary),
          activation_(problem_.options.activation),
          slope_(static_cast<T>(problem_.options.slope)) {}

    RowRange all_rows() const { return {0, layout_.rows()}; }

    // v = step t of u, with its halos.
    void step(const T* u, T* v, std::int64_t t, std::int64_t channel, RowRange rows) const {
        linear_step(u, v, t, channel, rows, activation_);
        if (activation_ == Activation::tanh || activation_ == Activation::silu)
            for (std::int64_t r = rows.first; r < rows.last; ++r) activate_row(activation_, v + layout_.row[r], layout_.width);
        fill_halos(v, rows);
    }

    // d = g * act'(z) of step t from u to `next`, and what the rows add to the parameter gradients: to `lanes`
    // ([component of d][component of u][tap][vector width]) and, behind them, for the bias ([component][vector width]).
    void gate(const T* u, const T* next, const T* g, T* d, std::int64_t t, std::int64_t channel, RowRange rows, T* lanes) const {
        const T* told_by = next;
        if (activation_ == Activation::silu) {  // not monotonic: z can't be told from the output
            linear_step(u, d, t, channel, rows, Activation::none);
            told_by = d;
        }
        const std::int64_t taps = problem_.kernel_size(), components = layout_.components;
        each_run(layout_, rows, [&](std::int64_t component, std::int64_t z, std::int64_t y, std::int64_t first, std::int64_t count) {
            const std::ptrdiff_t* row = layout_.row + first;
            GateArgs<T> args{g, d, row, told_by, row, count, layout_.width, slope_,
                             lanes + (components * components * taps + component) * S::width,
                             u, nullptr, 0, layout_.width, nullptr, &plan_.gradient};
            for (std::int64_t c = 0; c < components; ++c) {
                args.source = source(c, z, y);
                args.lanes = lanes + (component * components + c) * taps * S::width;
                gate_with_gradient(plan_.shape, activation_, args, c == 0);
            }
        });
        if (boundary_ == Boundary::periodic) fill_halos(d, rows);
    }

    // g = adjoint of step t's linear map on d. `scratch` holds a row (scratch_size); folding boundaries need it.
    void adjoint(const T* d, T* g, std::int64_t t, std::int64_t channel, RowRange rows, T* scratch) const {
        if (plan_.folds()) return adjoint_folding(d, g, t, channel, rows, scratch);
        each_run(layout_, rows, [&](std::int64_t component, std::int64_t z, std::int64_t y, std::int64_t first, std::int64_t count) {
            step_rows(plan_.shape, Activation::none,
                      StepArgs<T>{d, source(0, z, y), g, layout_.row + first, count, layout_.width,
                                  taps(plan_.adjoint_taps, plan_.adjoint, t, channel, component), T(0), T(0), &plan_.adjoint});
        });
    }

    std::int64_t scratch_size() const { return layout_.width + S::width; }

    void fill_halos(T* plane, RowRange rows) const {
        if (boundary_ == Boundary::zero) return;
        fill_halo(boundary_, plane, layout_.row + rows.first, rows.last - rows.first, layout_.width, plan_.rx);
    }

  private:
    void linear_step(const T* u, T* v, std::int64_t t, std::int64_t channel, RowRange rows, Activation activation) const {
        each_run(layout_, rows, [&](std::int64_t component, std::int64_t z, std::int64_t y, std::int64_t first, std::int64_t count) {
            step_rows(plan_.shape, activation,
                      StepArgs<T>{u, source(0, z, y), v, layout_.row + first, count, layout_.width,
                                  taps(plan_.taps, plan_.forward, t, channel, component), bias(t, channel, component), slope_,
                                  &plan_.forward});
        });
    }

    const std::ptrdiff_t* source(std::int64_t component, std::int64_t z, std::int64_t y) const {
        return layout_.source + (component * (layout_.depth + 2 * plan_.rz) + z) * (layout_.height + 2 * plan_.ry) + y;
    }

    const T* taps(const void* all, const TapList& list, std::int64_t t, std::int64_t channel, std::int64_t component) const {
        const std::int64_t c = plan_.channel_of_taps(channel);
        return static_cast<const T*>(all) + ((t * problem_.tap_channels + c) * layout_.components + component) * list.n;
    }

    T bias(std::int64_t t, std::int64_t channel, std::int64_t component) const {
        if (!plan_.bias) return T(0);
        const std::int64_t c = plan_.channel_of_bias(channel);
        return static_cast<const T*>(plan_.bias)[(t * problem_.bias_channels + c) * layout_.components + component];
    }

    // The adjoint of a boundary that copies edge points outwards: what the step read beyond the edge goes back to the point it
    // was copied from. The flipped stencil on d (zero outside) gives each row's own part; the columns beyond the edges are
    // folded in, and so are, near the first and last rows, whole rows beyond them.
    void adjoint_folding(const T* d, T* g, std::int64_t t, std::int64_t channel, RowRange rows, T* scratch) const {
        each_run(layout_, rows, [&](std::int64_t component, std::int64_t z, std::int64_t y, std::int64_t first, std::int64_t count) {
            const T* k = taps(plan_.adjoint_taps, plan_.fold, t, channel, component);
            step_rows(plan_.shape, Activation::none,
                      StepArgs<T>{d, fold_source(z, y), g, layout_.row + first, count, layout_.width, k, T(0), T(0), &plan_.fold});
            for (std::int64_t i = 0; i < count; ++i) {
                T* const row = g + layout_.row[first + i];
                fold_columns(d, fold_source(z, y + i), k, row);
                each_image(z, layout_.depth, plan_.rz, [&](std::int64_t iz) {
                    each_image(y + i, layout_.height, plan_.ry, [&](std::int64_t iy) {
                        if (iz != z || iy != y + i) add_image(d, fold_source(iz, iy), k, row, scratch);
                    });
                });
            }
        });
    }

    const std::ptrdiff_t* fold_source(std::int64_t z, std::int64_t y) const {
        return layout_.zero_source + (z + plan_.rz) * (layout_.height + 4 * plan_.ry) + (y + plan_.ry);
    }

    // f(i) for index i itself and its images within `reach` of the edges of an axis of n points.
    template <class F>
    void each_image(std::int64_t i, std::int64_t n, std::int64_t reach, F&& f) const {
        f(i);
        for (std::int64_t j = 1; j <= reach; ++j) {
            if (source_index(-j, n, boundary_) == i) f(-j);
            if (source_index(n - 1 + j, n, boundary_) == i) f(n - 1 + j);
        }
    }

    // The flipped stencil at a column beyond the edges, added to the column it is an image of.
    void fold_columns(const T* d, const std::ptrdiff_t* from, const T* k, T* row) const {
        const std::int64_t width = layout_.width;
        for (std::int64_t j = 1; j <= plan_.rx; ++j)
            for (int side = 0; side < 2; ++side) {
                const std::int64_t x = side ? width - 1 + j : -j;
                T sum = T(0);
                for (std::int64_t i = 0; i < plan_.fold.n; ++i) sum += k[i] * d[from[plan_.fold.relative[i]] + x + plan_.fold.dx[i]];
                row[source_index(x, width, boundary_)] += sum;
            }
    }

    // The flipped stencil on a whole row beyond the edges, columns beyond them included.
    void add_image(const T* d, const std::ptrdiff_t* from, const T* k, T* row, T* scratch) const {
        const std::ptrdiff_t at_start = 0;
        step_rows(Shape::list, Activation::none,
                  StepArgs<T>{d, from, scratch, &at_start, 1, layout_.width, k, T(0), T(0), &plan_.fold});
        each_vector<T, 0>(0, layout_.width, [&](std::int64_t x, auto kind) {
            S::store(row + x, kind.keep(S::load(row + x) + S::load(scratch + x)));
        });
        fold_columns(d, from, k, row);
    }

    const Plan& plan_;
    const stencil::Problem& problem_;
    const PlaneLayout& layout_;
    Boundary boundary_;
    Activation activation_;
    T slope_;
};

}  // namespace
}  // namespace qcore::QC_ISA
