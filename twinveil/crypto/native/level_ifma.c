/* AVX-512 IFMA: eight lanes, limbs of 52 bits in words of 64. */
#include "lanes.h"

#if defined(__x86_64__) && defined(__GNUC__)
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx512f,avx512ifma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512ifma")
#endif
#include <immintrin.h>

#define LANES 8
#define RADIX 52
#define BLOCK 5
#define MAX_LIMBS 160
#define COLUMN_PRODUCTS 2048
typedef uint64_t word;
typedef __m512i V;
typedef __mmask8 M;

#define ZERO _mm512_setzero_si512()
#define ALL(x) _mm512_set1_epi64((long long)(x))
#define ADD(a, b) _mm512_add_epi64(a, b)
#define SUB(a, b) _mm512_sub_epi64(a, b)
#define AND(a, b) _mm512_and_si512(a, b)
#define OR(a, b) _mm512_or_si512(a, b)
#define XOR(a, b) _mm512_xor_si512(a, b)
#define UNLESS(a, b) _mm512_andnot_si512(a, b)
#define RIGHT(a, bits) _mm512_srli_epi64(a, bits)
#define LO(c, a, b) _mm512_madd52lo_epu64(c, a, b)
#define HI(c, a, b) _mm512_madd52hi_epu64(c, a, b)
#define DIGIT(w, k0) LO(ZERO, w, k0)
#define EQUAL(a, b) _mm512_cmpeq_epi64_mask(a, b)
#define LANES_OF(words) _mm512_loadu_si512(words)
#define MOVE(v, mask, x) _mm512_mask_mov_epi64(v, mask, x)

/* Eight rows of eight words become eight vectors, one lane a row. */
INLINE void across(V *out, const V *row) {
  V pairs[8], fours[8];
  UNROLL for (int i = 0; i < 8; i += 2) {
    pairs[i] = _mm512_unpacklo_epi64(row[i], row[i + 1]);
    pairs[i + 1] = _mm512_unpackhi_epi64(row[i], row[i + 1]);
  }
  UNROLL for (int i = 0; i < 2; i++) {
    fours[i] = _mm512_shuffle_i64x2(pairs[i], pairs[i + 2], 0x88);
    fours[i + 2] = _mm512_shuffle_i64x2(pairs[i], pairs[i + 2], 0xdd);
    fours[i + 4] = _mm512_shuffle_i64x2(pairs[i + 4], pairs[i + 6], 0x88);
    fours[i + 6] = _mm512_shuffle_i64x2(pairs[i + 4], pairs[i + 6], 0xdd);
  }
  UNROLL for (int i = 0; i < 4; i++) {
    out[i] = _mm512_shuffle_i64x2(fours[i], fours[i + 4], 0x88);
    out[i + 4] = _mm512_shuffle_i64x2(fours[i], fours[i + 4], 0xdd);
  }
}

INLINE void columns_in(V *out, const word *const *rows, int at) {
  V row[8];
  UNROLL for (int lane = 0; lane < 8; lane++) row[lane] = _mm512_loadu_si512(rows[lane] + at);
  across(out, row);
}

INLINE void columns_out(word *const *rows, const V *in, int at) {
  V row[8];
  across(row, in);
  UNROLL for (int lane = 0; lane < 8; lane++) _mm512_storeu_si512(rows[lane] + at, row[lane]);
}

static int supported(void) {
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512ifma");
}

#include "kernel.inc"
#include "operations.inc"

const struct level twinveil_ifma = {"ifma", KERNELS};
#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#else
static int never(void) { return 0; }
const struct level twinveil_ifma = {.name = "ifma", .supported = never};
#endif
