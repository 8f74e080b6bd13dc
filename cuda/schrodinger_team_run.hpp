// What runs by teams have in common: how they are cut into launches, and the coefficients of each.
#pragma once

#include <algorithm>

#include "schrodinger_line.hpp"
#include "schrodinger_team_deal.hpp"
#include "schrodinger_team_steps.hpp"

namespace qcore::schrodinger {
namespace {

using cuda::grid_for;
using cuda::Workspace;

// What coefficients may take that hold for all stages, and those of a launch with sums.
#if defined(QCORE_EMULATION)
constexpr std::int64_t most_kept_bytes = 64 << 10, launch_bytes = 128 << 10;  // so that small runs take every way
#else
constexpr std::int64_t most_kept_bytes = std::int64_t{8} << 30, launch_bytes = std::int64_t{1} << 30;
#endif

// A tensor of numbers E as a team takes it.
template <class N, class E>
Rows<N> rows(const void* data) {
    if constexpr (sizeof(typename E::Scalar) == 4) return {pointer<E>(data), nullptr};
    else return {nullptr, pointer<E>(data)};
}

// Calls f<N, E> for the numbers E of a tensor and those that a run computes with.
template <class F>
void with_arithmetic(const Evolution& e, DType dtype, F f) {
    with_numbers(dtype, [&]<class E>(E) {
        if (e.arithmetic == Arithmetic::f32) f.template operator()<typename E::template With<float>, E>();
        else f.template operator()<typename E::template With<double>, E>();
    });
}

template <class F>
void with_reach(const Line& line, F f) {
    switch (line.reach) {
        case 0: return f.template operator()<0>();
        case 1: return f.template operator()<1>();
        default: return f.template operator()<2>();
    }
}

// For so many systems and bytes of shared memory. Teams of no more than a warp share a block of four.
inline cuda::Grid team_grid(const Team& team, std::int64_t batch, std::size_t shared) {
    const int lanes = team.block(), teams = lanes <= warp ? 4 * warp / lanes : 1;
    const dim3 threads(static_cast<unsigned>(lanes), static_cast<unsigned>(teams));
    return {grid_for(batch * team.parts(), teams).blocks, threads, shared};
}

// For deal(), of so many matrices.
inline cuda::Grid deal_grid(const Team& team, std::int64_t matrices) {
    const int threads = std::max(team.block(), warp);
    return {grid_for(matrices * team.parts(), 1).blocks, dim3(static_cast<unsigned>(threads))};
}

// A run's launches: all systems or, where they have potentials of their own, as many at a time as memory is for, and of their
// stages likewise where H changes.
template <class N>
class TeamRun {
  public:
    // `back`: coefficients for -c as well. `beside`: bytes that a step of a changing potential takes elsewhere.
    TeamRun(const Queue& queue, const Line& line, const Team& team, const void* potential, std::int64_t stages, bool back,
            std::int64_t beside)
        : queue_(queue), line_(line), team_(team), potential_(pointer<const double>(potential)), stages_(stages),
          signs_(back ? 2 : 1), systems_(choose_systems()), most_(choose_stages(beside)),
          factor_memory_(queue, static_cast<std::size_t>(factor_bytes<Wide>(line, tables(), sets()))),
          memory_(queue, static_cast<std::size_t>(signs_ * all_numbers()) * sizeof(N)) {}

    // Stages of a launch, at most, and tables of its coefficients with those of each set.
    std::int64_t most() const { return most_; }
    std::int64_t most_tables() const { return tables() * sets(); }

    // Calls body(line, first system, stages, coefficients, those of -c) for each launch; `backwards`: from the last stages on.
    template <class F>
    void for_launches(bool backwards, F body) const {
        for (std::int64_t first = 0; first < line_.batch; first += systems_) {
            Line line = line_;
            line.batch = std::min(systems_, line_.batch - first);
            for (std::int64_t done = 0; done < stages_; done += most_) {
                const std::int64_t count = std::min(most_, stages_ - done);
                const Stages now{backwards ? stages_ - done - count : done, count};
                const Stages dealt = changes() ? now : Stages{0, line.poles};
                const auto at = pointer<N>(memory_.data());
                const auto of = [&](double sign, Pointer<N> to) {
                    deal_out(line, first, dealt, sign, to);
                    const std::int64_t sets = own() ? line.batch : 1;
                    return Tables<N>{to, team_.size() * team_.groups(sets), sets, dealt.first, dealt.count};
                };
                const Tables<N> tables = of(1, at), back = signs_ > 1 ? of(-1, at + all_numbers()) : tables;
                body(line, first, now, tables, back);
            }
        }
    }

  private:
    using Wide = typename N::template With<double>;

    bool own() const { return line_.systems > 1; }
    bool changes() const { return line_.slices > 1; }
    std::int64_t tables() const { return changes() ? most_ : line_.poles; }
    std::int64_t sets() const { return own() ? systems_ : 1; }
    std::int64_t all_numbers() const { return tables() * team_.groups(sets()) * team_.size(); }

    // Bytes of a step's coefficients for a system.
    std::int64_t step_bytes() const {
        const std::int64_t numbers = signs_ * team_.size() / team_.together() * static_cast<std::int64_t>(sizeof(N));
        return line_.poles * (factor_bytes<Wide>(line_, 1, 1) + numbers);
    }
    std::int64_t choose_systems() const {
        if (!own()) return line_.batch;
        return std::clamp<std::int64_t>((changes() ? launch_bytes : most_kept_bytes) / step_bytes(), 1, line_.batch);
    }
    std::int64_t choose_stages(std::int64_t beside) const {
        if (!changes()) return stages_;
        const std::int64_t steps = launch_bytes / (step_bytes() * sets() + beside);
        return std::clamp<std::int64_t>(steps, 1, stages_ / line_.poles) * line_.poles;
    }

    void deal_out(const Line& line, std::int64_t first, const Stages& stages, double sign, Pointer<N> to) const {
        const std::int64_t sets = own() ? line.batch : 1, values = line.complex_potential ? 2 : 1, items = stages.count * sets;
        const auto factors = place_factors(pointer<Wide>(factor_memory_.data()), line, stages.count, sets, sign);
        const auto potential = potential_ + (own() ? first * line.n * values : 0);
        launch(queue_, factorize<Wide>, grid_for(items, 32), line, factors, potential, stages);
        with_reach(line, [&]<int reach>() { launch(queue_, deal<N, reach>, deal_grid(team_, items), line, team_, stages, factors, to); });
    }

    const Queue& queue_;
    Line line_;
    Team team_;
    Pointer<const double> potential_;
    std::int64_t stages_, signs_, systems_, most_;
    Workspace factor_memory_, memory_;
};

inline std::size_t bytes_of(std::int64_t count, std::size_t size) { return static_cast<std::size_t>(count) * size; }

// Where sums for the potential go: to their place, or, where systems share it, to memory of their own until a launch is over.
class PotentialSums {
  public:
    // `most`: stages of a launch.
    PotentialSums(const Queue& queue, const Line& line, const TensorView& to, std::int64_t most)
        : queue_(queue), line_(line), to_(to),
          memory_(queue, static_cast<std::size_t>(slice_bytes(line) * (line.slices == 1 ? 1 : most / line.poles))) {}

    // Bytes of own memory for a slice.
    static std::int64_t slice_bytes(const Line& line) {
        const std::int64_t values = line.complex_potential ? 2 : 1;
        return shared(line) ? line.batch * line.n * values * static_cast<std::int64_t>(sizeof(double)) : 0;
    }

    Pointer<double> at() const { return pointer<double>(shared(line_) ? memory_.data() : to_.data); }
    std::int64_t first_slice(const Stages& now) const { return shared(line_) && line_.slices > 1 ? now.first / line_.poles : 0; }
    void zero(const Stages& now) const {
        queue_.zero(memory_.data(), static_cast<std::size_t>(slice_bytes(line_) * slices(now)));
    }

    // After the launch of some stages.
    void add_up(const Stages& now) const {
        if (!shared(line_)) return;
        line_.complex_potential ? add_up<Complex<double>>(now) : add_up<Real<double>>(now);
    }

  private:
    static bool shared(const Line& line) { return line.systems == 1 && line.batch > 1; }
    std::int64_t slices(const Stages& now) const { return line_.slices == 1 ? 1 : now.count / line_.poles; }
    template <class V>
    void add_up(const Stages& now) const {
        const auto to = pointer<V>(to_.data) + first_slice(now) * line_.n;
        launch_sum_systems(queue_, pointer<const V>(memory_.data()), to, slices(now), line_.batch, line_.n);
    }

    const Queue& queue_;
    const Line line_;
    const TensorView& to_;
    const Workspace memory_;
};

}  // namespace
}  // namespace qcore::schrodinger
