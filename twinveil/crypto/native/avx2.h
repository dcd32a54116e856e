/* Vectors of AVX2: four lanes, limbs in words of 32 bits. */
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2")
#endif
#include <immintrin.h>

#define LANES 4
#define BLOCK 5
typedef uint32_t word;
typedef __m256i V;
typedef __m256i M;

#define ZERO _mm256_setzero_si256()
#define ALL(x) _mm256_set1_epi64x((long long)(x))
#define ADD(a, b) _mm256_add_epi64(a, b)
#define SUB(a, b) _mm256_sub_epi64(a, b)
#define AND(a, b) _mm256_and_si256(a, b)
#define OR(a, b) _mm256_or_si256(a, b)
#define XOR(a, b) _mm256_xor_si256(a, b)
#define UNLESS(a, b) _mm256_andnot_si256(a, b)
#define RIGHT(a, bits) _mm256_srli_epi64(a, bits)
#define LO(c, a, b) ADD(c, _mm256_mul_epu32(a, b))
#define HI(c, a, b) (c)
#define DIGIT(w, k0) AND(_mm256_mul_epu32(w, k0), ALL(MASK))
#define EQUAL(a, b) _mm256_cmpeq_epi64(a, b)
#define LANES_OF(words) _mm256_cvtepu32_epi64(_mm_loadu_si128((const __m128i *)(words)))
#define MOVE(v, mask, x) _mm256_blendv_epi8(v, x, mask)

INLINE void across(__m128i *row) {
  const __m128i a = _mm_unpacklo_epi32(row[0], row[1]), b = _mm_unpackhi_epi32(row[0], row[1]);
  const __m128i c = _mm_unpacklo_epi32(row[2], row[3]), d = _mm_unpackhi_epi32(row[2], row[3]);
  row[0] = _mm_unpacklo_epi64(a, c);
  row[1] = _mm_unpackhi_epi64(a, c);
  row[2] = _mm_unpacklo_epi64(b, d);
  row[3] = _mm_unpackhi_epi64(b, d);
}

/* Eight words of four rows become eight vectors, one lane a row. */
INLINE void columns_in(V *out, const word *const *rows, int at) {
  UNROLL for (int i = 0; i < 8; i += 4) {
    __m128i row[4];
    UNROLL for (int lane = 0; lane < 4; lane++) row[lane] = _mm_loadu_si128((const __m128i *)(rows[lane] + at + i));
    across(row);
    UNROLL for (int j = 0; j < 4; j++) out[i + j] = _mm256_cvtepu32_epi64(row[j]);
  }
}

INLINE void columns_out(word *const *rows, const V *in, int at) {
  const __m256i evens = _mm256_setr_epi32(0, 2, 4, 6, 0, 2, 4, 6);
  UNROLL for (int i = 0; i < 8; i += 4) {
    __m128i row[4];
    UNROLL for (int j = 0; j < 4; j++) row[j] = _mm256_castsi256_si128(_mm256_permutevar8x32_epi32(in[i + j], evens));
    across(row);
    UNROLL for (int lane = 0; lane < 4; lane++) _mm_storeu_si128((__m128i *)(rows[lane] + at + i), row[lane]);
  }
}

static int supported(void) {
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx2") != 0;
}
