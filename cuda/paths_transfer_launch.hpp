// The host's side of the transfer kernels: how many threads and blocks, where lines lie, and memory for sums and states.
#pragma once

#include <algorithm>
#include <type_traits>

#include "paths_transfer.hpp"

namespace qcore::transfer {

// Problems whose lines don't fit are run in global memory, so many at a time.
constexpr std::int64_t most_blocks = 1 << 16, most_far_blocks = 1024;
// Gradients that problems share are summed in up to so many parts. Constants, and no properties of a device: sums don't depend
// on it.
constexpr std::int64_t most_tasks = 1024, sum_bytes = 256 << 20, work_bytes = std::int64_t{1} << 30;

// Whole warps, enough for the sites of a line.
inline unsigned threads_for(std::int64_t sites, int sites_of_a_thread) {
    const std::int64_t warps = (sites + 32 * sites_of_a_thread - 1) / (32 * sites_of_a_thread);
    return static_cast<unsigned>(32 * std::clamp<std::int64_t>(warps, 1, most_threads / 32));
}

template <class Rule>
Arrays<typename Rule::Scalar> arrays_of(const Plan& p) {
    using T = typename Rule::Scalar;
    using cuda::pointer;
    if (p.kernel > std::int64_t{1} << 30)
        throw cuda::Unsupported("taps: more than 2^30 have no CUDA kernel; move the tensors to the CPU");
    Arrays<T> a{};
    a.sites = p.sites;
    a.batch = p.batch;
    a.steps = p.steps;
    a.keep_every = p.keep_every;
    a.segment = p.segment();
    a.size = (p.sites + Rule::sites - 1) / Rule::sites * Rule::sites + p.kernel + 6;  // threads read more than they need
    a.tap_steps = p.tap_steps;
    a.tap_batch = p.tap_batch;
    a.factor_steps = p.factor_steps;
    a.factor_batch = p.factor_batch;
    a.kernel = static_cast<int>(p.kernel);
    a.periodic = p.periodic;
    a.scaled = p.scaled;
    a.psi = pointer<const T>(p.psi);
    a.psi_sign = pointer<const T>(p.psi_sign);
    a.taps = pointer<const T>(p.taps);
    a.taps_sign = pointer<const T>(p.taps_sign);
    a.factor = pointer<const T>(p.factor);
    a.factor_sign = pointer<const T>(p.factor_sign);
    a.out = pointer<T>(p.out);
    a.kept = pointer<T>(p.kept);
    if (p.scaled) a.exponents = pointer<double>(p.second);
    else a.signs = pointer<T>(p.second);
    a.grad = pointer<const T>(p.grad);
    a.grad_psi = pointer<T>(p.grad_psi);
    a.ends = pointer<const double>(p.ends);
    a.path = pointer<double>(p.path);
    return a;
}

// Calls `launched(resident, grid)` with memory for `numbers` lines' and `more` other numbers of a block, the latter always in
// global memory. `resident` is a constant that tells where the former lie.
template <class T, class F>
void with_memory(const cuda::Queue& queue, Arrays<T>& a, std::int64_t pieces, std::int64_t numbers, std::int64_t more,
                 std::int64_t blocks, unsigned threads, F&& launched) {
    const std::size_t scratch = SharedMemory::bytes<T>(most_threads / 32);
    // Every piece begins on 16 bytes.
    const std::int64_t wanted = numbers * static_cast<std::int64_t>(sizeof(T)) + 16 * pieces + static_cast<std::int64_t>(scratch);
    const bool resident = wanted <= static_cast<std::int64_t>(queue.shared_per_block());
    cuda::Grid grid{dim3(static_cast<unsigned>(blocks)), dim3(threads), resident ? static_cast<std::size_t>(wanted) : scratch};
    a.work_size = (resident ? 0 : numbers) + more;
    const cuda::Workspace work(queue, static_cast<std::size_t>(a.work_size * blocks) * sizeof(T));
    a.work = cuda::pointer<T>(work.data());
    if (resident) launched(std::true_type{}, grid);
    else launched(std::false_type{}, grid);
}

// A block for each problem.
template <class Rule>
void run_forward_in_blocks(const Plan& p) {
    using T = typename Rule::Scalar;
    const cuda::Queue queue;
    Arrays<T> a = arrays_of<Rule>(p);
    const std::int64_t numbers = Run<Rule, true>::numbers(a.size, a.sites, a.kernel, p.factor != nullptr);
    const bool near = numbers * static_cast<std::int64_t>(sizeof(T)) < 96 * 1024;
    const std::int64_t blocks = std::min(p.batch, near ? most_blocks : most_far_blocks);
    with_memory(queue, a, 4, numbers, 0, blocks, threads_for(p.sites, Rule::sites), [&](auto resident, const cuda::Grid& grid) {
        cuda::launch(queue, forward_kernel<Rule, resident>, grid, a);
    });
}

// Sums in float64 for the gradients to taps and factors, and how many blocks take part.
template <class T>
class GradientSums {
  public:
    GradientSums(const cuda::Queue& queue, const Plan& p, std::int64_t parts, std::int64_t work_of_a_block)
        : queue_(queue), plan_(p), parts_(parts) {
        const std::int64_t shared = (p.grad_taps && p.tap_batch == 1 ? p.tap_numbers(parts) : 0) +
                                    (p.grad_factor && p.factor_batch == 1 ? p.factor_numbers(parts) : 0);
        tasks_ = std::min(p.batch, most_tasks);
        if (shared) tasks_ = std::min(tasks_, sum_bytes / (8 * shared));
        if (work_of_a_block) tasks_ = std::min(tasks_, work_bytes / work_of_a_block);
        tasks_ = std::max<std::int64_t>(tasks_, 1);
        taps_ = p.grad_taps ? p.tap_numbers(parts) * (p.tap_batch == 1 ? tasks_ : 1) : 0;
        factors_ = p.grad_factor ? p.factor_numbers(parts) * (p.factor_batch == 1 ? tasks_ : 1) : 0;
    }
    std::int64_t tasks() const { return tasks_; }

    // Calls f with the sums in the arrays, then brings them into the gradients.
    template <class F>
    void with_sums(Arrays<T>& a, F&& f) const {
        const std::size_t bytes = static_cast<std::size_t>(taps_ + factors_) * sizeof(double);
        const cuda::Workspace sums(queue_, bytes);
        queue_.zero(sums.data(), bytes);
        double* const data = static_cast<double*>(sums.data());
        if (plan_.grad_taps) a.sum_taps = cuda::pointer<double>(data);
        if (plan_.grad_factor) a.sum_factor = cuda::pointer<double>(data + taps_);
        f();
        add_up(a.sum_taps, taps_, plan_.tap_numbers(parts_), plan_.grad_taps);
        add_up(a.sum_factor, factors_, plan_.factor_numbers(parts_), plan_.grad_factor);
    }

  private:
    void add_up(Pointer<double> sums, std::int64_t numbers, std::int64_t count, void* out) const {
        if (!out || count == 0) return;
        cuda::launch(queue_, add_up_kernel<T>, cuda::grid_for(count, 256), sums, numbers / count, count, cuda::pointer<T>(out));
    }

    const cuda::Queue& queue_;
    const Plan& plan_;
    std::int64_t parts_, tasks_ = 1, taps_ = 0, factors_ = 0;
};

}  // namespace qcore::transfer
