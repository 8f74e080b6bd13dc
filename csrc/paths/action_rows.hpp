// What the entry points of the actions and their kernels agree on.
#pragma once

#include <cstdint>

#include "core/config.hpp"
#include "core/isa.hpp"
#include "paths/potential.hpp"

namespace qcore::paths {

// Where V is taken, and what else of it: on beads all of weight one but for the ends; on beads with weights that alternate and with
// V'^2; on the middles of links; there with log(1 - lambda V'').
enum class Form : int { beads, corrected, middles, van_vleck };

// Weights of the beads: inner ones by the parity of their number, and the ends.
struct BeadWeights {
    double even = 1, odd = 1, first = 1, last = 1;
};

struct ActionRows {
    std::int64_t beads;  // of a path; rows follow each other without a gap
    Potential potential;
    std::int64_t next_potential;  // coefficients from one path's potential to the next one's, 0 if they share it
    Form form;
    bool periodic;
    BeadWeights plain, squared;  // w_n and q_n
    double lambda;
};

// A, P and Q of a path, or what their derivatives are multiplied by.
struct ActionSums {
    double kinetic = 0, potential = 0, correction = 0;
};

// Paths number first to first + count; x points to the beads of the first of them, the other arrays too.
struct ActionKernels {
    void (*sums)(const ActionRows& a, const void* x, std::int64_t first, std::int64_t count, ActionSums* sums);
    void (*gradient)(const ActionRows& a, const void* x, std::int64_t first, std::int64_t count, const ActionSums* grad, void* grad_x);
    // Adds to grad, and goes on by next_potential from path to path.
    void (*coefficients)(const ActionRows& a, const void* x, std::int64_t first, std::int64_t count, const ActionSums* grad_sums,
                         double* grad);
};

// Beads from parameters: `given` numbers a path, into rows of given + 1 beads, or given + 2 where x_fin isn't null.
struct NetworkRows {
    std::int64_t given;
    bool twice;  // acceleration: sum twice
    double dt;
    const void *x_ini, *x_fin;  // one a path, from the first of the block
};

struct NetworkKernels {
    void (*beads)(const NetworkRows& a, const void* w, std::int64_t count, void* x);
    void (*beads_double)(const NetworkRows& a, const void* w, std::int64_t count, void* x);  // x in double whatever w is
    // grad_ini and grad_fin may be null.
    void (*adjoint)(const NetworkRows& a, const void* grad_x, std::int64_t count, void* grad_w, void* grad_ini, void* grad_fin);
    void (*adjoint_double)(const NetworkRows& a, const void* grad_x, std::int64_t count, void* grad_w, void* grad_ini, void* grad_fin);
};

// factors (R, 3): out_r = sum_j by[r][j] (A, P, Q)_j. A factor of zero leaves its sum out, whatever that is.
struct ActionFactors {
    static constexpr int most = 3;
    double by[most][3];
    int rows;

    QC_HD double combined(int r, const ActionSums& s) const {
        double sum = 0;
        if (by[r][0] != 0) sum += by[r][0] * s.kinetic;
        if (by[r][1] != 0) sum += by[r][1] * s.potential;
        if (by[r][2] != 0) sum += by[r][2] * s.correction;
        return sum;
    }
    // What a gradient to the rows of out, `stride` apart, is to the three sums.
    template <class P>
    QC_HD ActionSums pulled(P grad, std::int64_t stride) const {
        ActionSums g;
        for (int r = 0; r < rows; ++r) {
            const double of = grad[r * stride];
            if (by[r][0] != 0) g.kinetic += by[r][0] * of;
            if (by[r][1] != 0) g.potential += by[r][1] * of;
            if (by[r][2] != 0) g.correction += by[r][2] * of;
        }
        return g;
    }
};

// A call of `action` or `action_gradient`, checked.
struct ActionCall {
    ActionRows rows;
    NetworkRows network;
    ActionFactors factors;
    std::int64_t batch, given, coefficients;  // of the last all numbers there are
    bool from_beads, single, reference, hold_ends;
    const void* x;
    double* out;

    const double* grad;
    void *grad_x, *grad_ini, *grad_fin;
    double* grad_coefficients;
};
void compute_action(const ActionCall& p);
void compute_action_gradient(const ActionCall& p);

// A call of `integrate` or its adjoint, checked; for the latter x, w and the ends are the gradients to them.
struct NetworkCall {
    std::int64_t batch, given;
    bool twice, single, pinned;  // pinned: there is an x_fin
    double dt;
    void *w, *x, *x_ini, *x_fin;
};
void compute_beads(const NetworkCall& p);
void compute_beads_adjoint(const NetworkCall& p);

struct PathKernels {
    ActionKernels f32, f64;
    NetworkKernels network_f32, network_f64;
};

}  // namespace qcore::paths

namespace qcore {
QC_ISA_OBJECT(paths::PathKernels, action_kernels)
}
