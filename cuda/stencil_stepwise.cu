// The chain step by step through memory, for every grid, kernel size, boundary and type: one launch a step, a thread a point.
// Obviously right, and what the fast kernels are compared with (backend "reference"). A step reads and writes every state once:
// memory bandwidth bounds it.
#include "stencil.hpp"
#include "stencil_sums.hpp"

namespace qcore::stencil {

namespace {

constexpr int block = 256;
// Trajectories up to this size are kept whole while their gradients are computed, longer ones in two levels.
constexpr std::int64_t trajectory_bytes = std::int64_t{256} << 20;
// Points of a channel whose parameter gradients one block sums up: fixed, so that the sums don't depend on the device.
constexpr std::int64_t points_of_part = std::int64_t{block} * 32;
constexpr int taps_at_once = 8;

struct Axis {
    std::int64_t size;
    int radius;
};

// What a step is made of but for its taps.
struct Step {
    std::int64_t batch, channels;
    Axis z, y, x;
    bool shared_taps, shared_bias;
    Boundary boundary;
    Activation activation;
    double slope, skip;

    explicit Step(const Problem& p)
        : batch(p.batch), channels(p.channels), z{p.depth, static_cast<int>(p.kd / 2)}, y{p.height, static_cast<int>(p.kh / 2)},
          x{p.width, static_cast<int>(p.kw / 2)}, shared_taps(p.tap_channels == 1), shared_bias(p.bias_channels == 1),
          boundary(p.options.boundary), activation(p.options.activation), slope(p.options.slope), skip(p.options.skip) {}

    QC_HD std::int64_t points() const { return z.size * y.size * x.size; }
    QC_HD std::int64_t total() const { return batch * channels * points(); }
    QC_HD int taps() const { return (2 * z.radius + 1) * (2 * y.radius + 1) * (2 * x.radius + 1); }
    QC_HD std::int64_t tap_row(std::int64_t c) const { return shared_taps ? 0 : c * taps(); }
};

// A point of a contiguous (B, C, D, H, W) field.
struct Point {
    std::int64_t b, c, z, y, x;

    QC_HD Point(const Step& s, std::int64_t i) {
        x = i % s.x.size, i /= s.x.size;
        y = i % s.y.size, i /= s.y.size;
        z = i % s.z.size, i /= s.z.size;
        c = i % s.channels, b = i / s.channels;
    }
};

// v = the field, or v += the field.
template <class S, class T>
__global__ void read_kernel(Step s, Elements<const T> field, Pointer<S> v, bool add) {
    for (std::int64_t i = cuda::thread(); i < s.total(); i += cuda::threads()) {
        const Point p(s, i);
        const S value = from_storage<S>(field.data[p.b * field.batch_stride + p.c * field.channel_stride + p.z * field.z_stride +
                                                   p.y * field.y_stride + p.x * field.x_stride]);
        v[i] = add ? v[i] + value : value;
    }
}

template <class S, class T>
__global__ void write_kernel(std::int64_t n, Pointer<const S> u, Pointer<T> out) {
    for (std::int64_t i = cuda::thread(); i < n; i += cuda::threads()) out[i] = T(u[i]);
}

// Sum over the taps of what they read, and the bias.
template <class S, class K>
__device__ S pre_activation(const Step& s, const Point& p, Pointer<const K> taps, Pointer<const K> bias, Pointer<const S> plane) {
    S sum = bias ? S(bias[s.shared_bias ? 0 : p.c]) : S(0);
    std::int64_t k = s.tap_row(p.c);
    const std::int64_t centre = k + s.taps() / 2;
    for (int dz = -s.z.radius; dz <= s.z.radius; ++dz)
        for (int dy = -s.y.radius; dy <= s.y.radius; ++dy)
            for (int dx = -s.x.radius; dx <= s.x.radius; ++dx, ++k) {
                const std::int64_t z = source_index(p.z + dz, s.z.size, s.boundary);
                const std::int64_t y = source_index(p.y + dy, s.y.size, s.boundary);
                const std::int64_t x = source_index(p.x + dx, s.x.size, s.boundary);
                if (z < 0 || y < 0 || x < 0) continue;
                const K tap = k == centre ? taps[k] + K(s.skip) : taps[k];
                sum = sum + plane[(z * s.y.size + y) * s.x.size + x] * tap;
            }
    return sum;
}

// v = the state after u, or, with `gradient`, v = v times the derivative of the activation there.
template <class S, class K>
__global__ void step_kernel(Step s, Pointer<const K> taps, Pointer<const K> bias, Pointer<const S> u, Pointer<S> v, bool gradient) {
    using R = typename RealOf<S>::Type;
    const std::int64_t n = s.total();
    for (std::int64_t i = cuda::thread(); i < n; i += cuda::threads()) {
        const Point p(s, i);
        const S z = pre_activation(s, p, taps, bias, u + i / s.points() * s.points());
        if constexpr (is_complex_number<S>) v[i] = z;
        else v[i] = gradient ? v[i] * activate_derivative(z, s.activation, R(s.slope)) : activate(z, s.activation, R(s.slope));
    }
}

// f(q, k) for every point q of an axis whose tap k reads point p. A boundary never leads further from p than the tap reaches.
template <class F>
__device__ void each_reader(const Axis& axis, Boundary boundary, std::int64_t p, F&& f) {
    const std::int64_t n = axis.size, r = axis.radius;
    const bool folds = boundary == Boundary::reflect || boundary == Boundary::replicate;
    if (folds && (p <= r || p >= n - 1 - r)) {
        for (std::int64_t q = p > r ? p - r : 0; q <= p + r && q < n; ++q)
            for (int k = 0; k <= 2 * r; ++k)
                if (source_index(q + k - r, n, boundary) == p) f(q, k);
        return;
    }
    for (int k = 0; k <= 2 * r; ++k) {
        const std::int64_t q = source_index(p + r - k, n, boundary);
        if (q >= 0) f(q, k);
    }
}

// g = the adjoint of the step's linear part, of d.
template <class S, class K>
__global__ void adjoint_kernel(Step s, Pointer<const K> taps, Pointer<const S> d, Pointer<S> g) {
    const std::int64_t n = s.total();
    const int ny = 2 * s.y.radius + 1, nx = 2 * s.x.radius + 1, centre = s.taps() / 2;
    for (std::int64_t i = cuda::thread(); i < n; i += cuda::threads()) {
        const Point p(s, i);
        const auto plane = d + i / s.points() * s.points();
        const auto row = taps + s.tap_row(p.c);
        S sum(0);
        each_reader(s.z, s.boundary, p.z, [&](std::int64_t z, int kz) {
            each_reader(s.y, s.boundary, p.y, [&](std::int64_t y, int ky) {
                each_reader(s.x, s.boundary, p.x, [&](std::int64_t x, int kx) {
                    const int k = (kz * ny + ky) * nx + kx;
                    const K tap = k == centre ? row[k] + K(s.skip) : row[k];
                    sum = sum + plane[(z * s.y.size + y) * s.x.size + x] * conjugate(tap);
                });
            });
        });
        g[i] = sum;
    }
}

// Sums over one part of a channel's points of d conj(what the tap read), for some of its taps and, last, of d alone.
// Block (part, channel, group of taps) -> partial[channel][part][taps() + 1].
template <class S>
__global__ void gradient_kernel(Step s, Pointer<const S> u, Pointer<const S> d, Pointer<Sum<S>> partial, std::int64_t parts) {
    cuda::SharedMemory shared;
    const auto scratch = shared.array<Sum<S>>(static_cast<int>(blockDim.x / 32));
    const int sums = s.taps() + 1, groups = (sums + taps_at_once - 1) / taps_at_once;
    const int ny = 2 * s.y.radius + 1, nx = 2 * s.x.radius + 1;
    for (std::int64_t item = blockIdx.x; item < groups * parts * s.channels; item += gridDim.x) {
        const int first = static_cast<int>(item % groups) * taps_at_once;
        const std::int64_t part = item / groups % parts, c = item / groups / parts;
        const std::int64_t end = (part + 1) * points_of_part < s.batch * s.points() ? (part + 1) * points_of_part : s.batch * s.points();
        Sum<S> total[taps_at_once];
        for (int j = 0; j < taps_at_once; ++j) total[j] = Sum<S>(0.0);
        for (std::int64_t j = part * points_of_part + threadIdx.x; j < end; j += blockDim.x) {
            const std::int64_t plane = (j / s.points() * s.channels + c) * s.points();
            const Point p(s, plane + j % s.points());
            const Sum<S> dp = widen(d[plane + j % s.points()]);
#pragma unroll
            for (int t = 0; t < taps_at_once; ++t) {
                const int k = first + t;
                if (k == s.taps()) total[t] = total[t] + dp;
                if (k >= s.taps()) continue;
                const std::int64_t z = source_index(p.z + k / (nx * ny) - s.z.radius, s.z.size, s.boundary);
                const std::int64_t y = source_index(p.y + k / nx % ny - s.y.radius, s.y.size, s.boundary);
                const std::int64_t x = source_index(p.x + k % nx - s.x.radius, s.x.size, s.boundary);
                if (z < 0 || y < 0 || x < 0) continue;
                total[t] = total[t] + dp * conjugate(widen(u[plane + (z * s.y.size + y) * s.x.size + x]));
            }
        }
        for (int t = 0; t < taps_at_once; ++t) {
            const Sum<S> sum = block_sum(total[t], scratch);
            if (threadIdx.x == 0 && first + t < sums) partial[(c * parts + part) * sums + first + t] = sum;
        }
    }
}

template <class S, class T, class K>
class Stepwise {
  public:
    explicit Stepwise(const Problem& p) : p_(p), step_(p), n_(step_.total()) {}

    void forward() {
        const Workspace memory(queue_, 2 * state_bytes());
        Pointer<S> u = state(memory, 0), v = state(memory, 1);
        const std::int64_t m = p_.options.states_every, k = p_.options.checkpoint_every;
        read<T>(p_.x, 0, u, false);
        for (std::int64_t t = 1; t <= p_.steps; ++t) {
            step(t - 1, u, v, false);
            std::swap(u, v);
            if (m && t % m == 0) write<T>(u, p_.states, t / m - 1);
            if (k && t % k == 0 && t < p_.steps) write<S>(u, p_.checkpoints, t / k - 1);
        }
        write<T>(u, p_.y, 0);
    }

    // From segment to segment, last first: the states of a segment are recomputed from its checkpoint, every `stride`-th in a
    // first pass, then those between, stride by stride.
    void backward() {
        const std::int64_t k = p_.options.checkpoint_every ? p_.options.checkpoint_every : p_.steps, m = p_.options.states_every;
        const std::int64_t segment = k < p_.steps ? k : p_.steps;
        std::int64_t stride = segment;
        if ((segment + 1) * state_bytes() > trajectory_bytes) stride = static_cast<std::int64_t>(std::sqrt(static_cast<double>(segment)));
        if (stride < 1) stride = 1;
        const std::int64_t coarse = (segment + stride - 1) / stride;
        const std::int64_t parts = (p_.batch * p_.points() + points_of_part - 1) / points_of_part;
        const std::int64_t sums = p_.kernel_size() + 1;
        const Workspace memory(queue_, (coarse + stride + 3) * state_bytes());
        const Workspace partial(queue_, parts * p_.channels * sums * sizeof(Sum<S>));
        const auto coarse_state = [&](std::int64_t i) { return state(memory, i); };
        const auto fine_state = [&](std::int64_t i) { return state(memory, coarse + i); };
        Pointer<S> g = fine_state(stride + 1), d = fine_state(stride + 2);

        read<T>(p_.grad_y, 0, g, false);
        for (std::int64_t end = p_.steps; end > 0;) {
            const std::int64_t begin = (end - 1) / k * k;
            begin == 0 ? read<T>(p_.x, 0, coarse_state(0), false) : read<S>(p_.checkpoints, begin / k - 1, coarse_state(0), false);
            for (std::int64_t t = begin, from = 0; t + stride < end; t += stride, ++from) {
                run(t, t + stride, coarse_state(from), [&](std::int64_t i) { return i == t + stride ? coarse_state(from + 1) : fine_state((i - t) % 2); });
            }
            for (std::int64_t last = end; last > begin;) {
                const std::int64_t first = begin + (last - 1 - begin) / stride * stride;
                const Pointer<S> start = coarse_state((first - begin) / stride);
                const auto at = [&](std::int64_t i) { return i == first ? start : fine_state(i - first); };
                run(first, last - 1, start, at);
                for (std::int64_t t = last - 1; t >= first; --t) {
                    if (p_.grad_states && (t + 1) % m == 0) read<T>(p_.grad_states, (t + 1) / m - 1, g, true);
                    if (p_.options.activation != Activation::none) step(t, at(t), g, true);
                    gradient(t, at(t), g, pointer<Sum<S>>(partial.data()), parts);
                    launch(queue_, adjoint_kernel<S, K>, cuda::grid_for(n_, block), step_, taps(t), Pointer<const S>(g), d);
                    std::swap(g, d);
                }
                last = first;
            }
            end = begin;
        }
        write<T>(g, p_.grad_x, 0);
    }

  private:
    std::size_t state_bytes() const { return (static_cast<std::size_t>(n_) * sizeof(S) + 255) / 256 * 256; }
    Pointer<S> state(const Workspace& memory, std::int64_t i) const {
        return pointer<S>(static_cast<char*>(memory.data()) + static_cast<std::size_t>(i) * state_bytes());
    }
    Pointer<const K> taps(std::int64_t t) const { return pointer<const K>(p_.taps) + t * p_.tap_channels * p_.kernel_size(); }
    Pointer<const K> bias(std::int64_t t) const {
        return p_.bias ? pointer<const K>(p_.bias) + t * p_.bias_channels : Pointer<const K>(nullptr);
    }

    template <class E>
    void read(const Field& field, std::int64_t step, Pointer<S> v, bool add) const {
        launch(queue_, read_kernel<S, E>, cuda::grid_for(n_, block), step_, Elements<const E>(field, step), v, add);
    }
    template <class E>
    void write(Pointer<S> u, const Field& field, std::int64_t step) const {
        launch(queue_, write_kernel<S, E>, cuda::grid_for(n_, block), n_, Pointer<const S>(u), Elements<E>(field, step).data);
    }
    void step(std::int64_t t, Pointer<S> u, Pointer<S> v, bool gradient) const {
        launch(queue_, step_kernel<S, K>, cuda::grid_for(n_, block), step_, taps(t), bias(t), Pointer<const S>(u), v, gradient);
    }
    // Steps first ... last - 1 from `u`; the state after step t goes to at(t + 1).
    template <class F>
    void run(std::int64_t first, std::int64_t last, Pointer<S> u, F&& at) const {
        for (std::int64_t t = first; t < last; ++t) {
            step(t, u, at(t + 1), false);
            u = at(t + 1);
        }
    }

    void gradient(std::int64_t t, Pointer<S> u, Pointer<S> d, Pointer<Sum<S>> partial, std::int64_t parts) const {
        const std::int64_t sums = p_.kernel_size() + 1, groups = (sums + taps_at_once - 1) / taps_at_once;
        cuda::Grid grid = cuda::grid_for(groups * parts * p_.channels, 1);
        grid.threads = dim3(block);
        grid.shared = cuda::SharedMemory::bytes<Sum<S>>(block / 32);
        launch(queue_, gradient_kernel<S>, grid, step_, Pointer<const S>(u), Pointer<const S>(d), partial, parts);
        add_up<Sum<S>, K>(queue_, p_, t, 1, Pointer<const Sum<S>>(partial), parts);
    }

    const Problem& p_;
    Step step_;
    std::int64_t n_;
    Queue queue_;
};

}  // namespace

void stepwise_forward(const Problem& p) {
    with_types(p, [&](auto types) {
        using X = decltype(types);
        Stepwise<typename X::S, typename X::T, typename X::K>(p).forward();
    });
}

void stepwise_backward(const Problem& p) {
    with_types(p, [&](auto types) {
        using X = decltype(types);
        Stepwise<typename X::S, typename X::T, typename X::K>(p).backward();
    });
}

}  // namespace qcore::stencil
