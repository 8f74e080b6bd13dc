#include "fiber.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <new>

#if defined(__SANITIZE_ADDRESS__)
#define QCORE_EMULATION_ASAN
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define QCORE_EMULATION_ASAN
#endif
#endif
#ifdef QCORE_EMULATION_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

#ifndef QCORE_EMULATION_UCONTEXT
// Pushes what a call must preserve, exchanges the stacks and pops it again: no system call, where swapcontext makes two for
// the signal mask. The floating point control words are the same for all threads of a kernel and stay as they are.
__asm__(R"(
    .pushsection .text
    .p2align 4
    .globl qcore_emulation_switch
    .hidden qcore_emulation_switch
    .type qcore_emulation_switch, @function
qcore_emulation_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
    .size qcore_emulation_switch, . - qcore_emulation_switch
    .popsection
)");
extern "C" void qcore_emulation_switch(void** from, void* to);
#endif

namespace qcore::emulation {

namespace {

constexpr std::size_t stack_size = 256 << 10;

// Who switched to whom last on this thread of the operating system.
constinit thread_local Fiber* leaving = nullptr;
constinit thread_local Fiber* entering = nullptr;

std::size_t page_size() { return static_cast<std::size_t>(sysconf(_SC_PAGESIZE)); }

}  // namespace

Fiber::Fiber(void (*entry)()) : entry_(entry), size_(stack_size) {
    const std::size_t guard = page_size();
    void* memory = mmap(nullptr, guard + stack_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    stack_ = static_cast<std::byte*>(memory);
    mprotect(stack_, guard, PROT_NONE);  // a stack that overflows ends the process here, not in the one below
    bottom_ = stack_ + guard;
#ifdef QCORE_EMULATION_UCONTEXT
    getcontext(&context_);
    context_.uc_stack.ss_sp = stack_ + guard;
    context_.uc_stack.ss_size = stack_size;
    makecontext(&context_, &Fiber::begin, 0);
#else
    // Stacks lie at multiples of a page, so that their tops would all compete for the same lines of the cache.
    static constinit thread_local unsigned number = 0;
    const std::size_t stagger = 192 * (number++ % 32);
    auto* top = reinterpret_cast<void**>(stack_ + guard + stack_size - stagger);
    *--top = nullptr;                                 // as a call leaves it, but nothing to return to: backtraces end here
    *--top = reinterpret_cast<void*>(&Fiber::begin);  // where `ret` goes
    for (int i = 0; i < 6; ++i) *--top = nullptr;
    stack_pointer_ = top;
#endif
}

Fiber::~Fiber() {
    if (stack_ == nullptr) return;
#ifdef QCORE_EMULATION_ASAN
    __asan_unpoison_memory_region(bottom_, size_);  // of the frames left there: the addresses will be used again
#endif
    munmap(stack_, page_size() + stack_size);
}

void Fiber::switch_to(Fiber& next) {
    leaving = this;
    entering = &next;
#ifdef QCORE_EMULATION_ASAN
    __sanitizer_start_switch_fiber(&fake_stack_, next.bottom_, next.size_);
#endif
#ifdef QCORE_EMULATION_UCONTEXT
    swapcontext(&context_, &next.context_);
#else
    qcore_emulation_switch(&stack_pointer_, next.stack_pointer_);
#endif
    arrived();
}

// On the stack of this fiber, right after a switch to it. What is learnt of the other's stack is news only for a caller's.
void Fiber::arrived() {
#ifdef QCORE_EMULATION_ASAN
    __sanitizer_finish_switch_fiber(fake_stack_, &leaving->bottom_, &leaving->size_);
#endif
}

void Fiber::begin() {
    entering->arrived();
    entering->entry_();
    __builtin_trap();
}

}  // namespace qcore::emulation
