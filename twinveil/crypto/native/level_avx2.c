/* AVX2 with limbs of 28 bits, for n of up to 3496. */
#include "lanes.h"

#if defined(__x86_64__) && defined(__GNUC__)
#include "avx2.h"
#define RADIX 28
#define MAX_LIMBS 125
#define COLUMN_PRODUCTS 256
#include "kernel.inc"
#include "operations.inc"

const struct level twinveil_avx2 = {"avx2", KERNELS};
#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#else
static int never(void) { return 0; }
const struct level twinveil_avx2 = {.name = "avx2", .supported = never};
#endif
