// Elementary functions of a double as VectorMath has them: what chains are steered by then rounds the same on every machine, GPUs
// included, which the C library's functions do not.
#pragma once

#include "core/vector_math.hpp"

namespace qcore::QC_ISA {
namespace {

QC_DEVICE inline double exp_of(double x) {
    using S = Vector<double>;
    return S::lane(VectorMath<double>::exp(typename S::V{} + x), 0);
}

// Of each of n numbers, as many as fill whole vectors.
QC_DEVICE inline void exp_each(double* v, int n) {
    using S = Vector<double>;
    for (int i = 0; i < n; i += S::width) S::store(v + i, VectorMath<double>::exp(S::load(v + i)));
}

QC_DEVICE inline double log_of(double x) {
    using S = Vector<double>;
    return S::lane(VectorMath<double>::log(typename S::V{} + x), 0);
}

// x^y, x > 0.
QC_DEVICE inline double power_of(double x, double y) { return exp_of(y * log_of(x)); }

QC_DEVICE inline void sincos_of(double x, double& s, double& c) {
    using S = Vector<double>;
    typename S::V sine, cosine;
    VectorMath<double>::sincos(typename S::V{} + x, sine, cosine);
    s = S::lane(sine, 0);
    c = S::lane(cosine, 0);
}

}  // namespace
}  // namespace qcore::QC_ISA
