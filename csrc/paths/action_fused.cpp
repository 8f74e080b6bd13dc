// The actions on the CPU: a batch in blocks, with memory for what is in between.
#include <vector>

#include "paths/action_blocks.hpp"
#include "paths/action_reference.hpp"
#include "paths/action_rows.hpp"

namespace qcore::paths {

namespace {

// Rows of parameters become beads in scratch, so many at once.
constexpr std::int64_t fused_rows = 8;

// The arrays of a call from one path on.
struct Rows {
    const ActionCall& p;
    const PathKernels& kernels = p.reference ? reference_action_kernels : selected_action_kernels();

    const ActionKernels& of_beads() const { return p.single && p.from_beads ? kernels.f32 : kernels.f64; }
    const NetworkKernels& of_network() const { return p.single ? kernels.network_f32 : kernels.network_f64; }

    const char* at(const void* data, std::int64_t element) const {
        return data ? static_cast<const char*>(data) + element * (p.single ? 4 : 8) : nullptr;
    }
    char* at(void* data, std::int64_t element) const { return const_cast<char*>(at(static_cast<const void*>(data), element)); }

    NetworkRows network(std::int64_t row) const {
        NetworkRows here = p.network;
        here.x_ini = at(here.x_ini, row), here.x_fin = at(here.x_fin, row);
        return here;
    }
};

}  // namespace

void compute_action(const ActionCall& p) {
    const Rows rows{p};
    const std::int64_t block = block_rows(p.rows.beads), beads = p.rows.beads;
    const std::size_t of_sums = static_cast<std::size_t>(block) * sizeof(ActionSums);
    const std::size_t of_beads = p.from_beads ? 0 : static_cast<std::size_t>(fused_rows * beads) * sizeof(double);
    in_parallel((p.batch + block - 1) / block, threads_for(p.batch, beads), [&](std::int64_t i) {
        const std::int64_t first = i * block, count = std::min(block, p.batch - first);
        double* const path = static_cast<double*>(thread_scratch(of_sums + of_beads));
        ActionSums* const sums = reinterpret_cast<ActionSums*>(path + of_beads / sizeof(double));
        if (p.from_beads) {
            rows.of_beads().sums(p.rows, rows.at(p.x, first * beads), first, count, sums);
        } else {
            for (std::int64_t done = 0; done < count; done += fused_rows) {
                const std::int64_t row = first + done, some = std::min(fused_rows, count - done);
                rows.of_network().beads_double(rows.network(row), rows.at(p.x, row * p.given), some, path);
                rows.of_beads().sums(p.rows, path, row, some, sums + done);
            }
        }
        for (int r = 0; r < p.factors.rows; ++r)
            for (std::int64_t b = 0; b < count; ++b) p.out[r * p.batch + first + b] = p.factors.combined(r, sums[b]);
    });
}

void compute_action_gradient(const ActionCall& p) {
    const Rows rows{p};
    const std::int64_t beads = p.rows.beads, length = p.from_beads ? beads : p.given;
    // At most 64 chunks, by the batch alone: each sums its paths' derivatives by a shared potential apart, in order.
    const std::int64_t chunk = std::max(block_rows(beads), (p.batch + 63) / 64), chunks = (p.batch + chunk - 1) / chunk;
    const std::int64_t numbers = p.coefficients;
    const bool shared = p.rows.next_potential == 0;
    double* const of_coefficients = p.grad_coefficients;
    std::vector<double> partial(of_coefficients && shared ? static_cast<std::size_t>(chunks * numbers) : 0);
    if (of_coefficients) std::fill_n(of_coefficients, numbers, 0.0);

    const std::size_t of_beads = p.from_beads ? 0 : static_cast<std::size_t>(fused_rows * beads);
    in_parallel(chunks, threads_for(p.batch, beads), [&](std::int64_t i) {
        const std::int64_t first = i * chunk, end = std::min(first + chunk, p.batch);
        double* const path = static_cast<double*>(thread_scratch(2 * of_beads * sizeof(double)));
        double* const grad_path = path + of_beads;
        ActionSums pulled[fused_rows];
        for (std::int64_t row = first; row < end; row += fused_rows) {
            const std::int64_t some = std::min(fused_rows, end - row);
            for (std::int64_t k = 0; k < some; ++k) pulled[k] = p.factors.pulled(p.grad + row + k, p.batch);
            const void* here = rows.at(p.x, row * length);
            void* const out = rows.at(p.grad_x, row * length);
            const NetworkRows network = rows.network(row);
            if (!p.from_beads) {
                rows.of_network().beads_double(network, here, some, path);
                here = path;
            }
            rows.of_beads().gradient(p.rows, here, row, some, pulled, p.from_beads ? out : grad_path);
            if (of_coefficients)
                rows.of_beads().coefficients(p.rows, here, row, some, pulled,
                                             shared ? partial.data() + i * numbers
                                                    : of_coefficients + row * p.rows.next_potential);
            if (!p.from_beads)
                rows.of_network().adjoint_double(network, grad_path, some, out, rows.at(p.grad_ini, row),
                                                 rows.at(p.grad_fin, row));
            if (p.hold_ends)
                for (std::int64_t k = 0; k < some; ++k)
                    for (const std::int64_t bead : {std::int64_t{0}, beads - 1}) {
                        if (p.single) static_cast<float*>(out)[k * beads + bead] = 0;
                        else static_cast<double*>(out)[k * beads + bead] = 0;
                    }
        }
    });
    if (of_coefficients && shared)
        for (std::int64_t i = 0; i < chunks; ++i)
            for (std::int64_t k = 0; k < numbers; ++k) of_coefficients[k] += partial[static_cast<std::size_t>(i * numbers + k)];
}

}  // namespace qcore::paths
