// The action of fields on the CPU: several small fields for a thread at a time.
#include "paths/action_blocks.hpp"
#include "paths/phi4_fields.hpp"

namespace qcore::paths {

namespace {

const FieldKernels::Functions& kernel_for(const FieldCall& p) {
    const FieldKernels& kernels = p.reference ? reference_field_kernels : selected_field_kernels();
    return p.single ? kernels.f32 : kernels.f64;
}

// Calls f(b) for every field.
template <class F>
void each_field(const FieldCall& p, F&& f) {
    const std::int64_t points = p.shape.points(), block = std::max<std::int64_t>(1, block_numbers / points);
    in_parallel((p.batch + block - 1) / block, threads_for(p.batch, points), [&](std::int64_t i) {
        for (std::int64_t b = i * block; b < std::min((i + 1) * block, p.batch); ++b) f(b);
    });
}

const char* field(const FieldCall& p, const void* data, std::int64_t b) {
    return static_cast<const char*>(data) + b * p.shape.points() * (p.single ? 4 : 8);
}

}  // namespace

void compute_field_action(const FieldCall& p) {
    const FieldKernels::Functions& kernel = kernel_for(p);
    each_field(p, [&](std::int64_t b) {
        const FieldSums s = kernel.sums(p.shape, field(p, p.phi, b));
        for (int r = 0; r < p.factors.rows; ++r) p.out[r * p.batch + b] = p.factors.combined(r, s);
    });
}

void compute_field_gradient(const FieldCall& p) {
    const FieldKernels::Functions& kernel = kernel_for(p);
    each_field(p, [&](std::int64_t b) {
        kernel.gradient(p.shape, field(p, p.phi, b), p.factors.pulled(p.grad + b, p.batch),
                        const_cast<char*>(field(p, p.grad_phi, b)));
    });
}

}  // namespace qcore::paths
