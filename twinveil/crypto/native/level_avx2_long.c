/* AVX2 with limbs of 27 bits: for longer n columns need the room. */
#include "lanes.h"

#if defined(__x86_64__) && defined(__GNUC__)
#include "avx2.h"
#define RADIX 27
#define MAX_LIMBS 310
#define COLUMN_PRODUCTS 1024
#include "kernel.inc"
#include "operations.inc"

const struct level twinveil_avx2_long = {"avx2_long", KERNELS};
#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#else
static int never(void) { return 0; }
const struct level twinveil_avx2_long = {.name = "avx2_long", .supported = never};
#endif
