// From the checked arguments of a run in one dimension to what kernels take.
#pragma once

#include <algorithm>
#include <string>

#include "schrodinger/evolve.hpp"
#include "schrodinger_factors.hpp"
#include "schrodinger_layout.hpp"

namespace qcore::schrodinger {
namespace {

inline Line make_line(const Evolution& e, std::int64_t batch) {
    Line line{};
    line.n = e.potential.shape[2];
    line.batch = batch;
    line.slices = e.potential.shape[0];
    line.systems = e.potential.shape[1];
    line.poles = e.c.shape[0];
    if (line.poles > most_poles)
        throw cuda::Unsupported("c: more than " + std::to_string(most_poles) +
                          " stages in a step have no CUDA kernel; move the tensors to the CPU");
    line.kappa = e.kappa;
    line.reach = e.order == 2 && e.kappa != 0 ? 0 : e.order == 6 ? 2 : 1;
    line.mass = e.order == 4 ? 1.0 / 12 : e.order == 6 ? 2.0 / 15 : 0.0;
    line.quartic = e.order == 6 ? 1.0 / 20 : 0.0;
    line.periodic = e.boundary == Boundary::periodic;
    line.cayley = e.rule == Rule::cayley;
    line.complex_potential = is_complex(e.potential.dtype);
    std::copy_n(static_cast<const double*>(e.c.data), 2 * line.poles, line.c);
    return line;
}

// Calls f with a value of a tensor's numbers.
template <class F>
void with_numbers(DType dtype, F f) {
    switch (dtype) {
        case DType::f32: return f(Real<float>{});
        case DType::f64: return f(Real<double>{});
        case DType::c64: return f(Complex<float>{});
        default: return f(Complex<double>{});
    }
}

}  // namespace
}  // namespace qcore::schrodinger
