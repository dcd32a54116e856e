/* Half gates, the hash that they rest on (hashing.py) and the matrices of OT extension, with the processor's AES.

A function checks every length, lets other threads run, and works on one layer: arrays of labels of 16 bytes.
What does not fit is a ValueError, and nothing has been read or written then. No branch and no address depends on a
label. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>

#define INLINE static inline __attribute__((always_inline))
#ifdef __clang__
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 32")
#endif

typedef __m128i label;
#define LABEL sizeof(label)
#define ROUNDS 10
/* Blocks of AES at a time: its latency over its throughput, and what registers hold. */
#define AT_ONCE 8

struct key {
  label round[ROUNDS + 1];
};

INLINE label load(const uint8_t *from, size_t at) { return _mm_loadu_si128((const label *)from + at); }
INLINE void store(uint8_t *to, size_t at, label x) { _mm_storeu_si128((label *)to + at, x); }
INLINE label xor(label a, label b) { return _mm_xor_si128(a, b); }

#ifdef __clang__
#pragma clang attribute push(__attribute__((target("aes,sse4.1"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("aes,sse4.1")
#endif

INLINE label next_round(label key, label assist) {
  key = xor(key, _mm_slli_si128(key, 4));
  key = xor(key, _mm_slli_si128(key, 8));
  return xor(key, _mm_shuffle_epi32(assist, 0xff));
}

INLINE void expand(struct key *key, label secret) {
  label *const r = key->round;
  r[0] = secret;
#define NEXT(i, constant) r[i] = next_round(r[i - 1], _mm_aeskeygenassist_si128(r[i - 1], constant))
  NEXT(1, 0x01), NEXT(2, 0x02), NEXT(3, 0x04), NEXT(4, 0x08), NEXT(5, 0x10);
  NEXT(6, 0x20), NEXT(7, 0x40), NEXT(8, 0x80), NEXT(9, 0x1b), NEXT(10, 0x36);
#undef NEXT
}

INLINE void encrypt(const struct key *key, label *x, int count) {
  UNROLL for (int i = 0; i < count; i++) x[i] = xor(x[i], key->round[0]);
  for (int r = 1; r < ROUNDS; r++) { /* not unrolled, or compilers put one block's rounds in a row */
    const label round = key->round[r];
    UNROLL for (int i = 0; i < count; i++) x[i] = _mm_aesenc_si128(x[i], round);
  }
  UNROLL for (int i = 0; i < count; i++) x[i] = _mm_aesenclast_si128(x[i], key->round[ROUNDS]);
}

/* AES_k(u) xor u */
INLINE void hash(const struct key *key, label *u, int count) {
  label x[AT_ONCE];
  UNROLL for (int i = 0; i < count; i++) x[i] = u[i];
  encrypt(key, x, count);
  UNROLL for (int i = 0; i < count; i++) u[i] = xor(u[i], x[i]);
}

/* sigma(xL || xR) = (xL xor xR) || xL */
INLINE label sigma(label x) { return xor(_mm_shuffle_epi32(x, 0x4e), _mm_move_epi64(x)); }
INLINE label tweak(uint64_t i) { return _mm_set_epi64x((long long)i, 0); }

/* `x` where the lowest bit of `by` is 1, else 0 */
INLINE label where(label by, label x) {
  const label low = _mm_and_si128(_mm_shuffle_epi32(by, 0x44), _mm_set1_epi64x(1));
  return _mm_and_si128(_mm_sub_epi64(_mm_setzero_si128(), low), x);
}

/* No compiler leaves these writes out. */
static void wipe(void *secret, size_t size) {
  volatile uint8_t *const at = secret;
  for (size_t i = 0; i < size; i++) at[i] = 0;
}

/* Instances from `first` on, each `block` of them under a key of its own: S xor the block's number. */
struct keys {
  label start_point;
  uint64_t block, first;
  struct key key;
};

/* The next instances from `at` on that share a key, which is set up: how many, at most up to `count`.
   within: the first one's place in its block. */
INLINE size_t next_block(struct keys *keys, size_t at, size_t count, uint64_t *within) {
  const uint64_t instance = keys->first + at, number = instance / keys->block;
  *within = instance - number * keys->block;
  expand(&keys->key, xor(keys->start_point, _mm_set_epi64x(0, (long long)number)));
  const uint64_t left = keys->block - *within;
  return count - at < left ? count - at : (size_t)left;
}

INLINE void hash_some(const struct keys *keys, uint64_t i, const uint8_t *labels, uint8_t *out, size_t at, int n) {
  label u[AT_ONCE];
  UNROLL for (int k = 0; k < n; k++) u[k] = xor(sigma(load(labels, at + (size_t)k)), tweak(i + 2 * (uint64_t)k));
  hash(&keys->key, u, n);
  UNROLL for (int k = 0; k < n; k++) store(out, at + (size_t)k, u[k]);
}

static void hash_all(struct keys *keys, uint64_t half, const uint8_t *labels, uint8_t *out, size_t count) {
  for (size_t at = 0, more; at < count; at += more) {
    uint64_t within;
    more = next_block(keys, at, count, &within);
    size_t k = 0;
    for (; k + AT_ONCE <= more; k += AT_ONCE)
      hash_some(keys, 2 * (within + k) + half, labels, out, at + k, AT_ONCE);
    for (; k < more; k++) hash_some(keys, 2 * (within + k) + half, labels, out, at + k, 1);
  }
}

/* A layer of `count` gates a b; tables: T_G of all of them, then T_E.
   Alone: a = x, b = y, out = a b. As a ripple: a = x xor y, b = x xor c, and c of `size` places further on is
   x xor a b, `out` being c of there. */
struct layer {
  const uint8_t *x, *y, *c, *tables;
  uint8_t *out, *made; /* made: the tables, where they are written */
  size_t count, size;
  label delta;
};

INLINE void operands(const struct layer *layer, int ripple, size_t at, int n, label *a, label *b) {
  UNROLL for (int k = 0; k < n; k++) {
    const label x = load(layer->x, at + (size_t)k), y = load(layer->y, at + (size_t)k);
    a[k] = ripple ? xor(x, y) : x;
    b[k] = ripple ? xor(x, load(layer->c, at + (size_t)k)) : y;
  }
}

INLINE void result(const struct layer *layer, int ripple, size_t at, int k, label z) {
  store(layer->out, at + (size_t)k, ripple ? xor(z, load(layer->x, at + (size_t)k)) : z);
}

INLINE void garble_some(const struct key *key, const struct layer *layer, int ripple, uint64_t i, size_t at, int n) {
  label a[AT_ONCE / 4], b[AT_ONCE / 4], u[AT_ONCE];
  const label delta = layer->delta, apart = sigma(delta);
  operands(layer, ripple, at, n, a, b);
  UNROLL for (int k = 0; k < n; k++) {
    u[4 * k] = xor(sigma(a[k]), tweak(i + 2 * (uint64_t)k));
    u[4 * k + 1] = xor(u[4 * k], apart);
    u[4 * k + 2] = xor(sigma(b[k]), tweak(i + 2 * (uint64_t)k + 1));
    u[4 * k + 3] = xor(u[4 * k + 2], apart);
  }
  hash(key, u, 4 * n);
  UNROLL for (int k = 0; k < n; k++) {
    const label generator = xor(xor(u[4 * k], u[4 * k + 1]), where(b[k], delta));
    const label differ = xor(u[4 * k + 2], u[4 * k + 3]);
    store(layer->made, at + (size_t)k, generator);
    store(layer->made, layer->count + at + (size_t)k, xor(differ, a[k]));
    result(layer, ripple, at, k,
           xor(xor(u[4 * k], where(a[k], generator)), xor(u[4 * k + 2], where(b[k], differ))));
  }
}

INLINE void open_some(const struct key *key, const struct layer *layer, int ripple, uint64_t i, size_t at, int n) {
  label a[AT_ONCE / 2], b[AT_ONCE / 2], u[AT_ONCE];
  operands(layer, ripple, at, n, a, b);
  UNROLL for (int k = 0; k < n; k++) {
    u[2 * k] = xor(sigma(a[k]), tweak(i + 2 * (uint64_t)k));
    u[2 * k + 1] = xor(sigma(b[k]), tweak(i + 2 * (uint64_t)k + 1));
  }
  hash(key, u, 2 * n);
  UNROLL for (int k = 0; k < n; k++) {
    const label generator = load(layer->tables, at + (size_t)k);
    const label own = xor(load(layer->tables, layer->count + at + (size_t)k), a[k]);
    result(layer, ripple, at, k,
           xor(xor(u[2 * k], where(a[k], generator)), xor(u[2 * k + 1], where(b[k], own))));
  }
}

/* Some gates at once, but no more than do not wait for each other. */
#define WORK(name, some, step)                                                                          \
  INLINE void name##_blocks(struct keys *keys, const struct layer *layer, int ripple) {                  \
    for (size_t at = 0, more; at < layer->count; at += more) {                                          \
      uint64_t within;                                                                                  \
      more = next_block(keys, at, layer->count, &within);                                               \
      size_t k = 0;                                                                                     \
      if (!ripple || layer->size >= (step))                                                             \
        for (; k + (step) <= more; k += (step))                                                         \
          some(&keys->key, layer, ripple, 2 * (within + k), at + k, (step));                            \
      for (; k < more; k++) some(&keys->key, layer, ripple, 2 * (within + k), at + k, 1);               \
    }                                                                                                   \
  }                                                                                                     \
  static void name##_all(struct keys *keys, const struct layer *layer, int ripple) {                    \
    if (ripple)                                                                                         \
      name##_blocks(keys, layer, 1);                                                                     \
    else                                                                                                \
      name##_blocks(keys, layer, 0);                                                                     \
  }
WORK(garble, garble_some, AT_ONCE / 4)
WORK(open, open_some, AT_ONCE / 2)

/* `size` bytes of AES-CTR from a counter on: one row a key. The counter is big-endian. */
static void stream_all(const uint8_t *secrets, size_t rows, uint64_t counter, uint8_t *out, size_t size) {
  struct key key;
  for (size_t row = 0; row < rows; row++, out += size) {
    expand(&key, load(secrets, row));
    for (size_t at = 0; at < size; at += LABEL * AT_ONCE) {
      label x[AT_ONCE];
      UNROLL for (int k = 0; k < AT_ONCE; k++)
        x[k] = _mm_set_epi64x((long long)__builtin_bswap64(counter + at / LABEL + (uint64_t)k), 0);
      encrypt(&key, x, AT_ONCE);
      const size_t left = size - at;
      memcpy(out + at, x, left < sizeof(x) ? left : sizeof(x));
    }
  }
  wipe(&key, sizeof(key));
}

/* 128 rows of bits to columns of 128: bit c of rows[r][j] becomes bit r of out[8 j + c]. */
static void transpose_all(const uint8_t *rows, size_t size, uint8_t *out) {
  for (size_t j = 0; j < size; j++)
    for (size_t r = 0; r < 8 * LABEL; r += LABEL) {
      uint8_t column[LABEL];
      for (size_t k = 0; k < LABEL; k++) column[k] = rows[(r + k) * size + j];
      label bits = load(column, 0);
      for (size_t c = 8; c-- > 0; bits = _mm_add_epi8(bits, bits)) {
        const uint16_t top = (uint16_t)_mm_movemask_epi8(bits);
        memcpy(out + (8 * j + c) * LABEL + r / 8, &top, sizeof(top));
      }
    }
}

static int supported(void) {
  __builtin_cpu_init();
  return __builtin_cpu_supports("aes") && __builtin_cpu_supports("sse4.1");
}
#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

#define MAX_BUFFERS 6

struct call {
  int buffers;
  Py_buffer buffer[MAX_BUFFERS];
  uint64_t number[3];
};
#define BUFFER(i) ((uint8_t *)call.buffer[i].buf)

static int refuse(const char *why) {
  PyErr_SetString(PyExc_ValueError, why);
  return 0;
}

/* The arguments: `numbers` numbers, then `buffers` buffers, of which the last `outputs` are written.
   0 with an error set if they are not that; `end` is due in any case. */
static int begin(struct call *call, PyObject *args, int numbers, int buffers, int outputs) {
  *call = (struct call){0};
  if (!supported()) return refuse("this processor has no AES");
  if (PyTuple_Size(args) != numbers + buffers) return refuse("wrong number of arguments");
  for (int i = 0; i < numbers; i++) {
    call->number[i] = PyLong_AsUnsignedLongLong(PyTuple_GetItem(args, i));
    if (PyErr_Occurred()) return 0;
    if (call->number[i] >> 62) return refuse("a number is too large");
  }
  for (int i = 0; i < buffers; i++) {
    const int flags = i >= buffers - outputs ? PyBUF_WRITABLE : PyBUF_SIMPLE;
    if (PyObject_GetBuffer(PyTuple_GetItem(args, numbers + i), &call->buffer[i], flags)) return 0;
    call->buffers++;
  }
  return 1;
}

static PyObject *end(struct call *call) {
  for (int i = 0; i < call->buffers; i++) PyBuffer_Release(&call->buffer[i]);
  if (PyErr_Occurred()) return NULL;
  Py_RETURN_NONE;
}

/* Labels in a buffer */
static size_t labels(const struct call *call, int i) { return (size_t)call->buffer[i].len / LABEL; }

/* Whether a buffer holds just so many things of that size; count is that of another buffer's, so nothing overflows. */
static int holds(const struct call *call, int i, size_t count, size_t size) {
  return (size_t)call->buffer[i].len == count * size || refuse("buffers do not fit each other");
}

/* The keys of the first buffer, S, for instances number[1] on in blocks of number[0] */
static int keys_of(const struct call *call, struct keys *keys) {
  if (!holds(call, 0, 1, LABEL)) return 0;
  if (!call->number[0]) return refuse("a block has instances");
  keys->start_point = load(call->buffer[0].buf, 0);
  keys->block = call->number[0];
  keys->first = call->number[1];
  return 1;
}

/* hash_labels(block, first, half, S, labels, out): H of labels of instances first on */
static PyObject *hash_labels(PyObject *self, PyObject *args) {
  struct call call;
  struct keys keys;
  (void)self;
  if (begin(&call, args, 3, 3, 1) && keys_of(&call, &keys)) {
    const size_t count = labels(&call, 1);
    if (call.number[2] > 1)
      refuse("a gate has two halves");
    else if (holds(&call, 1, count, LABEL) && holds(&call, 2, count, LABEL)) {
      Py_BEGIN_ALLOW_THREADS
      hash_all(&keys, call.number[2], BUFFER(1), BUFFER(2), count);
      Py_END_ALLOW_THREADS
    }
  }
  return end(&call);
}

/* The operands x, y in the buffers `at` and the next, the tables after `results`; a ripple's carries have a row of
   `size` more, and the first of them is there. */
static int layer_of(const struct call *call, struct layer *layer, int ripple, int at, int tables, int out) {
  const size_t count = labels(call, at), made = labels(call, out);
  if (!holds(call, at, count, LABEL) || !holds(call, at + 1, count, LABEL) || !holds(call, out, made, LABEL) ||
      !holds(call, tables, count, 2 * LABEL))
    return 0;
  layer->count = count;
  layer->size = made - count;
  if (ripple ? made < count || (count && (!layer->size || count % layer->size)) : made != count)
    return refuse("buffers do not fit each other");
  layer->x = call->buffer[at].buf;
  layer->y = call->buffer[at + 1].buf;
  layer->c = call->buffer[out].buf;
  layer->out = (uint8_t *)call->buffer[out].buf + layer->size * LABEL;
  layer->tables = layer->made = call->buffer[tables].buf;
  return 1;
}

/* garble_layer(block, first, ripple, S, delta, x, y, tables, out): tables and zero labels of a layer */
static PyObject *garble_layer(PyObject *self, PyObject *args) {
  struct call call;
  struct keys keys;
  struct layer layer;
  (void)self;
  if (begin(&call, args, 3, 6, 2) && keys_of(&call, &keys) && holds(&call, 1, 1, LABEL) &&
      layer_of(&call, &layer, call.number[2] != 0, 2, 4, 5)) {
    layer.delta = load(BUFFER(1), 0);
    Py_BEGIN_ALLOW_THREADS
    garble_all(&keys, &layer, call.number[2] != 0);
    Py_END_ALLOW_THREADS
    wipe(&layer, sizeof(layer));
  }
  return end(&call);
}

/* open_layer(block, first, ripple, S, x, y, tables, out): active labels of a layer */
static PyObject *open_layer(PyObject *self, PyObject *args) {
  struct call call;
  struct keys keys;
  struct layer layer;
  (void)self;
  if (begin(&call, args, 3, 5, 1) && keys_of(&call, &keys) &&
      layer_of(&call, &layer, call.number[2] != 0, 1, 3, 4)) {
    Py_BEGIN_ALLOW_THREADS
    open_all(&keys, &layer, call.number[2] != 0);
    Py_END_ALLOW_THREADS
  }
  return end(&call);
}

/* stream(counter, keys, out): AES-CTR under each key from the counter on, rows of out */
static PyObject *stream(PyObject *self, PyObject *args) {
  struct call call;
  (void)self;
  if (begin(&call, args, 1, 2, 1)) {
    const size_t rows = labels(&call, 0), size = rows ? (size_t)call.buffer[1].len / rows : 0;
    if (holds(&call, 0, rows, LABEL) && holds(&call, 1, rows, size)) {
      Py_BEGIN_ALLOW_THREADS
      stream_all(BUFFER(0), rows, call.number[0], BUFFER(1), size);
      Py_END_ALLOW_THREADS
    }
  }
  return end(&call);
}

/* transpose(rows, out): 128 rows of bits to columns of 16 bytes */
static PyObject *transpose(PyObject *self, PyObject *args) {
  struct call call;
  (void)self;
  if (begin(&call, args, 0, 2, 1)) {
    const size_t size = labels(&call, 0) / 8;
    if (holds(&call, 0, size, 8 * LABEL) && holds(&call, 1, size, 8 * LABEL)) {
      Py_BEGIN_ALLOW_THREADS
      transpose_all(BUFFER(0), size, BUFFER(1));
      Py_END_ALLOW_THREADS
    }
  }
  return end(&call);
}

static PyMethodDef METHODS[] = {
    {"hash_labels", hash_labels, METH_VARARGS, NULL},
    {"garble_layer", garble_layer, METH_VARARGS, NULL},
    {"open_layer", open_layer, METH_VARARGS, NULL},
    {"stream", stream, METH_VARARGS, NULL},
    {"transpose", transpose, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};
#else
static int supported(void) { return 0; }
static PyMethodDef METHODS[] = {{NULL, NULL, 0, NULL}};
#endif

static int add_supported(PyObject *module) {
  return PyModule_AddIntConstant(module, "SUPPORTED", supported());
}

static PyModuleDef_Slot SLOTS[] = {{Py_mod_exec, add_supported}, {0, NULL}};

static struct PyModuleDef MODULE = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_gates",
    .m_doc = "Half gates over arrays of labels.",
    .m_methods = METHODS,
    .m_slots = SLOTS,
};

PyMODINIT_FUNC PyInit__gates(void) { return PyModuleDef_Init(&MODULE); }
