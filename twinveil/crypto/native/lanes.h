/* What the module (module.c) and a level (level_*.c) know of each other. */
#ifndef TWINVEIL_LANES_H
#define TWINVEIL_LANES_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* A modulus as a row of words: n, (1 - R) mod n, R^2 mod n, and -1/n mod 2^radix alone in the last part. */
#define MODULUS_PARTS 4
/* A table of powers has 16 entries: windows of 4 bits. */
#define POWER_ENTRIES 16
/* Vectors for every part of a number: what each operation keeps at hand, rows in transit included. */
#define SCRATCH_PARTS 32

/* The numbers of one call are modulo n^2, n of `limbs` limbs; scratch is aligned to 64 bytes. */
struct ring {
  const void *modulus;
  int limbs;
  void *scratch;
};

/* Arithmetic on one kind of processor. Whoever calls has checked every length; nothing here allocates. */
struct level {
  const char *name;
  int lanes, radix, word_bytes;
  int block;     /* limbs are a multiple of it */
  int max_limbs; /* lazy columns hold that many products */
  int (*supported)(void);
  void (*load)(const struct ring *, const void *shifts, const uint8_t *bytes, size_t size, void *out, size_t count);
  void (*store)(const struct ring *, const void *a, uint8_t *bytes, size_t size, size_t count);
  void (*multiply)(const struct ring *, const void *a, const void *b, size_t turns, void *out, size_t count);
  void (*square)(const struct ring *, const void *a, unsigned times, void *out, size_t count);
  void (*fold)(const struct ring *, const void *a, size_t parts, unsigned width, void *out, size_t count);
  void (*add_plain)(const struct ring *, const void *a, const uint8_t *bytes, size_t size, void *out, size_t count);
  void (*power)(const struct ring *, const void *moduli, const void *ones, const uint8_t *which, const void *a,
                const uint8_t *windows, size_t steps, void *out, size_t count);
  void (*multiply_n)(const struct ring *, const void *a, const void *b, void *out, size_t count);
  void (*multiply_normal)(const struct ring *, const void *a, const void *b, size_t turns, void *out, size_t count);
  void (*gather)(const struct ring *, const void *table, const uint32_t *index, size_t steps, void *out,
                 size_t count);
  void (*buckets)(const struct ring *, const void *one, const void *factors, size_t bases, const uint8_t *digits,
                  size_t size, void *out, size_t count);
};

extern const struct level twinveil_ifma, twinveil_avx2, twinveil_avx2_long;

/* For loops over registers: arrays stay in them only if everything is inline and unrolled. */
#define INLINE static inline __attribute__((always_inline))
#ifdef __clang__
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 32")
#endif

/* Words of a half in a row: limbs, rounded up so that rows are read eight words at a time. */
static inline size_t pitch_of(int limbs) { return ((size_t)limbs + 7) / 8 * 8; }

#endif
