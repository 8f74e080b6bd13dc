// Cayley steps for one instruction set. Compiled once for each, with QC_ISA naming it.
#include "schrodinger/cayley_block.hpp"

namespace qcore::QC_ISA {

namespace {

template <class X, bool lanewise, bool with_mass, bool with_ends, class T>
struct Case {
    static bool forward(const CayleyRun& run, const CayleyForward& io, std::int64_t first, std::int64_t count, int groups) {
        if constexpr (!lanewise && !with_mass && !with_ends)
            if (run.down) {
                if (groups == 2) alternating_forward<X, 2, T>(run, io, first, count);
                else alternating_forward<X, 1, T>(run, io, first, count);
                return true;
            }
        (void)groups;
        return QC_ISA::forward<X, lanewise, with_mass, with_ends, T>(run, io, first, count);
    }
    static bool adjoint(const CayleyRun& run, const CayleyAdjoint& io, std::int64_t first, std::int64_t count, int) {
        return Adjoint<X, lanewise, with_mass, with_ends, T>(run, io, first, count).run();
    }
};

// Calls f.operator()<Case>() with what the run is.
template <class X, class T, class F>
bool choose(const CayleyRun& run, F f) {
    if constexpr (X::parts == 2)
        if (run.memory)
            return run.lanewise ? f(Case<X, true, false, true, T>{}) : f(Case<X, false, false, true, T>{});
    if (run.mass) return run.lanewise ? f(Case<X, true, true, false, T>{}) : f(Case<X, false, true, false, T>{});
    return run.lanewise ? f(Case<X, true, false, false, T>{}) : f(Case<X, false, false, false, T>{});
}

template <class F>
bool choose(const CayleyRun& run, F f) {
    if (run.parts == 2) return run.single ? choose<Complex, float>(run, f) : choose<Complex, double>(run, f);
    return run.single ? choose<Real, float>(run, f) : choose<Real, double>(run, f);
}

bool any_forward(const CayleyRun& run, const CayleyForward& io, std::int64_t first, std::int64_t count, int groups) {
    return choose(run, [&](auto c) { return decltype(c)::forward(run, io, first, count, groups); });
}

bool any_adjoint(const CayleyRun& run, const CayleyAdjoint& io, std::int64_t first, std::int64_t count) {
    return choose(run, [&](auto c) { return decltype(c)::adjoint(run, io, first, count, 1); });
}

}  // namespace

extern const schrodinger::CayleyKernels cayley_kernels;
constinit const schrodinger::CayleyKernels cayley_kernels{Simd<double>::width, any_forward, any_adjoint};

}  // namespace qcore::QC_ISA
