// All stages of one chunk of the batch, whose state stays in the cache.
#pragma once

#include "schrodinger/sweep.hpp"

namespace qcore::QC_ISA {
namespace {

// As many vectors of systems as the registers hold: their recurrences run side by side.
constexpr int most_groups = vector_registers >= 32 ? 3 : 2;

// Calls f(reach) with a compile-time constant.
template <class F>
inline void with_reach(const Plan& p, F f) {
    switch (reach_of(p)) {
        case 0: return f(std::integral_constant<int, 0>{});
        case 1: return f(std::integral_constant<int, 1>{});
        default: return f(std::integral_constant<int, 2>{});
    }
}

// The sweep that a plan needs.
template <class N, bool per_lane>
inline void run_sweep(const Plan& p, std::int64_t groups, const Sweep<typename N::Scalar>& a) {
    with_reach(p, [&](auto reach) {
        const auto pick = [&]<template <class> class Update>() {
            if constexpr (!per_lane) {
                if (groups == most_groups) return sweep<N, per_lane, most_groups, reach, Update>(a);
            }
            sweep<N, per_lane, 1, reach, Update>(a);
        };
        const bool cayley = p.rule == Rule::cayley;
        if constexpr (reach != 0) {
            cayley ? pick.template operator()<CompactCayley>() : pick.template operator()<CompactEuler>();
        } else {
            if constexpr (N::parts == 2)
                if (cayley && a.gain[0] == 0) return pick.template operator()<ImaginaryCayley>();
            cayley ? pick.template operator()<Cayley>() : pick.template operator()<Euler>();
        }
    });
}

// Systems side by side, a lane each, in eliminated form or not.
template <class N, bool per_lane>
class Batch {
  public:
    using T = typename N::Scalar;
    static constexpr std::int64_t lanes = N::parts * N::width;

    Batch(const Plan& p, Coefficients<N, per_lane>& coefficients, std::int64_t groups, Memory& memory)
        : p_(p), coefficients_(coefficients), groups_(groups), pitch_(groups * lanes) {
        state_ = memory.take<T>((p.n + 2 * pad) * pitch_);
        numbers_ = reach_of(p) == 2 ? 2 : 1;
        if (p.periodic) corrections_ = memory.take<T>(numbers_ * pitch_);
        if (p.windows.count) stage_ = memory.take<T>(N::width * columns());
    }

    T* row(std::int64_t j) { return state_ + (j + pad) * pitch_; }

    // Systems from `first` on, at this row of the tensor (rows, n). Lanes beyond the batch repeat its last system.
    template <Reading reading = Reading::plain>
    void read(const void* tensor, std::int64_t first, std::int64_t row_offset) {
        for (std::int64_t i = 0; i < pad * pitch_; ++i) state_[i] = row(p_.n)[i] = T(0);
        transfer(tensor, first, [&](auto* base, std::int64_t from, const LaneRows<T>& to) {
            using E = std::remove_pointer_t<decltype(base)>;
            const E* rows[N::width];
            for (int l = 0; l < N::width; ++l) rows[l] = base + row_offset * columns() + p_.place(from + l < p_.batch ? from + l : p_.batch - 1) * N::parts;
            read_lanes<reading>(rows, columns(), to);
        });
    }

    // Sets the lanes beyond the batch to zero.
    void clear_rest(std::int64_t first) {
        for (std::int64_t g = 0; g < groups_; ++g)
            for (std::int64_t l = 0; l < N::width; ++l)
                if (first + g * N::width + l >= p_.batch)
                    for (std::int64_t j = 0; j < p_.n; ++j)
                        for (int part = 0; part < N::parts; ++part) row(j)[g * lanes + part * N::width + l] = T(0);
    }

    template <bool conjugate = false>
    void write(void* tensor, std::int64_t first, std::int64_t row_offset) {
        transfer(tensor, first, [&](auto* base, std::int64_t to, const LaneRows<T>& from) {
            using E = std::remove_const_t<std::remove_pointer_t<decltype(base)>>;
            E* rows[N::width];
            for (int l = 0; l < N::width; ++l) rows[l] = const_cast<E*>(base) + (row_offset + to + l) * columns();
            const std::int64_t left = p_.batch - to;
            if (left > 0) write_lanes<conjugate>(from, columns(), rows, left < N::width ? left : N::width);
        });
    }

    // The cores of windows, from `first` on; a batch of one vector.
    void write_cores(void* tensor, std::int64_t first) {
        T* rows[N::width];
        for (int l = 0; l < N::width; ++l) rows[l] = stage_ + l * columns();
        write_lanes<false>(LaneRows<T>{row(0), pitch_, N::parts}, columns(), rows, N::width);
        for (int l = 0; l < N::width && first + l < p_.batch; ++l) {
            const std::int64_t w = (first + l) % p_.windows.count, from = p_.windows.core_start(w) - p_.windows.start(w, p_.n);
            T* const to = static_cast<T*>(tensor) + (p_.place(first + l) + from) * N::parts;
            for (std::int64_t q = 0; q < p_.windows.core_points(w) * N::parts; ++q) to[q] = rows[l][from * N::parts + q];
        }
    }

    void exchange(Batch& other) {
        T* const state = state_;
        state_ = other.state_;
        other.state_ = state;
    }

    // From plain to the eliminated form of position i.
    void begin(std::int64_t i) {
        coefficients_.need(i);
        Sweep<T> a = arguments(i & 1 ? -1 : 1);
        a.back = coefficients_.none();
        a.ahead = coefficients_.factors(i);
        if (p_.periodic) set_borders(a, i, i);
        with_reach(p_, [&](auto reach) { qcore::QC_ISA::begin<N, per_lane, reach>(a, groups_); });
        finish(i - 1, false);
    }

    // Position i, and to the eliminated form of the next, or to plain.
    void step(std::int64_t i, bool plain) {
        run_sweep<N, per_lane>(p_, groups_, sweep(i, plain));
        finish(i, plain);
    }

    // The same in three parts, for sweeps of two batches at a time.
    Sweep<T> sweep(std::int64_t i, bool plain) {
        if (!plain) coefficients_.need(i + 1);
        Sweep<T> a = arguments(i & 1 ? 1 : -1);
        a.back = coefficients_.factors(i);
        a.ahead = plain ? coefficients_.none() : coefficients_.factors(i + 1);
        a.gain = coefficients_.gain(i);
        if (p_.periodic) set_borders(a, i, plain ? i : i + 1);
        return a;
    }
    // Corrections of the next position from their dot products.
    void finish(std::int64_t i, bool plain) {
        if (plain || !p_.periodic) return;
        const T* const weight = coefficients_.weight(i + 1);
        for (std::int64_t g = 0; g < groups_; ++g) {
            T* const at = corrections_ + g * lanes;
            N dot[2], sum[2];
            for (int k = 0; k < numbers_; ++k) dot[k] = N::load(at + k * pitch_);
            for (int k = 0; k < numbers_; ++k) {
                sum[k] = coefficient<N, per_lane>(weight, k * numbers_) * dot[0];
                if (numbers_ == 2) sum[k] = mac(coefficient<N, per_lane>(weight, k * numbers_ + 1), dot[1], sum[k]);
            }
            for (int k = 0; k < numbers_; ++k) sum[k].store(at + k * pitch_);
        }
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
        a.corrections = corrections_;
        a.corrections_pitch = pitch_;
        a.mass = Compact(p_.order).m;
        return a;
    }

    void set_borders(Sweep<T>& a, std::int64_t back, std::int64_t ahead) const {
        a.back_border = coefficients_.border(back);
        a.ahead_border = coefficients_.border(ahead);
        a.left = larger(coefficients_.left(back), coefficients_.left(ahead));
        a.right = smaller(coefficients_.right(back), coefficients_.right(ahead));
    }

    const Plan& p_;
    Coefficients<N, per_lane>& coefficients_;
    std::int64_t groups_, pitch_;
    int numbers_;
    T *state_, *corrections_ = nullptr, *stage_ = nullptr;
};

// Coefficients that were computed once for all chunks, or those of this chunk.
template <class N, bool per_lane>
class Forward {
  public:
    Forward(const Plan& p, Memory& memory)
        : p_(p), shared_{static_cast<char*>(const_cast<void*>(p.shared))},
          coefficients_(p, Use::forward, p.shared ? shared_ : memory),
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
            if (save) batch_.write(p_.frames, first, ((i + 1) / p_.save_every - 1) * p_.frame_rows);
            if (save && !last) batch_.begin(i + 1);
        }
        if (p_.windows.count) batch_.write_cores(p_.out, first);
        else batch_.write(p_.out, first, 0);
    }

  private:
    const Plan& p_;
    Memory shared_;
    Coefficients<N, per_lane> coefficients_;
    Batch<N, per_lane> batch_;
};

}  // namespace
}  // namespace qcore::QC_ISA
