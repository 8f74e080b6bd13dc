// Which instruction-set variant of the kernels runs: chosen once by cpuid, or forced by QCORE_ISA.
#pragma once

#include <string>
#include <vector>

namespace qcore {

// On x86-64 the psABI levels v2 (SSE4.2), v3 (AVX2, FMA) and v4 (AVX-512); elsewhere only `baseline`.
enum class Isa { baseline, v2, v3, v4 };

const char* isa_name(Isa isa);

// Variants that were compiled in and that this processor runs, slowest first.
std::vector<Isa> isa_available();

// The variant in use: the last available one, or QCORE_ISA's. Throws std::runtime_error when that one can't run here.
Isa isa_selected();

}  // namespace qcore

// Declares, for a file compiled once per instruction set, an object that each variant defines, and a function that picks the
// one in use: QC_ISA_OBJECT(Type, name) gives `const Type& selected_name()`.
#if defined(QCORE_X86_VARIANTS)
#define QC_ISA_OBJECT(Type, name)                                      \
    namespace v2 { extern const Type name; }                           \
    namespace v3 { extern const Type name; }                           \
    namespace v4 { extern const Type name; }                           \
    inline const Type& selected_##name() {                             \
        const Isa isa = isa_selected();                                \
        return isa == Isa::v4 ? v4::name : isa == Isa::v3 ? v3::name : v2::name; \
    }
#else
#define QC_ISA_OBJECT(Type, name)               \
    namespace baseline { extern const Type name; } \
    inline const Type& selected_##name() { return baseline::name; }
#endif
