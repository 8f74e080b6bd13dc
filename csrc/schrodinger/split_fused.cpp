#include "schrodinger/split_fused.hpp"

#include <algorithm>
#include <cstring>
#include <memory>

#include "schrodinger/split_field.hpp"

namespace qcore::schrodinger {

namespace {

constexpr std::int64_t gradient_bytes = 64 << 20;  // of the sums of fields that run at the same time

int storage_index(DType dtype) {
    switch (dtype) {
        case DType::f32: return 0;
        case DType::f64: return 1;
        case DType::c64: return 2;
        default: return 3;
    }
}

template <class R>
const SweepTable<R>& sweeps(DType dtype) {
    const SplitKernels& k = selected_split_kernels();
    if constexpr (sizeof(R) == 8) return k.wide[storage_index(dtype)];
    else return k.fast[is_complex(dtype) ? 1 : 0];
}

// A field of a run: one of the batch, or of a one-dimensional problem as many lines as a tile holds.
struct Part {
    std::int64_t index, fields;  // of the batch
    FieldShape shape;
    std::int64_t table_size;  // numbers of a table that belong to it
    std::int64_t table_offset(const SplitProblem& p) const { return p.phases_batch == 1 ? 0 : index * p.points; }
};

std::vector<Part> parts(const SplitProblem& p, std::int64_t tile) {
    std::vector<Part> list;
    const bool one = p.axes() == 1;
    const std::int64_t together = one ? tile : 1, item = dtype_size(p.dtype);
    for (std::int64_t b = 0; b < p.batch; b += together) {
        Part part{b, std::min(together, p.batch - b), {}, p.points};
        FieldShape& s = part.shape;
        s.axes = p.axes();
        s.rows = one ? part.fields : p.sizes[0];
        s.n_last = p.sizes.back();
        s.middle = p.axes() == 3 ? p.sizes[1] : 1;
        s.lines_per_row = s.middle;
        s.columns = s.middle * s.n_last;
        s.phase_stride = one && p.phases_batch == 1 ? 0 : s.columns;
        s.mark_stride = p.batch * p.points;
        s.parts = is_complex(p.dtype) ? 2 : 1;
        s.item = item;
        if (one && p.phases_batch > 1) part.table_size = part.fields * p.points;
        list.push_back(part);
    }
    return list;
}

template <class F>
void each_part(std::int64_t n, F&& body) {
    // As many parts as threads keep them all busy without waiting for each other; fewer share the threads one after another.
    const int threads = n >= max_threads() ? max_threads() : 1;
    parallel_for(n, threads, [](void* f, std::int64_t i) { (*static_cast<std::remove_reference_t<F>*>(f))(i); }, &body);
}

enum class TableKind { given, inverse, conjugate };

// Tables for one kind of carried field, in the arithmetic of the sweeps.
template <class R>
Tables<R> make_tables(const SplitProblem& p, TableKind kind) {
    const std::int64_t size = p.phases_batch * p.points, components = is_complex(p.dtype) ? 2 : 1;
    const bool merged = Sequence::merges(p), real = components == 1;
    Tables<R> t;
    t.storage.resize(at(p.tables + (merged ? 1 : 0)));
    const double* const given = static_cast<const double*>(p.phases);
    const auto value = [&](std::int64_t q, std::int64_t i) {
        const std::int64_t k = q * size + i;
        const Number c = real ? Number(given[k]) : Number(given[2 * k], given[2 * k + 1]);
        return kind == TableKind::given ? c : kind == TableKind::inverse ? 1.0 / c : std::conj(c);
    };
    for (std::int64_t q = 0; q < p.tables + (merged ? 1 : 0); ++q) {
        if constexpr (sizeof(R) == 8)
            if (q < p.tables && (kind == TableKind::given || (real && kind == TableKind::conjugate))) {
                t.data.push_back(given + q * size * components);
                continue;
            }
        std::vector<R>& numbers = t.storage[at(q)];
        numbers.resize(at(size * components));
        constexpr std::int64_t piece = 4096;
        run_tasks((size + piece - 1) / piece, size, [&](std::int64_t task) {
            for (std::int64_t i = task * piece; i < std::min(size, (task + 1) * piece); ++i) {
                const Number c = q < p.tables ? value(q, i) : value(p.program.front(), i) * value(p.program.back(), i);
                numbers[at(i * components)] = static_cast<R>(c.real());
                if (!real) numbers[at(2 * i + 1)] = static_cast<R>(c.imag());
            }
        });
        t.data.push_back(numbers.data());
    }
    return t;
}

template <class R>
Carried<R> carry(const SplitProblem& p, const Part& part, const void* source, void* field, const FactorSet<R>& factors,
                 const Tables<R>& tables) {
    Carried<R> c{source, field, &factors, {}};
    for (const R* table : tables.data) c.tables.push_back(table + part.table_offset(p) * part.shape.parts);
    return c;
}

template <class V>
V* field_of(V* data, const SplitProblem& p, std::int64_t b) {
    using Bytes = std::conditional_t<std::is_const_v<V>, const char, char>;
    return data ? static_cast<Bytes*>(data) + b * p.points * dtype_size(p.dtype) : nullptr;
}

template <class R>
void evolve_with(const SplitProblem& p, const void* psi, void* out, void* frames, std::int64_t save_every) {
    const SplitKernels& kernels = selected_split_kernels();
    const std::vector<Part> list = parts(p, kernels.tile(sizeof(R)));
    const FactorSet<R> factors(p, Variant::forward, false);
    const Tables<R> tables = make_tables<R>(p, TableKind::given);
    each_part(static_cast<std::int64_t>(list.size()), [&](std::int64_t i) {
        const Part& part = list[at(i)];
        Carried<R> c = carry(p, part, field_of(psi, p, part.index), field_of(out, p, part.index), factors, tables);
        c.frames = field_of(frames, p, part.index);
        FieldRun<R>(part.shape, sweeps<R>(p.dtype), kernels, {c}, nullptr, {}).run(Sequence(p, frames ? save_every : 0, 0, false));
    });
}

// --- gradients ---

// Everything one part adds to the gradients of what is shared.
struct PartGradients {
    std::vector<FactorSums> sums;                // (A, D)
    std::vector<std::vector<double>> accumulated;  // per table
};

template <class R>
class Adjoint {
  public:
    Adjoint(const SplitProblem& p, const SplitGradients& g)
        : p_(p), g_(g), kernels_(selected_split_kernels()), list_(parts(p, kernels_.tile(sizeof(R)))),
          forward_(p, g.trace_back ? Variant::inverse : Variant::forward, false), adjoint_(p, Variant::adjoint, !g.trace_back),
          tables_(make_tables<R>(p, g.trace_back ? TableKind::inverse : TableKind::given)),
          conjugate_(make_tables<R>(p, TableKind::conjugate)) {}

    void run() {
        if (g_.grad_phases)
            std::memset(g_.grad_phases, 0, at(p_.tables * p_.phases_batch * p_.points * components()) * sizeof(double));
        if (g_.grad_e) std::fill(g_.grad_e, g_.grad_e + p_.e.size(), Number{});
        const std::int64_t n = static_cast<std::int64_t>(list_.size());
        const std::int64_t bytes = (p_.tables + 1) * p_.points * components() * 8 * (p_.axes() == 1 ? 16 : 1);
        // Parts are summed in their order; how many run together depends on nothing but their size.
        const std::int64_t together = g_.grad_phases ? std::clamp<std::int64_t>(gradient_bytes / std::max<std::int64_t>(1, bytes), 1, 64) : 64;
        for (std::int64_t begin = 0; begin < n; begin += together) {
            const std::int64_t count = std::min(together, n - begin);
            std::vector<PartGradients> gradients(at(count));
            each_part(count, [&](std::int64_t i) {
                const Part& part = list_[at(begin + i)];
                if (g_.trace_back) trace_back(part, gradients[at(i)]);
                else from_states(part, gradients[at(i)]);
            });
            for (std::int64_t i = 0; i < count; ++i) add(list_[at(begin + i)], gradients[at(i)]);
        }
    }

  private:
    std::int64_t components() const { return is_complex(p_.dtype) ? 2 : 1; }
    std::int64_t item() const { return dtype_size(p_.dtype); }

    std::vector<double*> prepare(const Part& part, PartGradients& g) const {
        std::vector<double*> pointers;
        if (g_.grad_e) g.sums.resize(at(p_.substeps * p_.axes()));
        if (!g_.grad_phases) return pointers;
        for (std::size_t t = 0; t < tables_.data.size(); ++t)
            pointers.push_back(g.accumulated.emplace_back(at(part.table_size * components())).data());
        return pointers;
    }

    // The state and the gradient go back through the same factors side by side.
    void trace_back(const Part& part, PartGradients& gradients) const {
        const std::vector<double*> accumulated = prepare(part, gradients);
        const std::unique_ptr<char[]> state(new char[at(part.shape.points() * item())]);
        Carried<R> psi = carry(p_, part, field_of(g_.states, p_, part.index), state.get(), forward_, tables_);
        Carried<R> grad = carry(p_, part, field_of(g_.grad_out, p_, part.index), field_of(g_.grad_psi, p_, part.index), adjoint_, conjugate_);
        grad.added = field_of(g_.grad_frames, p_, part.index);
        FieldRun<R> run(part.shape, sweeps<R>(p_.dtype), kernels_, {psi, grad}, g_.grad_e ? &gradients.sums : nullptr, accumulated);
        run.prepare_sums();
        run.run(Sequence(p_, g_.grad_frames ? g_.save_every : 0, g_.first, true));
    }

    // Every step is run again from the state before it, keeping what its factors change.
    void from_states(const Part& part, PartGradients& gradients) const {
        const std::vector<double*> accumulated = prepare(part, gradients);
        const std::int64_t bytes = part.shape.points() * item();
        const std::unique_ptr<char[]> state(new char[at(bytes)]);
        Carried<R> psi = carry(p_, part, nullptr, state.get(), forward_, tables_);
        Carried<R> grad = carry(p_, part, nullptr, field_of(g_.grad_psi, p_, part.index), adjoint_, conjugate_);
        FieldRun<R> run(part.shape, sweeps<R>(p_.dtype), kernels_, {psi, grad}, nullptr, accumulated);
        std::vector<std::vector<char>> before;
        std::vector<std::vector<R>> changes;
        std::memcpy(grad.field, field_of(g_.grad_out, p_, part.index), at(bytes));
        for (std::int64_t k = p_.steps; k-- > 0;) {
            const std::int64_t done = g_.first + k + 1;
            if (g_.grad_frames && done % g_.save_every == 0) 
                add_frame(part, grad.field, done / g_.save_every - 1 - g_.first / g_.save_every);
            std::memcpy(state.get(), static_cast<const char*>(g_.states) + (k * p_.batch + part.index) * p_.points * item(), at(bytes));
            std::size_t saved = 0, changed = 0;
            for (const std::int64_t q : p_.program) {
                if (q >= 0) {
                    if (saved == before.size()) before.emplace_back(at(bytes));
                    if (g_.grad_phases) std::memcpy(before[saved].data(), state.get(), at(bytes));
                    ++saved;
                    run.multiply(0, q);
                    continue;
                }
                for (std::int64_t axis = 0; axis < p_.axes(); ++axis) {
                    if (changed == changes.size()) changes.emplace_back();
                    if (g_.grad_e) changes[changed].resize(at(run.axis_delta(axis) * forward_.of(-1 - q, axis).count()));
                    run.sweep_axis(0, -1 - q, axis, g_.grad_e ? changes[changed].data() : nullptr, nullptr);
                    ++changed;
                }
            }
            for (std::size_t i = p_.program.size(); i-- > 0;) {
                const std::int64_t q = p_.program[i];
                if (q >= 0) {
                    --saved;
                    if (g_.grad_phases) run.accumulate(q, before[saved].data());
                    run.multiply(1, q);
                    continue;
                }
                for (std::int64_t axis = p_.axes(); axis-- > 0;) {
                    --changed;
                    FactorSums* const totals = g_.grad_e ? &gradients.sums[at((-1 - q) * p_.axes() + axis)] : nullptr;
                    run.sweep_axis(1, -1 - q, axis, totals ? changes[changed].data() : nullptr, totals);
                }
            }
        }
    }

    void add_frame(const Part& part, void* grad, std::int64_t frame) const {
        const void* const from = static_cast<const char*>(g_.grad_frames) + (frame * p_.batch + part.index) * p_.points * item();
        const std::int64_t n = part.shape.points() * components();
        if (compute_real(p_.dtype) == DType::f64)
            for (std::int64_t i = 0; i < n; ++i) static_cast<double*>(grad)[i] += static_cast<const double*>(from)[i];
        else
            for (std::int64_t i = 0; i < n; ++i) static_cast<float*>(grad)[i] += static_cast<const float*>(from)[i];
    }

    void add(const Part& part, const PartGradients& gradients) {
        for (std::size_t t = 0; t < gradients.accumulated.size(); ++t) {
            const bool merged = static_cast<std::int64_t>(t) == p_.tables;
            add_table(part, gradients.accumulated[t], merged ? p_.program.front() : static_cast<std::int64_t>(t));
            if (merged) add_table(part, gradients.accumulated[t], p_.program.back());
        }
        if (!g_.grad_e) return;
        const double sign = g_.trace_back ? -1 : 1;  // the change was that of the way back
        const FactorSet<double> named(p_, Variant::forward, false);
        for (std::int64_t a = 0; a < p_.substeps; ++a)
            for (std::int64_t d = 0; d < p_.axes(); ++d) {
                const AxisFactors<double>& list = named.of(a, d);
                for (std::int64_t k = 0; k < list.count(); ++k) {
                    double s[4] = {0, 0, 0, 0};
                    gradients.sums[at(a * p_.axes() + d)].total(k, s);
                    const Factor& f = list.factors[at(k)];
                    const Number behind(s[0], s[1]), before(s[2], s[3]), difference = f.g - f.below;
                    // psi' - psi = (g - below) l x, x = (1 - g l)^{-1} psi.
                    const Number change = behind * std::conj(f.dg / difference) - before * std::conj(f.dbelow / difference);
                    g_.grad_e[(a * p_.axes() + d) * p_.stages + list.stage[at(k)]] += sign * change;
                }
            }
    }

    // Traced back, the sums are of grad conj(state) at a place where no kinetic factor stands between the table and them.
    void add_table(const Part& part, const std::vector<double>& sum, std::int64_t q) {
        double* const to = static_cast<double*>(g_.grad_phases) + (q * p_.phases_batch * p_.points + part.table_offset(p_)) * components();
        const R* const inverse = tables_.data[at(q)] + part.table_offset(p_) * components();
        constexpr std::int64_t piece = 4096;
        run_tasks((part.table_size + piece - 1) / piece, part.table_size, [&](std::int64_t task) {
            for (std::int64_t i = task * piece; i < std::min(part.table_size, (task + 1) * piece); ++i) {
                if (components() == 1) {
                    to[i] += g_.trace_back ? sum[at(i)] * inverse[i] : sum[at(i)];
                    continue;
                }
                Number value(sum[at(2 * i)], sum[at(2 * i + 1)]);
                if (g_.trace_back) value *= Number(inverse[2 * i], -inverse[2 * i + 1]);
                to[2 * i] += value.real();
                to[2 * i + 1] += value.imag();
            }
        });
    }

    const SplitProblem& p_;
    const SplitGradients& g_;
    const SplitKernels& kernels_;
    const std::vector<Part> list_;
    const FactorSet<R> forward_, adjoint_;
    const Tables<R> tables_, conjugate_;
};

// Near e = -1/12 a stage of order 4 is a large multiple of psi and of phi that almost cancel.
bool well_conditioned(const SplitProblem& p, double limit) { return !(largest_alpha(p) > limit); }

// The gradients of the coefficients divide by what distinguishes a factor from 1, and for order 6 the two roots from each other.
bool separated(const SplitProblem& p) {
    for (const Number e : p.e)
        for (const Factor& f : stage_factors(e, p.order, p.rule))
            if (std::abs(f.g - f.below) < 1e-9 || std::abs(f.dg) > 1e4 || std::abs(f.dbelow) > 1e4) return false;
    return true;
}

}  // namespace

bool split_fused_evolve(const SplitProblem& p, const void* psi, void* out, void* frames, std::int64_t save_every) {
    if (p.points == 0 || p.batch == 0) return true;
    if (!well_conditioned(p, 1e4)) return false;
    if (p.arithmetic == Arithmetic::f32 && well_conditioned(p, 32)) evolve_with<float>(p, psi, out, frames, save_every);
    else evolve_with<double>(p, psi, out, frames, save_every);
    return true;
}

bool split_fused_adjoint(const SplitProblem& p, const SplitGradients& g) {
    if (p.points == 0 || p.batch == 0 || !well_conditioned(p, 1e4) || (g.grad_e && !separated(p))) return false;
    if (p.arithmetic == Arithmetic::f32 && well_conditioned(p, 32)) Adjoint<float>(p, g).run();
    else Adjoint<double>(p, g).run();
    return true;
}

}  // namespace qcore::schrodinger
