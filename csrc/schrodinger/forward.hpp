// All stages of one chunk of the batch, whose state stays in the cache.
#pragma once

#include "schrodinger/coefficients.hpp"
#include "schrodinger/sweep.hpp"

namespace qcore::QC_ISA {
namespace {

// Sweeps of one kind of number, as the plan needs them.
template <class N, bool per_lane>
struct Sweeps {
    using T = typename N::Scalar;

    static void run(const Plan& p, std::int64_t groups, const Sweep<T>& a) {
        if (p.order == 4) return pick<GeneralUpdate>(groups, a);
        if (p.rule == Rule::euler) return pick<DampedUpdate>(groups, a);
        if constexpr (N::parts == 2)
            if (a.constant[0] == T(0)) return pick<ImaginaryUpdate>(groups, a);
        pick<ConstantUpdate>(groups, a);
    }

  private:
    template <template <class, bool> class Update>
    static void pick(std::int64_t groups, const Sweep<T>& a) {
        if constexpr (!per_lane) {
            if (groups == 2) return sweep<N, per_lane, 2, Update>(a);
        }
        sweep<N, per_lane, 1, Update>(a);
    }
};

// Systems side by side, a lane each, in eliminated form or not.
template <class N, bool per_lane>
class Batch {
  public:
    using T = typename N::Scalar;
    static constexpr std::int64_t lanes = N::parts * N::width;

    Batch(const Plan& p, Coefficients<N, per_lane>& coefficients, std::int64_t groups, Memory& memory)
        : p_(p), coefficients_(coefficients), groups_(groups), pitch_(groups * lanes) {
        state_ = memory.take<T>((p.n + 2) * pitch_);
        if (p.periodic) gamma_ = memory.take<T>(pitch_);
    }

    T* row(std::int64_t j) { return state_ + (j + 1) * pitch_; }

    void read(const void* tensor, std::int64_t first, std::int64_t row_offset) {
        for (std::int64_t i = 0; i < pitch_; ++i) row(-1)[i] = row(p_.n)[i] = T(0);
        transfer(tensor, first, [&](auto* base, std::int64_t from, const LaneRows<T>& to) {
            using E = std::remove_pointer_t<decltype(base)>;
            const E* rows[N::width];
            for (int l = 0; l < N::width; ++l) rows[l] = base + (row_offset + (from + l < p_.batch ? from + l : p_.batch - 1)) * columns();
            read_lanes<Reading::plain>(rows, columns(), to);
        });
    }

    void write(void* tensor, std::int64_t first, std::int64_t row_offset) {
        transfer(tensor, first, [&](auto* base, std::int64_t to, const LaneRows<T>& from) {
            using E = std::remove_const_t<std::remove_pointer_t<decltype(base)>>;
            E* rows[N::width];
            for (int l = 0; l < N::width; ++l) rows[l] = const_cast<E*>(base) + (row_offset + to + l) * columns();
            const std::int64_t left = p_.batch - to;
            if (left > 0) write_lanes<false>(from, columns(), rows, left < N::width ? left : N::width);
        });
    }

    // From plain to the eliminated form of position i.
    void begin(std::int64_t i) {
        coefficients_.need(i);
        Sweep<T> a = arguments(i & 1 ? -1 : 1);
        a.ahead = coefficients_.recip(i);
        if (p_.periodic) a.ahead_border = coefficients_.border(i);
        qcore::QC_ISA::begin<N, per_lane>(a, groups_, p_.order == 4 ? coefficients_.scale(i) : nullptr);
        weigh(i);
    }

    // Position i, and to the eliminated form of the next, or to plain.
    void step(std::int64_t i, bool plain) {
        if (!plain) coefficients_.need(i + 1);
        Sweep<T> a = arguments(i & 1 ? 1 : -1);
        a.back = coefficients_.recip(i);
        a.ahead = plain ? coefficients_.none() : coefficients_.recip(i + 1);
        a.constant = coefficients_.constant(i);
        if (p_.order == 4) a.update = coefficients_.update(i, plain);
        if (p_.periodic) {
            const std::int64_t next = plain ? i : i + 1;
            a.back_border = coefficients_.border(i);
            a.ahead_border = coefficients_.border(next);
            a.left = larger(coefficients_.left(i), coefficients_.left(next));
            a.right = smaller(coefficients_.right(i), coefficients_.right(next));
        }
        Sweeps<N, per_lane>::run(p_, groups_, a);
        if (!plain) weigh(i + 1);
    }

  private:
    static std::int64_t larger(std::int64_t a, std::int64_t b) { return a > b ? a : b; }
    static std::int64_t smaller(std::int64_t a, std::int64_t b) { return a < b ? a : b; }

    std::int64_t columns() const { return p_.n * N::parts; }

    template <class F>
    void transfer(const void* tensor, std::int64_t first, F move) {
        for (std::int64_t g = 0; g < groups_; ++g) {
            const LaneRows<T> rows{row(0) + g * lanes, pitch_, N::parts};
            const std::int64_t system = first + g * N::width;
            if constexpr (sizeof(T) == 8)
                if (p_.dtype == DType::f64 || p_.dtype == DType::c128) {
                    move(static_cast<const double*>(tensor), system, rows);
                    continue;
                }
            move(static_cast<const float*>(tensor), system, rows);
        }
    }

    Sweep<T> arguments(int direction) {
        Sweep<T> a{};
        a.n = p_.n;
        a.direction = direction;
        a.state = row(0);
        a.gamma = gamma_;
        return a;
    }

    // gamma from (v, f)
    void weigh(std::int64_t i) {
        if (!gamma_) return;
        const N weight = coefficient<N, per_lane>(coefficients_.weight(i), 0);
        for (std::int64_t g = 0; g < groups_; ++g) (weight * N::load(gamma_ + g * lanes)).store(gamma_ + g * lanes);
    }

    const Plan& p_;
    Coefficients<N, per_lane>& coefficients_;
    std::int64_t groups_, pitch_;
    T *state_, *gamma_ = nullptr;
};

// Coefficients that were computed once for all chunks, or those of this chunk.
template <class N, bool per_lane>
class Forward {
  public:
    Forward(const Plan& p, Memory& memory)
        : p_(p), shared_{static_cast<char*>(const_cast<void*>(p.shared))},
          coefficients_(p, {}, p.shared ? shared_ : memory),
          batch_(p, coefficients_, p.groups, memory) {
        if (!p.shared) coefficients_.take_work(memory);
    }

    void run(std::int64_t chunk) {
        const std::int64_t first = chunk * p_.groups * N::width;
        if (!p_.shared) coefficients_.start(first);
        batch_.read(p_.psi, first, 0);
        batch_.begin(0);
        for (std::int64_t i = 0; i < p_.stages; ++i) {
            const bool last = i + 1 == p_.stages, save = p_.frames && (i + 1) % p_.save_every == 0;
            batch_.step(i, last || save);
            if (save) batch_.write(p_.frames, first, ((i + 1) / p_.save_every - 1) * p_.batch);
            if (save && !last) batch_.begin(i + 1);
        }
        batch_.write(p_.out, first, 0);
    }

  private:
    const Plan& p_;
    Memory shared_;
    Coefficients<N, per_lane> coefficients_;
    Batch<N, per_lane> batch_;
};

}  // namespace
}  // namespace qcore::QC_ISA
