// CUDA's vector types, with its alignment, and the built-in variables made of them.
#pragma once

#define QCORE_EMULATION_VECTORS(T, name, alignment2, alignment4)               \
    struct alignas(alignment2) name##2 {                                       \
        T x, y;                                                                \
    };                                                                         \
    struct name##3 {                                                           \
        T x, y, z;                                                             \
    };                                                                         \
    struct alignas(alignment4) name##4 {                                       \
        T x, y, z, w;                                                          \
    };                                                                         \
    constexpr name##2 make_##name##2(T x, T y) { return {x, y}; }              \
    constexpr name##3 make_##name##3(T x, T y, T z) { return {x, y, z}; }      \
    constexpr name##4 make_##name##4(T x, T y, T z, T w) { return {x, y, z, w}; }

QCORE_EMULATION_VECTORS(int, int, 8, 16)
QCORE_EMULATION_VECTORS(unsigned, uint, 8, 16)
QCORE_EMULATION_VECTORS(float, float, 8, 16)
QCORE_EMULATION_VECTORS(double, double, 16, 16)
#undef QCORE_EMULATION_VECTORS

struct dim3 {
    unsigned x = 1, y = 1, z = 1;
    constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
    constexpr dim3(uint3 v) : x(v.x), y(v.y), z(v.z) {}
    constexpr operator uint3() const { return {x, y, z}; }
};

// Of the kernel's thread that runs now: the scheduler sets them at every switch. One set for each thread of the operating
// system; initial-exec makes an access from a shared object as cheap as to a global.
#define QCORE_EMULATION_BUILTIN inline constinit thread_local __attribute__((tls_model("initial-exec")))
QCORE_EMULATION_BUILTIN uint3 threadIdx{};
QCORE_EMULATION_BUILTIN uint3 blockIdx{};
QCORE_EMULATION_BUILTIN dim3 blockDim{};
QCORE_EMULATION_BUILTIN dim3 gridDim{};
#undef QCORE_EMULATION_BUILTIN
inline constexpr int warpSize = 32;
