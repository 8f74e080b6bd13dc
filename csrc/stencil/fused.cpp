// Chooses how a call is carried out:
//   resident   planes that fit on chip: all steps of a plane in one thread's cache, planes in parallel; of small 2-D planes
//              as many together as a vector has lanes
//   wavefront  larger 1-D and 2-D planes: tiles that are streamed through many steps at once, tiles in parallel
//   sweep      the rest (large 3-D or complex planes): step by step through memory, rows in parallel
#include <algorithm>
#include <cstdlib>
#include <new>
#include <vector>

#include "core/isa.hpp"
#include "core/parallel.hpp"
#include "stencil/plan_builder.hpp"

namespace qcore {

QC_ISA_OBJECT(stencil::Kernels, stencil_kernels_f32)
QC_ISA_OBJECT(stencil::Kernels, stencil_kernels_f64)

namespace stencil {

namespace {

// Planes up to this size are stepped in place by one thread: two of them (and a trajectory, in pieces) stay in its cache.
constexpr std::int64_t resident_bytes = 256 << 10;
// A trajectory up to this size stays in one thread's cache.
constexpr std::int64_t trajectory_bytes = 1 << 20;
// Planes of vectors, one image a lane: two go to and from a thread's second-level cache; a trajectory may reach the next.
constexpr std::int64_t interleaved_bytes = 256 << 10, interleaved_trajectory_bytes = 8 << 20;
// The images that go together are one task: up to so much work, in point-steps, or where there are so many tasks.
constexpr std::int64_t interleaved_work = 1'000'000, interleaved_tasks = 16;
// Rings of a wavefront tile stay in one thread's cache up to this size.
constexpr std::int64_t ring_bytes = 448 << 10;
// Steps a wavefront goes through at once, for a kernel of radius 1.
constexpr std::int64_t forward_depth = 32;
constexpr std::int64_t backward_depth = 16;
constexpr std::int64_t least_strip = 256, least_band = 64;

// Rows are handed to threads in pieces of about this many points; fixed, so that sums don't depend on the threads.
constexpr std::int64_t piece_points = 1 << 14;

template <class F>
void parallel(std::int64_t n, F&& body) {
    parallel_for(n, max_threads(), [](void* context, std::int64_t i) { (*static_cast<F*>(context))(i); }, &body);
}

class Buffer {
  public:
    explicit Buffer(std::int64_t bytes) : data_(bytes ? std::aligned_alloc(64, (static_cast<std::size_t>(bytes) + 63) / 64 * 64) : nullptr) {
        if (bytes && !data_) throw std::bad_alloc();
    }
    ~Buffer() { std::free(data_); }
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;
    char* data() const { return static_cast<char*>(data_); }

  private:
    void* data_;
};

class Call {
  public:
    Call(const Problem& p, bool backward)
        : p_(p),
          item_size_(compute_real(p.storage) == DType::f64 ? 8 : 4),
          builder_(p, item_size_, backward),
          plan_(builder_.plan()),
          kernels_(item_size_ == 4 ? selected_stencil_kernels_f32() : selected_stencil_kernels_f64()) {}

    void forward() {
        if (plane_bytes() <= resident_bytes) {
            if (interleaves(2)) interleave();
            parallel(p_.channels * plan_.parts,
                     [&](std::int64_t i) { kernels_.resident_forward(plan_, i / plan_.parts, i % plan_.parts); });
        } else if (planar() && p_.steps > 0) {
            wavefront_forward();
        } else {
            sweep_forward();
        }
    }

    void backward() {
        const std::int64_t k = p_.options.checkpoint_every, segment = k ? std::min(k, p_.steps) : p_.steps;
        const bool resident = (segment + 1) * plane_bytes() <= trajectory_bytes || plane_bytes() * 8 <= resident_bytes;
        const bool wavefront = !resident && planar() && segment > 0 && segment * std::max<std::int64_t>(1, reach()) <= backward_depth;
        const Tiling tiling = tiles(segment, true);
        const bool told_by_output = p_.options.activation != Activation::silu;
        if (resident && told_by_output && !plan_.folds() && interleaves(segment + 1)) interleave();
        if (wavefront) plan_.parts = plan_.planes * tiling.strips * tiling.bands;
        else if (!resident) plan_.parts = pieces();
        const std::int64_t n = p_.steps * plan_.gradients();
        std::vector<double> partial(static_cast<std::size_t>(p_.channels * plan_.parts * n), 0.0);
        plan_.partial = partial.data();
        if (resident)
            parallel(p_.channels * plan_.parts,
                     [&](std::int64_t i) { kernels_.resident_backward(plan_, i / plan_.parts, i % plan_.parts); });
        else if (wavefront) wavefront_backward(tiling);
        else sweep_backward();
        item_size_ == 4 ? add_up<float>() : add_up<double>();
    }

  private:
    std::int64_t plane_bytes() const { return plan_.layout.size * item_size_; }
    std::int64_t reach() const { return std::max(plan_.rx, plan_.ry); }
    bool planar() const { return p_.depth == 1 && p_.kd == 1 && plan_.components == 1; }

    // Whether images go through the steps one a lane, `planes` planes of them in memory at a time: by shape alone, as ever.
    bool interleaves(std::int64_t planes) const {
        const std::int64_t lanes = kernels_.lanes, bytes = (p_.height + 1) * (p_.width + 2) * lanes * item_size_;
        return planar() && plan_.shape != Shape::list && plan_.split == 1 && p_.batch >= lanes && bytes <= interleaved_bytes &&
               planes * bytes <= interleaved_trajectory_bytes &&
               (lanes * p_.points() * p_.steps <= interleaved_work || p_.batch * p_.channels >= interleaved_tasks * lanes);
    }
    void interleave() {
        const std::int64_t lanes = kernels_.lanes;
        plan_.interleaved = true;
        plan_.group = (plan_.group + lanes - 1) / lanes * lanes;
        plan_.parts = (plan_.planes + plan_.group - 1) / plan_.group;
    }

    static PlaneIndex at_step(PlaneIndex index, std::int64_t step) { return {step, index.batch, index.channel, index.component}; }

    // How a plane is cut for a wavefront through n steps: by its shape alone, so that sums don't depend on the threads.
    struct Tiling {
        std::int64_t strip, strips, band, bands;
    };
    Tiling tiles(std::int64_t n, bool backward) const {
        const std::int64_t rows = backward ? (n + 1) * (n + 2) * plan_.ry + (n + 1) * 8 + n * (8 + 2 * plan_.ry)
                                           : (n + 1) * std::min(p_.height, 4 + 2 * plan_.ry);
        const std::int64_t unit = 64, most = std::max(least_strip, ring_bytes / item_size_ / std::max<std::int64_t>(1, rows));
        Tiling t;
        t.strips = (p_.width + most - 1) / most;
        t.strip = ((p_.width + t.strips - 1) / t.strips + unit - 1) / unit * unit;
        t.strips = (p_.width + t.strip - 1) / t.strip;
        t.band = std::max(least_band, 16 * n * plan_.ry);
        t.bands = std::max<std::int64_t>(1, p_.height / t.band);
        t.band = (p_.height + t.bands - 1) / t.bands;
        t.bands = (p_.height + t.band - 1) / t.band;
        return t;
    }

    // body(tile) for every tile of every plane, in parallel; the caller's tile has the steps and the fields.
    void each_tile(const Tiling& tiling, const Tile& common, void (*body)(const Plan&, const Tile&)) const {
        const std::int64_t per_plane = tiling.strips * tiling.bands, per_channel = plan_.planes * per_plane;
        parallel(p_.channels * per_channel, [&](std::int64_t i) {
            Tile tile = common;
            tile.channel = i / per_channel;
            tile.part = i % per_channel;
            tile.plane = tile.part / per_plane;
            tile.y0 = i % per_plane / tiling.strips * tiling.band;
            tile.x0 = i % tiling.strips * tiling.strip;
            tile.y1 = std::min(tile.y0 + tiling.band, p_.height);
            tile.x1 = std::min(tile.x0 + tiling.strip, p_.width);
            body(plan_, tile);
        });
    }

    // A contiguous tensor of x's shape in the compute type.
    std::int64_t tensor_bytes() const { return plan_.planes * p_.channels * p_.points() * item_size_; }
    RealField tensor(void* memory) const {
        RealField f;
        f.data = memory;
        f.dtype = item_size_ == 4 ? DType::f32 : DType::f64;
        f.x_stride = 1;
        f.y_stride = p_.width;
        f.z_stride = p_.width * p_.height;
        f.channel_stride = p_.points();
        f.batch_stride = p_.channels * f.channel_stride;
        f.component_stride = p_.batch * f.batch_stride;
        return f;
    }

    // Fields for the results of consecutive blocks; the last of `count` is `result`. Two are enough, and where `result` has
    // the compute type it is one of them.
    class Alternating {
      public:
        Alternating(const Call& call, const RealField& result, std::int64_t count)
            : result_(result), count_(count), in_place_(result.dtype == call.tensor(nullptr).dtype),
              first_(count > 1 ? call.tensor_bytes() : 0), second_(count > 2 && !in_place_ ? call.tensor_bytes() : 0),
              fields_{call.tensor(first_.data()), in_place_ ? result : call.tensor(second_.data())} {}
        const RealField& operator[](std::int64_t i) const {
            const std::int64_t left = count_ - 1 - i;
            return left == 0 ? result_ : fields_[left % 2 == 0];
        }

      private:
        RealField result_;
        std::int64_t count_;
        bool in_place_;
        Buffer first_, second_;
        RealField fields_[2];
    };

    void wavefront_forward() {
        const std::int64_t k = p_.options.checkpoint_every, steps = p_.steps;
        std::int64_t depth = std::min(std::max<std::int64_t>(1, forward_depth / std::max<std::int64_t>(1, reach())), steps);
        if (k) depth = std::min(depth, k);
        const Tiling tiling = tiles(depth, false);
        std::vector<std::int64_t> ends;
        for (std::int64_t t = 0; t < steps;) {
            std::int64_t end = std::min(t + depth, steps);
            if (k) end = std::min(end, (t / k + 1) * k);
            ends.push_back(t = end);
        }
        const bool checkpointed = k && depth == k;  // every block but the last ends in a checkpoint
        const std::int64_t blocks = static_cast<std::int64_t>(ends.size());
        const Alternating results(*this, plan_.y, checkpointed ? 1 : blocks);
        Tile tile{};
        tile.to = plan_.x;
        for (std::int64_t i = 0; i < blocks; ++i) {
            tile.from = tile.to;
            tile.from_step = tile.to_step;
            tile.t0 = i ? ends[i - 1] : 0;
            tile.t1 = ends[i];
            const bool checkpoint = k && tile.t1 % k == 0 && tile.t1 < steps && tile.t1 > 0;
            tile.to = checkpoint ? plan_.checkpoints : checkpointed ? plan_.y : results[i];
            tile.to_step = checkpoint ? tile.t1 / k - 1 : 0;
            each_tile(tiling, tile, kernels_.wavefront_forward);
        }
    }

    void wavefront_backward(const Tiling& tiling) {
        const std::int64_t steps = p_.steps, k = p_.options.checkpoint_every ? p_.options.checkpoint_every : steps;
        const std::int64_t segments = (steps + k - 1) / k;
        const Alternating results(*this, plan_.grad_x, segments);
        Tile tile{};
        tile.gradient = plan_.grad_y;
        for (std::int64_t i = 0; i < segments; ++i) {
            const std::int64_t segment = segments - 1 - i;
            tile.t0 = segment * k;
            tile.t1 = std::min(steps, tile.t0 + k);
            tile.from = segment ? plan_.checkpoints : plan_.x;
            tile.from_step = segment ? segment - 1 : 0;
            tile.to = results[i];
            each_tile(tiling, tile, kernels_.wavefront_backward);
            tile.gradient = tile.to;
        }
    }

    void sweep_forward() {
        const Buffer memory(2 * plane_bytes());
        void *u = memory.data(), *v = memory.data() + plane_bytes();
        kernels_.clear(plan_, u);
        kernels_.clear(plan_, v);
        const std::int64_t m = p_.options.states_every, k = p_.options.checkpoint_every;
        each_plane([&](PlaneIndex index) {
            read(plan_.x, index, u, false);
            for (std::int64_t t = 1; t <= p_.steps; ++t) {
                step(u, v, t - 1, index.channel);
                std::swap(u, v);
                if (m && t % m == 0) write(plan_.states, at_step(index, t / m - 1), u);
                if (k && t % k == 0 && t < p_.steps) write(plan_.checkpoints, at_step(index, t / k - 1), u);
            }
            write(plan_.y, index, u);
        });
    }

    template <class F>
    void each_plane(F&& f) const {
        for (std::int64_t c = 0; c < p_.channels; ++c)
            for (std::int64_t i = 0; i < plan_.planes; ++i) f(PlaneIndex{0, i / plan_.split, c, i % plan_.split});
    }

    std::int64_t piece_rows() const { return std::max<std::int64_t>(1, piece_points / std::max<std::int64_t>(1, p_.width)); }
    std::int64_t pieces() const { return (plan_.layout.rows() + piece_rows() - 1) / piece_rows(); }

    // f(piece, rows) for the pieces of a plane.
    template <class F>
    void each_piece(F&& f) const {
        const std::int64_t rows = piece_rows();
        parallel(pieces(), [&](std::int64_t i) { f(i, RowRange{i * rows, std::min((i + 1) * rows, plan_.layout.rows())}); });
    }

    void read(const RealField& field, PlaneIndex index, void* plane, bool add) const {
        each_piece([&](std::int64_t, RowRange rows) { kernels_.read(plan_, field, index, plane, rows, add); });
    }
    void write(const RealField& field, PlaneIndex index, const void* plane) const {
        each_piece([&](std::int64_t, RowRange rows) { kernels_.write(plan_, field, index, plane, rows); });
    }
    void step(const void* u, void* v, std::int64_t t, std::int64_t channel) const {
        each_piece([&](std::int64_t, RowRange rows) { kernels_.step(plan_, u, v, t, channel, rows); });
    }

    void sweep_backward() {
        const std::int64_t steps = p_.steps, m = p_.options.states_every;
        const std::int64_t k = p_.options.checkpoint_every ? p_.options.checkpoint_every : std::max<std::int64_t>(1, steps);
        const std::int64_t segment = std::min(k, steps), n = plan_.gradients();
        const Buffer memory((segment + 3) * plane_bytes());
        char* const trajectory = memory.data();
        for (std::int64_t i = 0; i < segment + 3; ++i) kernels_.clear(plan_, trajectory + i * plane_bytes());
        void *const g = trajectory + (segment + 1) * plane_bytes(), *const d = trajectory + (segment + 2) * plane_bytes();
        each_plane([&](PlaneIndex index) {
            read(plan_.grad_y, index, g, false);
            for (std::int64_t end = steps; end > 0;) {
                const std::int64_t begin = (end - 1) / k * k;
                if (begin == 0) read(plan_.x, index, trajectory, false);
                else read(plan_.checkpoints, at_step(index, begin / k - 1), trajectory, false);
                for (std::int64_t t = begin; t < end; ++t)
                    step(trajectory + (t - begin) * plane_bytes(), trajectory + (t - begin + 1) * plane_bytes(), t, index.channel);
                for (std::int64_t t = end - 1; t >= begin; --t) {
                    if (p_.grad_states && (t + 1) % m == 0) read(plan_.grad_states, at_step(index, (t + 1) / m - 1), g, true);
                    const char* u = trajectory + (t - begin) * plane_bytes();
                    each_piece([&](std::int64_t piece, RowRange rows) {
                        double* sums = plan_.partial + ((index.channel * plan_.parts + piece) * steps + t) * n;
                        kernels_.gate(plan_, u, u + plane_bytes(), g, d, t, index.channel, rows, sums);
                    });
                    each_piece([&](std::int64_t, RowRange rows) { kernels_.adjoint(plan_, d, g, t, index.channel, rows); });
                }
                end = begin;
            }
            write(plan_.grad_x, index, g);
        });
    }

    // The partial sums in order of their parts, channels that share parameters together.
    template <class T>
    void add_up() {
        const std::int64_t nk = p_.kernel_size(), n = plan_.gradients();
        const int per_tap = p_.complex_taps ? 2 : 1, comps = plan_.components;
        T* grad_taps = static_cast<T*>(p_.grad_taps);
        T* grad_bias = static_cast<T*>(p_.grad_bias);
        std::vector<double> sum(static_cast<std::size_t>(n));
        auto total = [&](std::int64_t t, std::int64_t first, std::int64_t stride) {
            std::fill(sum.begin(), sum.end(), 0.0);
            for (std::int64_t c = first; c < p_.channels; c += stride)
                for (std::int64_t part = 0; part < plan_.parts; ++part)
                    for (std::int64_t i = 0; i < n; ++i) sum[i] += plan_.partial[((c * plan_.parts + part) * p_.steps + t) * n + i];
        };
        for (std::int64_t t = 0; t < p_.steps; ++t) {
            for (std::int64_t c = 0; c < p_.tap_channels; ++c) {
                total(t, c, p_.tap_channels);
                T* out = grad_taps + (t * p_.tap_channels + c) * nk * per_tap;
                for (std::int64_t k = 0; k < nk; ++k) {
                    if (comps == 1) {
                        out[k * per_tap] = static_cast<T>(sum[k]);
                        continue;
                    }
                    // sum over points of d * conj(u): sums are indexed [component of d][component of u].
                    out[2 * k] = static_cast<T>(sum[k] + sum[3 * nk + k]);
                    out[2 * k + 1] = static_cast<T>(sum[2 * nk + k] - sum[nk + k]);
                }
            }
            if (!grad_bias) continue;
            for (std::int64_t c = 0; c < p_.bias_channels; ++c) {
                total(t, c, p_.bias_channels);
                for (int i = 0; i < comps; ++i) grad_bias[(t * p_.bias_channels + c) * comps + i] = static_cast<T>(sum[n - comps + i]);
            }
        }
    }

    const Problem& p_;
    std::int64_t item_size_;
    PlanBuilder builder_;
    Plan& plan_;
    const Kernels& kernels_;
};

}  // namespace

void fused_forward(const Problem& p) { Call(p, false).forward(); }
void fused_backward(const Problem& p) { Call(p, true).backward(); }

}  // namespace stencil
}  // namespace qcore
