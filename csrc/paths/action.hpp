// Actions of given paths. With steps of length dt between the N + 1 beads x_0 ... x_N of a path, every short-time action here is a
// linear form in three sums over the path:
//     kinetic    A = sum_n (x_{n+1} - x_n)^2 / 2
//     potential  P = sum w_n V(x_n), or the sum of V((x_n + x_{n+1}) / 2) over the links
//     correction Q = sum q_n V'(x_n)^2, or the sum of log(1 - lambda V'') over the links
// The weights follow from the scheme. A periodic path is given by N beads; its last link leads from x_{N-1} to x_0.
#pragma once

#include "core/tensor_view.hpp"

namespace qcore::paths {

// The codes of the schemes, as the bindings take them.
enum class Scheme : int { trapezoid, endpoint, startpoint, takahashi_imada, chin4, midpoint, midpoint_van_vleck };

// What is given for a path: its beads, its velocities on the links, or the jumps of its velocity.
enum class Parameters : int { beads, velocity, acceleration };

enum class ActionBackend : int { fused, reference };

struct Action {
    // The potential, float64: coefficients (K,) or (B, K), K from 1 to 16, or the cells (n, 4) of a table.
    TensorView coefficients;
    bool table;
    double start, spacing;
    Scheme scheme;
    bool periodic;
    double lambda;  // dt^2 / (4 m) in imaginary time, the negative of it in real time; for midpoint_van_vleck
    // Where the beads follow from parameters (see network.hpp); both of shape (B,) and the type of x, or null.
    Parameters parameters;
    double dt;
    const TensorView *x_ini, *x_fin;
    bool hold_ends;  // the derivatives by the first and the last bead are zero; for beads alone
    ActionBackend backend;
};

// out (R, B) float64, R from 1 to 3: out_{rb} = sum_j factors_{rj} (A, P, Q)_{bj} for factors (R, 3) float64 and x (B, M) in float32
// or float64: beads, or parameters. Throws std::invalid_argument.
void action(const Action& a, const TensorView& x, const TensorView& factors, const TensorView& out);

// The derivatives of sum_{rb} grad_{rb} out_{rb}, each into an array shaped like what it belongs to. grad_ini and grad_fin are
// given where x_ini and x_fin are; grad_coefficients is null where it isn't wanted.
void action_gradient(const Action& a, const TensorView& x, const TensorView& factors, const TensorView& grad, const TensorView& grad_x,
                     const TensorView* grad_ini, const TensorView* grad_fin, const TensorView* grad_coefficients);

}  // namespace qcore::paths
