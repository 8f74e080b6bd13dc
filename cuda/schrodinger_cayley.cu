// Cayley steps of any tridiagonal operators on a device: a thread for each system, states and coefficients interleaved so that
// neighbouring threads take neighbouring numbers, all steps between two frames in one launch. Right for any coefficients that
// elimination without pivots can take, and bound by memory for some 1e5 systems: a step reads and writes 80 bytes a point in
// complex128 (19 ps on an H200), 48 more where each system has coefficients of its own. Fewer systems wait for one another's rows.
//
// Nothing waits for the device, so that a pivot that can't be used isn't reported: the states of that system become NaN.
#include <algorithm>
#include <cmath>

#include "schrodinger/cayley_prepare.hpp"
#include "schrodinger_layout.hpp"

namespace qcore::schrodinger {

namespace {

using cuda::grid_for;
using cuda::Workspace;

constexpr int threads = 64;
constexpr std::int64_t most_bytes = std::int64_t{1} << 30;  // of the states of an adjoint run that are held at once

// --- coefficients ---

template <class N>
struct Coefficients {
    Pointer<const N> bands, mass, z;
    std::int64_t bands_count, mass_count, z_count, n, first;  // first: system of thread 0

    __device__ N z_of(std::int64_t s) const { return z[z_count > 1 ? first + s : 0]; }
    __device__ N band(int b, std::int64_t s, std::int64_t j) const { return entry(bands, bands_count, b, s, j); }
    // Of M + sign z A; 0 beyond its ends.
    __device__ N matrix(double sign, int b, std::int64_t s, std::int64_t j) const {
        if ((b == 0 && j == 0) || (b == 2 && j == n - 1)) return N{};
        const N m = mass ? entry(mass, mass_count, b, s, j) : N::of(b == 1, 0);
        return mac(z_of(s).times(sign), band(b, s, j), m);
    }

  private:
    __device__ N entry(Pointer<const N> from, std::int64_t count, int b, std::int64_t s, std::int64_t j) const {
        return from[(b * count + (count > 1 ? first + s : 0)) * n + j];
    }
};

// Numbers of row j of each system, or of all of them: `every` is how many there are of a row, 1 where they are shared.
template <class N>
struct Rows {
    Pointer<const N> at;
    std::int64_t every;

    __device__ N operator()(std::int64_t j, std::int64_t s) const { return at[every > 1 ? j * every + s : j]; }
};

// See cayley_run.hpp.
template <class N>
struct DeviceFactors {
    Rows<N> k, r, t;
};

__device__ inline double magnitude(Real<double> a) { return fabs(a.re); }
__device__ inline double magnitude(Complex<double> a) { return fabs(a.re) + fabs(a.im); }

// k, r and t of M + sign z A, [3][n][every].
template <class N>
__global__ void factor(Coefficients<N> c, double sign, std::int64_t every, Pointer<N> factors) {
    for (std::int64_t s = cuda::thread(); s < every; s += cuda::threads()) {
        N r{}, upper{};
        for (std::int64_t j = 0; j < c.n; ++j) {
            const N k = c.matrix(sign, 0, s, j) * r, diagonal = c.matrix(sign, 1, s, j), taken = k * upper, pivot = diagonal - taken;
            upper = c.matrix(sign, 2, s, j);
            r = inverse(pivot);
            const double kept = magnitude(pivot) / (magnitude(diagonal) + magnitude(taken));
            if (!(kept > lost_pivot && magnitude(r) < HUGE_VAL)) r = N::of(NAN, NAN);
            factors[j * every + s] = k;
            factors[(c.n + j) * every + s] = r;
            factors[(2 * c.n + j) * every + s] = r * upper;
        }
    }
}

// --- steps ---

template <class N>
struct Systems {
    std::int64_t n, count;
    DeviceFactors<N> factors;
    bool with_mass;
    Rows<N> lower, diagonal, upper;  // of M

    // Row j of M x for system s.
    __device__ N times_mass(Pointer<const N> x, std::int64_t j, std::int64_t s) const {
        N sum = diagonal(j, s) * x[j * count + s];
        if (j > 0) sum = mac(lower(j, s), x[(j - 1) * count + s], sum);
        if (j + 1 < n) sum = mac(upper(j, s), x[(j + 1) * count + s], sum);
        return sum;
    }
    __device__ N times_mass_transposed(Pointer<const N> x, std::int64_t j, std::int64_t s) const {
        N sum = diagonal(j, s) * x[j * count + s];
        if (j > 0) sum = mac(upper(j - 1, s), x[(j - 1) * count + s], sum);
        if (j + 1 < n) sum = mac(lower(j + 1, s), x[(j + 1) * count + s], sum);
        return sum;
    }
};

// Calls use(j, x_j), j rising or falling, with some rows on their way before they are needed.
template <bool rising, class N, class Use>
__device__ inline void each_row(std::int64_t n, std::int64_t count, std::int64_t s, Pointer<const N> x, Use use) {
    constexpr int ahead = 4;
    for (std::int64_t i = 0; i < n; i += ahead) {
        N rows[ahead];
#pragma unroll
        for (int a = 0; a < ahead; ++a)
            if (i + a < n) rows[a] = x[(rising ? i + a : n - 1 - i - a) * count + s];
#pragma unroll
        for (int a = 0; a < ahead; ++a)
            if (i + a < n) use(rising ? i + a : n - 1 - i - a, rows[a]);
    }
}

// `steps` steps, state [n][count]: from `from` to `to`, then to the next state, `ahead` numbers on (0: in place). u: scratch.
template <class N>
__global__ void advance_systems(Systems<N> a, std::int64_t steps, Pointer<const N> from, Pointer<N> to, std::int64_t ahead,
                                Pointer<N> u) {
    for (std::int64_t s = cuda::thread(); s < a.count; s += cuda::threads()) {
        Pointer<const N> psi = from;
        Pointer<N> next = to;
        for (std::int64_t m = 0; m < steps; ++m) {
            N before{};
            each_row<true>(a.n, a.count, s, psi, [&](std::int64_t j, N x) {
                before = nmac(a.factors.k(j, s), before, a.with_mass ? a.times_mass(psi, j, s) : x);
                u[j * a.count + s] = before;
            });
            N chi{};
            each_row<false>(a.n, a.count, s, Pointer<const N>(u), [&](std::int64_t j, N x) {
                const std::int64_t at = j * a.count + s;
                chi = nmac(a.factors.t(j, s), chi, a.factors.r(j, s) * x);
                next[at] = chi + chi - psi[at];
            });
            psi = next;
            next = next + ahead;
        }
    }
}

// Where chi of a step comes from: nobody asks, the state after it is traced back, or the states before and after are there.
enum class States : int { none, traced, known };

template <class N>
struct PullRows {
    DeviceFactors<N> back;  // traced: of M + z A
    Pointer<N> mu, v;       // gradient (its conjugate) behind the steps, then in front of them; scratch
    Pointer<N> after, u;    // traced: the state behind, then in front; scratch
    Pointer<const N> trajectory;  // known: steps + 1 states
    Pointer<N> sums;        // [3 or 6][n][count]
};

// With nu = T^{-T} mu: mu <- 2 M^T nu - mu, and the sums of nu_i chi_j.
template <class N, States states>
__global__ void pull_systems(Systems<N> a, PullRows<N> p, std::int64_t steps) {
    const std::int64_t n = a.n, count = a.count;
    for (std::int64_t s = cuda::thread(); s < count; s += cuda::threads())
        for (std::int64_t m = steps; m-- > 0;) {
            N v{}, u{}, t_before{};
            each_row<true>(n, count, s, Pointer<const N>(p.mu), [&](std::int64_t j, N mu) {
                v = nmac(t_before, v, mu);
                t_before = a.factors.t(j, s);
                p.v[j * count + s] = v;
                if constexpr (states == States::traced) {
                    u = nmac(p.back.k(j, s), u, a.with_mass ? a.times_mass(p.after, j, s) : p.after[j * count + s]);
                    p.u[j * count + s] = u;
                }
            });
            N nu{}, chi{}, change{}, k_next{};  // those of row j + 1
            each_row<false>(n, count, s, Pointer<const N>(p.v), [&](std::int64_t j, N row) {
                const std::int64_t at = j * count + s;
                const N nu_next = nu, chi_next = chi, change_next = change;
                nu = nmac(k_next, nu_next, a.factors.r(j, s) * row);
                k_next = a.factors.k(j, s);
                if (a.with_mass) p.v[at] = nu;
                else p.mu[at] = nu + nu - p.mu[at];
                if constexpr (states != States::none) {
                    N after;
                    if constexpr (states == States::traced) {
                        after = p.after[at];
                        chi = nmac(p.back.t(j, s), chi_next, p.back.r(j, s) * p.u[at]);
                        p.after[at] = chi + chi - after;
                    } else {
                        after = p.trajectory[(m + 1) * n * count + at];
                        chi = (p.trajectory[m * n * count + at] + after).times(0.5);
                    }
                    const auto add = [&](int band, std::int64_t i, N x, N y) {
                        const std::int64_t to = (band * n + i) * count + s;
                        p.sums[to] = mac(x, y, p.sums[to]);
                    };
                    change = chi - after;  // the state before less chi
                    add(1, j, nu, chi);
                    if (a.with_mass) add(4, j, nu, change);
                    if (j + 1 < n) {
                        add(2, j, nu, chi_next);
                        add(0, j + 1, nu_next, chi);
                        if (a.with_mass) {
                            add(5, j, nu, change_next);
                            add(3, j + 1, nu_next, change);
                        }
                    }
                }
            });
            if (a.with_mass)
                each_row<true>(n, count, s, Pointer<const N>(p.mu), [&](std::int64_t j, N mu) {
                    const N pulled = a.times_mass_transposed(p.v, j, s);
                    p.mu[j * count + s] = pulled + pulled - mu;
                });
        }
}

// The derivative of a step is 2 nu_i (z dA + A dz) chi + 2 nu_i dM (psi - chi): sums become those to A and M, to_z that to z.
template <class N>
__global__ void finish_sums(Coefficients<N> c, std::int64_t count, Pointer<N> sums, Pointer<N> to_z) {
    for (std::int64_t s = cuda::thread(); s < count; s += cuda::threads()) {
        const N z = c.z_of(s);
        N total{};
        for (int b = 0; b < 3; ++b)
            for (std::int64_t j = 0; j < c.n; ++j) {
                if ((b == 0 && j == 0) || (b == 2 && j == c.n - 1)) continue;  // what is there isn't part of A
                const std::int64_t at = (b * c.n + j) * count + s, mass = 3 * c.n * count + at;
                const N value = sums[at].times(2);
                total = mac(c.band(b, s, j), value, total);
                sums[at] = z * value;
                if (c.mass) sums[mass] = sums[mass].times(2);
            }
        to_z[s] = total;
    }
}

// --- a run ---

// Some systems of a batch: those from `first` on, in interleaved workspace.
template <class S, class N>
class Part {
  public:
    Part(const Queue& queue, const CayleyRun& run, std::int64_t first, std::int64_t count)
        : queue_(queue), run_(run), first_(first), count_(count), own_(run.lanewise ? count : 1),
          coefficients_{pointer<const N>(run.bands), pointer<const N>(run.mass), pointer<const N>(run.z), run.bands_count, run.mass_count,
                        run.z_count, run.n, first},
          factors_(queue, bytes(3 * own_)), mass_(queue, run.mass_count > 1 ? bytes(3 * count) : 0), u_(queue, bytes(count)) {
        factor_into(factors_, -1);
        systems_ = {run.n, count, rows(factors_), run.mass != nullptr, {}, {}, {}};
        if (run.mass_count > 1)
            for (int b = 0; b < 3; ++b)
                launch_transpose<N, N>(queue, pointer<const N>(reinterpret_cast<const N*>(run.mass) + (b * run.batch + first) * run.n),
                                       pointer<N>(at(mass_, b * run.n * count)), count, run.n);
        Rows<N>* const bands[] = {&systems_.lower, &systems_.diagonal, &systems_.upper};
        for (int b = 0; b < 3 && run.mass; ++b) {
            const N* const given = reinterpret_cast<const N*>(run.mass) + b * run.n;
            const void* const from = run.mass_count > 1 ? at(mass_, b * run.n * count) : given;
            *bands[b] = {pointer<const N>(from), run.mass_count > 1 ? count : 1};
        }
    }

    void forward(const CayleyForward& io) {
        const Workspace memory(queue_, bytes(count_));
        const Pointer<N> psi = pointer<N>(memory.data());
        read<S>(io.psi, 0, psi, Reading::plain);
        const auto next = [&](std::int64_t done, std::int64_t every) { return every ? (done / every + 1) * every : run_.steps; };
        for (std::int64_t done = 0; done < run_.steps;) {
            const std::int64_t checkpoint = io.kept ? io.checkpoint_every : 0, save = io.frames ? io.save_every : 0;
            const std::int64_t end = std::min({run_.steps, next(done, save), next(done, checkpoint)});
            advance(end - done, psi, psi, 0);
            done = end;
            if (save && done % save == 0) write<S>(psi, io.frames, done / save - 1, Reading::plain);
            if (checkpoint && done % checkpoint == 0 && done < run_.steps)
                write<N>(psi, io.kept, done / checkpoint - 1, Reading::plain);
        }
        if (io.kept && !io.checkpoint_every) write<N>(psi, io.kept, 0, Reading::plain);
        write<S>(psi, io.out, 0, Reading::plain);
    }

    void adjoint(const CayleyAdjoint& io, const CayleyGradients& to) {
        const bool wanted = to.bands != nullptr, traced = wanted && !io.checkpoint_every, known = wanted && !traced;
        const std::int64_t n = run_.n, segment = segment_of(run_, io);
        const Workspace mu(queue_, bytes(count_)), v(queue_, bytes(count_)), states(queue_, known ? bytes((segment + 1) * count_) : 0),
            after(queue_, traced ? bytes(count_) : 0), back(queue_, traced ? bytes(3 * own_) : 0),
            sums(queue_, wanted ? bytes((run_.mass ? 6 : 3) * count_) : 0), to_z(queue_, wanted ? bytes(count_) : 0);
        PullRows<N> p{};
        p.mu = pointer<N>(mu.data());
        p.v = pointer<N>(v.data());
        p.u = pointer<N>(u_.data());
        // What is pulled back is the derivative itself, the conjugate of what torch calls the gradient.
        read<S>(io.grad_out, 0, p.mu, Reading::conjugate);
        if (wanted) {
            queue_.zero(sums.data(), bytes((run_.mass ? 6 : 3) * count_));
            p.sums = pointer<N>(sums.data());
        }
        if (traced) {
            factor_into(back, 1);
            p.back = rows(back);
            p.after = pointer<N>(after.data());
            read<N>(io.kept, 0, p.after, Reading::plain);
        }
        for (std::int64_t end = run_.steps; end > 0;) {
            std::int64_t begin = 0;
            if (known) {
                begin = (end - 1) / segment * segment;
                const Pointer<N> first = pointer<N>(states.data());
                if (begin == 0) read<S>(io.psi, 0, first, Reading::plain);
                else read<N>(io.kept, begin / segment - 1, first, Reading::plain);
                advance(end - begin, first, first + n * count_, n * count_);
            }
            for (std::int64_t done = end; done > begin;) {
                std::int64_t stop = begin;
                if (io.grad_frames) {
                    if (done % io.save_every == 0) read<S>(io.grad_frames, done / io.save_every - 1, p.mu, Reading::add_conjugate);
                    stop = std::max(begin, (done - 1) / io.save_every * io.save_every);
                }
                if (known) p.trajectory = pointer<const N>(at(states, (stop - begin) * n * count_));
                const auto run = [&](auto kernel) { launch(queue_, kernel, grid_for(count_, threads), systems_, p, done - stop); };
                if (known) run(pull_systems<N, States::known>);
                else if (traced) run(pull_systems<N, States::traced>);
                else run(pull_systems<N, States::none>);
                done = stop;
            }
            end = begin;
        }
        write<S>(p.mu, io.grad_psi, 0, Reading::conjugate);
        if (!wanted) return;
        launch(queue_, finish_sums<N>, grid_for(count_, threads), coefficients_, count_, p.sums, pointer<N>(to_z.data()));
        hand_out(p.sums, to.bands, run_.bands_count);
        if (run_.mass) hand_out(pointer<N>(at(sums, 3 * n * count_)), to.mass, run_.mass_count);
        if (run_.z_count > 1)
            launch_transpose<N, N>(queue_, pointer<const N>(to_z.data()), pointer<N>(reinterpret_cast<N*>(to.z) + first_), 1, count_,
                                   Reading::conjugate);
        else launch_sum_rows<N, N>(queue_, pointer<const N>(to_z.data()), pointer<N>(to.z), 1, count_);
    }

    // Steps between two checkpoints.
    static std::int64_t segment_of(const CayleyRun& run, const CayleyAdjoint& io) {
        return io.checkpoint_every && io.checkpoint_every < run.steps ? io.checkpoint_every : run.steps;
    }

  private:
    std::size_t bytes(std::int64_t systems) const { return static_cast<std::size_t>(systems * run_.n) * sizeof(N); }
    static N* at(const Workspace& memory, std::int64_t numbers) { return static_cast<N*>(memory.data()) + numbers; }
    DeviceFactors<N> rows(const Workspace& memory) const {
        const auto band = [&](int b) { return Rows<N>{pointer<const N>(at(memory, b * run_.n * own_)), own_}; };
        return {band(0), band(1), band(2)};
    }
    void factor_into(const Workspace& memory, double sign) const {
        launch(queue_, factor<N>, grid_for(own_, threads), coefficients_, sign, own_, pointer<N>(memory.data()));
    }
    void advance(std::int64_t steps, Pointer<const N> from, Pointer<N> to, std::int64_t ahead) const {
        launch(queue_, advance_systems<N>, grid_for(count_, threads), systems_, steps, from, to, ahead, pointer<N>(u_.data()));
    }
    // State number `state` of a tensor (states, B, n).
    template <class E>
    void read(const void* tensor, std::int64_t state, Pointer<N> to, Reading reading) const {
        const E* const from = static_cast<const E*>(tensor) + (state * run_.batch + first_) * run_.n;
        launch_transpose<E, N>(queue_, pointer<const E>(from), to, count_, run_.n, reading);
    }
    template <class E>
    void write(Pointer<const N> from, void* tensor, std::int64_t state, Reading reading) const {
        E* const to = static_cast<E*>(tensor) + (state * run_.batch + first_) * run_.n;
        launch_transpose<N, E>(queue_, from, pointer<E>(to), run_.n, count_, reading);
    }
    // Sums [3][n][count] to gradients [3][sets][n].
    void hand_out(Pointer<const N> sums, double* to, std::int64_t sets) const {
        N* const gradient = reinterpret_cast<N*>(to);
        if (sets == 1) return launch_sum_rows<N, N>(queue_, sums, pointer<N>(gradient), 3 * run_.n, count_);
        for (int b = 0; b < 3; ++b)
            launch_transpose<N, N>(queue_, sums + b * run_.n * count_, pointer<N>(gradient + (b * run_.batch + first_) * run_.n), run_.n,
                                   count_, Reading::conjugate);
    }

    const Queue& queue_;
    const CayleyRun& run_;
    const std::int64_t first_, count_, own_;  // own_: systems with factors of their own
    const Coefficients<N> coefficients_;
    const Workspace factors_, mass_, u_;
    Systems<N> systems_;
};

template <class F>
void with_numbers(const CayleyRun& run, F&& f) {
    if (run.parts == 2)
        run.single ? f.template operator()<Complex<float>, Complex<double>>()
                   : f.template operator()<Complex<double>, Complex<double>>();
    else run.single ? f.template operator()<Real<float>, Real<double>>() : f.template operator()<Real<double>, Real<double>>();
}

}  // namespace

void advance(CayleyRun run, const CayleyForward& io, Backend) {
    if (run.n == 0 || run.batch == 0) return;
    const Queue queue;
    with_numbers(run, [&]<class S, class N>() { Part<S, N>(queue, run, 0, run.batch).forward(io); });
}

void pull_back(const CayleyRun& run, const CayleyAdjoint& io, Backend, const CayleyGradients& to) {
    const Queue queue;
    const std::size_t number = sizeof(double) * static_cast<std::size_t>(run.parts), n = static_cast<std::size_t>(run.n);
    if (to.bands) queue.zero(to.bands, 3 * number * n * static_cast<std::size_t>(run.bands_count));
    if (to.mass) queue.zero(to.mass, 3 * number * n * static_cast<std::size_t>(run.mass_count));
    if (to.z) queue.zero(to.z, number * static_cast<std::size_t>(run.z_count));
    if (run.n == 0 || run.batch == 0) return;
    with_numbers(run, [&]<class S, class N>() {
        const std::int64_t states = to.bands && io.checkpoint_every ? Part<S, N>::segment_of(run, io) + 1 : 1;
        const std::int64_t fit = most_bytes / (states * run.n * static_cast<std::int64_t>(sizeof(N))) / 32 * 32;
        const std::int64_t together = std::clamp<std::int64_t>(fit, 32, run.batch > 32 ? run.batch : 32);
        for (std::int64_t first = 0; first < run.batch; first += together)
            Part<S, N>(queue, run, first, std::min(together, run.batch - first)).adjoint(io, to);
    });
}

}  // namespace qcore::schrodinger
