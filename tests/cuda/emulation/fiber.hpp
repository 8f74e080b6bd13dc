// Contexts of execution with a stack of their own, switched by hand: a suspended thread of a kernel is one of them.
#pragma once

#include <cstddef>

#if !defined(QCORE_EMULATION_UCONTEXT) && !(defined(__x86_64__) && defined(__ELF__))
#define QCORE_EMULATION_UCONTEXT
#endif
#ifdef QCORE_EMULATION_UCONTEXT
#include <ucontext.h>
#endif

namespace qcore::emulation {

class Fiber {
public:
    // The context that calls, on the stack it has: a place to switch back to.
    Fiber() = default;
    // A context that begins in `entry` when it is first switched to. `entry` never returns and lets no exception out.
    explicit Fiber(void (*entry)());
    ~Fiber();
    Fiber(const Fiber&) = delete;
    Fiber& operator=(const Fiber&) = delete;

    // Suspends this fiber, which must be the running one, and runs `next` until something switches back. A fiber stays on the
    // thread of the operating system that it began on.
    void switch_to(Fiber& next);

private:
    static void begin();
    void arrived();

    void (*entry_)() = nullptr;
    std::byte* stack_ = nullptr;     // its own stack with the guard page below, or null
    const void* bottom_ = nullptr;   // lowest address and size of the stack, as AddressSanitizer wants them
    std::size_t size_ = 0;
    void* fake_stack_ = nullptr;     // AddressSanitizer's
#ifdef QCORE_EMULATION_UCONTEXT
    ucontext_t context_{};
#else
    void* stack_pointer_ = nullptr;  // while it is suspended
#endif
};

}  // namespace qcore::emulation
