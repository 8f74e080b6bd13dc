// The chain as plain loops over points and taps. Slow on purpose: it is what the fast kernels are compared with.
#include <complex>
#include <cstring>
#include <type_traits>
#include <vector>

#include "core/parallel.hpp"
#include "stencil/problem.hpp"

namespace qcore::stencil {

namespace {

template <class S>
struct is_complex_scalar : std::false_type {};
template <class R>
struct is_complex_scalar<std::complex<R>> : std::true_type {};

// Storage element <-> scalar of the computation.
template <class S, class T>
S from_storage(T value) {
    if constexpr (std::is_same_v<T, bfloat16>) return S(static_cast<float>(value));
    else return S(value);
}
template <class T, class S>
T to_storage(S value) {
    if constexpr (is_complex_scalar<S>::value && !is_complex_scalar<T>::value) return T(value.real());
    else return T(value);
}

template <class S>
S conjugate(S value) {
    if constexpr (is_complex_scalar<S>::value) return std::conj(value);
    else return value;
}

// S: scalar of the computation; T: storage; K: scalar of the taps (S, or its real type).
template <class S, class T, class K>
class Reference {
  public:
    explicit Reference(const Problem& p) : p_(p), n_(p.points()) {}

    void forward() {
        for_channels([](Reference& self, std::int64_t c) {
            std::vector<S> u(self.n_), v(self.n_);
            for (std::int64_t b = 0; b < self.p_.batch; ++b) {
                self.load(self.p_.x, 0, b, c, u);
                for (std::int64_t t = 0; t < self.p_.steps; ++t) {
                    self.pre_activation(t, c, u, v);
                    self.apply_activation(v);
                    u.swap(v);
                    self.store_extras(t + 1, b, c, u);
                }
                self.template store<T>(self.p_.y, 0, b, c, u);
            }
        });
    }

    void backward() {
        const std::int64_t nk = p_.kernel_size();
        grad_taps_.assign(p_.channels * p_.steps * nk, {});
        grad_bias_.assign(p_.channels * p_.steps, {});
        for_channels([](Reference& self, std::int64_t c) { self.backward_channel(c); });

        // Channels that share taps or a bias share its gradient.
        K* gk = static_cast<K*>(p_.grad_taps);
        for (std::int64_t t = 0; t < p_.steps; ++t)
            for (std::int64_t ct = 0; ct < p_.tap_channels; ++ct)
                for (std::int64_t k = 0; k < nk; ++k) {
                    Sum sum{};
                    for (std::int64_t c = ct; c < p_.channels; c += p_.tap_channels) sum += grad_taps_[(c * p_.steps + t) * nk + k];
                    gk[(t * p_.tap_channels + ct) * nk + k] = narrow(sum);
                }
        if (!p_.grad_bias) return;
        K* gb = static_cast<K*>(p_.grad_bias);
        for (std::int64_t t = 0; t < p_.steps; ++t)
            for (std::int64_t cb = 0; cb < p_.bias_channels; ++cb) {
                Sum sum{};
                for (std::int64_t c = cb; c < p_.channels; c += p_.bias_channels) sum += grad_bias_[c * p_.steps + t];
                gb[t * p_.bias_channels + cb] = narrow(sum);
            }
    }

  private:
    using Sum = std::conditional_t<is_complex_scalar<S>::value, std::complex<double>, double>;

    static K narrow(Sum sum) { return to_storage<K>(sum); }

    void for_channels(void (*body)(Reference&, std::int64_t)) {
        struct Context {
            Reference* self;
            void (*body)(Reference&, std::int64_t);
        } context{this, body};
        parallel_for(p_.channels, max_threads(), [](void* c, std::int64_t i) {
            auto* ctx = static_cast<Context*>(c);
            ctx->body(*ctx->self, i);
        }, &context);
    }

    template <class F>
    void each_point(F&& f) const {
        std::int64_t i = 0;
        for (std::int64_t z = 0; z < p_.depth; ++z)
            for (std::int64_t y = 0; y < p_.height; ++y)
                for (std::int64_t x = 0; x < p_.width; ++x) f(i++, z, y, x);
    }

    // f(tap index, point index it reads), for the taps of point (z, y, x) that don't read a zero.
    template <class F>
    void each_tap(std::int64_t z, std::int64_t y, std::int64_t x, F&& f) const {
        const Boundary boundary = p_.options.boundary;
        std::int64_t k = 0;
        for (std::int64_t dz = -p_.kd / 2; dz <= p_.kd / 2; ++dz)
            for (std::int64_t dy = -p_.kh / 2; dy <= p_.kh / 2; ++dy)
                for (std::int64_t dx = -p_.kw / 2; dx <= p_.kw / 2; ++dx, ++k) {
                    const std::int64_t sz = source_index(z + dz, p_.depth, boundary);
                    const std::int64_t sy = source_index(y + dy, p_.height, boundary);
                    const std::int64_t sx = source_index(x + dx, p_.width, boundary);
                    if (sz >= 0 && sy >= 0 && sx >= 0) f(k, (sz * p_.height + sy) * p_.width + sx);
                }
    }

    S tap(std::int64_t t, std::int64_t c, std::int64_t k) const {
        const std::int64_t nk = p_.kernel_size();
        const K value = static_cast<const K*>(p_.taps)[(t * p_.tap_channels + c % p_.tap_channels) * nk + k];
        return k == nk / 2 ? S(value) + S(p_.options.skip) : S(value);
    }

    void pre_activation(std::int64_t t, std::int64_t c, const std::vector<S>& u, std::vector<S>& z) const {
        const S bias = p_.bias ? S(static_cast<const K*>(p_.bias)[t * p_.bias_channels + c % p_.bias_channels]) : S(0);
        std::vector<S> taps(p_.kernel_size());
        for (std::int64_t k = 0; k < p_.kernel_size(); ++k) taps[k] = tap(t, c, k);
        each_point([&](std::int64_t i, std::int64_t zz, std::int64_t y, std::int64_t x) {
            S sum = bias;
            each_tap(zz, y, x, [&](std::int64_t k, std::int64_t source) { sum += taps[k] * u[source]; });
            z[i] = sum;
        });
    }

    void apply_activation(std::vector<S>& z) const {
        for (S& value : z) value = activate(value, p_.options.activation, S(p_.options.slope));
    }

    template <class E, class F>
    void each_element(const Field& field, std::int64_t step, std::int64_t b, std::int64_t c, F&& f) const {
        E* base = static_cast<E*>(field.data) + step * field.step_stride + b * field.batch_stride + c * field.channel_stride;
        each_point([&](std::int64_t i, std::int64_t z, std::int64_t y, std::int64_t x) {
            f(i, base[z * field.z_stride + y * field.y_stride + x * field.x_stride]);
        });
    }
    void load(const Field& field, std::int64_t step, std::int64_t b, std::int64_t c, std::vector<S>& u) const {
        each_element<const T>(field, step, b, c, [&](std::int64_t i, const T& e) { u[i] = from_storage<S>(e); });
    }
    template <class E>
    void store(const Field& field, std::int64_t step, std::int64_t b, std::int64_t c, const std::vector<S>& u) const {
        each_element<E>(field, step, b, c, [&](std::int64_t i, E& e) { e = to_storage<E>(u[i]); });
    }

    void store_extras(std::int64_t step, std::int64_t b, std::int64_t c, const std::vector<S>& u) const {
        const std::int64_t m = p_.options.states_every, k = p_.options.checkpoint_every;
        if (m && step % m == 0) store<T>(p_.states, step / m - 1, b, c, u);
        if (k && step % k == 0 && step < p_.steps) store<S>(p_.checkpoints, step / k - 1, b, c, u);
    }

    void backward_channel(std::int64_t c) {
        const std::int64_t steps = p_.steps, nk = p_.kernel_size(), m = p_.options.states_every;
        std::vector<std::vector<S>> trajectory(steps + 1, std::vector<S>(n_)), pre(steps, std::vector<S>(n_));
        std::vector<S> g(n_), previous(n_), extra(n_);
        for (std::int64_t b = 0; b < p_.batch; ++b) {
            load(p_.x, 0, b, c, trajectory[0]);
            for (std::int64_t t = 0; t < steps; ++t) {
                pre_activation(t, c, trajectory[t], pre[t]);
                trajectory[t + 1] = pre[t];
                apply_activation(trajectory[t + 1]);
            }
            load(p_.grad_y, 0, b, c, g);
            for (std::int64_t t = steps - 1; t >= 0; --t) {
                if (p_.grad_states && (t + 1) % m == 0) {
                    load(p_.grad_states, (t + 1) / m - 1, b, c, extra);
                    for (std::int64_t i = 0; i < n_; ++i) g[i] += extra[i];
                }
                std::fill(previous.begin(), previous.end(), S(0));
                each_point([&](std::int64_t i, std::int64_t z, std::int64_t y, std::int64_t x) {
                    const S d = g[i] * activate_derivative(pre[t][i], p_.options.activation, S(p_.options.slope));
                    grad_bias_[c * steps + t] += Sum(d);
                    each_tap(z, y, x, [&](std::int64_t k, std::int64_t source) {
                        previous[source] += conjugate(tap(t, c, k)) * d;
                        grad_taps_[(c * steps + t) * nk + k] += Sum(d) * Sum(conjugate(trajectory[t][source]));
                    });
                });
                g.swap(previous);
            }
            store<T>(p_.grad_x, 0, b, c, g);
        }
    }

    const Problem& p_;
    std::int64_t n_;
    std::vector<Sum> grad_taps_, grad_bias_;
};

// f(Reference) for the types of this call.
template <class F>
void dispatch(const Problem& p, F&& f) {
    switch (p.storage) {
        case DType::f32: return f(Reference<float, float, float>(p));
        case DType::f64: return f(Reference<double, double, double>(p));
        case DType::bf16: return f(Reference<float, bfloat16, float>(p));
        case DType::f16: return f(Reference<float, float16, float>(p));
        case DType::c64:
            using c64 = std::complex<float>;
            return p.complex_taps ? f(Reference<c64, c64, c64>(p)) : f(Reference<c64, c64, float>(p));
        case DType::c128:
            using c128 = std::complex<double>;
            return p.complex_taps ? f(Reference<c128, c128, c128>(p)) : f(Reference<c128, c128, double>(p));
    }
}

}  // namespace

void reference_forward(const Problem& p) {
    dispatch(p, [](auto&& reference) { reference.forward(); });
}

void reference_backward(const Problem& p) {
    dispatch(p, [](auto&& reference) { reference.backward(); });
}

void clear_gradients(const Problem& p) {
    const std::int64_t size = dtype_size(compute_real(p.storage)) * (p.complex_taps ? 2 : 1);
    const auto clear = [&](void* sums, std::int64_t n) {
        if (sums && n > 0) std::memset(sums, 0, static_cast<std::size_t>(n * size));
    };
    clear(p.grad_taps, p.steps * p.tap_channels * p.kernel_size());
    clear(p.grad_bias, p.steps * p.bias_channels);
}

}  // namespace qcore::stencil
