#include "stencil/plan_builder.hpp"

#include <algorithm>
#include <complex>

namespace qcore::stencil {

namespace {

constexpr std::int64_t line = 64;  // bytes; rows start on cache lines, whatever the instruction set

constexpr std::int64_t page = 4096;  // bytes

// Work of one group of planes, in point-steps: long against handing it to a thread, short against the whole.
constexpr std::int64_t group_work = 200'000;

std::int64_t round_up(std::int64_t n, std::int64_t unit) { return (n + unit - 1) / unit * unit; }

RealField real_field(const Field& f) {
    RealField r;
    const std::int64_t scale = is_complex(f.dtype) ? 2 : 1;
    r.data = f.data;
    r.dtype = f.dtype == DType::c64 ? DType::f32 : f.dtype == DType::c128 ? DType::f64 : f.dtype;
    r.component_stride = scale - 1;
    r.step_stride = f.step_stride * scale;
    r.batch_stride = f.batch_stride * scale;
    r.channel_stride = f.channel_stride * scale;
    r.z_stride = f.z_stride * scale;
    r.y_stride = f.y_stride * scale;
    r.x_stride = f.x_stride * scale;
    return r;
}

}  // namespace

PlanBuilder::PlanBuilder(const Problem& p, std::int64_t item_size, bool backward)
    : problem_(p), item_size_(item_size), backward_(backward) {
    plan_.problem = &problem_;
    const bool complex_field = is_complex(p.storage);
    plan_.components = complex_field && p.complex_taps ? 2 : 1;
    plan_.split = complex_field && !p.complex_taps ? 2 : 1;
    plan_.rz = p.kd / 2;
    plan_.ry = p.kh / 2;
    plan_.rx = p.kw / 2;
    plan_.x = real_field(p.x);
    plan_.y = real_field(p.y);
    plan_.states = real_field(p.states);
    plan_.checkpoints = real_field(p.checkpoints);
    plan_.grad_x = real_field(p.grad_x);
    plan_.grad_y = real_field(p.grad_y);
    plan_.grad_states = real_field(p.grad_states);
    plan_.planes = p.batch * plan_.split;
    const std::int64_t work = std::max<std::int64_t>(1, p.points() * plan_.components * std::max<std::int64_t>(1, p.steps));
    plan_.group = std::max<std::int64_t>(1, std::min(plan_.planes, group_work / work));
    plan_.parts = (plan_.planes + plan_.group - 1) / plan_.group;
    build_layout();
    item_size == 4 ? build_taps<float>() : build_taps<double>();
}

void PlanBuilder::build_layout() {
    const Problem& p = problem_;
    const std::int64_t rz = plan_.rz, ry = plan_.ry, rx = plan_.rx, unit = line / item_size_;
    PlaneLayout& l = plan_.layout;
    l.width = p.width;
    l.height = p.height;
    l.depth = p.depth;
    l.components = plan_.components;
    // Between two rows stands a pad. Where nothing is copied into it, it is zero and serves as halo of both rows; else it holds
    // a halo for each. A row's last vector is stored whole, so the halo of the next row keeps clear of it. The adjoint of a
    // folding boundary looks twice as far.
    l.halo = plan_.folds() ? 2 * rx : rx;
    l.pitch = p.options.boundary == Boundary::zero ? round_up(p.width + rx, unit)
                                                   : round_up(std::max(round_up(p.width, unit), p.width + rx) + rx, unit);
    const std::int64_t margin = round_up(std::max<std::int64_t>(l.halo, 1), unit);
    // Planes follow each other half a page apart, modulo the page: at equal or close page offsets a load of one plane would wait
    // for unrelated stores to the other (the processor compares the low 12 bits of addresses first).
    const std::int64_t half_page = page / 2 / item_size_, least = margin + (2 + l.rows()) * l.pitch + margin + unit;
    l.size = round_up(least + half_page, 2 * half_page) - half_page;

    row_.reserve(static_cast<std::size_t>(l.rows()));
    for (std::int64_t r = 0; r < l.rows(); ++r) row_.push_back(margin + (1 + r) * l.pitch);
    // The zero row, above all others; a second one below them, where rows that follow each other find it at their own pitch.
    const std::ptrdiff_t zero_row = margin, zero_row_below = margin + (1 + l.rows()) * l.pitch;
    auto table = [&](std::int64_t reach_z, std::int64_t reach_y, Boundary boundary, std::vector<std::ptrdiff_t>& out) {
        out.reserve(static_cast<std::size_t>(plan_.components * (p.depth + 2 * reach_z) * (p.height + 2 * reach_y)));
        for (int c = 0; c < plan_.components; ++c)
            for (std::int64_t z = -reach_z; z < p.depth + reach_z; ++z)
                for (std::int64_t y = -reach_y; y < p.height + reach_y; ++y) {
                    const std::int64_t sz = source_index(z, p.depth, boundary), sy = source_index(y, p.height, boundary);
                    const bool last = y >= p.height && c + 1 == plan_.components && z + 1 >= p.depth;
                    out.push_back(sz >= 0 && sy >= 0 ? row_[(c * p.depth + sz) * p.height + sy] : last ? zero_row_below : zero_row);
                }
    };
    table(rz, ry, p.options.boundary, source_);
    if (backward_ && plan_.folds()) table(2 * rz, 2 * ry, Boundary::zero, zero_source_);
    l.row = row_.data();
    l.source = source_.data();
    l.zero_source = zero_source_.data();
}

template <class T>
void PlanBuilder::build_taps() {
    const Problem& p = problem_;
    const std::int64_t nk = p.kernel_size(), n_taps = p.steps * p.tap_channels;
    const int components = plan_.components;
    const T* given = static_cast<const T*>(p.taps);
    const int per_tap = p.complex_taps ? 2 : 1;
    // Component `part` (0 real, 1 imaginary) of a merged tap.
    auto tap = [&](std::int64_t tc, std::int64_t k, int part) {
        const T value = given[(tc * nk + k) * per_tap + part];
        return k == nk / 2 && part == 0 ? static_cast<T>(value + static_cast<T>(p.options.skip)) : value;
    };

    // Which taps are zero throughout. An offset's place in the kernel is k; the centre always counts.
    std::vector<char> used(nk, 0);
    used[nk / 2] = 1;
    for (std::int64_t tc = 0; tc < n_taps; ++tc)
        for (std::int64_t k = 0; k < nk; ++k)
            if (given[(tc * nk + k) * per_tap] != T(0) || (per_tap == 2 && given[(tc * nk + k) * 2 + 1] != T(0))) used[k] = 1;

    std::vector<std::int64_t> places;
    const bool planar3x3 = components == 1 && p.kd == 1 && p.kh == 3 && p.kw == 3;
    const bool star = planar3x3 && !used[0] && !used[2] && !used[6] && !used[8];
    plan_.shape = star ? Shape::star5 : planar3x3 ? Shape::box3x3 : Shape::list;
    for (std::int64_t k = 0; k < nk; ++k) {
        const bool corner = k == 0 || k == 2 || k == 6 || k == 8;
        if (plan_.shape == Shape::box3x3 || (star ? !corner : used[k] != 0)) places.push_back(k);
    }
    const std::int64_t n = static_cast<std::int64_t>(places.size());

    // Lists over (input component, tap). Rows of the wider table of a folding boundary are counted with its own pitch.
    auto offsets = [&](Offsets& list, const std::vector<std::int64_t>& ks, bool flipped, std::int64_t reach_z, std::int64_t reach_y,
                       int input_components) {
        const std::int64_t rows_y = p.height + 2 * reach_y, rows_z = p.depth + 2 * reach_z;
        list.relative.reserve(ks.size() * static_cast<std::size_t>(input_components));
        list.dx.reserve(ks.size() * static_cast<std::size_t>(input_components));
        for (int c = 0; c < input_components; ++c)
            for (std::int64_t k : ks) {
                const std::int64_t place = flipped ? nk - 1 - k : k;
                const std::int64_t kz = place / (p.kh * p.kw), ky = place / p.kw % p.kh, kx = place % p.kw;
                list.relative.push_back((c * rows_z + kz) * rows_y + ky);
                list.dx.push_back(kx - plan_.rx);
            }
        const bool square = p.kd == 1 && p.kh == p.kw && static_cast<std::int64_t>(list.dx.size()) == nk;
        return TapList{static_cast<std::int64_t>(list.dx.size()), list.relative.data(), list.dx.data(), square ? static_cast<int>(p.kw) : 0};
    };
    plan_.forward = offsets(forward_, places, false, plan_.rz, plan_.ry, components);

    // A complex product as four real ones.
    auto fill = [&](std::vector<char>& memory, const std::vector<std::int64_t>& ks, bool conjugate) {
        memory.resize(n_taps * components * components * n * sizeof(T));
        T* out = reinterpret_cast<T*>(memory.data());
        for (std::int64_t tc = 0; tc < n_taps; ++tc)
            for (int to = 0; to < components; ++to)
                for (int from = 0; from < components; ++from) {
                    const T sign = to != from && (to < from) != conjugate ? T(-1) : T(1);
                    for (std::int64_t i = 0; i < n; ++i) *out++ = sign * tap(tc, ks[i], to != from);
                }
    };
    fill(taps_, places, false);
    if (backward_) {
        std::vector<std::int64_t> reversed(places.rbegin(), places.rend()), all(nk);
        for (std::int64_t k = 0; k < nk; ++k) all[k] = k;
        plan_.adjoint = offsets(adjoint_, reversed, true, plan_.rz, plan_.ry, components);
        plan_.fold = offsets(fold_, reversed, true, 2 * plan_.rz, 2 * plan_.ry, components);
        plan_.gradient = offsets(gradient_, all, false, plan_.rz, plan_.ry, 1);
        fill(adjoint_taps_, reversed, true);
    }
    plan_.taps = taps_.data();
    plan_.adjoint_taps = adjoint_taps_.data();
    plan_.bias = p.bias;
}

}  // namespace qcore::stencil
