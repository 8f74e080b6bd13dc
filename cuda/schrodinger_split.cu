// A run of the split-operator scheme on a device: which sweeps are launched, one after another.
#include "schrodinger/split_fused.hpp"
#include "schrodinger/split_sequence.hpp"
#include "schrodinger_split_sweeps.hpp"

namespace qcore::schrodinger {

namespace {

template <class S, class N>
class Forward {
  public:
    Forward(const SplitProblem& p, const void* psi, void* out, void* frames, std::int64_t save_every, bool plain)
        : p_(p), fields_{p.batch, p.points, p.phases_batch == 1}, save_every_(frames ? save_every : 0), frames_(frames),
          axes_(plan_axes(p, sizeof(S), sizeof(N), queue_.shared_per_block(), plain)),
          factors_(queue_, p, axes_, Variant::forward), tables_(queue_, p, Sequence::merges(p)), source_(pointer<const S>(psi)), out_(pointer<S>(out)) {}

    void run() {
        Sequence sequence(p_, save_every_, 0, false);
        Item item;
        bool more = sequence.next(item), written = false;
        while (more) {
            const bool kinetic = item.kind == Item::kinetic;
            const std::int64_t substep = item.index;
            if (kinetic) more = sequence.next(item);
            Finish<S, N> finish;
            bool any = false;
            while (more && add(finish, item)) {
                any = true;
                more = sequence.next(item);
            }
            if (kinetic && sweep(substep, finish)) written = true;
            else if (any) launch_finish<S, N>(queue_, fields_, take_source(), out_, finish), written = true;
        }
        if (!written) launch_finish<S, N>(queue_, fields_, take_source(), out_, {});
    }

  private:
    // False where the item has to wait for the next launch.
    bool add(Finish<S, N>& finish, const Item& item) const {
        if (item.kind == Item::mark) {
            if (finish.frame || finish.late_phase) return false;
            finish.frame = pointer<S>(static_cast<S*>(frames_) + item.index * p_.batch * p_.points);
            return true;
        }
        if (item.kind != Item::phase || finish.late_phase) return false;
        (finish.phase || finish.frame ? finish.late_phase : finish.phase) = tables_.of(item.index);
        return true;
    }

    // False where no axis changes anything.
    bool sweep(std::int64_t substep, const Finish<S, N>& finish) {
        std::int64_t last = p_.axes() - 1;
        while (last >= 0 && axes_[static_cast<std::size_t>(last)].identity) --last;
        for (std::int64_t d = 0; d <= last; ++d) {
            const AxisPlan& axis = axes_[static_cast<std::size_t>(d)];
            if (axis.identity) continue;
            const int count = static_cast<int>(p_.stages) * factors_.per_stage();
            launch_sweep<S, N>(queue_, fields_, axis, factors_.of(substep, d, 0), count, take_source(), out_,
                               d == last ? finish : Finish<S, N>{});
        }
        return last >= 0;
    }

    // The state: what came in, until it has been written.
    Pointer<const S> take_source() {
        const Pointer<const S> source = source_;
        source_ = out_;
        return source;
    }

    const SplitProblem& p_;
    const Queue queue_;
    const Fields fields_;
    const std::int64_t save_every_;
    void* const frames_;
    const std::vector<AxisPlan> axes_;
    const FactorTables<N> factors_;
    const PhaseTables<N> tables_;
    Pointer<const S> source_;
    const Pointer<S> out_;
};

struct Evolve {
    const SplitProblem& p;
    const void* psi;
    void *out, *frames;
    std::int64_t save_every;
    bool plain;

    template <class S, class N>
    void operator()() const {
        Forward<S, N>(p, psi, out, frames, save_every, plain).run();
    }
};

}  // namespace

bool split_fused_evolve(const SplitProblem& p, const void* psi, void* out, void* frames, std::int64_t save_every) {
    if (p.points > 0 && p.batch > 0) with_numbers(p, Evolve{p, psi, out, frames, save_every, false});
    return true;
}

void split_reference_evolve(const SplitProblem& p, const void* psi, void* out, void* frames, std::int64_t save_every) {
    if (p.points > 0 && p.batch > 0) with_numbers(p, Evolve{p, psi, out, frames, save_every, true});
}

}  // namespace qcore::schrodinger
