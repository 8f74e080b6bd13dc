// One field, or a few lines of a one-dimensional problem, on its way through a run: which sweeps go over which part of it, and
// on which threads.
//
// Axis 0 is the outer one. A pass goes through it row by row (a row is all that lies behind one index of axis 0), back-substitutes a
// factor of axis 0, does whatever is pointwise or along the other axes, and eliminates for the next factor of axis 0: one read and
// one write of the field, in blocks of rows that stay in the caches while the other axes are swept. The next pass goes the other way.
#pragma once

#include <algorithm>
#include <type_traits>

#include "core/parallel.hpp"
#include "schrodinger/split_plan.hpp"

namespace qcore::schrodinger {

constexpr std::int64_t block_bytes = 512 * 1024;  // of the field for each thread, while its other axes are swept
constexpr std::int64_t panel_bytes = 192 * 1024;  // of a strip of columns along an inner axis
constexpr std::int64_t sum_columns = 256;         // sums are taken over so many columns, on any number of threads

template <class F>
void run_tasks(std::int64_t n, std::int64_t points, F&& body) {
    const int threads = static_cast<int>(std::min<std::int64_t>(max_threads(), 1 + points / 8192));
    parallel_for(n, threads, [](void* f, std::int64_t i) { (*static_cast<std::remove_reference_t<F>*>(f))(i); }, &body);
}

// What is carried along: the state, or the gradient with respect to it. Pointers are to what belongs to the field.
template <class R>
struct Carried {
    const void* source;
    void* field;
    const FactorSet<R>* factors;
    std::vector<const R*> tables;
    void* frames = nullptr;      // written at marks
    const void* added = nullptr;  // read and added at marks
};

// Sizes and places common to all that is carried.
struct FieldShape {
    std::int64_t rows, columns, lines_per_row, axes;
    std::int64_t phase_stride, mark_stride;  // in numbers: between rows of a table, between frames
    std::int64_t n_last;                     // size of the axis that lies along memory
    std::int64_t middle;                     // size of the middle one of three axes
    std::int64_t item, parts;                // bytes of a number, its real numbers

    std::int64_t points() const { return rows * columns; }
};

// Sums for the gradient of the coefficients: by substep, axis and factor, each over `slots` parts of the field that don't depend on threads.
struct FactorSums {
    std::vector<double> values;
    std::int64_t slots = 0;

    void prepare(std::int64_t factors, std::int64_t parts) {
        if (!values.empty()) return;
        slots = parts;
        values.assign(at(4 * factors * parts), 0.0);
    }
    void add(std::int64_t slot, std::int64_t factor, const double* s) {
        for (int i = 0; i < 4; ++i) values[at(4 * (factor * slots + slot) + i)] += s[i];
    }
    void total(std::int64_t factor, double* s) const {
        for (std::int64_t slot = 0; slot < slots; ++slot)
            for (int i = 0; i < 4; ++i) s[i] += values[at(4 * (factor * slots + slot) + i)];
    }
};

template <class R>
class FieldRun {
  public:
    // `sums` (A, D), or null; `accumulated` one array of numbers in float64 per table, or empty: sum of grad conj(state).
    FieldRun(const FieldShape& shape, const SweepTable<R>& sweeps, const SplitKernels& kernels, std::vector<Carried<R>> carried,
             std::vector<FactorSums>* sums, std::vector<double*> accumulated)
        : shape_(shape), sweeps_(sweeps), kernels_(kernels), carried_(std::move(carried)), sums_(sums), accumulated_(std::move(accumulated)) {
        zeros_.assign(at(shape_.columns * shape_.item), 0);
        for (std::size_t i = 0; i < carried_.size(); ++i) {
            Buffers& b = buffers_.emplace_back();
            for (std::vector<R>* v : {&b.carry, &b.sum, &b.next_sum}) v->resize(at(shape_.axes > 1 ? shape_.columns * shape_.parts : 0));
        }
        tile_ = kernels_.tile(sizeof(R));
    }

    void run(Sequence sequence) {
        std::vector<Local> group;
        Outer in, out;
        Item item;
        std::int64_t factor = 0;
        bool more = sequence.next(item), copied = false;
        do {
            group.clear();
            out = {};
            while (more && out.substep < 0 && group.size() < 4096) {
                if (item.kind != Item::kinetic) {
                    group.push_back({item.kind == Item::phase ? Local::phase : Local::mark, item.index});
                } else {
                    if (factor == 0) group.push_back({Local::inner, item.index});
                    if (shape_.axes > 1 && factor < outer(0, item.index).count()) {
                        out = {item.index, factor++};
                        continue;
                    }
                    factor = 0;
                }
                more = sequence.next(item);
            }
            pass(in, group, out, !copied);
            copied = true;
            in = out;
        } while (more || in.substep >= 0);
    }

    // One substep along one axis for the carried field `c`, on its own. Changes of each factor go to, or with `totals` come from,
    // `delta` (axis_delta numbers for each factor, those of the factors in reverse order when read).
    std::int64_t axis_delta(std::int64_t axis) const {
        return axis_tasks(axis) * task_delta(axis);
    }
    void sweep_axis(std::size_t c, std::int64_t substep, std::int64_t axis, R* delta, FactorSums* totals) {
        const AxisFactors<R>& factors = carried_[c].factors->of(substep, axis);
        if (factors.count() == 0) return;
        const std::int64_t tasks = axis_tasks(axis), one = task_delta(axis), all = tasks * one, count = factors.count();
        if (totals) totals->prepare(count, tasks);
        run_tasks(tasks, shape_.points(), [&](std::int64_t task) {
            std::vector<double> s(at(totals ? 4 * count : 0));
            R* const first = delta ? delta + task * one + (totals ? (count - 1) * all : 0) : nullptr;
            apply_task(carried_[c], factors, axis, task, first, totals ? -all : all, totals ? s.data() : nullptr, thread_numbers(scratch(axis)));
            for (std::int64_t k = 0; totals && k < count; ++k) totals->add(task, count - 1 - k, s.data() + 4 * k);
        });
    }
    // All that is carried times a table, in place.
    void multiply(std::size_t c, std::int64_t table) {
        Stage stage;
        stage.phase = table;
        run_tasks(chunks(sum_columns), shape_.points(), [&](std::int64_t chunk) {
            RowSweep<R> a = row_sweep(carried_[c], chunk, sum_columns, 0, shape_.rows, 1);
            set_phases(a, carried_[c], stage, chunk * sum_columns);
            sweeps_.rows(a);
        });
    }
    // accumulated[table] += field 1 times conj(psi).
    void accumulate(std::int64_t table, const void* psi) {
        run_tasks(chunks(sum_columns), shape_.points(), [&](std::int64_t chunk) {
            const std::int64_t column = chunk * sum_columns;
            accumulate_rows(table, psi, 0, shape_.rows, column, std::min(sum_columns, shape_.columns - column));
        });
    }

  private:
    struct Outer {
        std::int64_t substep = -1, factor = 0;
    };
    struct Local {
        enum Kind { phase, mark, inner } kind;
        std::int64_t index;
    };
    // Rows of a block, pointwise; or the inner axes of a block.
    struct Stage {
        bool inner = false, in = false, out = false, copy = false;
        std::int64_t substep = -1, phase = -1, mark = -1, late_phase = -1, accumulate = -1;
    };
    struct Buffers {
        std::vector<R> carry, sum, next_sum;
    };

    const AxisFactors<R>& outer(std::size_t c, std::int64_t substep) const { return carried_[c].factors->of(substep, 0); }
    std::int64_t chunks(std::int64_t width) const { return (shape_.columns + width - 1) / width; }
    R* thread_numbers(std::int64_t n) const { return static_cast<R*>(thread_scratch(at(n) * sizeof(R))); }

    std::vector<Stage> stages(const Outer& in, const std::vector<Local>& group, const Outer& out, bool copy) const {
        std::vector<Stage> list;
        const bool gradient = !accumulated_.empty();
        std::size_t i = 0;
        const auto is = [&](Local::Kind kind) { return i < group.size() && group[i].kind == kind; };
        while (true) {
            Stage s;
            s.in = list.empty() && in.substep >= 0;
            s.copy = list.empty() && copy;
            if (!gradient && is(Local::phase)) s.phase = group[i++].index;
            if (is(Local::mark)) s.mark = group[i++].index;
            if (is(Local::phase)) s.late_phase = group[i++].index;
            if (gradient) s.accumulate = s.late_phase;
            s.out = i == group.size() && out.substep >= 0;
            if (s.out && s.accumulate >= 0) s.out = false;  // what is accumulated is the state, not its elimination
            if (s.in || s.out || s.phase >= 0 || s.mark >= 0 || s.late_phase >= 0 || s.copy) list.push_back(s);
            if (i == group.size()) {
                if (s.out || out.substep < 0) break;
                continue;
            }
            if (is(Local::inner)) {
                Stage sweep;
                sweep.inner = true;
                sweep.substep = group[i++].index;
                list.push_back(sweep);
                if (i == group.size() && out.substep < 0) break;
            }
        }
        return list;
    }

    void pass(const Outer& in, const std::vector<Local>& group, const Outer& out, bool copy) {
        const std::vector<Stage> list = stages(in, group, out, copy);
        if (list.empty()) return;
        in_ = in;
        out_ = out;
        direction_ = in.substep >= 0 ? -direction_ : 1;
        // Rows in blocks of whole tiles of lines, so that tiles are the same on any number of threads.
        std::int64_t block = shape_.rows;
        if (list.size() > 1 || sums_) {
            // Every thread has caches of its own; but where sums are taken, of the rows of a block, blocks may not depend on threads.
            const std::int64_t threads = sums_ ? 1 : max_threads(), tiles = sums_ ? 4 : threads;
            block = std::max<std::int64_t>(1, threads * block_bytes / std::max<std::int64_t>(1, shape_.columns * shape_.item));
            block = std::max(block, tiles * tile_ / shape_.lines_per_row);
            if (shape_.lines_per_row < tile_) block = (block + tile_ - 1) / tile_ * tile_;
        }
        const std::int64_t blocks = shape_.rows ? (shape_.rows + block - 1) / block : 0;
        const Stage* waiting = nullptr;
        std::int64_t waiting_first = 0, waiting_last = 0;
        for (std::int64_t i = 0; i < blocks; ++i) {
            const std::int64_t b = direction_ > 0 ? i : blocks - 1 - i, first = b * block, last = std::min(shape_.rows, first + block);
            for (const Stage& s : list) {
                if (s.inner) {
                    for (std::int64_t axis = shape_.axes > 1 ? 1 : 0; axis < shape_.axes; ++axis) sweep_inner(s.substep, axis, first, last);
                } else if (&s == &list.back() && list.size() > 1 && i + 1 < blocks && !list.front().inner) {
                    waiting = &s;  // goes with the beginning of the next block: one parallel loop less
                    waiting_first = first;
                    waiting_last = last;
                } else {
                    const Stage* const before = waiting;
                    waiting = nullptr;
                    const std::int64_t width = column_chunk();
                    run_tasks(chunks(width), (last - first) * shape_.columns, [&](std::int64_t chunk) {
                        if (before) sweep_rows(*before, chunk, width, waiting_first, waiting_last);
                        sweep_rows(s, chunk, width, first, last);
                    });
                }
            }
        }
        for (Buffers& b : buffers_) std::swap(b.sum, b.next_sum);
    }

    std::int64_t column_chunk() const {
        if (sums_) return sum_columns;
        const std::int64_t share = (shape_.columns + max_threads() - 1) / max_threads();
        return std::clamp<std::int64_t>((share + 63) / 64 * 64, 64, 1024);
    }

    RowSweep<R> row_sweep(const Carried<R>& c, std::int64_t chunk, std::int64_t width, std::int64_t first, std::int64_t last,
                          int direction) const {
        const std::int64_t from = chunk * width, bytes = from * shape_.item;
        RowSweep<R> a{};
        a.source = a.target = static_cast<char*>(c.field) + bytes;
        a.stride = shape_.columns;
        a.columns = std::min(width, shape_.columns - from);
        a.first = first;
        a.last = last;
        a.direction = direction;
        a.zeros = zeros_.data();
        return a;
    }
    void set_phases(RowSweep<R>& a, const Carried<R>& c, const Stage& s, std::int64_t column) const {
        a.phase_stride = shape_.phase_stride;
        if (s.phase >= 0) a.phase = c.tables[at(s.phase)] + column * shape_.parts;
        if (s.late_phase >= 0) a.late_phase = c.tables[at(s.late_phase)] + column * shape_.parts;
    }

    void sweep_rows(const Stage& s, std::int64_t chunk, std::int64_t width, std::int64_t first, std::int64_t last) {
        const std::int64_t column = chunk * width, n = std::min(width, shape_.columns - column);
        R* const delta = s.in && sums_ ? thread_numbers((last - first) * n * shape_.parts) : nullptr;
        for (std::size_t i = 0; i < carried_.size(); ++i) {
            const Carried<R>& c = carried_[i];
            RowSweep<R> a = row_sweep(c, chunk, width, first, last, direction_);
            if (s.copy) a.source = static_cast<const char*>(c.source) + column * shape_.item;
            set_phases(a, c, s, column);
            Buffers& b = buffers_[i];
            const std::int64_t real = column * shape_.parts;
            if (s.in) {
                a.in = &outer(i, in_.substep).sweeps[at(in_.factor)];
                a.carry = b.carry.data() + real;
                a.in_sum = b.sum.data() + real;
            }
            if (s.out) {
                a.out = &outer(i, out_.substep).sweeps[at(out_.factor)];
                a.out_sum = b.next_sum.data() + real;
            }
            const std::int64_t mark = s.mark * shape_.mark_stride + column;
            if (s.mark >= 0 && c.frames) a.frame = static_cast<char*>(c.frames) + mark * shape_.item;
            if (s.mark >= 0 && c.added) a.add = static_cast<const char*>(c.added) + mark * shape_.item;
            double sums[4] = {0, 0, 0, 0};
            a.delta = delta;
            if (delta && i == 1) a.sums = sums;
            sweeps_.rows(a);
            if (a.sums) (*sums_)[at(in_.substep * shape_.axes)].add(chunk, in_.factor, sums);
        }
        if (s.accumulate >= 0)
            accumulate_rows(s.accumulate, carried_[0].field, first, last, column, n);
    }

    void accumulate_rows(std::int64_t table, const void* psi, std::int64_t first, std::int64_t last, std::int64_t column, std::int64_t n) {
        for (std::int64_t j = first; j < last; ++j) {
            const std::int64_t place = (j * shape_.columns + column) * shape_.item;
            sweeps_.accumulate(accumulated_[at(table)] + (j * shape_.phase_stride + column) * shape_.parts,
                               static_cast<const char*>(carried_.back().field) + place, static_cast<const char*>(psi) + place, n);
        }
    }

    // --- an axis on its own: strips of columns, or tiles of lines ---

    bool along_memory(std::int64_t axis) const { return axis == shape_.axes - 1; }
    // Rows of a strip, columns to choose from, and how many fields of that shape follow each other.
    struct Strips {
        std::int64_t rows, columns, width, per_field, fields;
    };
    Strips strips(std::int64_t axis) const {
        Strips s{};
        s.rows = axis == 0 ? shape_.rows : shape_.middle;
        s.columns = axis == 0 ? shape_.columns : shape_.n_last;
        s.fields = axis == 0 ? 1 : shape_.rows;
        const std::int64_t fit = panel_bytes / std::max<std::int64_t>(1, s.rows * shape_.item) / 16 * 16;
        s.width = std::clamp<std::int64_t>(fit, 16, sum_columns);
        s.per_field = (s.columns + s.width - 1) / s.width;
        return s;
    }
    std::int64_t tiles_per_row() const {
        return (shape_.lines_per_row + tile_ - 1) / tile_;
    }
    bool tiles_cross_rows() const { return shape_.lines_per_row < tile_; }
    std::int64_t axis_tasks(std::int64_t axis) const {
        if (along_memory(axis)) return tiles(0, shape_.rows);
        const Strips s = strips(axis);
        return s.fields * s.per_field;
    }
    std::int64_t tiles(std::int64_t first, std::int64_t last) const {
        if (!tiles_cross_rows()) return (last - first) * tiles_per_row();
        return ((last - first) * shape_.lines_per_row + tile_ - 1) / tile_;
    }
    std::int64_t task_delta(std::int64_t axis) const {
        if (along_memory(axis)) return kernels_.line_delta(shape_.n_last, sizeof(R), shape_.parts == 2);
        const Strips s = strips(axis);
        return s.rows * s.width * shape_.parts;
    }
    std::int64_t scratch(std::int64_t axis) const {
        if (along_memory(axis)) return kernels_.line_scratch(shape_.n_last, sizeof(R), shape_.parts == 2);
        return 3 * strips(axis).width * shape_.parts;
    }

    // Task number `task` of the whole field.
    void apply_task(const Carried<R>& c, const AxisFactors<R>& factors, std::int64_t axis, std::int64_t task, R* delta,
                    std::int64_t delta_stride, double* sums, R* work) const {
        if (along_memory(axis)) {
            LineSweep<R> a{};
            const std::int64_t lines = shape_.rows * shape_.lines_per_row;
            std::int64_t first = task * tile_;
            a.count = std::min(tile_, lines - first);
            if (!tiles_cross_rows()) {
                const std::int64_t row = task / tiles_per_row(), in_row = task % tiles_per_row() * tile_;
                first = row * shape_.lines_per_row + in_row;
                a.count = std::min(tile_, shape_.lines_per_row - in_row);
            }
            a.lines = static_cast<char*>(c.field) + first * shape_.n_last * shape_.item;
            a.stride = a.n = shape_.n_last;
            a.factors = factors.sweeps.data();
            a.factor_count = factors.count();
            a.scratch = work;
            a.delta = delta;
            a.delta_stride = delta_stride;
            a.sums = sums;
            sweeps_.lines(a);
            return;
        }
        const Strips s = strips(axis);
        const std::int64_t from = task % s.per_field * s.width, start = task / s.per_field * s.rows * s.columns + from;
        RowSweep<R> a{};
        a.source = a.target = static_cast<char*>(c.field) + start * shape_.item;
        a.stride = s.columns;
        a.columns = std::min(s.width, s.columns - from);
        a.last = s.rows;
        a.zeros = zeros_.data();
        a.carry = work;
        a.in_sum = work + s.width * shape_.parts;
        a.out_sum = work + 2 * s.width * shape_.parts;
        for (std::int64_t k = 0; k <= factors.count(); ++k) {
            a.direction = k % 2 ? -1 : 1;
            a.in = k ? &factors.sweeps[at(k - 1)] : nullptr;
            a.out = k < factors.count() ? &factors.sweeps[at(k)] : nullptr;
            a.delta = k && delta ? delta + (k - 1) * delta_stride : nullptr;
            a.sums = k && sums ? sums + 4 * (k - 1) : nullptr;
            sweeps_.rows(a);
            std::swap(a.in_sum, a.out_sum);
        }
    }

    // A substep along an inner axis of a block of rows.
    void sweep_inner(std::int64_t substep, std::int64_t axis, std::int64_t first, std::int64_t last) {
        const std::int64_t count = carried_[0].factors->of(substep, axis).count();
        if (count == 0) return;
        std::int64_t before = 0, tasks = 0;
        if (along_memory(axis)) {
            before = tiles_cross_rows() ? first * shape_.lines_per_row / tile_ : first * tiles_per_row();
            tasks = tiles(first, last);
        } else {
            const std::int64_t per_field = strips(axis).per_field;
            before = first * per_field;
            tasks = (last - first) * per_field;
        }
        const std::int64_t one = task_delta(axis), work = scratch(axis);
        FactorSums* const total = sums_ ? &(*sums_)[at(substep * shape_.axes + axis)] : nullptr;
        run_tasks(tasks, (last - first) * shape_.columns, [&](std::int64_t task) {
            R* const numbers = thread_numbers(work + (total ? count * one : 0));
            std::vector<double> s(at(total ? 4 * count : 0));
            for (std::size_t i = 0; i < carried_.size(); ++i)
                apply_task(carried_[i], carried_[i].factors->of(substep, axis), axis, before + task, total ? numbers + work : nullptr, one,
                           total && i == 1 ? s.data() : nullptr, numbers);
            for (std::int64_t k = 0; total && k < count; ++k) total->add(before + task, k, s.data() + 4 * k);
        });
    }

  public:
    // Room for all sums, before the threads write to it.
    void prepare_sums() {
        for (std::int64_t i = 0; sums_ && i < static_cast<std::int64_t>(sums_->size()); ++i) {
            const std::int64_t axis = i % shape_.axes, count = carried_[0].factors->axes[at(i)].count();
            const bool is_outer = axis == 0 && shape_.axes > 1;
            (*sums_)[at(i)].prepare(count, is_outer ? chunks(sum_columns) : axis_tasks(axis));
        }
    }

  private:
    FieldShape shape_;
    const SweepTable<R>& sweeps_;
    const SplitKernels& kernels_;
    std::vector<Carried<R>> carried_;
    std::vector<FactorSums>* sums_;
    std::vector<double*> accumulated_;
    std::vector<char> zeros_;
    std::vector<Buffers> buffers_;
    Outer in_, out_;
    int direction_ = 1;
    std::int64_t tile_;
};

}  // namespace qcore::schrodinger
