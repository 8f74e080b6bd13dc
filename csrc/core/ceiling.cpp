#include "core/ceiling.hpp"

#include <algorithm>
#include <chrono>
#include <vector>

#include "core/isa.hpp"
#include "core/parallel.hpp"

namespace qcore {

QC_ISA_OBJECT(CeilingLoops, ceiling_loops)

namespace {

// Most units per second of run() -> units, over repeated runs.
template <class F>
double best_rate(double seconds, F&& run) {
    using clock = std::chrono::steady_clock;
    const auto start = clock::now();
    double best = 0;
    do {
        const auto before = clock::now();
        const double units = run();
        best = std::max(best, units / std::chrono::duration<double>(clock::now() - before).count());
    } while (std::chrono::duration<double>(clock::now() - start).count() < seconds);
    return best;
}

template <class F>
void on_threads(int threads, F&& body) {
    parallel_for(threads, threads, [](void* context, std::int64_t i) { (*static_cast<F*>(context))(i); }, &body);
}

}  // namespace

double measure_fma_rate(bool single, double seconds, int threads) {
    const CeilingLoops& loops = selected_ceiling_loops();
    std::vector<std::int64_t> done(static_cast<std::size_t>(threads));
    return best_rate(seconds, [&] {
        on_threads(threads, [&](std::int64_t i) { done[i] = (single ? loops.fma_f32 : loops.fma_f64)(200'000); });
        double sum = 0;
        for (std::int64_t n : done) sum += static_cast<double>(n);
        return sum;
    });
}

double measure_triad(double megabytes, double seconds, int threads) {
    const CeilingLoops& loops = selected_ceiling_loops();
    const std::int64_t n = std::max<std::int64_t>(1, static_cast<std::int64_t>(megabytes * 1e6 / 12)), part = (n + threads - 1) / threads;
    std::vector<float> a(n, 1.0f), b(n, 2.0f), c(n, 0.0f);
    return best_rate(seconds, [&] {
        on_threads(threads, [&](std::int64_t i) {
            const std::int64_t first = std::min(n, i * part);
            loops.triad(a.data() + first, b.data() + first, c.data() + first, std::min(part, n - first));
        });
        return 12.0 * static_cast<double>(n);
    });
}

}  // namespace qcore
