// The gradients of a run on a device. The gradient with respect to the state goes back through the adjoint sweeps; beside it, for
// the gradients of phases and e, the state is traced back by inverse sweeps, or found again step by step from the states given.
//
// A stage psi' = (1 + e L) (1 - e L)^{-1} psi has chi = (psi' + psi) / 2 and e L chi = (psi' - psi) / 2, its adjoint likewise, so
// that its gradient is sum (G' + G) conj(psi' - psi) / (2 conj(e)): of what the sweeps leave, pointwise, for every order.
// Bound by memory: beside the sweeps of state and gradient 64 bytes a point for each such sum and 80 for each phase (complex128).
#include <algorithm>
#include <cmath>
#include <complex>
#include <string>

#include "schrodinger/split_fused.hpp"
#include "schrodinger/split_sequence.hpp"
#include "schrodinger_split_sweeps.hpp"

namespace qcore::schrodinger {

using cuda::Grid;
using cuda::grid_for;
using cuda::launch;
using cuda::SharedMemory;

namespace {

template <class N>
using Wide = typename N::template With<double>;

// --- pointwise factors ---

// Back through a phase, what a frame adds to the gradient, and a phase before it, each where it is there.
template <class S, class N>
struct Pull {
    Pointer<const N> phase[2]{};
    Pointer<Wide<N>> sum[2]{};  // slices of G conj(psi before the phase), of one table
    Pointer<const S> added{};
    Pointer<const N> known{};   // the state before phase[0]; else it is traced back in `state`, if that is there
    Pointer<N> state{};
    Pointer<S> grad{};
};

// Fields that share a table are summed in `slices` parts, by one thread for each point of each.
template <class S, class N>
__global__ void pull_phases(Fields fields, std::int64_t slices, Pull<S, N> a) {
    for (std::int64_t t = cuda::thread(); t < slices * fields.points; t += cuda::threads()) {
        const std::int64_t point = t % fields.points;
        Wide<N> sums[2]{};
        for (std::int64_t b = t / fields.points; b < fields.batch; b += slices) {
            const std::int64_t at = b * fields.points + point, in_table = fields.shared ? point : at;
            N grad = convert<N>(a.grad[at]), psi{};
            if (a.known) psi = a.known[at];
            else if (a.state) psi = a.state[at];
            for (int i = 0; i < 2; ++i) {
                if (a.phase[i]) {
                    const N phase = a.phase[i][in_table];
                    if (!a.known && a.state) psi = psi * inverse(phase);
                    if (a.sum[i]) sums[i] = mac(convert<Wide<N>>(grad), convert<Wide<N>>(psi).conjugate(), sums[i]);
                    grad = grad * phase.conjugate();
                }
                if (i == 0 && a.added) grad = grad + convert<N>(a.added[at]);
            }
            a.grad[at] = convert<S>(grad);
            if (a.state) a.state[at] = psi;
        }
        for (int i = 0; i < 2; ++i)
            if (a.sum[i]) a.sum[i][t] = a.sum[i][t] + sums[i];
    }
}

// to (tables, points) = the sum over slices of sums (tables, slices, points).
template <class W>
__global__ void add_slices(Pointer<const W> sums, Pointer<W> to, std::int64_t tables, std::int64_t slices, std::int64_t points) {
    for (std::int64_t t = cuda::thread(); t < tables * points; t += cuda::threads()) {
        W total{};
        for (std::int64_t s = 0; s < slices; ++s) total = total + sums[(t / points * slices + s) * points + t % points];
        to[t] = total;
    }
}

// --- coefficients ---

constexpr int sum_threads = 256;

Grid sum_grid(std::int64_t blocks) {
    return {dim3(static_cast<unsigned>(blocks)), dim3(sum_threads), SharedMemory::bytes<Complex<double>>(sum_threads)};
}

// The sum over the block's threads, in thread 0.
__device__ inline Complex<double> block_sum(Pointer<Complex<double>> shared, Complex<double> value) {
    const int thread = static_cast<int>(threadIdx.x);
    __syncthreads();
    shared[thread] = value;
    for (int half = sum_threads / 2; half > 0; half /= 2) {
        __syncthreads();
        if (thread < half) shared[thread] = shared[thread] + shared[thread + half];
    }
    return shared[thread];
}

// sums[block] += G conj(after - before), G the gradients on both sides, or with rule euler the one before the stage.
template <class S, class N>
__global__ void sum_stage(std::int64_t n, Pointer<const S> grad_after, Pointer<const S> grad_before, Pointer<const N> after,
                          Pointer<const N> before, bool euler, Pointer<Complex<double>> sums) {
    SharedMemory shared;
    const auto partial = shared.array<Complex<double>>(sum_threads);
    Complex<double> total{};
    for (std::int64_t i = cuda::thread(); i < n; i += cuda::threads()) {
        Wide<N> grad = convert<Wide<N>>(grad_before[i]);
        if (!euler) grad = grad + convert<Wide<N>>(grad_after[i]);
        const Wide<N> product = grad * convert<Wide<N>>(after[i] - before[i]).conjugate();
        total = total + Complex<double>{product.re, product.imaginary()};
    }
    total = block_sum(partial, total);
    if (threadIdx.x == 0) sums[blockIdx.x] = sums[blockIdx.x] + total;
}

constexpr int weights_per_launch = 64;
struct Weights {
    Complex<double> of[weights_per_launch];
};

// to[stage] = weight times the sum of the stage's `parts` numbers; a block for each stage.
__global__ void finish_stages(Pointer<const Complex<double>> sums, std::int64_t parts, Weights weights,
                              Pointer<Complex<double>> to) {
    SharedMemory shared;
    const auto partial = shared.array<Complex<double>>(sum_threads);
    Complex<double> total{};
    for (std::int64_t i = threadIdx.x; i < parts; i += sum_threads) total = total + sums[blockIdx.x * parts + i];
    total = block_sum(partial, total);
    if (threadIdx.x == 0) to[blockIdx.x] = total * weights.of[blockIdx.x];
}

// --- a run ---

template <class S, class N>
class Adjoint {
  public:
    Adjoint(const SplitProblem& p, const SplitGradients& g, bool plain)
        : p_(p), g_(g), fields_{p.batch, p.points, p.phases_batch == 1}, numbers_(p.batch * p.points), states_(states()),
          slices_(fields_.shared ? std::clamp<std::int64_t>(most_sums / p.points, 1, p.batch) : p.batch),
          own_slices_(g.grad_phases && fields_.shared && slices_ > 1), parts_(std::clamp<std::int64_t>(numbers_ / 4096, 1, 1024)),
          axes_(plan_axes(p, sizeof(S), sizeof(N), queue_.shared_per_block(), plain)),
          way_of_state_(queue_, p, axes_, g.trace_back ? Variant::inverse : Variant::forward),
          way_of_gradient_(queue_, p, axes_, Variant::adjoint), tables_(queue_, p, false),
          state_(queue_, static_cast<std::size_t>(states_ * numbers_) * sizeof(N)),
          gradient_(queue_, g.grad_e ? static_cast<std::size_t>(numbers_) * sizeof(S) : 0),
          slice_sums_(queue_, own_slices_ ? static_cast<std::size_t>(p.tables * slices_ * p.points) * sizeof(Wide<N>) : 0),
          stage_sums_(queue_, g.grad_e ? p.e.size() * static_cast<std::size_t>(parts_) * sizeof(Complex<double>) : 0) {}

    void run() {
        const std::size_t tables = static_cast<std::size_t>(p_.tables * p_.points) * sizeof(Wide<N>);
        if (own_slices_) queue_.zero(slice_sums_.data(), tables * static_cast<std::size_t>(slices_));
        else if (g_.grad_phases) queue_.zero(g_.grad_phases, tables * static_cast<std::size_t>(p_.phases_batch));
        if (g_.grad_e) queue_.zero(stage_sums_.data(), p_.e.size() * static_cast<std::size_t>(parts_) * sizeof(Complex<double>));
        launch_finish<S, N>(queue_, fields_, pointer<const S>(g_.grad_out), grad_, {});
        if (g_.trace_back) trace_back();
        else from_states();
        if (swapped_) launch_finish<S, N>(queue_, fields_, grad_, pointer<S>(g_.grad_psi), {});
        if (own_slices_)
            launch(queue_, add_slices<Wide<N>>, grid_for(p_.tables * p_.points, 256), pointer<const Wide<N>>(slice_sums_.data()),
                   pointer<Wide<N>>(g_.grad_phases), p_.tables, slices_, p_.points);
        if (g_.grad_e) finish_e();
    }

  private:
    static constexpr std::int64_t most_sums = std::int64_t{1} << 18;

    bool with_state() const { return g_.grad_phases || g_.grad_e; }

    // Fields of memory for states: two, from one to the other, or all that a step goes through.
    std::int64_t states() const {
        if (!with_state()) return 0;
        if (g_.trace_back) return 2;
        std::int64_t count = 1;
        for (const std::int64_t q : p_.program) count += q >= 0 || !g_.grad_e ? 1 : p_.axes() * p_.stages;
        return count;
    }
    Pointer<N> state(std::int64_t i) const { return pointer<N>(static_cast<N*>(state_.data()) + i * numbers_); }
    Pointer<const S> given(std::int64_t i) const { return pointer<const S>(static_cast<const S*>(g_.states) + i * numbers_); }
    Pointer<const S> grad_frame(std::int64_t i) const {
        return pointer<const S>(static_cast<const S*>(g_.grad_frames) + i * numbers_);
    }
    Pointer<Wide<N>> phase_sum(std::int64_t q) const {
        if (own_slices_) return pointer<Wide<N>>(static_cast<Wide<N>*>(slice_sums_.data()) + q * slices_ * p_.points);
        if (g_.grad_phases) return pointer<Wide<N>>(static_cast<Wide<N>*>(g_.grad_phases) + q * p_.phases_batch * p_.points);
        return {};
    }
    const AxisPlan& axis(std::int64_t d) const { return axes_[static_cast<std::size_t>(d)]; }

    // The state and the gradient side by side.
    void trace_back() {
        if (with_state()) launch_convert<S, N>(queue_, given(0), state(0), numbers_);
        Sequence sequence(p_, g_.grad_frames ? g_.save_every : 0, g_.first, true);
        Item item;
        bool more = sequence.next(item);
        while (more) {
            if (item.kind == Item::kinetic) {
                back(item.index);
                more = sequence.next(item);
                continue;
            }
            Pull<S, N> a;
            for (; more && add(a, item); more = sequence.next(item)) {}
            if (with_state()) a.state = state(current_);
            pull(a);
        }
    }

    // False where the item has to wait for the next launch.
    bool add(Pull<S, N>& a, const Item& item) const {
        const auto put = [&](int i, std::int64_t q) {
            a.phase[i] = tables_.of(q);
            a.sum[i] = phase_sum(q);
            return true;
        };
        if (item.kind == Item::kinetic) return false;
        if (item.kind == Item::mark) {
            if (a.added || a.phase[1]) return false;
            a.added = grad_frame(item.index);
            return true;
        }
        if (item.index < p_.tables) return !a.phase[0] && !a.added ? put(0, item.index) : !a.phase[1] && put(1, item.index);
        if (a.phase[0] || a.added || a.phase[1]) return false;
        return put(0, p_.program.front()) && put(1, p_.program.back());  // their product, the first of the next step last
    }

    void pull(Pull<S, N>& a) {
        a.grad = grad_;
        launch(queue_, pull_phases<S, N>, grid_for(slices_ * p_.points, 128), fields_, slices_, a);
    }

    // Both back through a substep: its axes and stages commute.
    void back(std::int64_t substep) {
        for (std::int64_t d = 0; d < p_.axes(); ++d) {
            if (axis(d).identity) continue;
            if (!g_.grad_e) {
                if (with_state()) sweep_state(substep, d, 0, p_.stages, state(current_), state(current_));
                sweep_gradient(substep, d, 0, p_.stages);
                continue;
            }
            for (std::int64_t m = 0; m < p_.stages; ++m) {
                sweep_state(substep, d, m, 1, state(current_), state(1 - current_));
                current_ = 1 - current_;
                sweep_gradient(substep, d, m, 1);
                sum(substep, d, m, state(1 - current_), state(current_));
            }
        }
    }

    // Every step is run again from the state before it.
    void from_states() {
        for (std::int64_t k = p_.steps; k-- > 0;) {
            const std::int64_t done = g_.first + k + 1;
            if (g_.grad_frames && done % g_.save_every == 0) {
                Pull<S, N> a;
                a.added = grad_frame(done / g_.save_every - 1 - g_.first / g_.save_every);
                pull(a);
            }
            if (with_state()) run_again(k);
            std::int64_t at = states_ - 1;  // the state behind what is pulled next
            for (std::size_t i = p_.program.size(); i-- > 0;) {
                const std::int64_t q = p_.program[i];
                if (q >= 0) {
                    Pull<S, N> a;
                    a.phase[0] = tables_.of(q);
                    a.sum[0] = phase_sum(q);
                    if (with_state()) a.known = state(--at);
                    pull(a);
                    continue;
                }
                for (std::int64_t d = p_.axes(); d-- > 0;) {
                    if (!g_.grad_e) {
                        if (!axis(d).identity) sweep_gradient(-1 - q, d, 0, p_.stages);
                        continue;
                    }
                    for (std::int64_t m = p_.stages; m-- > 0; --at) {
                        if (axis(d).identity) continue;
                        sweep_gradient(-1 - q, d, m, 1);
                        sum(-1 - q, d, m, state(at), state(at - 1));
                    }
                }
                if (!g_.grad_e) --at;
            }
        }
    }

    void run_again(std::int64_t step) {
        launch_convert<S, N>(queue_, given(step), state(0), numbers_);
        std::int64_t at = 0;
        const auto copy = [&](Pointer<const N> phase) {
            Finish<N, N> finish;
            finish.phase = phase;
            launch_finish<N, N>(queue_, fields_, state(at), state(at + 1), finish);
        };
        for (const std::int64_t q : p_.program) {
            if (q >= 0) {
                copy(tables_.of(q));
                ++at;
            } else if (g_.grad_e) {
                for (std::int64_t d = 0; d < p_.axes(); ++d)
                    for (std::int64_t m = 0; m < p_.stages; ++m, ++at) {
                        if (axis(d).identity) copy({});
                        else sweep_state(-1 - q, d, m, 1, state(at), state(at + 1));
                    }
            } else {
                copy({});
                ++at;
                for (std::int64_t d = 0; d < p_.axes(); ++d)
                    if (!axis(d).identity) sweep_state(-1 - q, d, 0, p_.stages, state(at), state(at));
            }
        }
    }

    void sweep_state(std::int64_t substep, std::int64_t d, std::int64_t m, std::int64_t stages, Pointer<const N> from,
                     Pointer<N> to) {
        launch_sweep<N, N>(queue_, fields_, axis(d), way_of_state_.of(substep, d, m),
                           static_cast<int>(stages) * way_of_state_.per_stage(), from, to, {});
    }
    // In place, or, so that sum() can have both, from one memory to the other.
    void sweep_gradient(std::int64_t substep, std::int64_t d, std::int64_t m, std::int64_t stages) {
        const Pointer<S> from = grad_;
        if (g_.grad_e) {
            swapped_ = !swapped_;
            grad_ = pointer<S>(swapped_ ? gradient_.data() : g_.grad_psi);
            behind_ = from;
        }
        launch_sweep<S, N>(queue_, fields_, axis(d), way_of_gradient_.of(substep, d, m),
                           static_cast<int>(stages) * way_of_gradient_.per_stage(), from, grad_, {});
    }

    void sum(std::int64_t substep, std::int64_t d, std::int64_t m, Pointer<const N> after, Pointer<const N> before) {
        const std::int64_t stage = (substep * p_.axes() + d) * p_.stages + m;
        Complex<double>* const to = static_cast<Complex<double>*>(stage_sums_.data()) + stage * parts_;
        launch(queue_, sum_stage<S, N>, sum_grid(parts_), numbers_, behind_, grad_, after, before, p_.rule == Rule::euler,
               pointer<Complex<double>>(to));
    }

    void finish_e() {
        const std::int64_t count = static_cast<std::int64_t>(p_.e.size());
        for (std::int64_t begin = 0; begin < count; begin += weights_per_launch) {
            const std::int64_t part = std::min<std::int64_t>(weights_per_launch, count - begin);
            Weights weights{};
            for (std::int64_t i = 0; i < part; ++i) {
                if (p_.steps == 0 || axis((begin + i) / p_.stages % p_.axes()).identity) continue;
                const std::complex<double> e = p_.e[static_cast<std::size_t>(begin + i)];
                const std::complex<double> w = (p_.rule == Rule::euler ? 1.0 : 0.5) / std::conj(e);
                weights.of[i] = {w.real(), w.imag()};
            }
            const Complex<double>* const sums = static_cast<const Complex<double>*>(stage_sums_.data()) + begin * parts_;
            launch(queue_, finish_stages, sum_grid(part), pointer<const Complex<double>>(sums), parts_, weights,
                   pointer<Complex<double>>(g_.grad_e + begin));
        }
    }

    const SplitProblem& p_;
    const SplitGradients& g_;
    const Queue queue_;
    const Fields fields_;
    const std::int64_t numbers_, states_;  // of all fields; fields of memory
    const std::int64_t slices_;            // of fields that share a table
    const bool own_slices_;                // in memory of their own, to be summed at the end
    const std::int64_t parts_;             // of the sums of a stage
    const std::vector<AxisPlan> axes_;
    const FactorTables<N> way_of_state_, way_of_gradient_;
    const PhaseTables<N> tables_;
    const Workspace state_, gradient_, slice_sums_, stage_sums_;
    Pointer<S> grad_ = pointer<S>(g_.grad_psi);
    Pointer<const S> behind_{};
    bool swapped_ = false;
    int current_ = 0;
};

struct PullBack {
    const SplitProblem& p;
    const SplitGradients& g;
    bool plain;

    template <class S, class N>
    void operator()() const {
        Adjoint<S, N>(p, g, plain).run();
    }
};

void pull_back(const SplitProblem& p, const SplitGradients& g, bool plain) {
    if (p.points > 0 && p.batch > 0) {
        for (const std::complex<double> e : p.e)
            if (g.grad_e && std::abs(e) < 1e-9)
                throw cuda::Unsupported("grad_e: gradients of coefficients as small as " + std::to_string(std::abs(e)) +
                                        " have no CUDA kernel; move the tensors to the CPU");
        return with_numbers(p, PullBack{p, g, plain});
    }
    const Queue queue;
    const std::int64_t tables = p.tables * p.phases_batch * p.points * (is_complex(p.dtype) ? 16 : 8);
    if (g.grad_phases) queue.zero(g.grad_phases, static_cast<std::size_t>(tables));
    if (g.grad_e) queue.zero(g.grad_e, p.e.size() * sizeof(std::complex<double>));
}

}  // namespace

bool split_fused_adjoint(const SplitProblem& p, const SplitGradients& g) {
    pull_back(p, g, false);
    return true;
}

void split_reference_adjoint(const SplitProblem& p, const SplitGradients& g) { pull_back(p, g, true); }

}  // namespace qcore::schrodinger
