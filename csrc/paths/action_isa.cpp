// Actions and path networks for one instruction set. Compiled once for each, with QC_ISA naming it.
#include "paths/action_coefficients.hpp"
#include "paths/action_lanes.hpp"
#include "paths/network_lanes.hpp"

namespace qcore::QC_ISA {

namespace {

// Quadratic and quartic potentials have loops of their own where the potential is most of the work.
template <class T, Form form, class F>
void with_potential(const ActionRows& a, F&& f) {
    if constexpr (form != Form::van_vleck)
        if (a.potential.table) return f.template operator()<TablePoint<T>>();
    if constexpr (form == Form::beads || form == Form::middles) {
        if (a.potential.count == 3) return f.template operator()<PolynomialPoint<T, 3>>();
        if (a.potential.count == 5) return f.template operator()<PolynomialPoint<T, 5>>();
    }
    f.template operator()<PolynomialPoint<T>>();
}

template <class F>
void with_form(const ActionRows& a, F&& f) {
    switch (a.form) {
        case Form::beads: return f.template operator()<Form::beads>();
        case Form::corrected: return f.template operator()<Form::corrected>();
        case Form::middles: return f.template operator()<Form::middles>();
        case Form::van_vleck: return f.template operator()<Form::van_vleck>();
    }
}

template <class T>
void sums(const ActionRows& a, const void* x, std::int64_t first, std::int64_t count, ActionSums* out) {
    with_form(a, [&]<Form form>() {
        with_potential<T, form>(a, [&]<class P>() { sums_of<T, P, form>(a, static_cast<const T*>(x), first, count, out); });
    });
}

template <class T>
void gradient(const ActionRows& a, const void* x, std::int64_t first, std::int64_t count, const ActionSums* g, void* grad) {
    with_form(a, [&]<Form form>() {
        with_potential<T, form>(a, [&]<class P>() {
            gradient_of<T, P, form>(a, static_cast<const T*>(x), first, count, g, static_cast<T*>(grad));
        });
    });
}

template <class T>
void coefficients(const ActionRows& a, const void* x, std::int64_t first, std::int64_t count, const ActionSums* g, double* grad) {
    with_form(a, [&]<Form form>() { coefficients_of<T, form>(a, static_cast<const T*>(x), first, count, g, grad); });
}

template <class T, class X>
void beads(const NetworkRows& a, const void* w, std::int64_t count, void* x) {
    if (a.twice) beads_of<true>(a, static_cast<const T*>(w), count, static_cast<X*>(x));
    else beads_of<false>(a, static_cast<const T*>(w), count, static_cast<X*>(x));
}

template <class T, class X>
void adjoint(const NetworkRows& a, const void* grad_x, std::int64_t count, void* grad_w, void* grad_ini, void* grad_fin) {
    const X* const g = static_cast<const X*>(grad_x);
    T *const w = static_cast<T*>(grad_w), *const ini = static_cast<T*>(grad_ini), *const fin = static_cast<T*>(grad_fin);
    if (a.twice) adjoint_of<true>(a, g, count, w, ini, fin);
    else adjoint_of<false>(a, g, count, w, ini, fin);
}

}  // namespace

extern const paths::PathKernels action_kernels;
constinit const paths::PathKernels action_kernels{
    {sums<float>, gradient<float>, coefficients<float>},
    {sums<double>, gradient<double>, coefficients<double>},
    {beads<float, float>, beads<float, double>, adjoint<float, float>, adjoint<float, double>},
    {beads<double, double>, beads<double, double>, adjoint<double, double>, adjoint<double, double>}};

}  // namespace qcore::QC_ISA
