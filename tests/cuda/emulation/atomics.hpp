// Atomic operations on integers. One thread of a launch runs at a time, so plain ones are atomic. There are none on floating
// point numbers: their sums would depend on the schedule.
#pragma once

#include <concepts>
#include <type_traits>

#include "pointer.hpp"

namespace qcore::emulation {

template <class T>
concept Atomic = std::same_as<T, int> || std::same_as<T, unsigned> || std::same_as<T, unsigned long long>;

template <class T, class F>
T exchange(T* address, const F& next) {
    const T old = *address;
    *address = static_cast<T>(next(old));
    return old;
}

}  // namespace qcore::emulation

// Each takes an address or a checked pointer and returns what was there before.
#define QCORE_EMULATION_ATOMIC(name, expression)                                               \
    template <qcore::emulation::Atomic T>                                                      \
    T name(T* address, std::type_identity_t<T> value) {                                        \
        return qcore::emulation::exchange(address, [value](T old) { return expression; });     \
    }                                                                                          \
    template <qcore::emulation::Atomic T>                                                      \
    T name(qcore::emulation::Pointer<T> address, std::type_identity_t<T> value) {              \
        return name(&*address, value);                                                         \
    }

// Sums that wrap around, as on a device.
QCORE_EMULATION_ATOMIC(atomicAdd, static_cast<std::make_unsigned_t<T>>(old) + static_cast<std::make_unsigned_t<T>>(value))
QCORE_EMULATION_ATOMIC(atomicMax, old > value ? old : value)
QCORE_EMULATION_ATOMIC(atomicMin, old < value ? old : value)
QCORE_EMULATION_ATOMIC(atomicAnd, old & value)
QCORE_EMULATION_ATOMIC(atomicOr, old | value)
QCORE_EMULATION_ATOMIC(atomicXor, old ^ value)
QCORE_EMULATION_ATOMIC(atomicExch, (static_cast<void>(old), value))
#undef QCORE_EMULATION_ATOMIC

template <qcore::emulation::Atomic T>
T atomicCAS(T* address, std::type_identity_t<T> expected, std::type_identity_t<T> value) {
    return qcore::emulation::exchange(address, [=](T old) { return old == expected ? value : old; });
}
template <qcore::emulation::Atomic T>
T atomicCAS(qcore::emulation::Pointer<T> address, std::type_identity_t<T> expected, std::type_identity_t<T> value) {
    return atomicCAS(&*address, expected, value);
}
