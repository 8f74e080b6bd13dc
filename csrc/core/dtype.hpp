// Element types a tensor may have, and the half-precision storage types with their conversions.
#pragma once

#include <cstdint>
#include <cstring>

#include "core/config.hpp"

#if defined(__CUDACC__)
#include <cuda_fp16.h>
#endif

namespace qcore {

enum class DType : std::uint8_t { f32, f64, bf16, f16, c64, c128 };

constexpr const char* dtype_name(DType t) {
    switch (t) {
        case DType::f32: return "float32";
        case DType::f64: return "float64";
        case DType::bf16: return "bfloat16";
        case DType::f16: return "float16";
        case DType::c64: return "complex64";
        case DType::c128: return "complex128";
    }
    return "unknown";
}

constexpr std::int64_t dtype_size(DType t) {
    switch (t) {
        case DType::bf16:
        case DType::f16: return 2;
        case DType::f32: return 4;
        case DType::f64:
        case DType::c64: return 8;
        case DType::c128: return 16;
    }
    return 0;
}

constexpr bool is_complex(DType t) { return t == DType::c64 || t == DType::c128; }

// The real type in which arithmetic on elements of this type is done.
constexpr DType compute_real(DType t) { return t == DType::f64 || t == DType::c128 ? DType::f64 : DType::f32; }

// The type of a state between steps: compute precision, complex where the storage is.
constexpr DType compute_dtype(DType t) {
    return is_complex(t) ? t : compute_real(t);
}

#if defined(__CUDACC__)
struct float16 {  // nvcc reads _Float16 but makes no code of it
    __half bits;

    float16() = default;
    QC_HD explicit float16(float value) : bits(__float2half_rn(value)) {}
    QC_HD explicit operator float() const { return __half2float(bits); }
};
#else
using float16 = _Float16;
#endif

struct bfloat16 {
    std::uint16_t bits;

    bfloat16() = default;
    QC_HD explicit bfloat16(float value) {
        std::uint32_t u;
        std::memcpy(&u, &value, sizeof u);
        // Round to nearest even; a NaN stays a (quiet) NaN instead of being rounded into infinity.
        bits = value != value ? static_cast<std::uint16_t>((u >> 16) | 0x0040u)
                              : static_cast<std::uint16_t>((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
    }
    QC_HD explicit operator float() const {
        const std::uint32_t u = static_cast<std::uint32_t>(bits) << 16;
        float value;
        std::memcpy(&value, &u, sizeof value);
        return value;
    }
};

}  // namespace qcore
