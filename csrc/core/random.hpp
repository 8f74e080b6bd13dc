// Philox4x32-10 on vectors, one chain per lane: the words of `philox` bit for bit, and uniform and normal numbers made of them.
// Included by files compiled per instruction set and by CUDA sources. What a chain draws doesn't depend on the number of lanes;
// with contraction off (-ffp-contract=off) the numbers are the same wherever there is a fused multiply-add, GPUs included.
#pragma once

#include "core/philox.hpp"
#include "core/vector_math.hpp"

namespace qcore::QC_ISA {
namespace {

// Two vectors of 64-bit lanes, whose low halves are what counts, hold the 32-bit words of even and odd lanes of a float vector:
// a multiplication of 32 by 32 bits then needs no shuffle. A double vector takes one of them.
template <class T>
struct Random {
    using S = Vector<T>;
    using V = typename S::V;
    using Math = VectorMath<T>;
    using U64 = typename S::template Of<std::uint64_t>::type;
    using U32 = typename S::template Of<std::uint32_t>::type;
    using I32 = typename S::template Of<std::int32_t>::type;
    // A word of each lane: 32 bits wide for float; for double 64, of which the upper half is zero.
    using Word = std::conditional_t<sizeof(T) == 4, U32, U64>;

    struct Words {
        Word w[4];
    };

#if defined(QC_ON_DEVICE)
    class Stream {
      public:
        QC_DEVICE Stream(std::uint32_t chain, std::uint64_t seed) : chain_(chain), seed_(seed) {}

        QC_DEVICE Words words(std::uint32_t purpose, std::uint32_t site, std::uint32_t sweep) const {
            const auto w = philox({purpose, site, sweep, chain_}, seed_);
            return {{w[0], w[1], w[2], w[3]}};
        }
        template <int sites>
        QC_DEVICE void words(std::uint32_t purpose, std::uint32_t site, std::uint32_t sweep, Words* r) const {
            for (int s = 0; s < sites; ++s) r[s] = words(purpose, site + static_cast<std::uint32_t>(s), sweep);
        }

      private:
        std::uint32_t chain_;
        std::uint64_t seed_;
    };
#else
    // The generator of lanes first_chain, first_chain + 1, ...: what all of its blocks have in common, made once.
    class Stream {
      public:
        Stream(std::uint32_t first_chain, std::uint64_t seed) {
            std::uint32_t k0 = static_cast<std::uint32_t>(seed), k1 = static_cast<std::uint32_t>(seed >> 32);
            for (auto& key : keys_) {
                key[0] = k0;
                key[1] = k1;
                k0 += 0x9E3779B9;
                k1 += 0xBB67AE85;
            }
            for (int part = 0; part < parts; ++part)
                for (int i = 0; i < vector_bytes / 8; ++i)
                    chains_[part][i] = first_chain + static_cast<std::uint32_t>(i * parts + part);
        }

        // Random bits of counter (purpose, site, sweep, first_chain + lane).
        Words words(std::uint32_t purpose, std::uint32_t site, std::uint32_t sweep) const {
            Words r;
            words(purpose, site, sweep, &r);
            return r;
        }

        // Of `sites` sites from that one on, worked out side by side: a round waits for the one before it.
        template <int sites = 1>
        void words(std::uint32_t purpose, std::uint32_t site, std::uint32_t sweep, Words* r) const {
            U64 out[sites * parts][4];
            rounds<sites>(purpose, site, sweep, out);
            for (int s = 0; s < sites; ++s)
                for (int i = 0; i < 4; ++i) {
                    if constexpr (parts == 2) r[s].w[i] = (U32)((out[2 * s][i] & low_half) | (out[2 * s + 1][i] << 32));
                    else r[s].w[i] = out[s][i] & low_half;
                }
        }

      private:
        static constexpr int parts = sizeof(T) == 4 ? 2 : 1;

        // The first three rounds still hold words that are the same for every chain; those are worked out once, not per
        // lane. Upper halves are left dirty: products don't read them.
        template <int sites>
        void rounds(std::uint32_t purpose, std::uint32_t first_site, std::uint32_t sweep, U64 (*out)[4]) const {
            constexpr int n = sites * parts;
            const auto high = [](std::uint64_t p) { return p >> 32; };
            const auto low = [](std::uint64_t p) { return p & low_half; };
            U64 c0[n], c1[n], c2[n], c3[n];
            for (int j = 0; j < n; ++j) {
                const std::uint32_t site = first_site + static_cast<std::uint32_t>(j / parts);
                // Round 1: words 0, 1 and 3 come out the same for all.
                std::uint64_t p0 = m0 * purpose, p1 = m1 * sweep;
                const std::uint64_t a0 = high(p1) ^ site ^ keys_[0][0], a1 = low(p1), a3 = low(p0);
                const U64 a2 = chains_[j % parts] ^ (high(p0) ^ keys_[0][1]);
                // Round 2: words 2 and 3.
                p0 = m0 * a0;
                U64 q = product(a2, m1);
                const U64 b0 = (q >> 32) ^ (a1 ^ keys_[1][0]), b1 = q;
                const std::uint64_t b2 = high(p0) ^ a3 ^ keys_[1][1], b3 = low(p0);
                // Round 3: word 1.
                p1 = m1 * b2;
                q = product(b0, m0);
                c0[j] = b1 ^ (high(p1) ^ keys_[2][0]);
                c1[j] = U64{} + low(p1);
                c2[j] = (q >> 32) ^ (b3 ^ keys_[2][1]);
                c3[j] = q;
            }
            for (int round = 3; round < 10; ++round)
                for (int j = 0; j < n; ++j) {
                    const U64 q0 = product(c0[j], m0), q1 = product(c2[j], m1);
                    c0[j] = (q1 >> 32) ^ c1[j] ^ keys_[round][0];
                    c1[j] = q1;
                    c2[j] = (q0 >> 32) ^ c3[j] ^ keys_[round][1];
                    c3[j] = q0;
                }
            for (int j = 0; j < n; ++j) {
                out[j][0] = c0[j];
                out[j][1] = c1[j];
                out[j][2] = c2[j];
                out[j][3] = c3[j];
            }
        }

        std::uint64_t keys_[10][2];  // of 32 bits, ready for lanes of 64
        U64 chains_[parts];
    };
#endif

    QC_DEVICE static Words words(std::uint32_t purpose, std::uint32_t site, std::uint32_t sweep, std::uint32_t first_chain,
                                 std::uint64_t seed) {
        return Stream(first_chain, seed).words(purpose, site, sweep);
    }

    // Numbers of one block of words: how many uniforms, and how many normals.
    static constexpr int uniforms = sizeof(T) == 4 ? 4 : 2, normals = uniforms;

    // In (0, 1), symmetric about 1/2: float takes the upper 23 bits of word `which` (with one more the largest would round to 1),
    // double 52 bits of words 2 which, 2 which + 1, as the scalar `uniform` does.
    QC_DEVICE static V uniform(const Words& w, int which) {
        if constexpr (sizeof(T) == 4) {
            const U32 bits = (w.w[which] >> 9) | 0x3f800000u;  // 1 + k 2^-23
            return (S::template bits<V>(bits) - T(1)) + T(0x1p-24);
        } else {
            const U64 bits = ((w.w[2 * which] << 32 | w.w[2 * which + 1]) >> 12) | 0x3ff0000000000000u;
            return (S::template bits<V>(bits) - T(1)) + T(0x1p-53);
        }
    }

    // Two independent standard normals by the transformation of Box and Muller: from words 2 which, 2 which + 1 (float, whose
    // largest is then 6.8), or from all four (double, which = 0, largest 8.6).
    QC_DEVICE static void normal(const Words& w, int which, V& a, V& b) {
        V radius, s, c;
        if constexpr (sizeof(T) == 4) {
            const V u = (S::template convert<V>(w.w[2 * which]) + T(0.5)) * T(0x1p-32);  // in (0, 1]
            radius = Math::sqrt(T(-2) * Math::log_normal(u));
            Math::sincos_turns(S::template convert<V>(S::template bits<I32>(w.w[2 * which + 1])) * T(0x1p-32), s, c);
        } else {
            radius = Math::sqrt(T(-2) * Math::log_normal(uniform(w, 0)));
            Math::sincos_turns(uniform(w, 1) - T(0.5), s, c);
        }
        a = radius * c;
        b = radius * s;
    }

  private:
    static constexpr std::uint64_t low_half = 0xffffffffu;
    static constexpr std::uint64_t m0 = 0xD2511F53, m1 = 0xCD9E8D57;

#if !defined(QC_ON_DEVICE)
    // Products of the low halves.
    static U64 product(U64 a, std::uint64_t m) {
        const U64 b = U64{} + m;
#if defined(__AVX512F__)
        return (U64)_mm512_maskz_mul_epu32(0xff, (__m512i)a, (__m512i)b);  // the plain one warns of its undefined source
#elif defined(__AVX2__)
        return (U64)_mm256_mul_epu32((__m256i)a, (__m256i)b);
#elif defined(__SSE2__)
        return (U64)_mm_mul_epu32((__m128i)a, (__m128i)b);
#else
        return (a & low_half) * b;
#endif
    }
#endif
};

}  // namespace
}  // namespace qcore::QC_ISA
