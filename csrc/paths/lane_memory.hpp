// Where lanes keep their numbers: [i][lane] rows in a thread's scratch on the CPU; on a device, where a thread is a lane,
// [i][thread] rows of all threads, so that neighbours read neighbouring numbers. Included by files compiled per instruction set
// and by CUDA sources.
#pragma once

#include "core/lanes.hpp"

#if defined(QC_ON_DEVICE)
#include "launch.hpp"
#else
#include "core/parallel.hpp"
#endif

namespace qcore::QC_ISA {
namespace {

#if defined(QC_ON_DEVICE)

template <class T>
using Memory = cuda::Pointer<T>;

template <class T>
QC_DEVICE Memory<T> memory(const void* p) {
#if defined(QCORE_EMULATION)
    return cuda::pointer<T>(p);
#else
    return static_cast<T*>(const_cast<void*>(p));
#endif
}

template <class T, int lanes>
class Rows {
  public:
    Rows() = default;
    QC_DEVICE Rows(Memory<T> first, std::int64_t stride) : first_(first), stride_(stride) {}

    QC_DEVICE Memory<T> operator[](std::int64_t i) const { return first_ + i * stride_; }

  private:
    Memory<T> first_{};
    std::int64_t stride_ = 0;
};

// Room for `threads` lanes, of which this thread has one.
class Scratch {
  public:
    QC_DEVICE Scratch(const void* all, std::int64_t thread, std::int64_t threads)
        : all_(all), thread_(thread), threads_(threads) {}

    template <class T, int lanes>
    QC_DEVICE Rows<T, lanes> rows(std::int64_t count) {
        if (count == 0) return {};
        const Rows<T, lanes> r(memory<T>(static_cast<const char*>(all_) + used_ * threads_) + thread_, threads_);
        used_ += count * static_cast<std::int64_t>(sizeof(T));
        return r;
    }

  private:
    const void* all_;
    std::int64_t thread_, threads_, used_ = 0;
};

// The part of a (rows, chains) tensor that a lane works on, and its way back.
template <class T, int lanes>
QC_DEVICE Rows<T, lanes> borrow(Scratch&, void* base, std::int64_t, std::int64_t chains, std::int64_t first_chain, int) {
    return {memory<T>(base) + first_chain, chains};
}
template <class T, int lanes>
QC_DEVICE void give_back(const Rows<T, lanes>&, void*, std::int64_t, std::int64_t, std::int64_t, int) {}

#else

template <class T>
using Memory = T*;

template <class T>
T* memory(T* p) {
    return p;
}
template <class T>
T* memory(void* p) {
    return static_cast<T*>(p);
}

template <class T, int lanes>
class Rows {
  public:
    Rows() = default;
    explicit Rows(T* first) : first_(first) {}

    T* operator[](std::int64_t i) const { return first_ + i * lanes; }

  private:
    T* first_ = nullptr;
};

class Scratch {
  public:
    explicit Scratch(std::int64_t bytes) : next_(static_cast<char*>(thread_scratch(static_cast<std::size_t>(bytes)))) {}

    template <class T, int lanes>
    Rows<T, lanes> rows(std::int64_t count) {
        const Rows<T, lanes> r(reinterpret_cast<T*>(next_));
        next_ += count * lanes * static_cast<std::int64_t>(sizeof(T));
        return r;
    }

  private:
    char* next_;
};

// Lanes without a chain are zero.
template <class T, int lanes>
Rows<T, lanes> borrow(Scratch& scratch, const void* base, std::int64_t rows, std::int64_t chains, std::int64_t first_chain,
                      int count) {
    const T* const from = static_cast<const T*>(base) + first_chain;
    const Rows<T, lanes> to = scratch.rows<T, lanes>(rows);
    for (std::int64_t i = 0; i < rows; ++i)
        for (int l = 0; l < lanes; ++l) to[i][l] = l < count ? from[i * chains + l] : T(0);
    return to;
}
template <class T, int lanes>
void give_back(const Rows<T, lanes>& from, void* base, std::int64_t rows, std::int64_t chains, std::int64_t first_chain,
               int count) {
    T* const to = static_cast<T*>(base) + first_chain;
    for (std::int64_t i = 0; i < rows; ++i)
        for (int l = 0; l < count; ++l) to[i * chains + l] = from[i][l];
}

#endif

}  // namespace
}  // namespace qcore::QC_ISA
