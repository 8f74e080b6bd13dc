// Cayley steps of any tridiagonal operators, from checked arguments to launches: by teams of warps up to 8192 points, beyond by
// several blocks. Where systems share coefficients a step reads those from the caches and nothing else, and is bound by some 32
// multiply-adds a point, 2 ps on an H200; own ones come from memory, 48 to 96 bytes a point in complex128, 10 to 20 ps.
#include <algorithm>
#include <optional>

#include "schrodinger/cayley_prepare.hpp"
#include "schrodinger_cayley_long.hpp"
#include "schrodinger_cayley_team.hpp"

namespace qcore::schrodinger {

namespace {

constexpr std::int64_t most_bytes = std::int64_t{4} << 30;  // of what systems that run together take
#if defined(QCORE_EMULATION)
constexpr std::int64_t most_systems = 33;  // so that small runs take every way
#else
constexpr std::int64_t most_systems = std::int64_t{1} << 40;
#endif

// Of M + sign z A or its transpose, for teams.
template <class N>
class Matrices {
  public:
    Matrices(const Queue& queue, const Coefficients<N>& c, const Line& line, const Team& team, double sign, bool transposed)
        : size_(team.size() * team.groups(line.systems)), sets_(line.systems),
          memory_(queue, bytes_of(size_, sizeof(N))) {
        const Workspace rows(queue, static_cast<std::size_t>(factor_bytes<N>(line, 1, sets_)));
        const auto factors = place_factors(pointer<N>(rows.data()), line, 1, sets_, sign);
        const Stages one{0, 1};
        launch(queue, factor<N>, grid_for(sets_, 32), c, transposed, factors);
        launch(queue, deal<N, 1>, deal_grid(team, sets_), line, team, one, factors, pointer<N>(memory_.data()));
    }

    Tables<N> tables() const { return {pointer<N>(memory_.data()), size_, sets_, 0, 1}; }

  private:
    const std::int64_t size_, sets_;
    const Workspace memory_;
};

// What the sums become.
template <class N>
struct Gradients {
    Pointer<const N> sums;
    std::int64_t points, lanes;  // their layout: [3 or 6][system][point][lane]
    States<N> bands, mass;       // band by band
    Pointer<N> z;                // (systems, n): shares of the points, not conjugate
};

// The derivative of a step is 2 nu_i (z dA + A dz) chi + 2 nu_i dM (psi - chi).
template <class N>
__global__ void finish_sums(Coefficients<N> c, std::int64_t systems, Gradients<N> g) {
    for (std::int64_t i = cuda::thread(); i < systems * c.n; i += cuda::threads()) {
        const std::int64_t s = i / c.n, j = i % c.n;
        const auto twice = [&](int band) {
            return g.sums[((band * systems + s) * g.points + j % g.points) * g.lanes + j / g.points].times(2);
        };
        N to_z = N::of(0, 0);
        for (int b = 0; b < 3; ++b) {
            const bool there = c.there(b, j);
            const N value = there ? twice(b) : N::of(0, 0);
            if (there) to_z = mac(c.band(b, s, j), value, to_z);
            g.bands.set(b, s, j, (c.z_of(s) * value).conjugate());
            if (c.mass) g.mass.set(b, s, j, there ? twice(3 + b).conjugate() : N::of(0, 0));
        }
        g.z[i] = to_z;
    }
}

// Some systems of a run, from `first` on: S are the numbers of its states.
template <class S, class N>
class Part {
  public:
    Part(const Queue& queue, const CayleyRun& run, std::int64_t first, std::int64_t count, const Team& team)
        : queue_(queue), run_(run), first_(first), count_(count), line_(line_of(run, count)), team_(team),
          c_{pointer<const N>(run.bands), pointer<const N>(run.mass), pointer<const N>(run.z), run.bands_count, run.mass_count,
             run.z_count, run.n, first} {}

    static Line line_of(const CayleyRun& run, std::int64_t count) {
        Line line{};
        line.n = run.n;
        line.batch = count;
        line.systems = run.lanewise ? count : 1;
        line.slices = line.poles = line.reach = 1;
        return line;
    }

    void forward(const CayleyForward& io) const {
        if (run_.steps == 0) {
            copy<S, S>(at<S>(io.psi, 0), at<S>(io.out, 0));
            if (io.kept && !io.checkpoint_every) copy<S, N>(at<S>(io.psi, 0), at<N>(io.kept, 0));
            return;
        }
        const Matrices<N> matrices(queue_, c_, line_, team_, -1, false);
        CayleySteps<N> a{count_, run_.steps, matrices.tables(), states<S>(io.psi), states<S>(io.out), {}, {}, 0, 0, false};
        if (io.frames) {
            a.frames = states<S>(io.frames);
            a.save_every = io.save_every;
        }
        if (io.kept) {
            a.kept = states<N>(io.kept);
            a.checkpoint_every = io.checkpoint_every;
            a.keeps_last = !io.checkpoint_every;
        }
        advance(a);
    }

    void adjoint(const CayleyAdjoint& io, const CayleyGradients& to) const {
        if (run_.steps == 0) return copy<S, S>(at<S>(io.grad_out, 0), at<S>(io.grad_psi, 0));
        const bool wanted = to.bands != nullptr;
        const Known known = !wanted ? Known::nothing : io.checkpoint_every ? Known::all : Known::last;
        const std::int64_t n = run_.n, numbers = n * count_, segment = segment_of(run_, io), bands = run_.mass ? 6 : 3,
                           points = team_.parts() > 1 ? 1 : team_.points, lanes = team_.parts() > 1 ? n : team_.lanes;
        const std::size_t sum_bytes = wanted ? bytes_of(bands * count_ * points * lanes, sizeof(N)) : 0;
        const Workspace sums(queue_, sum_bytes), mu(queue_, segment < run_.steps ? bytes_of(numbers, sizeof(N)) : 0),
            trajectory(queue_, known == Known::all ? bytes_of((segment + 1) * numbers, sizeof(N)) : 0);
        queue_.zero(sums.data(), sum_bytes);
        const Matrices<N> transposed(queue_, c_, line_, team_, -1, true);
        std::optional<Matrices<N>> back, again;
        CayleyPull<N> p{};
        p.systems = count_;
        p.tables = transposed.tables();
        p.sums = pointer<N>(sums.data());
        if (io.grad_frames) {
            p.grad_frames = states<S>(io.grad_frames);
            p.save_every = io.save_every;
        }
        if (known == Known::last) {
            p.back = back.emplace(queue_, c_, line_, team_, 1, false).tables();
            p.states = states<N>(io.kept);
        }
        if (known == Known::all) again.emplace(queue_, c_, line_, team_, -1, false);
        for (std::int64_t end = run_.steps; end > 0; end = p.first_step) {
            p.first_step = (end - 1) / segment * segment;
            p.steps = end - p.first_step;
            p.mu = end == run_.steps ? states<S>(io.grad_out) : own_states(mu.data());
            p.to_mu = p.first_step == 0 ? states<S>(io.grad_psi) : own_states(mu.data());
            if (known == Known::all) {
                const auto here = pointer<N>(trajectory.data());
                if (p.first_step == 0) copy<S, N>(at<S>(io.psi, 0), here);
                else copy<N, N>(at<N>(io.kept, p.first_step / segment - 1), here);
                p.states = own_states(trajectory.data());
                const auto number = [&](std::int64_t k) { return own_states(static_cast<N*>(trajectory.data()) + k * numbers); };
                advance({count_, p.steps, again->tables(), p.states, number(p.steps), number(1), {}, 1, 0, false});
            }
            pull(p, known);
        }
        if (!wanted) return;
        const Workspace z(queue_, bytes_of(numbers, sizeof(N)));
        Gradients<N> g{pointer<const N>(sums.data()), points, lanes, {}, {}, pointer<N>(z.data())};
        const Shares shared_bands(*this, to.bands, run_.bands_count, g.bands), shared_mass(*this, to.mass, run_.mass_count, g.mass);
        launch(queue_, finish_sums<N>, grid_for(numbers, 256), c_, count_, g);
        shared_bands.add_up();
        shared_mass.add_up();
        const auto shares = pointer<const N>(z.data());
        if (run_.z_count > 1) launch_sum_rows<N, N>(queue_, shares, pointer<N>(to.z) + first_, count_, n);
        else launch_sum_rows<N, N>(queue_, shares, pointer<N>(to.z), 1, numbers);
    }

    // Steps between two checkpoints.
    static std::int64_t segment_of(const CayleyRun& run, const CayleyAdjoint& io) {
        return io.checkpoint_every && io.checkpoint_every < run.steps ? io.checkpoint_every : run.steps;
    }

  private:
    // Gradients of bands: to their place, or, where systems share those, to memory of their own until they are summed.
    class Shares {
      public:
        Shares(const Part& part, double* to, std::int64_t sets, States<N>& states)
            : part_(part), to_(to), summed_(to && sets == 1),
              memory_(part.queue_, summed_ ? bytes_of(3 * part.count_ * part.run_.n, sizeof(N)) : 0) {
            if (to) states = summed_ ? part.own_states(memory_.data()) : part.states<N>(to);
        }
        void add_up() const {
            if (!summed_) return;
            launch_sum_systems(part_.queue_, pointer<const N>(memory_.data()), pointer<N>(to_), 3, part_.count_, part_.run_.n, true);
        }

      private:
        const Part& part_;
        double* const to_;
        const bool summed_;
        const Workspace memory_;
    };

    // A tensor (states, B, n) of numbers E, and the part's own memory.
    template <class E>
    States<N> states(const void* tensor) const {
        return {rows<N, E>(tensor), run_.batch, run_.n, first_};
    }
    States<N> own_states(const void* memory) const { return {rows<N, N>(memory), count_, run_.n, 0}; }
    // Where the part begins in one of its states, and a copy of that.
    template <class E>
    Pointer<E> at(const void* tensor, std::int64_t state) const {
        return pointer<E>(tensor) + (state * run_.batch + first_) * run_.n;
    }
    template <class E, class F>
    void copy(Pointer<const E> from, Pointer<F> to) const {
        launch_transpose<E, F>(queue_, from, to, 1, count_ * run_.n);
    }

    void advance(const CayleySteps<N>& a) const {
        if (team_.parts() > 1) return advance_long(queue_, c_, line_, team_, a);
        const bool few = team_.points == few_points;
        launch(queue_, few ? advance_any<N, few_points> : advance_any<N, most_points>, team_grid(team_, count_, Stepper<N, 1>::shared()),
               c_, team_, a);
    }
    void pull(const CayleyPull<N>& p, Known known) const {
        if (team_.parts() > 1) return pull_long(queue_, c_, line_, team_, p, known);
        const auto run = [&](auto few, auto most) {
            launch(queue_, team_.points == few_points ? few : most, team_grid(team_, count_, Stepper<N, 1>::shared()), c_, team_, p);
        };
        switch (known) {
            case Known::nothing: return run(pull_any<N, few_points, Known::nothing>, pull_any<N, most_points, Known::nothing>);
            case Known::last: return run(pull_any<N, few_points, Known::last>, pull_any<N, most_points, Known::last>);
            default: return run(pull_any<N, few_points, Known::all>, pull_any<N, most_points, Known::all>);
        }
    }

    const Queue& queue_;
    const CayleyRun& run_;
    const std::int64_t first_, count_;
    const Line line_;
    const Team team_;
    const Coefficients<N> c_;
};

// Calls f<S, N>(first system, their number, team) for as many systems at a time as memory is for; `numbers`: those of a point that
// they want beside coefficients. Teams of up to so many points have few a lane.
template <class F>
void for_parts(const CayleyRun& run, std::int64_t numbers, std::int64_t most_of_few, F&& f) {
    const auto parts = [&]<class S, class N>() {
        const Line line = Part<S, N>::line_of(run, 1);
        const Team team = run.n > most_points * most_team ? make_team(line, most_points, most_team)
                                                          : make_team(line, run.n <= most_of_few ? few_points : most_points);
        const std::int64_t own = run.lanewise ? 3 * (3 * run.n + team.size() / team.together()) : 0;
        const std::int64_t padded = std::max(run.n, team.points * team.lanes),
                           each = (numbers * padded + own) * static_cast<std::int64_t>(sizeof(N)),
                           together = std::clamp<std::int64_t>(most_bytes / each, 1, std::min(run.batch, most_systems));
        for (std::int64_t first = 0; first < run.batch; first += together)
            f.template operator()<S, N>(first, std::min(together, run.batch - first), team);
    };
    if (run.parts == 2)
        run.single ? parts.template operator()<Complex<float>, Complex<double>>()
                   : parts.template operator()<Complex<double>, Complex<double>>();
    else run.single ? parts.template operator()<Real<float>, Real<double>>() : parts.template operator()<Real<double>, Real<double>>();
}

}  // namespace

void advance(CayleyRun run, const CayleyForward& io, Backend backend) {
    if (backend == Backend::reference) cuda::refuse_reference();
    if (run.n == 0 || run.batch == 0) return;
    const Queue queue;
    for_parts(run, 4, few_points * most_team, [&]<class S, class N>(std::int64_t first, std::int64_t count, const Team& team) {
        Part<S, N>(queue, run, first, count, team).forward(io);
    });
}

void pull_back(const CayleyRun& run, const CayleyAdjoint& io, Backend backend, const CayleyGradients& to) {
    if (backend == Backend::reference) cuda::refuse_reference();
    const Queue queue;
    const std::size_t number = sizeof(double) * static_cast<std::size_t>(run.parts), n = static_cast<std::size_t>(run.n);
    if (to.bands) queue.zero(to.bands, 3 * number * n * static_cast<std::size_t>(run.bands_count));
    if (to.mass) queue.zero(to.mass, 3 * number * n * static_cast<std::size_t>(run.mass_count));
    if (to.z) queue.zero(to.z, number * static_cast<std::size_t>(run.z_count));
    if (run.n == 0 || run.batch == 0) return;
    const std::int64_t kept = to.bands && io.checkpoint_every ? Part<Real<double>, Real<double>>::segment_of(run, io) : 0;
    for_parts(run, kept + 20, few_points * adjoint_team(few_points),
              [&]<class S, class N>(std::int64_t first, std::int64_t count, const Team& team) {
                  Part<S, N>(queue, run, first, count, team).adjoint(io, to);
              });
}

}  // namespace qcore::schrodinger
