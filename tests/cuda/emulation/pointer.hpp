// A pointer of a kernel: it knows the memory it points into and refuses to read or write anywhere else.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "errors.hpp"
#include "memory.hpp"

namespace qcore::emulation {

[[noreturn]] void refuse_access(std::uintptr_t address, std::uintptr_t begin, std::uintptr_t end, std::size_t size);
[[noreturn]] void refuse_alignment(std::uintptr_t address, std::size_t alignment);

// Arithmetic may lead anywhere, as long as nothing is accessed there; it is done in integers, where that is defined.
template <class T>
class Pointer {
public:
    using element_type = T;

    constexpr Pointer() = default;
    constexpr Pointer(std::nullptr_t) {}
    // Throws AccessError unless `at` is aligned for T.
    Pointer(const void* at, Range range)
        : at_(reinterpret_cast<std::uintptr_t>(host_address(at))),
          begin_(reinterpret_cast<std::uintptr_t>(host_address(range.begin))),
          end_(reinterpret_cast<std::uintptr_t>(host_address(range.end))) {
        if (at_ % alignof(T) != 0) refuse_alignment(at_, alignof(T));
    }
    // To a pointer to const.
    template <class U>
        requires(std::is_same_v<T, const U>)
    Pointer(const Pointer<U>& other) : at_(other.at_), begin_(other.begin_), end_(other.end_) {}

    T& operator*() const { return access(at_); }
    T* operator->() const { return &access(at_); }
    T& operator[](std::ptrdiff_t i) const { return access(moved(i)); }
    explicit operator bool() const { return at_ != 0; }

    Pointer& operator+=(std::ptrdiff_t n) {
        at_ = moved(n);
        return *this;
    }
    Pointer& operator-=(std::ptrdiff_t n) { return *this += -n; }
    Pointer& operator++() { return *this += 1; }
    Pointer& operator--() { return *this += -1; }
    Pointer operator++(int) {
        const Pointer before = *this;
        ++*this;
        return before;
    }
    Pointer operator--(int) {
        const Pointer before = *this;
        --*this;
        return before;
    }
    friend Pointer operator+(Pointer p, std::ptrdiff_t n) { return p += n; }
    friend Pointer operator+(std::ptrdiff_t n, Pointer p) { return p += n; }
    friend Pointer operator-(Pointer p, std::ptrdiff_t n) { return p -= n; }
    friend std::ptrdiff_t operator-(Pointer p, Pointer q) {
        return static_cast<std::ptrdiff_t>(p.at_ - q.at_) / static_cast<std::ptrdiff_t>(sizeof(T));
    }
    friend bool operator==(Pointer p, Pointer q) { return p.at_ == q.at_; }
    friend std::strong_ordering operator<=>(Pointer p, Pointer q) { return p.at_ <=> q.at_; }

private:
    template <class>
    friend class Pointer;
    template <class U, class V>
    friend Pointer<U> pointer_cast(Pointer<V> p);

    std::uintptr_t moved(std::ptrdiff_t n) const { return at_ + static_cast<std::uintptr_t>(n) * sizeof(T); }
    T& access(std::uintptr_t address) const {
        if (address < begin_ || address > end_ || end_ - address < sizeof(T)) refuse_access(address, begin_, end_, sizeof(T));
        return *reinterpret_cast<T*>(address);
    }

    std::uintptr_t at_ = 0, begin_ = 0, end_ = 0;
};

// The pointer of a kernel to registered memory, made on the host from the address alone; bounds are those of the widest range.
// Null for a null address and for memory of no bytes. Throws std::logic_error for memory that is not registered.
template <class T>
Pointer<T> pointer(const void* address) {
    const Range range = find_memory(address);
    if (range.begin == range.end) return nullptr;
    return Pointer<T>(address, range);
}

// The same memory as elements of another type. Throws AccessError unless the address is aligned for them.
template <class U, class T>
Pointer<U> pointer_cast(Pointer<T> p) {
    static_assert(std::is_const_v<U> || !std::is_const_v<T>, "a cast may not take const away");
    if (p.at_ % alignof(U) != 0) refuse_alignment(p.at_, alignof(U));
    Pointer<U> q;
    q.at_ = p.at_;
    q.begin_ = p.begin_;
    q.end_ = p.end_;
    return q;
}

}  // namespace qcore::emulation
