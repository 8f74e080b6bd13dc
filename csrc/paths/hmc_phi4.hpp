// The phi^4 field on a periodic lattice as a model of HMC: a pass over the lattice kicks and drifts.
#pragma once

#include "paths/hmc_chains.hpp"

namespace qcore::QC_ISA {
namespace {

template <class T>
class FieldLanes : public Fields<T, Simd<T>::width> {
    using Base = Fields<T, Simd<T>::width>;
    using Base::old_;
    using Base::p_;
    using Base::sites_;
    using Base::task_;
    using Base::x_;

  public:
    using typename Base::S;
    using typename Base::V;
    static constexpr int lanes = Base::lanes;

    explicit FieldLanes(const HmcTask& task)
        : Base(task, 3, task.rows * lanes * static_cast<std::int64_t>(sizeof(double) / sizeof(T))), rows_(task.rows),
          columns_(task.columns), field_(*task.field), slices_(reinterpret_cast<double*>(old_ + sites_ * lanes)) {}

    std::int64_t observables() const { return paths::field_observables + rows_ / 2 + 1; }

    struct Sums {
        alignas(vector_bytes) double down[lanes], right[lanes], squares[lanes], fourth[lanes];

        double action(int l, const FieldLanes& model) const {
            const paths::FieldModel& f = model.field_;
            return 0.5 * (f.row_stiffness * down[l] + f.column_stiffness * right[l]) + f.quadratic * squares[l] + f.quartic * fourth[l];
        }
        void take(const Sums& other, int l) {
            down[l] = other.down[l];
            right[l] = other.right[l];
            squares[l] = other.squares[l];
            fourth[l] = other.fourth[l];
        }
    };

    QC_KERNEL void sums(Sums& out) const {
        Totals<T> downs, rights, squares, fourth;
        for (std::int64_t y = 0; y < rows_; ++y) {
            const T* const here = row(x_, y);
            const T* const below = row(x_, y + 1 < rows_ ? y + 1 : 0);
            for (std::int64_t x = 0; x < columns_; ++x) {
                const V phi = at(here, x), down = at(below, x) - phi, right = at(here, x + 1 < columns_ ? x + 1 : 0) - phi;
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

    void kinetic(double* out) const { this->half_squares(p_, out); }
    void refresh(std::uint32_t sweep) { this->draw(sweep); }

    // Leapfrog. A row drifts as soon as the row after it has been kicked, since nothing else reads it; the first row, which the
    // last one reads, drifts at the end.
    void move(const T* step, std::int64_t steps) {
        const V h = S::load(step);
        for (std::int64_t s = 0; s <= steps; ++s) {
            const bool end = s == steps;
            const Kick kick(s == 0 || end ? h * T(0.5) : h, field_);
            pass(kick, end ? V{} : h, !end);
        }
    }

    QC_KERNEL void measure(const Sums& sums, const double* weight, double* out) {
        slice_sums();
        const double sites = static_cast<double>(sites_);
        const std::int64_t lags = rows_ / 2 + 1;
        for (int l = 0; l < task_.count; ++l) {
            double total = 0;
            for (std::int64_t y = 0; y < rows_; ++y) total += slices_[y * lanes + l];
            const double mean = total / sites;
            const double values[] = {sums.action(l, *this) / sites, std::fabs(mean), sums.squares[l] / sites, sums.fourth[l] / sites,
                                     sites * mean * mean, weight[l]};
            for (int k = 0; k < paths::field_observables; ++k) out[k * task_.chains + task_.first_chain + l] = values[k];
        }
        out += paths::field_observables * task_.chains + task_.first_chain;
        for (std::int64_t lag = 0; lag < lags; ++lag) {
            double sum[lanes] = {};
            for (std::int64_t y = 0; y < rows_; ++y) {
                const double* const a = slices_ + y * lanes;
                const double* const b = slices_ + (y + lag < rows_ ? y + lag : y + lag - rows_) * lanes;
                for (int l = 0; l < lanes; ++l) sum[l] += a[l] * b[l];
            }
            for (int l = 0; l < task_.count; ++l) out[lag * task_.chains + l] = sum[l] / sites;
        }
    }

  private:
    // p <- p + h (stiffness (neighbours - 2 phi), for both directions, - 2 quadratic phi - 4 quartic phi^3)
    struct Kick {
        Kick(V h, const paths::FieldModel& f)
            : rows(h * static_cast<T>(f.row_stiffness)), columns(h * static_cast<T>(f.column_stiffness)),
              linear(h * static_cast<T>(-2 * (f.row_stiffness + f.column_stiffness + f.quadratic))),
              cubic(h * static_cast<T>(-4 * f.quartic)) {}

        V operator()(V up, V down, V left, V right, V phi, V p) const {
            const V own = S::fma(S::fma(cubic, phi * phi, linear), phi, p);
            return S::fma(rows, up + down, S::fma(columns, left + right, own));
        }

        V rows, columns, linear, cubic;
    };

    T* row(T* base, std::int64_t y) const { return base + y * columns_ * lanes; }
    static V at(const T* base, std::int64_t x) { return S::load(base + x * lanes); }

    QC_KERNEL void pass(Kick kick, V h, bool drifts) {
        kick_row(kick, 0);
        for (std::int64_t y = 1; y < rows_; ++y) {
            kick_row(kick, y);
            if (drifts && y > 1) drift_row(h, y - 1);
        }
        if (!drifts) return;
        if (rows_ > 1) drift_row(h, rows_ - 1);
        drift_row(h, 0);
    }

    void kick_row(const Kick& kick, std::int64_t y) {
        const T* const up = row(x_, y ? y - 1 : rows_ - 1);
        const T* const here = row(x_, y);
        const T* const down = row(x_, y + 1 < rows_ ? y + 1 : 0);
        T* const p = row(p_, y);
        const V first = at(here, 0);
        V left = at(here, columns_ - 1), phi = first;
        for (std::int64_t x = 0; x + 1 < columns_; ++x) {
            const V right = at(here, x + 1);
            S::store(p + x * lanes, kick(at(up, x), at(down, x), left, right, phi, at(p, x)));
            left = phi;
            phi = right;
        }
        const std::int64_t x = columns_ - 1;
        S::store(p + x * lanes, kick(at(up, x), at(down, x), left, first, phi, at(p, x)));
    }

    void drift_row(V h, std::int64_t y) {
        T* const phi = row(x_, y);
        const T* const p = row(p_, y);
        for (std::int64_t x = 0; x < columns_; ++x) S::store(phi + x * lanes, S::fma(h, at(p, x), at(phi, x)));
    }

    // Of the field over each row.
    void slice_sums() {
        for (std::int64_t y = 0; y < rows_; ++y) {
            Totals<T> sum;
            for (std::int64_t x = 0; x < columns_; ++x) sum.add(at(row(x_, y), x));
            sum.store(slices_ + y * lanes);
        }
    }

    std::int64_t rows_, columns_;
    paths::FieldModel field_;
    double* slices_;
};

}  // namespace
}  // namespace qcore::QC_ISA
