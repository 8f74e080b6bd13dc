// Planes that fit on chip: all steps of one plane after the other, in scratch memory of one thread.
#pragma once

#include "stencil/interleaved.hpp"

namespace qcore::QC_ISA {
namespace {

// Running sums of all steps stay in memory between the planes of a group up to this size.
constexpr std::int64_t lanes_budget = 64 << 10;

template <class T>
class Resident {
  public:
    using S = Simd<T>;

    Resident(const Plan& plan, std::int64_t channel, std::int64_t group)
        : plan_(plan), problem_(*plan.problem), layout_(plan.layout), stepper_(plan), channel_(channel), group_(group) {}

    void forward() {
        const std::int64_t first = group_ * plan_.group, count = interleaved();
        if (count > 0) Interleaved<T>(plan_, channel_, first, count).forward();
        if (first + count < plan_.planes && count < plan_.group) forward_by_plane();
    }

    void backward() {
        const std::int64_t first = group_ * plan_.group, count = interleaved();
        if (count > 0) Interleaved<T>(plan_, channel_, first, count).backward(sums(0));
        if (first + count < plan_.planes && count < plan_.group) backward_by_plane();
    }

  private:
    void forward_by_plane() {
        const std::int64_t steps = problem_.steps, m = problem_.options.states_every, k = problem_.options.checkpoint_every;
        T* a = static_cast<T*>(thread_scratch(static_cast<std::size_t>(2 * layout_.size) * sizeof(T)));
        T* b = a + layout_.size;
        clear_pads(layout_, a);
        clear_pads(layout_, b);
        const std::int64_t plane_bytes = layout_.rows() * layout_.width * static_cast<std::int64_t>(sizeof(T));
        const std::int64_t fetch = (plane_bytes / (steps > 0 ? steps : 1) + 63) / 64 * 64;
        each_plane([&](PlaneIndex index) {
            T *u = a, *v = b;
            read_plane(plan_.x, index, layout_, u, rows());
            stepper_.fill_halos(u, rows());
            const char* ahead = plane_of_x(next(index));  // fetched bit by bit while this plane is at work
            for (std::int64_t t = 1; t <= steps; ++t) {
                if (ahead)
                    for (const char* end = ahead + fetch; ahead < end; ahead += 64) __builtin_prefetch(ahead);
                stepper_.step(u, v, t - 1, channel_, rows());
                T* swap = u;
                u = v;
                v = swap;
                if (m && t % m == 0) write_plane(plan_.states, at_step(index, t / m - 1), layout_, u, rows());
                if (k && t % k == 0 && t < steps) write_plane(plan_.checkpoints, at_step(index, t / k - 1), layout_, u, rows());
            }
            write_plane(plan_.y, index, layout_, u, rows());
        });
    }

    void backward_by_plane() {
        const std::int64_t steps = problem_.steps, k = problem_.options.checkpoint_every ? problem_.options.checkpoint_every : steps;
        const std::int64_t segment = k < steps ? k : steps, width = S::width;
        const std::int64_t per_step = plan_.gradients() * width;
        const std::int64_t vectors = (layout_.width + width - 1) / width, terms = layout_.rows() * vectors;
        keep_lanes_ = terms <= terms_per_flush && steps * per_step * static_cast<std::int64_t>(sizeof(T)) <= lanes_budget;
        const std::int64_t lanes_size = keep_lanes_ ? steps * per_step : per_step;
        const std::int64_t scratch = (segment + 3) * layout_.size + lanes_size + stepper_.scratch_size();
        T* const memory = static_cast<T*>(thread_scratch(static_cast<std::size_t>(scratch) * sizeof(T)));
        lanes_ = memory;
        trajectory_ = lanes_ + lanes_size;
        d_ = trajectory_ + (segment + 1) * layout_.size;
        g_ = d_ + layout_.size;
        fold_scratch_ = g_ + layout_.size;
        for (std::int64_t i = 0; i < lanes_size; ++i) lanes_[i] = T(0);
        for (std::int64_t i = 0; i < segment + 3; ++i) clear_pads(layout_, trajectory_ + i * layout_.size);

        const std::int64_t flush_every = keep_lanes_ ? terms_per_flush / terms : 1;
        chunk_ = terms_per_flush / vectors > 4 ? terms_per_flush / vectors : 4;
        std::int64_t planes = 0;
        each_plane([&](PlaneIndex index) {
            read_plane(plan_.grad_y, index, layout_, g_, rows());
            for (std::int64_t end = steps; end > 0;) {
                const std::int64_t begin = (end - 1) / k * k;
                recompute(index, begin, end);
                for (std::int64_t t = end - 1; t >= begin; --t)
                    step_back(index, t, trajectory_ + (t - begin) * layout_.size, keep_lanes_ ? lanes_ + t * per_step : lanes_);
                end = begin;
            }
            write_plane(plan_.grad_x, index, layout_, g_, rows());
            if (keep_lanes_ && ++planes % flush_every == 0) flush_kept();
        });
        if (keep_lanes_) flush_kept();
    }

    RowRange rows() const { return {0, layout_.rows()}; }
    static PlaneIndex at_step(PlaneIndex index, std::int64_t step) { return {step, index.batch, index.channel, index.component}; }

    PlaneIndex next(PlaneIndex index) const {
        index.component = (index.component + 1) % plan_.split;
        if (index.component == 0) ++index.batch;
        return index;
    }

    // Start of x's plane `index`, if it is one piece of memory in the compute type; else null.
    const char* plane_of_x(PlaneIndex index) const {
        const RealField& x = plan_.x;
        const bool plain = x.x_stride == 1 && x.y_stride == layout_.width && layout_.depth == 1 && x.dtype == compute_type;
        return plain && index.batch < problem_.batch ? reinterpret_cast<const char*>(static_cast<const T*>(x.data) + index.offset(x)) : nullptr;
    }
    static constexpr DType compute_type = sizeof(T) == 4 ? DType::f32 : DType::f64;

    template <class F>
    void each_plane(F&& f) const {
        const std::int64_t first = group_ * plan_.group, last = first + plan_.group < plan_.planes ? first + plan_.group : plan_.planes;
        for (std::int64_t p = first + interleaved(); p < last; ++p) f(PlaneIndex{0, p / plan_.split, channel_, p % plan_.split});
    }

    // How many of the group's planes go one a lane; the rest go through here.
    std::int64_t interleaved() const {
        const std::int64_t rest = plan_.planes - group_ * plan_.group, count = plan_.group < rest ? plan_.group : rest;
        return plan_.interleaved ? count / S::width * S::width : 0;
    }

    // The states of steps begin ... end, exactly as the forward pass had them.
    void recompute(PlaneIndex index, std::int64_t begin, std::int64_t end) {
        if (begin == 0) read_plane(plan_.x, index, layout_, trajectory_, rows());
        else
            read_plane(plan_.checkpoints, at_step(index, begin / problem_.options.checkpoint_every - 1), layout_, trajectory_, rows());
        stepper_.fill_halos(trajectory_, rows());
        for (std::int64_t t = begin; t < end; ++t) {
            T* u = trajectory_ + (t - begin) * layout_.size;
            stepper_.step(u, u + layout_.size, t, channel_, rows());
        }
    }

    void step_back(PlaneIndex index, std::int64_t t, const T* u, T* lanes) {
        const std::int64_t m = problem_.options.states_every;
        if (plan_.grad_states && (t + 1) % m == 0)
            read_plane(plan_.grad_states, at_step(index, (t + 1) / m - 1), layout_, g_, rows(), true);
        for (std::int64_t first = 0; first < layout_.rows(); first += chunk_) {
            const RowRange chunk{first, first + chunk_ < layout_.rows() ? first + chunk_ : layout_.rows()};
            stepper_.gate(u, u + layout_.size, g_, d_, t, channel_, chunk, lanes);
            if (!keep_lanes_) flush_lanes(lanes, sums(t), plan_.gradients());
        }
        stepper_.adjoint(d_, g_, t, channel_, rows(), fold_scratch_);
    }

    void flush_kept() {
        for (std::int64_t t = 0; t < problem_.steps; ++t)
            flush_lanes(lanes_ + t * plan_.gradients() * S::width, sums(t), plan_.gradients());
    }

    double* sums(std::int64_t t) const {
        return plan_.partial + ((channel_ * plan_.parts + group_) * problem_.steps + t) * plan_.gradients();
    }

    const Plan& plan_;
    const stencil::Problem& problem_;
    const PlaneLayout& layout_;
    Stepper<T> stepper_;
    std::int64_t channel_, group_;
    bool keep_lanes_ = false;
    std::int64_t chunk_ = 0;
    T *lanes_ = nullptr, *trajectory_ = nullptr, *d_ = nullptr, *g_ = nullptr, *fold_scratch_ = nullptr;
};

}  // namespace
}  // namespace qcore::QC_ISA
