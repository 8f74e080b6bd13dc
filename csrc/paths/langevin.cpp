#include "paths/langevin.hpp"

#include <algorithm>
#include <string>

#include "core/isa.hpp"
#include "paths/dynamics_call.hpp"
#include "paths/walk_kernels.hpp"

namespace qcore {
QC_ISA_OBJECT(paths::WalkKernels, walk_kernels)
}

namespace qcore::paths {

void langevin(const LangevinRun& run, Potential g, const TensorView& coefficients, const TensorView& x, const TensorView& measured,
              const TensorView& failed) {
    double padded[Potential::max_coefficients];
    g = padded_potential(g, coefficients, padded);
    const int scheme = static_cast<int>(run.scheme);
    if (scheme < 0 || scheme > static_cast<int>(LangevinScheme::exact)) fail("scheme", "a code from 0 to 4", std::to_string(scheme));
    if (run.scheme == LangevinScheme::exact) {
        bool quadratic = !g.table && g.coefficients[2] > 0;
        for (std::int64_t k = 3; quadratic && k < g.count; ++k) quadratic = g.coefficients[k] == 0;
        if (!quadratic) fail("potential", "a polynomial of second degree, with a minimum, for the exact scheme", "another");
    }
    check_positive("dt", run.dt);
    check_positive("diffusion", run.diffusion);
    check_counter("first", run.first, run.count);
    check_steps(run.first + run.count, run.steps);
    check_lags(run.lags, run.steps);
    check_real_output("x", x);
    check_axes("x", x, 1);
    check_chains(x.shape[0]);
    check_result("measured", measured, {run.count, 3 + static_cast<std::int64_t>(run.lags.size()), x.shape[0]}, {&x});
    check_result("failed", failed, {x.shape[0]}, {&x, &measured});
    LangevinTask task;
    task.run = &run;
    task.g = g;
    task.chains = x.shape[0];
    task.x = x.data;
    task.measured = static_cast<double*>(measured.data);
    task.failed = static_cast<double*>(failed.data);
    const auto blocks = [&](const auto& kernels) {
        parallel((task.chains + kernels.lanes - 1) / kernels.lanes, [&](std::int64_t block) {
            LangevinTask part = task;
            part.first_chain = block * kernels.lanes;
            part.count = static_cast<int>(std::min<std::int64_t>(kernels.lanes, task.chains - part.first_chain));
            kernels.langevin(part);
        });
    };
    const WalkKernels& kernels = selected_walk_kernels();
    if (x.dtype == DType::f32) blocks(kernels.f32);
    else blocks(kernels.f64);
}

}  // namespace qcore::paths
