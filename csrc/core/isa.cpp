#include "core/isa.hpp"

#include <cstdlib>
#include <stdexcept>

namespace qcore {

namespace {

std::vector<Isa> detect() {
#if defined(QCORE_X86_VARIANTS)
    __builtin_cpu_init();
    const bool v2 = __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("popcnt") && __builtin_cpu_supports("ssse3");
    const bool v3 = v2 && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi") &&
                    __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("f16c");
    const bool v4 = v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                    __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    if (!v2) throw std::runtime_error("qcore needs an x86-64-v2 processor (SSE4.2), and this one is older");
    std::vector<Isa> found{Isa::v2};
    if (v3) found.push_back(Isa::v3);
    if (v4) found.push_back(Isa::v4);
    return found;
#else
    return {Isa::baseline};
#endif
}

Isa select() {
    const std::vector<Isa> available = isa_available();
    const char* forced = std::getenv("QCORE_ISA");
    if (!forced || !*forced) return available.back();
    std::string names;
    for (Isa isa : available) {
        const std::string name = isa_name(isa);
        if (forced == name || forced == name.substr(name.rfind('-') + 1)) return isa;  // "x86-64-v3" or "v3"
        names += std::string(names.empty() ? "" : ", ") + isa_name(isa);
    }
    throw std::runtime_error("QCORE_ISA: expected one of " + names + " on this processor, got '" + forced + "'");
}

}  // namespace

const char* isa_name(Isa isa) {
    switch (isa) {
        case Isa::baseline: return "baseline";
        case Isa::v2: return "x86-64-v2";
        case Isa::v3: return "x86-64-v3";
        case Isa::v4: return "x86-64-v4";
    }
    return "unknown";
}

std::vector<Isa> isa_available() {
    static const std::vector<Isa> available = detect();
    return available;
}

Isa isa_selected() {
    static const Isa selected = select();
    return selected;
}

}  // namespace qcore
