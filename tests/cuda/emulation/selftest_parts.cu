// The parts of the emulator that need no schedule: pointers and memory, atomics, intrinsics, the runtime's functions.
#include <cuda_runtime.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cmath>
#include <map>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

#include "selftest.hpp"

namespace py = pybind11;

namespace {

using namespace qcore::emulation;

static_assert(std::is_trivially_copyable_v<Pointer<float>>);
static_assert(std::is_convertible_v<Pointer<float>, Pointer<const float>>);
static_assert(!std::is_convertible_v<Pointer<const float>, Pointer<float>>);
static_assert(alignof(float4) == 16 && alignof(double2) == 16 && alignof(int2) == 8 && sizeof(float3) == 12);

// Names of what doesn't hold.
class Checks {
public:
    void operator()(const char* what, bool holds) {
        if (!holds) failed_.emplace_back(what);
    }
    template <class E, class F>
    void throws(const char* what, const F& f) {
        try {
            f();
        } catch (const E&) {
            return;
        }
        failed_.emplace_back(what);
    }
    std::vector<std::string> failed() const { return failed_; }

private:
    std::vector<std::string> failed_;
};

std::vector<std::string> pointers() {
    Checks check;
    alignas(16) float x[8] = {0, 1, 2, 3, 4, 5, 6, 7};
    register_memory(x, sizeof x);
    const Pointer<float> p = pointer<float>(x);
    const Pointer<const float> q = p + 2;
    check("index", p[3] == 3 && *(p + 4) == 4 && (7 + p)[0] == 7 && q[-2] == 0);
    check("difference", q - p == 2 && p - q == -2);
    check("order", p < q && q > p && p <= p && p != q && q == p + 2);
    check("bool", p && !Pointer<float>() && Pointer<float>() == nullptr && p != nullptr);
    Pointer<float> r = p;
    check("increments", *r++ == 0 && *r == 1 && *++r == 2 && *r-- == 2 && *--r == 0 && *(r += 5) == 5 && *(r -= 1) == 4);
    check("address", &p[5] == x + 5 && pointer<float2>(x)[1].y == 3 && pointer<float2>(x + 2)->x == 2);
    const auto pairs = pointer_cast<const float2>(q);
    check("cast", pairs[0].x == 2 && pairs[2].y == 7 && pairs[-1].x == 0);
    check.throws<AccessError>("cast that is not aligned", [&] { pointer_cast<float2>(p + 1); });
    check.throws<AccessError>("pointer that is not aligned", [&] { pointer<float4>(x + 1); });
    check.throws<AccessError>("past the end", [&] { static_cast<void>(p[8]); });
    check.throws<AccessError>("before the beginning", [&] { static_cast<void>(p[-1]); });
    check.throws<AccessError>("half past the end", [&] { static_cast<void>(pairs[3]); });
    check.throws<AccessError>("far away", [&] { static_cast<void>(p[std::ptrdiff_t{1} << 40]); });
    check.throws<AccessError>("null", [&] { static_cast<void>(*Pointer<float>()); });
    unregister_memory(x);
    return check.failed();
}

std::vector<std::string> memory() {
    Checks check;
    std::vector<double> x(100);
    const auto extent = [&](std::size_t i) {
        const Range range = find_memory(&x[i]);
        return std::pair(range.begin - reinterpret_cast<std::byte*>(x.data()), range.end - range.begin);
    };
    check.throws<std::logic_error>("nothing registered", [&] { extent(0); });
    register_memory(&x[10], 20 * sizeof(double));
    register_memory(x.data(), 20 * sizeof(double));
    check("each its own", extent(0) == std::pair(std::ptrdiff_t{0}, std::ptrdiff_t{160}) && extent(25).first == 80);
    register_memory(&x[5], 95 * sizeof(double));
    check("the widest", extent(15) == std::pair(std::ptrdiff_t{40}, std::ptrdiff_t{760}));
    register_memory(&x[5], 95 * sizeof(double));
    unregister_memory(&x[5]);
    check("twice", extent(15).first == 40);
    unregister_memory(&x[5]);
    check("undone", extent(12).second == 160);
    check.throws<std::logic_error>("beyond all of them", [&] { extent(30); });
    unregister_memory(&x[10]);
    unregister_memory(x.data());
    check.throws<std::logic_error>("nothing left", [&] { extent(0); });
    check.throws<std::logic_error>("nothing to undo", [&] { unregister_memory(x.data()); });
    check("null", !pointer<double>(nullptr));
    register_memory(&x[50], 0);
    check("no bytes", !pointer<double>(&x[50]));
    register_memory(x.data(), 100 * sizeof(double));
    check("no bytes within others", pointer<double>(&x[50])[-50] == 0);
    unregister_memory(x.data());
    unregister_memory(&x[50]);
    register_memory(nullptr, 0);
    unregister_memory(nullptr);

    x[3] = 7;
    void* const device = enter_memory(x.data(), x.size() * sizeof(double));
    auto* const third = static_cast<std::byte*>(device) + 3 * sizeof(double);
    check("addresses of its own", device != x.data() && host_address(device) == x.data() && host_address(x.data()) == x.data());
    check("the same memory", pointer<double>(device)[3] == 7 && &*pointer<double>(third) == &x[3]);
    check.throws<std::logic_error>("host memory for a kernel", [&] { pointer<double>(x.data()); });
    void* const view = enter_memory(&x[3], sizeof(double));
    check("a view of it", view == third && pointer<double>(view)[-3] == x[0]);
    leave_memory(view);
    leave_memory(device);
    check.throws<std::logic_error>("no longer the device's", [&] { pointer<double>(device); });
    return check.failed();
}

template <class T>
void check_atomics(Checks& check) {
    T value = 5;
    register_memory(&value, sizeof value);
    const Pointer<T> p = pointer<T>(&value);
    check("atomicAdd", atomicAdd(&value, 3) == 5 && atomicAdd(p, 1) == 8 && value == 9);
    check("atomicMax", atomicMax(p, 4) == 9 && atomicMax(p, 12) == 9 && value == 12);
    check("atomicMin", atomicMin(p, 20) == 12 && atomicMin(p, 6) == 12 && value == 6);
    check("atomicExch", atomicExch(p, 3) == 6 && value == 3);
    check("atomicCAS", atomicCAS(p, 4, 7) == 3 && value == 3 && atomicCAS(&value, 3, 7) == 3 && value == 7);
    check("atomicAnd", atomicAnd(p, 6) == 7 && atomicOr(p, 8) == 6 && atomicXor(p, 2) == 14 && value == 12);
    unregister_memory(&value);
}

std::vector<std::string> atomics() {
    Checks check;
    check_atomics<int>(check);
    check_atomics<unsigned>(check);
    check_atomics<unsigned long long>(check);
    int most = 0x7fffffff;
    check("sums wrap around", atomicAdd(&most, 1) == 0x7fffffff && most == -0x7fffffff - 1);
    return check.failed();
}

std::vector<std::string> intrinsics() {
    Checks check;
    check("popc", __popc(0xf0f0u) == 8 && __popcll(~0ull) == 64);
    check("ffs", __ffs(0) == 0 && __ffs(8) == 4 && __ffs(-0x7fffffff - 1) == 32 && __ffsll(1ll << 40) == 41);
    check("clz", __clz(0) == 32 && __clz(1) == 31 && __clz(-1) == 0 && __clzll(1) == 63 && __clzll(0) == 64);
    check("mulhi", __umulhi(0xffffffffu, 0xffffffffu) == 0xfffffffeu && __mulhi(-1, 1) == -1 && __umul64hi(~0ull, 2) == 1);
    check("float bits", __float_as_uint(1.0f) == 0x3f800000u && __uint_as_float(0x40000000u) == 2.0f &&
                            __float_as_int(-0.0f) == -0x7fffffff - 1 && __int_as_float(0x3f800000) == 1.0f);
    check("double bits", __double_as_longlong(1.0) == 0x3ff0000000000000 && __longlong_as_double(0x4000000000000000) == 2.0 &&
                             __hiloint2double(__double2hiint(0.1), __double2loint(0.1)) == 0.1);
    check("fast functions", std::abs(rsqrt(4.0) - 0.5) < 1e-15 && __fdividef(1.0f, 4.0f) == 0.25f && sinpi(1e9) == 0);
    check("min and max", min(2, 3) == 2 && max(2.5, 1.0) == 2.5);
    return check.failed();
}

// a b + c with the product rounded: these must stay two operations, whatever the compiler may contract.
double multiply_add(double a, double b, double c) { return __dadd_rn(__dmul_rn(a, b), c); }
float multiply_add_float(float a, float b, float c) { return __fadd_rn(__fmul_rn(a, b), c); }
// The same where the caller adds.
double multiply_then_add(double a, double b, double c) { return __dmul_rn(a, b) + c; }
double add_product(double a, double b, double c) { return __dadd_rn(a * b, c); }
double fused(double a, double b, double c) { return __fma_rn(a, b, c); }

std::vector<std::string> runtime() {
    Checks check;
    int value = -1;
    check("versions", cudaDriverGetVersion(&value) == cudaSuccess && value >= 13000 &&
                          cudaRuntimeGetVersion(&value) == cudaSuccess && value >= 13000);
    check("device", cudaGetDeviceCount(&value) == cudaSuccess && value == 1 && cudaGetDevice(&value) == cudaSuccess &&
                        value == 0 && cudaSetDevice(0) == cudaSuccess);
    check("no second device", cudaSetDevice(1) == cudaErrorInvalidDevice && cudaPeekAtLastError() == cudaErrorInvalidDevice &&
                                  cudaGetLastError() == cudaErrorInvalidDevice && cudaGetLastError() == cudaSuccess);
    check("attributes", cudaDeviceGetAttribute(&value, cudaDevAttrMultiProcessorCount, 0) == cudaSuccess && value == 4 &&
                            cudaDeviceGetAttribute(&value, cudaDevAttrMaxSharedMemoryPerBlockOptin, 0) == cudaSuccess &&
                            value == 232448);
    const auto kernel = +[](int) {};
    const auto blocks = [&](int threads, std::size_t shared_bytes) {
        return cudaOccupancyMaxActiveBlocksPerMultiprocessor(&value, kernel, threads, shared_bytes) == cudaSuccess ? value : -1;
    };
    check("function attributes",
          cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, 232448) == cudaSuccess &&
              cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, 232449) == cudaErrorInvalidValue);
    check("occupancy", blocks(256, 0) == 4 && blocks(64, 100000) == 2 && blocks(2048, 0) == 0);
    check("errors", std::string(cudaGetErrorName(cudaErrorInvalidConfiguration)) == "cudaErrorInvalidConfiguration" &&
                        std::string(cudaGetErrorString(cudaErrorNoDevice)).find("no CUDA-capable device") == 0);

    void* device = nullptr;
    check("allocation", cudaMallocAsync(&device, 16 * sizeof(float), nullptr) == cudaSuccess && device != nullptr);
    check("new memory is NaN", std::isnan(pointer<float>(device)[15]));
    check("memset", cudaMemsetAsync(device, 0, 16 * sizeof(float), nullptr) == cudaSuccess && pointer<float>(device)[15] == 0);
    const float source[2] = {1, 2};
    float back[2] = {};
    check("copies", cudaMemcpyAsync(device, source, sizeof source, cudaMemcpyHostToDevice, nullptr) == cudaSuccess &&
                        cudaMemcpyAsync(back, device, sizeof back, cudaMemcpyDeviceToHost, nullptr) == cudaSuccess &&
                        back[1] == 2 && cudaStreamSynchronize(nullptr) == cudaSuccess);
    check("free", cudaFreeAsync(device, nullptr) == cudaSuccess && cudaFreeAsync(nullptr, nullptr) == cudaSuccess);
    check("free twice", cudaFreeAsync(device, nullptr) == cudaErrorInvalidValue);
    check.throws<std::logic_error>("freed memory", [&] { pointer<float>(device); });
    cudaGetLastError();
    return check.failed();
}

}  // namespace

void qcore::selftest::register_parts(py::module_& m) {
    m.def("pointers", &pointers);
    m.def("memory", &memory);
    m.def("atomics", &atomics);
    m.def("intrinsics", &intrinsics);
    m.def("runtime", &runtime);
    m.def("multiply_add", &multiply_add);
    m.def("multiply_add_float", &multiply_add_float);
    m.def("multiply_then_add", &multiply_then_add);
    m.def("add_product", &add_product);
    m.def("fused", &fused);
}
