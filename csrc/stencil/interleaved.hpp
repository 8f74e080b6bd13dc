// Batches of small planes: as many images as a vector has lanes go through all steps together, one image a lane. A point's
// neighbours are then whole vectors that were stored as such, at any width of an image. One task's images, in its scratch memory.
#pragma once

#include "core/parallel.hpp"
#include "stencil/lanes_io.hpp"
#include "stencil/stepper.hpp"

namespace qcore::QC_ISA {
namespace {

template <class T>
class Interleaved {
  public:
    using S = Simd<T>;

    // Images [first, first + S::width) of a channel, then as many again, up to `count` of them.
    Interleaved(const Plan& plan, std::int64_t channel, std::int64_t first, std::int64_t count)
        : plan_(plan),
          problem_(*plan.problem),
          channel_(channel),
          first_(first),
          last_(first + count),
          layout_{problem_.height, problem_.width, S::width} {}

    void forward() {
        const std::int64_t steps = problem_.steps, m = problem_.options.states_every, k = problem_.options.checkpoint_every;
        T* u = allot(2, 0);
        T* v = u + plane_size();
        const LanesIo<T> io(layout_, staging_);
        for (std::int64_t image = first_; image < last_; image += S::width) {
            io.read(plan_.x, at(0, image), u);
            fill_halos(u);
            for (std::int64_t t = 1; t <= steps; ++t) {
                step(u, v, t - 1);
                T* const swap = u;
                u = v;
                v = swap;
                if (m && t % m == 0) io.write(plan_.states, at(t / m - 1, image), u);
                if (k && t % k == 0 && t < steps) io.write(plan_.checkpoints, at(t / k - 1, image), u);
            }
            io.write(plan_.y, at(0, image), u);
        }
    }

    // Adds the parameter gradients of all its images to sums(step), [step][gradient].
    void backward(double* sums) {
        const std::int64_t steps = problem_.steps, m = problem_.options.states_every;
        const std::int64_t k = problem_.options.checkpoint_every ? problem_.options.checkpoint_every : steps;
        const std::int64_t segment = k < steps ? k : steps, per_step = plan_.gradients() * S::width;
        T* const trajectory = allot(segment + 3, steps * per_step);
        T *const g = trajectory + (segment + 1) * plane_size(), *const d = g + plane_size();
        for (std::int64_t i = 0; i < steps * per_step; ++i) totals_[i] = 0;
        const LanesIo<T> io(layout_, staging_);
        for (std::int64_t image = first_; image < last_; image += S::width) {
            io.read(plan_.grad_y, at(0, image), g);
            for (std::int64_t end = steps; end > 0;) {
                const std::int64_t begin = (end - 1) / k * k;
                if (begin == 0) io.read(plan_.x, at(0, image), trajectory);
                else io.read(plan_.checkpoints, at(begin / k - 1, image), trajectory);
                fill_halos(trajectory);
                for (std::int64_t t = begin; t < end; ++t) step(state(trajectory, t - begin), state(trajectory, t - begin + 1), t);
                for (std::int64_t t = end - 1; t >= begin; --t) {
                    if (plan_.grad_states && (t + 1) % m == 0) io.read(plan_.grad_states, at((t + 1) / m - 1, image), g, true);
                    gate(state(trajectory, t - begin), state(trajectory, t - begin + 1), g, d, totals_ + t * per_step);
                    fill_halos(d);
                    linear_step(d, g, taps(plan_.adjoint_taps, plan_.adjoint, t), T(0), Activation::none);
                }
                end = begin;
            }
            io.write(plan_.grad_x, at(0, image), g);
        }
        for (std::int64_t i = 0; i < steps * plan_.gradients(); ++i) sums[i] += pairwise_sum(totals_ + i * S::width);
    }

  private:
    PlaneIndex at(std::int64_t step, std::int64_t image) const { return {step, image, channel_, 0}; }
    T* state(T* trajectory, std::int64_t i) const { return trajectory + i * plane_size(); }

    // Half a page apart modulo the page, as PlaneLayout's.
    std::int64_t plane_size() const {
        constexpr std::int64_t half = 2048 / sizeof(T);
        return (layout_.size() + 3 * half - 1) / (2 * half) * (2 * half) + half;
    }

    // Planes with zeros around them, `totals` doubles, the tables of rows and what LanesIo wants.
    T* allot(std::int64_t planes, std::int64_t totals) {
        const std::int64_t height = layout_.height;
        const std::size_t floats = static_cast<std::size_t>(planes * plane_size() + LanesIo<T>::staging_size(layout_)) * sizeof(T);
        const std::size_t tables = static_cast<std::size_t>(2 * height + 2) * sizeof(std::ptrdiff_t);
        char* const memory = static_cast<char*>(thread_scratch(floats + static_cast<std::size_t>(totals) * sizeof(double) + tables));
        T* const first = reinterpret_cast<T*>(memory);
        staging_ = first + planes * plane_size();
        totals_ = reinterpret_cast<double*>(memory + floats);
        std::ptrdiff_t* const row = reinterpret_cast<std::ptrdiff_t*>(totals_ + totals);
        std::ptrdiff_t* const source = row + height;
        for (std::int64_t y = 0; y < height; ++y) row[y] = layout_.row(y);
        for (std::int64_t y = -1; y <= height; ++y) {
            const std::int64_t from = source_index(y, height, problem_.options.boundary);
            source[y + 1] = from < 0 ? layout_.zero_row() : layout_.row(from);
        }
        row_ = row;
        source_ = source;
        for (std::int64_t i = 0; i < planes; ++i) {
            T* const plane = first + i * plane_size();
            for (std::int64_t y = 0; y < height; ++y)
                for (std::int64_t side = 0; side < 2; ++side)
                    S::store(plane + layout_.row(y) + (side ? layout_.width : -1) * S::width, S::zero());
            for (std::int64_t j = height * layout_.pitch(); j < layout_.size(); ++j) plane[j] = T(0);
        }
        return first;
    }

    const T* taps(const void* all, const TapList& list, std::int64_t t) const {
        return static_cast<const T*>(all) + (t * problem_.tap_channels + plan_.channel_of_taps(channel_)) * list.n;
    }
    T bias(std::int64_t t) const {
        return plan_.bias ? static_cast<const T*>(plan_.bias)[t * problem_.bias_channels + plan_.channel_of_bias(channel_)] : T(0);
    }

    void step(const T* u, T* v, std::int64_t t) const {
        const Activation activation = problem_.options.activation;
        linear_step(u, v, taps(plan_.taps, plan_.forward, t), bias(t), activation);
        if (activation == Activation::tanh || activation == Activation::silu)
            for (std::int64_t y = 0; y < layout_.height; ++y) activate_row(activation, v + row_[y], layout_.width * S::width);
        fill_halos(v);
    }

    void linear_step(const T* u, T* v, const T* taps, T bias, Activation activation) const {
        const StepArgs<T> args{u, source_, v, row_, layout_.height, layout_.width * S::width, taps, bias, static_cast<T>(problem_.options.slope), nullptr};
        if (activation == Activation::relu) return step_as<Inline::relu>(args);
        if (activation == Activation::leaky_relu) return step_as<Inline::leaky_relu>(args);
        step_as<Inline::none>(args);
    }
    template <Inline A>
    void step_as(const StepArgs<T>& args) const {
        plan_.shape == Shape::star5 ? star5_step<T, A, 0, 0, S::width>(args) : box3x3_step<T, A, 0, 0, S::width>(args);
    }

    // In pieces short enough for the sums in the compute type.
    void gate(const T* u, const T* next, const T* g, T* d, double* totals) const {
        const std::int64_t piece = terms_per_flush / layout_.width > 1 ? terms_per_flush / layout_.width : 1;
        for (std::int64_t y = 0; y < layout_.height; y += piece) {
            const std::int64_t rows = y + piece < layout_.height ? piece : layout_.height - y;
            alignas(64) T lanes[10 * S::width] = {};
            const GateArgs<T> args{g, d, row_ + y, next, row_ + y, rows, layout_.width * S::width, static_cast<T>(problem_.options.slope),
                                   lanes + 9 * S::width, u, source_ + y, 0, layout_.width * S::width, lanes, nullptr};
            with_activation(problem_.options.activation, [&](auto a) { gate_box3x3<T, a, 0, 0, S::width>(args); });
            for (int i = 0; i < 10 * S::width; ++i) totals[i] += static_cast<double>(lanes[i]);
        }
    }

    void fill_halos(T* plane) const {
        const std::int64_t width = layout_.width;
        const Boundary boundary = problem_.options.boundary;
        if (boundary == Boundary::zero) return;
        const std::int64_t left = source_index(-1, width, boundary), right = source_index(width, width, boundary);
        for (std::int64_t y = 0; y < layout_.height; ++y) {
            T* const p = plane + row_[y];
            S::store(p - S::width, S::load(p + left * S::width));
            S::store(p + width * S::width, S::load(p + right * S::width));
        }
    }

    static double pairwise_sum(double* lanes) {
        for (int half = S::width / 2; half > 0; half /= 2)
            for (int i = 0; i < half; ++i) lanes[i] += lanes[i + half];
        return lanes[0];
    }

    const Plan& plan_;
    const stencil::Problem& problem_;
    std::int64_t channel_, first_, last_;
    LanesLayout layout_;
    const std::ptrdiff_t *row_ = nullptr, *source_ = nullptr;
    T* staging_ = nullptr;
    double* totals_ = nullptr;
};

}  // namespace
}  // namespace qcore::QC_ISA
