// Paths of step and ReLU networks as running sums along rows, lane by lane and chunk by chunk.
#pragma once

#include "paths_action.hpp"

namespace qcore::paths {

// The beads of one item: next() goes on by as many as there are lanes.
template <class T>
class Integration {
  public:
    __device__ Integration(const Share& share, Pointer<const T> w, std::int64_t given, bool twice, double dt, double x_ini)
        : share_(share), w_(w), given_(given), twice_(twice), dt_(dt), x_ini_(x_ini), bead_(x_ini) {}

    // x_n and x_{n+1} for link n = (number of the call) lanes + lane; beyond the given ones the last bead.
    __device__ void next(double& here, double& to) {
        const std::int64_t n = done_ + share_.lane();
        double sum = share_.running(n < given_ ? static_cast<double>(w_[n]) : 0.0);
        if (twice_) {
            const double speed = speed_ + sum;
            speed_ = share_.last(speed);
            sum = share_.running(n < given_ ? speed : 0.0);
        }
        const double way = way_ + sum;
        way_ = share_.last(way);
        to = x_ini_ + dt_ * way;
        const double before = share_.previous(to);
        here = share_.lane() == 0 ? bead_ : before;
        bead_ = share_.last(to);
        done_ += share_.lanes;
    }

  private:
    const Share& share_;
    Pointer<const T> w_;
    std::int64_t given_, done_ = 0;
    bool twice_;
    double dt_, x_ini_, bead_, speed_ = 0, way_ = 0;
};

// Beads in X, for the gradient of an action float64 whatever w is.
void integrate_rows(const cuda::Queue& queue, const NetworkCall& p, bool in_double);
void integrate_rows_adjoint(const cuda::Queue& queue, const NetworkCall& p, bool in_double);

}  // namespace qcore::paths
