/* The extension module: checks every length and index, lets other threads run, and calls a level's arithmetic.

Every operation takes (level, limbs, modulus, inputs..., output, numbers...): buffers of whole rows, as kernel.inc has
them. What does not fit is a ValueError, and nothing has been read or written then. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <limits.h>
#include <stdlib.h>

#include "lanes.h"

static const struct level *const LEVELS[] = {&twinveil_ifma, &twinveil_avx2, &twinveil_avx2_long};
#define LEVEL_COUNT (sizeof(LEVELS) / sizeof(LEVELS[0]))
#define MAX_BUFFERS 7

struct call {
  const struct level *level;
  struct ring ring;
  size_t half; /* bytes of a half */
  size_t size; /* of the scratch */
  void *raw;   /* the scratch as it was allocated */
  int buffers;
  Py_buffer buffer[MAX_BUFFERS];
};

static int refuse(const char *why) {
  PyErr_SetString(PyExc_ValueError, why);
  return 0;
}

/* The arguments: `buffers` buffers, the modulus first and the output last, then `numbers` numbers. 0 with an error set
   if they are not that; `end` is due in any case. */
static int begin(struct call *call, PyObject *args, int buffers, int numbers, size_t *number) {
  *call = (struct call){0};
  if (PyTuple_Size(args) != 2 + buffers + numbers) return refuse("wrong number of arguments");
  const char *const name = PyUnicode_AsUTF8AndSize(PyTuple_GetItem(args, 0), NULL);
  const long limbs = name ? PyLong_AsLong(PyTuple_GetItem(args, 1)) : 0;
  if (PyErr_Occurred()) return 0;
  for (size_t i = 0; i < LEVEL_COUNT; i++)
    if (!strcmp(LEVELS[i]->name, name) && LEVELS[i]->supported()) call->level = LEVELS[i];
  if (!call->level) return refuse("this processor has no such level");
  if (limbs < 1 || limbs > call->level->max_limbs || limbs % call->level->block)
    return refuse("this level has no numbers of that many limbs");
  call->ring.limbs = (int)limbs;
  call->half = pitch_of((int)limbs) * (size_t)call->level->word_bytes;
  for (int i = 0; i < buffers; i++) {
    const int flags = i == buffers - 1 ? PyBUF_WRITABLE : PyBUF_SIMPLE;
    if (PyObject_GetBuffer(PyTuple_GetItem(args, 2 + i), &call->buffer[i], flags)) return 0;
    call->buffers++;
  }
  for (int i = 0; i < numbers; i++) {
    const Py_ssize_t value = PyLong_AsSsize_t(PyTuple_GetItem(args, 2 + buffers + i));
    if (PyErr_Occurred()) return 0;
    if (value < 0) return refuse("a number is negative");
    number[i] = (size_t)value;
  }
  call->ring.modulus = call->buffer[0].buf;
  return 1;
}

/* Whole units in a buffer; 0 with an error set if there is no whole number of them, 0 without one if it is empty. */
static size_t count_of(const struct call *call, int i, size_t unit) {
  const size_t size = (size_t)call->buffer[i].len;
  if (size % unit) refuse("a buffer does not hold whole rows");
  return size % unit ? 0 : size / unit;
}

static int fits(const struct call *call, int i, size_t count, size_t unit) {
  return (size_t)call->buffer[i].len == count * unit || refuse("buffers do not fit each other");
}

/* As `fits`, for what is read as integers of `width` bytes */
static int aligned(const struct call *call, int i, size_t count, size_t unit, size_t width) {
  if ((uintptr_t)call->buffer[i].buf % width) return refuse("a buffer is not aligned");
  return fits(call, i, count, unit);
}

/* As `fits`, for words; the modulus, too */
static int words(const struct call *call, int i, size_t count, size_t unit) {
  return aligned(call, i, count, unit, (size_t)call->level->word_bytes);
}

/* As `words`, for rows that serve `turns` of `count` numbers each */
static int serve(const struct call *call, int i, size_t turns, size_t count, size_t unit) {
  if (!turns || count % turns) return refuse("rows do not serve so many numbers each");
  return words(call, i, count / turns, unit);
}

/* Scratch of `parts` halves of every lane; 0 with MemoryError if there is none. */
static int scratch(struct call *call, size_t parts) {
  call->size = parts * pitch_of(call->ring.limbs) * (size_t)call->level->lanes * 8;
  call->raw = calloc(1, call->size + 64);
  if (!call->raw) PyErr_NoMemory();
  call->ring.scratch = (void *)(((uintptr_t)call->raw + 63) & ~(uintptr_t)63);
  return call->raw != NULL;
}

/* Freed memory is somebody else's later, and what is in the scratch may be secret: a modulus p^2, tables of powers. */
static PyObject *end(struct call *call) {
  volatile uint64_t *const scratch = call->ring.scratch;
  for (size_t i = 0; call->raw && i < call->size / 8; i++) scratch[i] = 0; /* no compiler leaves these out */
  free(call->raw);
  for (int i = 0; i < call->buffers; i++) PyBuffer_Release(&call->buffer[i]);
  if (PyErr_Occurred()) return NULL;
  Py_RETURN_NONE;
}

/* Bytes of a number of `limbs` limbs each half: at least one, at most what its limbs hold */
static int holds(const struct call *call, size_t size, int halves) {
  const size_t bits = (size_t)(halves * call->ring.limbs * call->level->radix);
  return (size >= 1 && size <= bits / 8) || refuse("numbers of that many bytes do not fit their limbs");
}

/* A number of squarings in a row */
static int few(size_t times) { return times <= INT_MAX || refuse("that many squarings never end"); }

static int modulus(const struct call *call) { return words(call, 0, MODULUS_PARTS, call->half); }

/* Calls the level's operation without Python's lock. */
#define RUN(call, operation, ...)                        \
  do {                                                   \
    Py_BEGIN_ALLOW_THREADS                               \
    (call).level->operation(&(call).ring, __VA_ARGS__);  \
    Py_END_ALLOW_THREADS                                 \
  } while (0)
#define BUFFER(i) call.buffer[i].buf

/* load(level, limbs, modulus, shifts, bytes, out, size): big-endian numbers of `size` bytes to pairs */
static PyObject *load(PyObject *self, PyObject *args) {
  struct call call;
  size_t size;
  (void)self;
  if (begin(&call, args, 4, 1, &size) && modulus(&call) && holds(&call, size, 2)) {
    const size_t pair = 2 * call.half, count = count_of(&call, 3, pair);
    if (count && words(&call, 1, 2, pair) && fits(&call, 2, count, size) && words(&call, 3, count, pair) &&
        scratch(&call, SCRATCH_PARTS))
      RUN(call, load, BUFFER(1), BUFFER(2), size, BUFFER(3), count);
  }
  return end(&call);
}

/* store(level, limbs, modulus, a, out, size): pairs to big-endian numbers of `size` bytes */
static PyObject *store(PyObject *self, PyObject *args) {
  struct call call;
  size_t size;
  (void)self;
  if (begin(&call, args, 3, 1, &size) && modulus(&call) && holds(&call, size, 2)) {
    const size_t pair = 2 * call.half, count = count_of(&call, 1, pair);
    if (count && words(&call, 1, count, pair) && fits(&call, 2, count, size) && scratch(&call, SCRATCH_PARTS))
      RUN(call, store, BUFFER(1), BUFFER(2), size, count);
  }
  return end(&call);
}

/* multiply(level, limbs, modulus, a, b, out, turns): pairs by pairs, each of b serving so many of a */
static PyObject *multiply(PyObject *self, PyObject *args) {
  struct call call;
  size_t turns;
  (void)self;
  if (begin(&call, args, 4, 1, &turns) && modulus(&call)) {
    const size_t pair = 2 * call.half, count = count_of(&call, 3, pair);
    if (count && words(&call, 1, count, pair) && serve(&call, 2, turns, count, pair) &&
        words(&call, 3, count, pair) && scratch(&call, SCRATCH_PARTS))
      RUN(call, multiply, BUFFER(1), BUFFER(2), turns, BUFFER(3), count);
  }
  return end(&call);
}

/* square(level, limbs, modulus, a, out, times): pairs to the power of 2^times */
static PyObject *square(PyObject *self, PyObject *args) {
  struct call call;
  size_t times;
  (void)self;
  if (begin(&call, args, 3, 1, &times) && modulus(&call) && few(times)) {
    const size_t pair = 2 * call.half, count = count_of(&call, 2, pair);
    if (count && words(&call, 1, count, pair) && words(&call, 2, count, pair) && scratch(&call, SCRATCH_PARTS))
      RUN(call, square, BUFFER(1), (unsigned)times, BUFFER(2), count);
  }
  return end(&call);
}

/* fold(level, limbs, modulus, a, out, width): products of a[j][l]^(2^(width j)), a being (parts, count) */
static PyObject *fold(PyObject *self, PyObject *args) {
  struct call call;
  size_t width;
  (void)self;
  if (begin(&call, args, 3, 1, &width) && modulus(&call) && few(width)) {
    const size_t pair = 2 * call.half, count = count_of(&call, 2, pair);
    const size_t parts = count ? count_of(&call, 1, count * pair) : 0;
    if (parts && words(&call, 1, parts * count, pair) && words(&call, 2, count, pair) &&
        scratch(&call, SCRATCH_PARTS))
      RUN(call, fold, BUFFER(1), parts, (unsigned)width, BUFFER(2), count);
    else if (!PyErr_Occurred() && count)
      refuse("a product needs factors");
  }
  return end(&call);
}

/* add_plain(level, limbs, modulus, a, bytes, out, size): a (1 + m n), m big-endian of `size` bytes */
static PyObject *add_plain(PyObject *self, PyObject *args) {
  struct call call;
  size_t size;
  (void)self;
  if (begin(&call, args, 4, 1, &size) && modulus(&call) && holds(&call, size, 1)) {
    const size_t pair = 2 * call.half, count = count_of(&call, 3, pair);
    if (count && words(&call, 1, count, pair) && fits(&call, 2, count, size) && words(&call, 3, count, pair) &&
        scratch(&call, SCRATCH_PARTS))
      RUN(call, add_plain, BUFFER(1), BUFFER(2), size, BUFFER(3), count);
  }
  return end(&call);
}

/* power(level, limbs, moduli, ones, which, a, windows, out): constant-time powers, each with its own modulus
   moduli[which] and exponent, windows of 4 bits, one a byte, most significant first */
static PyObject *power(PyObject *self, PyObject *args) {
  struct call call;
  (void)self;
  if (begin(&call, args, 6, 0, NULL)) {
    const size_t pair = 2 * call.half, count = count_of(&call, 5, pair);
    const size_t moduli = PyErr_Occurred() ? 0 : count_of(&call, 0, MODULUS_PARTS * call.half);
    const size_t steps = count ? count_of(&call, 4, count) : 0;
    const uint8_t *const which = BUFFER(2), *const windows = BUFFER(4);
    int right = moduli && steps && words(&call, 0, moduli, MODULUS_PARTS * call.half) &&
                words(&call, 1, moduli, pair) && fits(&call, 2, count, 1) && words(&call, 3, count, pair) &&
                words(&call, 5, count, pair);
    for (size_t i = 0; right && i < count; i++)
      if (which[i] >= moduli) right = refuse("there is no such modulus");
    if (right && scratch(&call, SCRATCH_PARTS + 2 * POWER_ENTRIES))
      RUN(call, power, BUFFER(0), BUFFER(1), which, BUFFER(3), windows, steps, BUFFER(5), count);
    else if (!PyErr_Occurred() && count)
      refuse("a power needs a modulus and an exponent");
  }
  return end(&call);
}

/* multiply_n(level, limbs, modulus, a, b, out): halves by halves, modulo n */
static PyObject *multiply_n(PyObject *self, PyObject *args) {
  struct call call;
  (void)self;
  if (begin(&call, args, 4, 0, NULL) && modulus(&call)) {
    const size_t count = count_of(&call, 3, call.half);
    if (count && words(&call, 1, count, call.half) && words(&call, 2, count, call.half) &&
        words(&call, 3, count, call.half) && scratch(&call, SCRATCH_PARTS))
      RUN(call, multiply_n, BUFFER(1), BUFFER(2), BUFFER(3), count);
  }
  return end(&call);
}

/* multiply_normal(level, limbs, modulus, a, b, out, turns): normal forms, as `multiply` */
static PyObject *multiply_normal(PyObject *self, PyObject *args) {
  struct call call;
  size_t turns;
  (void)self;
  if (begin(&call, args, 4, 1, &turns) && modulus(&call)) {
    const size_t form = 3 * call.half, count = count_of(&call, 3, form);
    if (count && words(&call, 1, count, form) && serve(&call, 2, turns, count, form) &&
        words(&call, 3, count, form) && scratch(&call, SCRATCH_PARTS))
      RUN(call, multiply_normal, BUFFER(1), BUFFER(2), turns, BUFFER(3), count);
  }
  return end(&call);
}

/* gather(level, limbs, modulus, table, index, out): products of table rows; index is uint32 (steps, count) */
static PyObject *gather(PyObject *self, PyObject *args) {
  struct call call;
  (void)self;
  if (begin(&call, args, 4, 0, NULL) && modulus(&call)) {
    const size_t pair = 2 * call.half, count = count_of(&call, 3, pair);
    const size_t rows = PyErr_Occurred() ? 0 : count_of(&call, 1, pair);
    const size_t steps = count && rows ? count_of(&call, 2, 4 * count) : 0;
    const uint32_t *const index = BUFFER(2);
    int right = steps && words(&call, 1, rows, pair) && aligned(&call, 2, count * steps, 4, 4) &&
                words(&call, 3, count, pair);
    for (size_t i = 0; right && i < count * steps; i++)
      if (index[i] >= rows) right = refuse("there is no such row in the table");
    if (right && scratch(&call, SCRATCH_PARTS))
      RUN(call, gather, BUFFER(1), index, steps, BUFFER(3), count);
    else if (!PyErr_Occurred() && count)
      refuse("a product needs a table and an index");
  }
  return end(&call);
}

/* buckets(level, limbs, modulus, one, factors, digits, out, size): products of factors[t]^digits[t][l]; digits are
   bytes (bases, count) below size */
static PyObject *buckets(PyObject *self, PyObject *args) {
  struct call call;
  size_t size;
  (void)self;
  if (begin(&call, args, 5, 1, &size) && modulus(&call)) {
    const size_t pair = 2 * call.half, count = count_of(&call, 4, pair);
    const size_t bases = PyErr_Occurred() ? 0 : count_of(&call, 2, pair);
    const uint8_t *const digits = BUFFER(3);
    int right = count && (size >= 2 && size <= 256 ? 1 : refuse("there are 2 to 256 buckets")) &&
                words(&call, 1, 1, pair) && words(&call, 2, bases, pair) && fits(&call, 3, bases, count) &&
                words(&call, 4, count, pair);
    for (size_t i = 0; right && i < bases * count; i++)
      if (digits[i] >= size) right = refuse("there is no such bucket");
    if (right && scratch(&call, SCRATCH_PARTS + 2 * size))
      RUN(call, buckets, BUFFER(1), BUFFER(2), bases, digits, size, BUFFER(4), count);
  }
  return end(&call);
}

/* levels(): (name, lanes, radix, bytes of a word, limbs of a block, most limbs) of what this processor has */
static PyObject *levels(PyObject *self, PyObject *unused) {
  (void)self;
  (void)unused;
  PyObject *const list = PyList_New(0);
  for (size_t i = 0; list && i < LEVEL_COUNT; i++) {
    const struct level *const level = LEVELS[i];
    if (!level->supported()) continue;
    PyObject *const entry = Py_BuildValue("siiiii", level->name, level->lanes, level->radix, level->word_bytes,
                                          level->block, level->max_limbs);
    if (!entry || PyList_Append(list, entry)) {
      Py_XDECREF(entry);
      Py_DECREF(list);
      return NULL;
    }
    Py_DECREF(entry);
  }
  return list;
}

static PyMethodDef METHODS[] = {
    {"levels", levels, METH_NOARGS, NULL},
    {"load", load, METH_VARARGS, NULL},
    {"store", store, METH_VARARGS, NULL},
    {"multiply", multiply, METH_VARARGS, NULL},
    {"square", square, METH_VARARGS, NULL},
    {"fold", fold, METH_VARARGS, NULL},
    {"add_plain", add_plain, METH_VARARGS, NULL},
    {"power", power, METH_VARARGS, NULL},
    {"multiply_n", multiply_n, METH_VARARGS, NULL},
    {"multiply_normal", multiply_normal, METH_VARARGS, NULL},
    {"gather", gather, METH_VARARGS, NULL},
    {"buckets", buckets, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef MODULE = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_lanes",
    .m_doc = "Arithmetic modulo n^2, one number a lane.",
    .m_methods = METHODS,
};

PyMODINIT_FUNC PyInit__lanes(void) { return PyModuleDef_Init(&MODULE); }
