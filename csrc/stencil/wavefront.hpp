// Planes too large for the cache: a tile of columns and rows is streamed through several steps at once. Each step keeps the
// few rows that the next one still needs in a ring, so a row is read from memory once and written once for all of them.
//
// A tile computes its own columns and rows and, redundantly, as many beyond them as its steps reach; what lies beyond that is
// wrong from the outside in, a kernel's radius a step, and never enters a result.
#pragma once

#include "core/parallel.hpp"
#include "stencil/gradient.hpp"
#include "stencil/row_io.hpp"

namespace qcore::QC_ISA {
namespace {

using stencil::Plan;
using stencil::Tile;

constexpr std::int64_t rows_at_once = 4;
constexpr int max_reach = 3;  // of a 7-wide kernel

// Rows [next - kept, next) of a state, in slots that are used in turn.
struct Ring {
    std::ptrdiff_t base = 0;  // offset of slot 0
    std::int64_t capacity = 0, pitch = 0;
    std::int64_t first = 0, last = 0;  // rows it is to hold in all: [first, last)
    std::int64_t next = 0;             // rows before this one have been there
    std::int64_t turn = 0;             // a row that stands in slot 0

    void start(std::ptrdiff_t at, std::int64_t rows, std::int64_t row_pitch, std::int64_t from, std::int64_t to) {
        base = at;
        capacity = rows;
        pitch = row_pitch;
        first = next = turn = from;
        last = to;
    }
    bool done() const { return next == last; }
    std::ptrdiff_t offset(std::int64_t y) const {
        std::int64_t slot = y - turn;
        if (slot < 0) slot += capacity;
        else if (slot >= capacity) slot -= capacity;
        return base + slot * pitch;
    }
    void advance(std::int64_t count) {
        next += count;
        if (next - turn >= capacity) turn += capacity;
    }
};

// What the forward and the backward tile have in common: the columns, where rows lie, and one step on some rows.
template <class T>
class TileBase {
  protected:
    using S = Simd<T>;

    TileBase(const Plan& plan, const Tile& tile, std::int64_t reach_columns)
        : plan_(plan),
          problem_(*plan.problem),
          tile_(tile),
          boundary_(problem_.options.boundary),
          activation_(problem_.options.activation),
          slope_(static_cast<T>(problem_.options.slope)),
          height_(problem_.height),
          ry_(plan.ry),
          rx_(plan.rx),
          index_{0, tile.plane / plan.split, tile.channel, tile.plane % plan.split} {
        constexpr std::int64_t unit = 64 / static_cast<std::int64_t>(sizeof(T));
        const std::int64_t W = problem_.width, halo = (reach_columns + unit - 1) / unit * unit;
        const bool whole = tile.x0 == 0 && tile.x1 == W, wrap = boundary_ == Boundary::periodic && !whole;
        left_ = wrap || tile.x0 > halo ? tile.x0 - halo : 0;
        const std::int64_t right = wrap || tile.x1 + halo < W ? tile.x1 + halo : W;
        width_ = right - left_;
        left_edge_ = boundary_ != Boundary::zero && !wrap && left_ == 0;
        right_edge_ = boundary_ != Boundary::zero && !wrap && right == W;
        const std::int64_t rounded = (width_ + unit - 1) / unit * unit;
        const std::int64_t right_end = rounded > width_ + rx_ ? rounded : width_ + rx_;
        pitch_ = (right_end + 2 * rx_ + unit - 1) / unit * unit;
        margin_ = unit;
    }

    // Lays rings out one behind the other, behind a zero row. Returns the elements they take in all.
    std::int64_t begin_layout() {
        zero_row_ = margin_;
        return margin_ + pitch_;
    }
    void place(Ring& ring, std::int64_t& end, std::int64_t rows, std::int64_t from, std::int64_t to) const {
        if (rows > to - from) rows = to - from;
        ring.start(end, rows, pitch_, from, to);
        end += rows * pitch_;
    }
    // Zeroes the zero row and the pads of all rows up to `end`; the rest is written before it is read.
    void clear_pads(T* memory, std::int64_t end) const {
        for (std::int64_t i = 0; i < zero_row_ + pitch_; ++i) memory[i] = T(0);
        for (std::int64_t row = zero_row_; row < end; row += pitch_)
            for (std::int64_t i = width_; i < pitch_; ++i) memory[row + i] = T(0);
    }

    // Rows [y0 - n ry, y1 + n ry), cut at the plane's edges unless they wrap around.
    std::int64_t from_row(std::int64_t n) const {
        const std::int64_t y = tile_.y0 - n * ry_;
        return y > 0 || wraps_rows() ? y : 0;
    }
    std::int64_t to_row(std::int64_t n) const {
        const std::int64_t y = tile_.y1 + n * ry_;
        return y < height_ || wraps_rows() ? y : height_;
    }
    bool wraps_rows() const { return boundary_ == Boundary::periodic && ry_ > 0; }

    // How many rows of `to` can follow now, from rows of `from` that reach ry further down.
    std::int64_t ready(const Ring& from, const Ring& to) const {
        const std::int64_t reach = from.done() ? to.last : from.next - ry_;
        const std::int64_t n = (reach < to.last ? reach : to.last) - to.next;
        return n < 0 ? 0 : n < rows_at_once ? n : rows_at_once;
    }

    // offsets[i] = where row y - ry + i of a state stands, or its image by the boundary.
    void sources(const Ring& ring, std::int64_t y, std::int64_t count, Boundary boundary, std::int64_t reach, std::ptrdiff_t* offsets) const {
        for (std::int64_t i = 0; i < count + 2 * reach; ++i) {
            std::int64_t row = y - reach + i;
            if (!wraps_rows()) row = source_index(row, height_, boundary);
            offsets[i] = row < 0 && !wraps_rows() ? zero_row_ : ring.offset(row);
        }
    }
    void places(const Ring& ring, std::int64_t y, std::int64_t count, std::ptrdiff_t* offsets) const {
        for (std::int64_t i = 0; i < count; ++i) offsets[i] = ring.offset(y + i);
    }

    // Rows of a tensor, all columns of the tile, both wrapped where they wrap.
    void read_rows(const RealField& field, std::int64_t step, T* memory, const Ring& ring, std::int64_t y, std::int64_t count,
                   bool add = false) const {
        const std::int64_t W = problem_.width;
        with_element_type<T>(field, PlaneIndex{step, index_.batch, index_.channel, index_.component}.offset(field), [&](auto* base) {
            for (std::int64_t i = 0; i < count; ++i) {
                const std::int64_t row = wraps_rows() ? wrapped(y + i, height_) : y + i;
                const auto* from = base + row * field.y_stride;
                T* to = memory + ring.offset(y + i);
                for (std::int64_t x = 0; x < width_;) {
                    const std::int64_t column = wrapped(left_ + x, W), rest = W - column;
                    const std::int64_t n = rest < width_ - x ? rest : width_ - x;
                    read_row(from + column * field.x_stride, field.x_stride, to + x, n, add);
                    x += n;
                }
            }
        });
    }
    // The tile's own columns and rows of a state.
    void write_rows(const RealField& field, std::int64_t step, const T* memory, const Ring& ring, std::int64_t y, std::int64_t count) const {
        const std::int64_t first = y > tile_.y0 ? y : tile_.y0, last = y + count < tile_.y1 ? y + count : tile_.y1;
        with_element_type<T>(field, PlaneIndex{step, index_.batch, index_.channel, index_.component}.offset(field), [&](auto* base) {
            for (std::int64_t row = first; row < last; ++row)
                write_row(memory + ring.offset(row) + (tile_.x0 - left_), base + row * field.y_stride + tile_.x0 * field.x_stride,
                          field.x_stride, tile_.x1 - tile_.x0);
        });
    }
    static std::int64_t wrapped(std::int64_t i, std::int64_t n) { return i >= 0 && i < n ? i : ((i % n) + n) % n; }

    // Halos at the plane's own edges; those inside it are left zero.
    void fill_edges(T* row) const {
        for (std::int64_t i = 1; i <= rx_; ++i) {
            if (left_edge_) row[-i] = row[source_index(-i, width_, boundary_)];
            if (right_edge_) row[width_ - 1 + i] = row[source_index(width_ - 1 + i, width_, boundary_)];
        }
    }

    const T* taps(const void* all, const TapList& list, std::int64_t t) const {
        return static_cast<const T*>(all) + (t * problem_.tap_channels + plan_.channel_of_taps(index_.channel)) * list.n;
    }
    T bias(std::int64_t t) const {
        return plan_.bias ? static_cast<const T*>(plan_.bias)[t * problem_.bias_channels + plan_.channel_of_bias(index_.channel)] : T(0);
    }

    // Step t of some rows of one ring into rows of another (or of other memory, at `out`).
    void step(T* memory, const Ring& from, std::int64_t y, std::int64_t count, const std::ptrdiff_t* out, std::int64_t t,
              Activation activation) const {
        std::ptrdiff_t source[rows_at_once + 2 * max_reach];
        sources(from, y, count, boundary_, ry_, source);
        step_rows(plan_.shape, activation,
                  StepArgs<T>{memory, source, memory, out, count, width_, taps(plan_.taps, plan_.forward, t), bias(t), slope_, &plan_.forward});
    }
    void advance_state(T* memory, const Ring& from, Ring& to, std::int64_t t) const {
        const std::int64_t count = ready(from, to);
        if (count == 0) return;
        std::ptrdiff_t out[rows_at_once];
        places(to, to.next, count, out);
        step(memory, from, to.next, count, out, t, activation_);
        for (std::int64_t i = 0; i < count; ++i) {
            if (activation_ == Activation::tanh || activation_ == Activation::silu) activate_row(activation_, memory + out[i], width_);
            if (left_edge_ || right_edge_) fill_edges(memory + out[i]);
        }
        to.advance(count);
    }
    // The next rows of the state that the steps start from.
    void load_state(T* memory, Ring& ring, const RealField& field, std::int64_t step) const {
        const std::int64_t rest = ring.last - ring.next, count = rest < rows_at_once ? rest : rows_at_once;
        if (count == 0) return;
        read_rows(field, step, memory, ring, ring.next, count);
        for (std::int64_t i = 0; i < count; ++i)
            if (left_edge_ || right_edge_) fill_edges(memory + ring.offset(ring.next + i));
        ring.advance(count);
    }

    const Plan& plan_;
    const stencil::Problem& problem_;
    const Tile& tile_;
    Boundary boundary_;
    Activation activation_;
    T slope_;
    std::int64_t height_, ry_, rx_;
    PlaneIndex index_;
    std::int64_t left_, width_, pitch_, margin_;
    bool left_edge_, right_edge_;
    std::ptrdiff_t zero_row_ = 0;
};

constexpr std::int64_t max_depth = 33;  // states a tile holds

template <class T>
class ForwardTile : TileBase<T> {
    using Base = TileBase<T>;

  public:
    ForwardTile(const Plan& plan, const Tile& tile) : Base(plan, tile, (tile.t1 - tile.t0) * plan.rx) {}

    void run() {
        const stencil::Tile& tile = this->tile_;
        const std::int64_t n = tile.t1 - tile.t0, m = this->problem_.options.states_every;
        Ring ring[max_depth];
        std::int64_t size = this->begin_layout();
        for (std::int64_t s = 0; s <= n; ++s)
            this->place(ring[s], size, rows_at_once + 2 * this->ry_, this->from_row(n - s), this->to_row(n - s));
        size += this->pitch_;
        T* const memory = static_cast<T*>(thread_scratch(static_cast<std::size_t>(size) * sizeof(T)));
        this->clear_pads(memory, size - this->pitch_);
        while (!ring[n].done()) {
            this->load_state(memory, ring[0], tile.from, tile.from_step);
            for (std::int64_t s = 1; s <= n; ++s) {
                const std::int64_t y = ring[s].next, t = tile.t0 + s;
                this->advance_state(memory, ring[s - 1], ring[s], t - 1);
                const std::int64_t count = ring[s].next - y;
                if (count == 0) continue;
                if (m && t % m == 0) this->write_rows(this->plan_.states, t / m - 1, memory, ring[s], y, count);
                if (s == n) this->write_rows(tile.to, tile.to_step, memory, ring[s], y, count);
            }
        }
    }
};

template <class T>
class BackwardTile : TileBase<T> {
    using Base = TileBase<T>;
    using S = Simd<T>;

  public:
    BackwardTile(const Plan& plan, const Tile& tile) : Base(plan, tile, 2 * (tile.t1 - tile.t0) * plan.rx) {}

    void run() {
        const stencil::Tile& tile = this->tile_;
        const std::int64_t n = tile.t1 - tile.t0, ry = this->ry_;
        per_step_ = this->plan_.gradients() * S::width;

        // u[s]: state t0 + s. d[s]: the gradient after step t0 + s, gated in place. out: the gradient before step t0.
        std::int64_t size = this->begin_layout();
        for (std::int64_t s = 0; s <= n; ++s)
            this->place(u_[s], size, 2 * (n - s + 1) * ry + 2 * rows_at_once, this->from_row(2 * n - s), this->to_row(2 * n - s));
        for (std::int64_t s = 0; s < n; ++s) this->place(d_[s], size, 2 * rows_at_once + 2 * ry, this->from_row(s + 1), this->to_row(s + 1));
        this->place(out_, size, rows_at_once, tile.y0, tile.y1);
        scratch_ = size;
        size += (rows_at_once + 1) * this->pitch_;
        const std::int64_t lanes = size;
        size += n * per_step_;
        memory_ = static_cast<T*>(thread_scratch(static_cast<std::size_t>(size) * sizeof(T)));
        this->clear_pads(memory_, lanes);
        lanes_ = memory_ + lanes;
        for (std::int64_t i = 0; i < n * per_step_; ++i) lanes_[i] = T(0);

        while (!out_.done()) {
            this->load_state(memory_, u_[0], tile.from, tile.from_step);
            for (std::int64_t s = 1; s <= n; ++s) this->advance_state(memory_, u_[s - 1], u_[s], tile.t0 + s - 1);
            for (std::int64_t s = n - 1; s >= 0; --s) advance_gradient(s);
            emit();
        }
        for (std::int64_t s = 0; s < n; ++s) flush(s);
    }

  private:
    // The next rows of d[s]: loaded (the last) or the adjoint of step s + 1 on d[s + 1], then gated by state s + 1.
    void advance_gradient(std::int64_t s) {
        const stencil::Tile& tile = this->tile_;
        const std::int64_t n = tile.t1 - tile.t0, t = tile.t0 + s, m = this->problem_.options.states_every;
        Ring& ring = d_[s];
        const std::int64_t y = ring.next;
        std::int64_t count;
        if (s == n - 1) {
            const std::int64_t behind = u_[n].next - y, rest = ring.last - y;
            count = behind < rest ? behind : rest;
            if (count > rows_at_once) count = rows_at_once;
            if (count <= 0) return;
            this->read_rows(tile.gradient, 0, memory_, ring, y, count);
        } else {
            count = this->ready(d_[s + 1], ring);
            if (count == 0) return;
            adjoint(d_[s + 1], ring, y, count, t + 1);
        }
        if (this->plan_.grad_states && (t + 1) % m == 0)
            this->read_rows(this->plan_.grad_states, (t + 1) / m - 1, memory_, ring, y, count, true);
        gate(s, y, count);
        ring.advance(count);
    }

    void emit() {
        const std::int64_t y = out_.next, count = this->ready(d_[0], out_);
        if (count == 0) return;
        adjoint(d_[0], out_, y, count, this->tile_.t0);
        this->write_rows(this->tile_.to, 0, memory_, out_, y, count);
        out_.advance(count);
    }

    // Rows that count for the parameters are the tile's own; those beyond only carry gradients.
    void gate(std::int64_t s, std::int64_t y, std::int64_t count) {
        const std::int64_t y0 = this->tile_.y0, y1 = this->tile_.y1;
        const std::int64_t own_first = y > y0 ? y : y0, own_last = y + count < y1 ? y + count : y1;
        if (own_first >= own_last) return gate_rows_of(s, y, count, false);
        if (own_first > y) gate_rows_of(s, y, own_first - y, false);
        gate_rows_of(s, own_first, own_last - own_first, true);
        if (own_last < y + count) gate_rows_of(s, own_last, y + count - own_last, false);
        const std::int64_t vectors = (this->width_ + S::width - 1) / S::width;
        if ((terms_[s] += count * vectors) > 512 - rows_at_once * vectors) flush(s);
    }

    void gate_rows_of(std::int64_t s, std::int64_t y, std::int64_t count, bool own) {
        const std::int64_t t = this->tile_.t0 + s, taps = this->problem_.kernel_size();
        std::ptrdiff_t row[rows_at_once], told_row[rows_at_once], source[rows_at_once + 2 * max_reach];
        this->places(d_[s], y, count, row);
        if (this->activation_ == Activation::silu) {
            for (std::int64_t i = 0; i < count; ++i) told_row[i] = scratch_ + i * this->pitch_;
            this->step(memory_, u_[s], y, count, told_row, t, Activation::none);
        } else {
            this->places(u_[s + 1], y, count, told_row);
        }
        const std::int64_t begin = this->tile_.x0 - this->left_;
        GateArgs<T> args{memory_, memory_, row, memory_, told_row, count, this->width_, this->slope_,
                         lanes_ + s * per_step_ + taps * S::width, memory_, source, begin, begin + (this->tile_.x1 - this->tile_.x0),
                         lanes_ + s * per_step_, &this->plan_.gradient};
        if (own) {
            this->sources(u_[s], y, count, this->boundary_, this->ry_, source);
            gate_with_gradient(this->plan_.shape, this->activation_, args, true);
        } else {
            args.end = args.begin;
            gate_only(this->activation_, args);
        }
        if (this->boundary_ == Boundary::periodic)
            for (std::int64_t i = 0; i < count; ++i) this->fill_edges(memory_ + row[i]);
    }

    // Rows of `to` = adjoint of step t on `from`, folded at the plane's edges where the boundary copies.
    void adjoint(const Ring& from, const Ring& to, std::int64_t y, std::int64_t count, std::int64_t t) {
        const Plan& plan = this->plan_;
        std::ptrdiff_t source[rows_at_once + 2 * max_reach], row[rows_at_once];
        const bool folds = plan.folds();
        this->sources(from, y, count, folds ? Boundary::zero : this->boundary_, this->ry_, source);
        this->places(to, y, count, row);
        const T* k = this->taps(plan.adjoint_taps, plan.adjoint, t);
        step_rows(plan.shape, Activation::none,
                  StepArgs<T>{memory_, source, memory_, row, count, this->width_, k, T(0), T(0), &plan.adjoint});
        if (!folds) return;
        for (std::int64_t i = 0; i < count; ++i) {
            T* const g = memory_ + row[i];
            fold_columns(source + i, k, g);
            for (std::int64_t j = 1; j <= this->ry_; ++j)
                for (int below = 0; below < 2; ++below) {
                    const std::int64_t image = below ? this->height_ - 1 + j : -j;
                    if (source_index(image, this->height_, this->boundary_) != y + i) continue;
                    std::ptrdiff_t beyond[1 + 2 * max_reach];
                    const std::ptrdiff_t at = scratch_;
                    this->sources(from, image, 1, Boundary::zero, this->ry_, beyond);
                    step_rows(plan.shape, Activation::none,
                              StepArgs<T>{memory_, beyond, memory_, &at, 1, this->width_, k, T(0), T(0), &plan.adjoint});
                    each_vector<T, 0>(0, this->width_, [&](std::int64_t x, auto kind) {
                        S::store(g + x, kind.keep(S::load(g + x) + S::load(memory_ + at + x)));
                    });
                    fold_columns(beyond, k, g);
                }
        }
    }

    void fold_columns(const std::ptrdiff_t* from, const T* k, T* row) const {
        const TapList& list = this->plan_.adjoint;
        for (std::int64_t j = 1; j <= this->rx_; ++j)
            for (int right = 0; right < 2; ++right) {
                if (!(right ? this->right_edge_ : this->left_edge_)) continue;
                const std::int64_t x = right ? this->width_ - 1 + j : -j;
                T sum = T(0);
                for (std::int64_t i = 0; i < list.n; ++i) sum += k[i] * memory_[from[list.relative[i]] + x + list.dx[i]];
                row[source_index(x, this->width_, this->boundary_)] += sum;
            }
    }

    void flush(std::int64_t s) {
        double* sums = this->plan_.partial +
                       ((this->tile_.channel * this->plan_.parts + this->tile_.part) * this->problem_.steps + this->tile_.t0 + s) *
                           this->plan_.gradients();
        flush_lanes(lanes_ + s * per_step_, sums, this->plan_.gradients());
        terms_[s] = 0;
    }

    Ring u_[max_depth], d_[max_depth], out_;
    std::int64_t per_step_ = 0, terms_[max_depth] = {};
    std::ptrdiff_t scratch_ = 0;
    T *memory_ = nullptr, *lanes_ = nullptr;
};

}  // namespace
}  // namespace qcore::QC_ISA
