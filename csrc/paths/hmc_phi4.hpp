// The phi^4 field on a periodic lattice as a model of HMC: a pass over the lattice kicks and drifts.
#pragma once

#include "paths/hmc_chains.hpp"

namespace qcore::QC_ISA {
namespace {

// S of a lattice, from its sums of squared differences down and right, of phi^2 and of phi^4.
QC_DEVICE inline double field_action(const paths::FieldModel& f, double down, double right, double squares, double fourth) {
    return 0.5 * (f.row_stiffness * down + f.column_stiffness * right) + f.quadratic * squares + f.quartic * fourth;
}

// p <- p + h (stiffness (neighbours - 2 phi), for both directions, - 2 quadratic phi - 4 quartic phi^3)
template <class T>
struct Kick {
    using S = Vector<T>;
    using V = typename S::V;

    QC_DEVICE Kick(V h, const paths::FieldModel& f)
        : rows(h * static_cast<T>(f.row_stiffness)), columns(h * static_cast<T>(f.column_stiffness)),
          linear(h * static_cast<T>(-2 * (f.row_stiffness + f.column_stiffness + f.quadratic))),
          cubic(h * static_cast<T>(-4 * f.quartic)) {}

    QC_DEVICE V operator()(V up, V down, V left, V right, V phi, V p) const {
        const V own = S::fma(S::fma(cubic, phi * phi, linear), phi, p);
        return S::fma(rows, up + down, S::fma(columns, left + right, own));
    }

    V rows, columns, linear, cubic;
};

template <class T>
class FieldLanes : public Fields<T, Vector<T>::width> {
    using Base = Fields<T, Vector<T>::width>;
    using Base::count_;
    using Base::p_;
    using Base::sites_;
    using Base::task_;
    using Base::x_;

  public:
    using typename Base::S;
    using typename Base::V;
    static constexpr int lanes = Base::lanes;

    static QC_HD std::int64_t scratch_bytes(const HmcTask& task) {
        return Base::scratch_bytes(task) + task.rows * static_cast<std::int64_t>(sizeof(double));
    }

    QC_DEVICE FieldLanes(const HmcTask& task, std::int64_t first_chain, int count, Scratch scratch)
        : FieldLanes(scratch.template rows<double, lanes>(task.rows), task, first_chain, count, scratch) {}

    QC_DEVICE std::int64_t observables() const { return paths::field_observables + rows_ / 2 + 1; }

    struct Sums {
        alignas(vector_bytes) double down[lanes], right[lanes], squares[lanes], fourth[lanes];

        QC_DEVICE double action(int l, const FieldLanes& model) const {
            return field_action(model.field_, down[l], right[l], squares[l], fourth[l]);
        }
        QC_DEVICE void take(const Sums& other, int l) {
            down[l] = other.down[l];
            right[l] = other.right[l];
            squares[l] = other.squares[l];
            fourth[l] = other.fourth[l];
        }
    };

    QC_LANE_KERNEL void sums(Sums& out) const {
        Totals<T> downs, rights, squares, fourth;
        for (std::int64_t y = 0; y < rows_; ++y) {
            const std::int64_t here = y * columns_;
            const std::int64_t below = (y + 1 < rows_ ? y + 1 : 0) * columns_;
            for (std::int64_t x = 0; x < columns_; ++x) {
                const V phi = at(x_, here + x), down = at(x_, below + x) - phi;
                const V right = at(x_, here + (x + 1 < columns_ ? x + 1 : 0)) - phi;
                const V square = phi * phi;
                downs.add(down * down);
                rights.add(right * right);
                squares.add(square);
                fourth.add(square * square);
            }
        }
        downs.store(out.down);
        rights.store(out.right);
        squares.store(out.squares);
        fourth.store(out.fourth);
    }

    QC_DEVICE void kinetic(double* out) const { this->half_squares(out); }
    QC_DEVICE void refresh(std::uint32_t sweep) { this->draw(sweep); }

    // Leapfrog. A row drifts as soon as the row after it has been kicked, since nothing else reads it; the first row, which the
    // last one reads, drifts at the end.
    QC_DEVICE void move(const T* step, std::int64_t steps) {
        const V h = S::load(step);
        for (std::int64_t s = 0; s <= steps; ++s) {
            const bool end = s == steps;
            const Kick<T> kick(s == 0 || end ? h * T(0.5) : h, field_);
            pass(kick, end ? V{} : h, !end);
        }
    }

    QC_LANE_KERNEL void measure(const Sums& sums, const double* weight, Memory<double> out) {
        slice_sums();
        const double sites = static_cast<double>(sites_);
        const std::int64_t lags = rows_ / 2 + 1;
        for (int l = 0; l < count_; ++l) {
            double total = 0;
            for (std::int64_t y = 0; y < rows_; ++y) total += slices_[y][l];
            const double mean = total / sites;
            const double values[] = {sums.action(l, *this) / sites, std::fabs(mean), sums.squares[l] / sites, sums.fourth[l] / sites,
                                     sites * mean * mean, weight[l]};
            for (int k = 0; k < paths::field_observables; ++k) out[k * task_.chains + l] = values[k];
        }
        out += paths::field_observables * task_.chains;
        for (std::int64_t lag = 0; lag < lags; ++lag) {
            double sum[lanes] = {};
            for (std::int64_t y = 0; y < rows_; ++y) {
                const auto a = slices_[y], b = slices_[y + lag < rows_ ? y + lag : y + lag - rows_];
                for (int l = 0; l < lanes; ++l) sum[l] += a[l] * b[l];
            }
            for (int l = 0; l < count_; ++l) out[lag * task_.chains + l] = sum[l] / sites;
        }
    }

  private:
    QC_DEVICE FieldLanes(const Rows<double, lanes>& slices, const HmcTask& task, std::int64_t first_chain, int count,
                         Scratch& scratch)
        : Base(task, first_chain, count, scratch), rows_(task.rows), columns_(task.columns), field_(task.field),
          slices_(slices) {}

    QC_DEVICE static V at(const Rows<T, lanes>& field, std::int64_t site) { return S::load(field[site]); }

    QC_LANE_KERNEL void pass(Kick<T> kick, V h, bool drifts) {
        kick_row(kick, 0);
        for (std::int64_t y = 1; y < rows_; ++y) {
            kick_row(kick, y);
            if (drifts && y > 1) drift_row(h, y - 1);
        }
        if (!drifts) return;
        if (rows_ > 1) drift_row(h, rows_ - 1);
        drift_row(h, 0);
    }

    // Rows are held in locals, which stores through vectors cannot have changed; the last column is on its own.
    QC_DEVICE void kick_row(const Kick<T>& kick, std::int64_t y) {
        const Rows<T, lanes> field = x_, momenta = p_;
        const std::int64_t here = y * columns_, last = columns_ - 1;
        const std::int64_t up = (y ? y - 1 : rows_ - 1) * columns_, down = (y + 1 < rows_ ? y + 1 : 0) * columns_;
        const V first = at(field, here);
        V left = at(field, here + last), phi = first;
        for (std::int64_t x = 0; x < last; ++x) {
            const V right = at(field, here + x + 1);
            S::store(momenta[here + x], kick(at(field, up + x), at(field, down + x), left, right, phi, at(momenta, here + x)));
            left = phi;
            phi = right;
        }
        const V p = at(momenta, here + last);
        S::store(momenta[here + last], kick(at(field, up + last), at(field, down + last), left, first, phi, p));
    }

    QC_DEVICE void drift_row(V h, std::int64_t y) {
        const Rows<T, lanes> field = x_, momenta = p_;
        const std::int64_t end = (y + 1) * columns_;
        for (std::int64_t i = y * columns_; i < end; ++i) S::store(field[i], S::fma(h, at(momenta, i), at(field, i)));
    }

    // Of the field over each row.
    QC_DEVICE void slice_sums() {
        for (std::int64_t y = 0; y < rows_; ++y) {
            Totals<T> sum;
            for (std::int64_t x = 0; x < columns_; ++x) sum.add(at(x_, y * columns_ + x));
            sum.store(slices_[y]);
        }
    }

    std::int64_t rows_, columns_;
    paths::FieldModel field_;
    Rows<double, lanes> slices_;
};

}  // namespace
}  // namespace qcore::QC_ISA
