// Where problems lie in memory: several short ones side by side on one line, so that vectors over sites are full.
#pragma once

#include <algorithm>
#include <cstdint>

#include "core/parallel.hpp"
#include "core/simd.hpp"
#include "paths/transfer_plan.hpp"

namespace qcore::QC_ISA {
namespace {

using transfer::Plan;

// Position i of a line, counted from its start, is `halo` before the output that reads the K entries from i on. Between the sites
// of two problems there is a gap: one halo of zeros that both see, or two with their periodic images.
template <class T>
struct Line {
    static constexpr int width = Simd<T>::width;

    std::int64_t sites, problems, halo, stride, vectors, size;
    bool periodic;

    Line(const Plan& p, std::int64_t count)
        : sites(p.sites), problems(count), halo(p.kernel / 2), stride(p.sites + (p.periodic ? 2 : 1) * halo), periodic(p.periodic) {
        vectors = ((count - 1) * stride + sites + width - 1) / width;
        // An odd number of KiB: reads of one line and writes of the next then never look alike in the last 12 bits of their addresses.
        constexpr std::int64_t unit = 1024 / sizeof(T);
        size = ((vectors * width + p.kernel - 1 + width + unit - 1) / unit | 1) * unit;
    }

    T* at(T* line, std::int64_t problem) const { return line + halo + problem * stride; }
    const T* at(const T* line, std::int64_t problem) const { return line + halo + problem * stride; }

    // What is no site.
    void clear_gaps(T* line, T outside = T(0)) const {
        std::fill(line, line + halo, outside);
        for (std::int64_t g = 0; g < problems; ++g)
            std::fill(at(line, g) + sites, g + 1 < problems ? at(line, g + 1) : line + size, outside);
    }

    // What the outputs near an end read beyond it.
    void border(T* line, T outside = T(0)) const {
        clear_gaps(line, outside);
        if (!periodic) return;
        for (std::int64_t g = 0; g < problems; ++g) {
            T* const first = at(line, g);
            for (std::int64_t i = 0; i < halo; ++i) {
                first[sites + i] = first[i % sites];
                first[-1 - i] = first[sites - 1 - i % sites];
            }
        }
    }

    // Rows of `parts` interleaved numbers, one line a part, `size` apart.
    template <int parts = 1>
    void load(const T* rows, T* line) const {
        for (std::int64_t g = 0; g < problems; ++g)
            for (int c = 0; c < parts; ++c) {
                T* const to = at(line + c * size, g);
                for (std::int64_t x = 0; x < sites; ++x) to[x] = rows[(g * sites + x) * parts + c];
            }
    }

    template <int parts = 1>
    void store(const T* line, T* rows) const {
        for (std::int64_t g = 0; g < problems; ++g)
            for (int c = 0; c < parts; ++c) {
                const T* const from = at(line + c * size, g);
                for (std::int64_t x = 0; x < sites; ++x) rows[(g * sites + x) * parts + c] = from[x];
            }
    }

    // The factors of step t of problems `first` ...; whatever stands in the gaps is multiplied with what is thrown away.
    template <int parts = 1>
    void load_factor(const Plan& p, const void* factor, std::int64_t t, std::int64_t first, T* line) const {
        const auto* const rows = static_cast<const T*>(factor);
        for (std::int64_t g = 0; g < problems; ++g) {
            const T* const row = rows + p.factor_row(t, first + g) * sites * parts;
            for (int c = 0; c < parts; ++c)
                for (std::int64_t x = 0; x < sites; ++x) line[c * size + g * stride + x] = row[x * parts + c];
        }
    }

    // f(integral constant n, i) for runs of n vectors from i on, the longest first.
    template <int most, class F>
    void tiles(F&& f) const {
        std::int64_t i = 0;
        for (; i + most <= vectors; i += most) f(std::integral_constant<int, most>{}, i);
        for (; i + most / 2 <= vectors; i += most / 2) f(std::integral_constant<int, most / 2>{}, i);
        for (; i < vectors; ++i) f(std::integral_constant<int, 1>{}, i);
    }
};

// This thread's scratch, handed out in pieces of a multiple of 64 bytes. Made twice: without memory it only counts.
class Arena {
  public:
    explicit Arena(void* memory) : memory_(static_cast<char*>(memory)) {}

    template <class T>
    T* take(std::int64_t count) {
        T* const at = memory_ ? reinterpret_cast<T*>(memory_ + used_) : nullptr;
        used_ += (static_cast<std::size_t>(count) * sizeof(T) + 63) / 64 * 64;
        return at;
    }
    std::size_t used() const { return used_; }

  private:
    char* memory_;
    std::size_t used_ = 0;
};

// Runs Run(plan, arena, first problem, problems).go(...) with memory for it.
template <class Run, class... Args>
void with_scratch(const Plan& p, std::int64_t group, Args... args) {
    const std::int64_t first = group * p.group, count = std::min(p.group, p.batch - first);
    Arena counter(nullptr);
    Run(p, counter, first, count);
    Arena arena(thread_scratch(counter.used()));
    Run(p, arena, first, count).go(args...);
}

}  // namespace
}  // namespace qcore::QC_ISA
