// Launches of schrodinger_team_long.hpp.
#pragma once

#include "schrodinger_team_long.hpp"
#include "schrodinger_team_run.hpp"

namespace qcore::schrodinger {
namespace {

// The states of a run on their way through its stages, of all systems. `only`: the reach, where no other comes.
template <class N, int only = -1>
class LongStates {
  public:
    // `most_tables`: with those of each set.
    LongStates(const Queue& queue, const Line& line, const Team& team, std::int64_t most_tables)
        : queue_(queue), line_(line), team_(team), states_(queue, bytes_of(2 * line.batch * line.n, sizeof(N))),
          carries_(queue, bytes_of((2 * team.parts() + 1) * line.batch * carried(), sizeof(N))),
          products_(queue, bytes_of(most_tables * team.parts() * 2 * carried() * carried(), sizeof(N))) {}

    void* data() const { return states_.data(); }

    // For the launches of some systems, from `first` on.
    void begin(const Line& part, std::int64_t first, const Tables<N>& tables) {
        part_ = part;
        const std::int64_t numbers = line_.batch * line_.n, blocks = part.batch * team_.parts() * carried(),
                           count = tables.count * tables.sets * team_.parts();
        const auto products = pointer<N>(products_.data()), carries = pointer<N>(carries_.data()), state = pointer<N>(data());
        for_reach([&]<int reach>() {
            launch(queue_, fold_blocks<N, reach>, grid_for(count, 32), team_, count, tables.numbers, products);
        });
        a_ = {tables, products, state + first * line_.n,
              state + numbers + first * line_.n, carries, carries + blocks, carries + 2 * blocks};
    }
    template <class Work>
    void start(const Work& work) const {
        for_reach([&]<int reach>() {
            launch(queue_, start_long<N, reach, Work>, grid<reach>(), part_, team_, a_, work.stage, work);
        });
    }
    // `next`: the stage that follows, or less than 0.
    template <class Work>
    void stage(const Work& work, std::int64_t next) const {
        for_reach([&]<int reach>() {
            launch(queue_, descend_long<N, reach>, grid<reach>(), part_, team_, a_, work.stage);
            launch(queue_, ascend_long<N, reach, Work>, grid<reach>(), part_, team_, a_, work.stage, next, work);
        });
    }

  private:
    template <class F>
    void for_reach(F f) const {
        if constexpr (only < 0) with_reach(line_, f);
        else f.template operator()<only>();
    }
    std::int64_t carried() const { return line_.reach == 2 ? 2 : 1; }
    template <int reach>
    cuda::Grid grid() const {
        return team_grid(team_, part_.batch, cuda::SharedMemory::bytes<N>(Member<N, most_points, reach>::exchanged) +
                                                 cuda::SharedMemory::bytes<N>(most_team / warp));
    }

    const Queue& queue_;
    const Line line_;
    Line part_{};
    const Team team_;
    const Workspace states_, carries_, products_;
    Long<N> a_{};
};

}  // namespace
}  // namespace qcore::schrodinger
