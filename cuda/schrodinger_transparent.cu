// Crank-Nicolson steps with transparent ends, from checked arguments to launches: see schrodinger_open.hpp.
#include <algorithm>
#include <string>

#include "schrodinger/transparent_run.hpp"
#include "schrodinger_layout.hpp"
#include "schrodinger_open.hpp"
#include "schrodinger_team_run.hpp"

namespace qcore::schrodinger {

namespace {

using cuda::Grid;
using cuda::SharedMemory;
using cuda::Unsupported;

std::size_t bytes(std::int64_t numbers) { return static_cast<std::size_t>(numbers) * sizeof(Number); }

Open make_open(const Transparent& t, const CayleyRun& run) {
    if (t.backend == Backend::reference) cuda::refuse_reference();
    constexpr std::int64_t most = std::int64_t{most_points} * most_team;
    if (run.n > most)
        throw Unsupported("psi: more than " + std::to_string(most) +
                          " points with transparent ends have no CUDA kernel; move the tensors to the CPU");
    return {run.n, run.batch, run.steps, t.potential.shape[0], t.kappa, t.tau, {t.left, t.right}};
}

// The weights of the ends and the coefficients of the teams, which a launch of a few kernels makes.
class Ends {
  public:
    Ends(const Queue& queue, const Open& o, const void* potential, bool derivatives)
        : line_(line_of(o)),
          team_(make_team(line_, most_points, warp)),
          weights_(queue, bytes(2 * o.sets * o.steps * (derivatives ? 3 : 1))),
          bent_(queue, bytes(o.sets * o.n)),
          coefficients_(queue, bytes(o.sets * team_.size())) {
        const std::int64_t count = 2 * o.sets * o.steps;
        const auto nu = pointer<Number>(weights_.data());
        const auto by_s = derivatives ? nu + count : Pointer<Number>{}, by_r = derivatives ? nu + 2 * count : Pointer<Number>{};
        const auto given = pointer<const double>(potential);
        launch(queue, end_weights, grid_for(2 * o.sets, 32), o, given, nu, by_s, by_r);
        launch(queue, add_ends, grid_for(o.sets * o.n, 256), o, given, nu, pointer<Number>(bent_.data()));
        const Workspace memory(queue, static_cast<std::size_t>(factor_bytes<Number>(line_, 1, line_.systems)));
        const auto factors = place_factors(pointer<Number>(memory.data()), line_, 1, o.sets, 1);
        const Stages one{0, 1};
        launch(queue, factorize<Number>, grid_for(o.sets, 32), line_, factors, pointer<const double>(bent_.data()), one);
        launch(queue, deal<Number, 0>, deal_grid(team_, o.sets), line_, team_, one, factors, pointer<Number>(coefficients_.data()));
    }

    const Team& team() const { return team_; }
    Pointer<const Number> nu() const { return pointer<const Number>(weights_.data()); }
    Pointer<const Number> bent() const { return pointer<const Number>(bent_.data()); }
    Pointer<const Number> coefficients() const { return pointer<const Number>(coefficients_.data()); }

    Grid grid(std::int64_t batch) const {
        return team_grid(team_, batch, SharedMemory::bytes<Number>(OpenMember::exchanged) +
                                           SharedMemory::bytes<Number>(2 * most_team / warp));
    }

  private:
    static Line line_of(const Open& o) {
        Line line{};
        line.n = o.n;
        line.batch = o.batch;
        line.slices = line.poles = 1;
        line.systems = o.sets;
        line.cayley = line.complex_potential = true;
        line.kappa = o.kappa;
        line.c[1] = -o.tau;
        return line;
    }

    Line line_;
    Team team_;
    Workspace weights_, bent_, coefficients_;
};

Rows<Number> rows(const void* data, bool single) {
    if (single) return {pointer<Complex<float>>(data), nullptr};
    return {nullptr, pointer<Number>(data)};
}

// Without steps the result is psi.
template <class E>
void copy(const Queue& queue, const void* from, const void* to, std::int64_t count) {
    launch_transpose(queue, pointer<const E>(from), pointer<E>(to), 1, count);
}
void copy(const Queue& queue, const void* from, const void* to, std::int64_t count, bool single) {
    single ? copy<Complex<float>>(queue, from, to, count) : copy<Number>(queue, from, to, count);
}

}  // namespace

void advance_transparent(const Transparent& t, const CayleyRun& run, const CayleyForward& io) {
    const Open o = make_open(t, run);
    if (o.batch * o.n == 0) return;
    const Queue queue;
    if (o.steps == 0) return copy(queue, io.psi, io.out, o.batch * o.n, run.single);
    const Ends ends(queue, o, t.potential.data, false);
    const Workspace past(queue, bytes(2 * o.batch * o.steps));
    OpenForward f{};
    f.from = rows(io.psi, run.single);
    f.out = rows(io.out, run.single);
    if (io.frames && io.save_every && o.steps >= io.save_every) {
        f.frames = rows(io.frames, run.single);
        f.save_every = io.save_every;
    }
    if (io.trace) {
        if (o.steps > io.checkpoint_every) f.kept = pointer<Number>(io.kept);
        f.checkpoint_every = io.checkpoint_every;
        f.trace = pointer<Number>(io.trace);
    }
    f.past = pointer<Number>(past.data());
    launch(queue, advance_open, ends.grid(o.batch), o, ends.team(), ends.coefficients(), ends.nu(), f, 0, o.steps);
}

void pull_transparent(const Transparent& t, const CayleyRun& run, const CayleyAdjoint& io, const TensorView* grad_potential,
                      const TensorView* grad_constants) {
    const Open o = make_open(t, run);
    const Queue queue;
    const bool wanted = grad_potential;
    const std::int64_t numbers = o.batch * o.n, every = io.checkpoint_every;
    if (numbers == 0 || o.steps == 0) {
        if (numbers) copy(queue, io.grad_out, io.grad_psi, numbers, run.single);
        for (const TensorView* g : {grad_potential, grad_constants})
            if (g) queue.zero(g->data, static_cast<std::size_t>(g->numel()) * sizeof(double));
        return;
    }
    const Ends ends(queue, o, t.potential.data, wanted);
    const Workspace mu(queue, bytes(numbers)), past(queue, bytes(2 * o.batch * o.steps));
    const Workspace trajectory(queue, wanted ? bytes((std::min(every, o.steps) + 1) * numbers) : 0);
    const Workspace products(queue, wanted ? bytes(numbers) : 0), change(queue, wanted ? bytes(o.batch) : 0);
    OpenAdjoint a{};
    a.mu = pointer<Number>(mu.data());
    a.past = pointer<Number>(past.data());
    a.trace = pointer<const Number>(io.trace);
    if (io.grad_frames && io.save_every && o.steps >= io.save_every) {
        a.grad_frames = rows(io.grad_frames, run.single);
        a.save_every = io.save_every;
    }
    if (wanted) {
        a.trajectory = pointer<const Number>(trajectory.data());
        a.products = pointer<Number>(products.data());
        a.change = pointer<Number>(change.data());
        queue.zero(products.data(), bytes(numbers));
        queue.zero(change.data(), bytes(o.batch));
    }
    const auto from = [&]<class E>(E) {
        launch_transpose(queue, pointer<const E>(io.grad_out), a.mu, 1, numbers, Reading::conjugate);
    };
    run.single ? from(Complex<float>{}) : from(Number{});
    for (std::int64_t end = o.steps; end > 0;) {
        const std::int64_t begin = wanted ? (end - 1) / every * every : 0;
        if (wanted) {
            OpenForward f{};
            f.from = begin ? rows(io.kept + (begin / every - 1) * numbers * 2, false) : rows(io.psi, run.single);
            f.replay = true;
            f.trace = pointer<Number>(io.trace);
            f.trajectory = pointer<Number>(trajectory.data());
            launch(queue, advance_open, ends.grid(o.batch), o, ends.team(), ends.coefficients(), ends.nu(), f, begin, end);
        }
        launch(queue, pull_open, ends.grid(o.batch), o, ends.team(), ends.coefficients(), ends.nu(), a, begin, end);
        end = begin;
    }
    const auto to = [&]<class E>(E) {
        launch_transpose<Number, E>(queue, a.mu, pointer<E>(io.grad_psi), 1, numbers, Reading::conjugate);
    };
    run.single ? to(Complex<float>{}) : to(Number{});
    if (!wanted) return;

    const std::int64_t count = 2 * o.sets * o.steps;
    const Workspace of_ends(queue, static_cast<std::size_t>(6 * o.batch) * sizeof(double));
    const auto end_parts = pointer<Real<double>>(of_ends.data());
    const Grid grid = grid_for(2 * o.batch * sum_threads, sum_threads);
    launch(queue, end_sums, Grid{grid.blocks, grid.threads, SharedMemory::bytes<double>(3 * sum_threads)}, o, ends.nu(),
           ends.nu() + count, ends.nu() + 2 * count, a.trace, a.past, end_parts);
    // Of all systems, where they share a potential.
    const bool shared = o.sets == 1;
    const Workspace turned(queue, shared ? bytes(numbers) : 0), total(queue, shared ? bytes(o.n + 4) : 0);
    OpenSums sums{a.products, a.change, end_parts, shared};
    if (shared) {
        const auto columns = pointer<Number>(turned.data()), sum = pointer<Number>(total.data());
        const auto of_end = cuda::pointer_cast<Real<double>>(sum + o.n + 1);
        queue.zero(total.data(), bytes(o.n + 4));
        launch_transpose<Number, Number>(queue, a.products, columns, o.batch, o.n);
        launch_sum_rows<Number, Number>(queue, columns, sum, o.n, o.batch);
        launch_sum_rows<Number, Number>(queue, a.change, sum + o.n, 1, o.batch);
        launch_sum_rows<Real<double>, Real<double>>(queue, end_parts, of_end, 6, o.batch);
        sums = {sum, sum + o.n, of_end, shared};
    }
    const Grid sets{dim3(static_cast<unsigned>(std::min<std::int64_t>(o.sets, 1 << 20))), dim3(sum_threads),
                    SharedMemory::bytes<double>(sum_threads)};
    launch(queue, open_gradients, sets, o, sums, pointer<const double>(t.potential.data), ends.bent(),
           pointer<double>(grad_potential->data), pointer<double>(grad_constants->data));
}

}  // namespace qcore::schrodinger
