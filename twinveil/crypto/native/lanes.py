"""Arithmetic modulo n^2 in C: eight numbers at once with AVX-512 IFMA, four with AVX2.

A number a + b n is a row of limbs, a before b, in Montgomery form (kernel.inc has the details); a normal form
is a row of u, k and the inverse of u, all three in Montgomery form. Rows stay as they are from step to step:
only `load` and `store` know integers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import NamedTuple, Self

import gmpy2
import numpy as np
from gmpy2 import mpz
from numpy.typing import NDArray

from twinveil.crypto.native.arithmetic import Rows

SLACK_BITS = 4
"""R is at least 2^4 n: results that are not reduced to the end stay below 2 n (kernel.inc)."""
SHORTEST_BITS = 64
"""Of n: sums of table entries need the room."""
LINE_BYTES = 64
"""Rows of tables begin with a cache line, so that no read needs two."""
STEPS_A_THREAD = 512
"""Multiplications for which a thread is worth starting."""


class Layout(NamedTuple):
    """How numbers are held, from `_lanes.levels()`; a level may have several, for different lengths."""

    name: str
    lanes: int
    radix: int
    word_bytes: int
    block: int
    max_limbs: int

    @property
    def level(self) -> str:
        return self.name.partition("_")[0]

    def limbs(self, n: mpz) -> int:
        """Of n and of numbers below 2 n."""
        needed = -(-(int(n.bit_length()) + SLACK_BITS) // self.radix)
        return -(-needed // self.block) * self.block

    def holds(self, n: mpz) -> bool:
        return bool(n.bit_length() >= SHORTEST_BITS) and self.limbs(n) <= self.max_limbs


try:
    from twinveil.crypto.native import _lanes
except ImportError:  # there was no compiler
    BUILT = False
else:
    BUILT = True
LAYOUTS = tuple(Layout(*each) for each in _lanes.levels()) if BUILT else ()
"""What the extension, if it was built, offers on this processor."""


class Lanes:
    """Numbers modulo n^2 as one level of the processor computes with them, on `threads` threads."""

    def __init__(self, n: mpz, layout: Layout, threads: int = 1) -> None:
        self.n = n
        self.size = (int((n * n).bit_length()) + 7) // 8
        self.half_size = (int(n.bit_length()) + 7) // 8
        self.layout = layout
        self.threads = threads
        self.limbs = layout.limbs(n)
        self.kind = f"{layout.name} {self.limbs}"
        self._pitch = -(-self.limbs // 8) * 8
        self._type = np.dtype(f"u{layout.word_bytes}")
        radix = mpz(1) << layout.radix
        self._r = mpz(1) << (layout.radix * self.limbs)
        k0 = -gmpy2.invert(n, radix) % radix
        self._modulus = self._halves([n, (1 - self._r) % n, self._r**2 % n, k0]).reshape(-1)
        self._shifts = self._pairs([self._r**2, self._r**3])
        self._one = self._pairs([self._r])

    def load(self, data: bytes) -> Rows:
        return self._each(
            len(data) // self.size,
            2,
            lambda part, out: self._call("load", self._shifts, _cut(data, self.size, part), out, self.size),
        )

    def store(self, a: Rows) -> bytes:
        data, size = bytearray(len(a) * self.size), self.size
        self._share(len(a), lambda part: self._call("store", a[part], _cut(data, size, part), size))
        return bytes(data)

    def multiply(self, a: Rows, b: Rows) -> Rows:
        return self._product("multiply", 2, a, b)

    def square(self, a: Rows, times: int) -> Rows:
        return self._each(len(a), 2, lambda part, out: self._call("square", a[part], out, times), times)

    def fold(self, a: Rows, count: int, width: int) -> Rows:
        a = a.reshape(-1, count, a.shape[1])

        def run(part: slice, out: Rows) -> None:
            self._call("fold", np.ascontiguousarray(a[:, part]), out, width)

        return self._each(count, 2, run, len(a) * (width + 1))

    def power(self, works: Sequence[tuple[Self, Rows, Sequence[int]]], bits: int) -> list[Rows]:
        moduli = np.concatenate([work[0]._modulus for work in works])
        ones = np.concatenate([work[0]._one for work in works])
        a = np.concatenate([work[1] for work in works])
        windows = np.concatenate([_windows(work[2], bits) for work in works])
        counts = [len(work[1]) for work in works]
        which = np.repeat(np.arange(len(works), dtype=np.uint8), counts)

        def run(part: slice, out: Rows) -> None:
            _lanes.power(self.layout.name, self.limbs, moduli, ones, which[part], a[part], windows[part], out)

        raised = self._each(len(a), 2, run, 5 * bits // 4)
        return np.split(raised, np.cumsum(counts[:-1]))

    def add_plain(self, a: Rows, data: bytes) -> Rows:
        size = self.half_size
        return self._each(
            len(a), 2, lambda part, out: self._call("add_plain", a[part], _cut(data, size, part), out, size)
        )

    def coprime(self, a: Rows) -> bool:
        product = a[:, : self._pitch]
        while len(product) > 1:
            pairs = len(product) // 2
            left, right, rest = product[:pairs], product[pairs : 2 * pairs], product[2 * pairs :]
            product = np.concatenate([self._multiply_n(left, right), rest])
        return not len(product) or bool(gmpy2.gcd(self._integer(product[0]), self.n) == 1)

    def normal(self, a: Rows) -> Rows:
        u, b = a[:, : self._pitch], a[:, self._pitch :]
        inverses = self._inverses(u)
        return np.concatenate([u, self._multiply_n(b, inverses), inverses], axis=1)

    def multiply_normal(self, a: Rows, b: Rows) -> Rows:
        return self._product("multiply_normal", 3, a, b)

    def table(self, parts: Iterable[Rows], count: int) -> Rows:
        size, words = count * 2 * self._pitch, LINE_BYTES // self._type.itemsize
        raw = np.empty(size + words, self._type)
        skip = -raw.ctypes.data % LINE_BYTES // self._type.itemsize
        table, start = raw[skip : skip + size].reshape(count, -1), 0
        for forms in parts:
            table[start : start + len(forms)] = forms[:, : 2 * self._pitch]
            start += len(forms)
        return table

    def gather(self, table: Rows, index: NDArray[np.uint32]) -> Rows:
        steps, count = index.shape
        parts = 1
        while 2 * parts * count <= self.layout.lanes * self.threads and steps >= 4 * parts:
            parts *= 2
        # Where numbers are few, lanes share the steps of each, and what they have is multiplied in the end.
        each = -(-steps // parts)
        padded = np.full((each * parts, count), len(table) - 1, np.uint32)
        padded[:steps] = index
        index = padded.reshape(each, parts * count)
        rows = self._each(
            parts * count,
            2,
            lambda part, out: self._call("gather", table, np.ascontiguousarray(index[:, part]), out),
            each,
        )
        while len(rows) > count:
            middle = len(rows) // 2
            rows = self.multiply(rows[:middle], rows[middle:])
        return rows

    def buckets(self, factors: Rows, digits: NDArray[np.uint8], size: int) -> Rows:
        def run(part: slice, out: Rows) -> None:
            self._call("buckets", self._one, factors, np.ascontiguousarray(digits[:, part]), out, size)

        return self._each(digits.shape[1], 2, run, len(factors) + 2 * size)

    def _call(self, operation: str, *arguments: object) -> None:
        getattr(_lanes, operation)(self.layout.name, self.limbs, self._modulus, *arguments)

    def _product(self, operation: str, halves: int, a: Rows, b: Rows) -> Rows:
        turns = max(1, len(a) // max(1, len(b)))

        def run(part: slice, out: Rows) -> None:
            served = b[part.start // turns : part.stop // turns]
            self._call(operation, a[part], served, out, turns)

        return self._each(len(a), halves, run, turns=turns)

    def _each(
        self, count: int, halves: int, work: Callable[[slice, Rows], None], steps: int = 1, turns: int = 1
    ) -> Rows:
        """What `work` writes for each slice of `count` numbers; see `_share`."""
        out = np.empty((count, halves * self._pitch), self._type)
        self._share(count, lambda part: work(part, out[part]), steps, turns)
        return out

    def _share(self, count: int, work: Callable[[slice], None], steps: int = 1, turns: int = 1) -> None:
        """All of `count` numbers, of so many steps, in slices of whole groups of lanes, a thread for each."""
        group = self.layout.lanes * turns
        groups = -(-count // group)
        threads = min(self.threads, groups, max(1, count * steps // STEPS_A_THREAD))
        if threads <= 1:
            work(slice(0, count))
            return
        bounds = [min(groups * i // threads * group, count) for i in range(threads + 1)]
        with ThreadPoolExecutor(threads) as executor:
            for _ in executor.map(work, [slice(*each) for each in pairwise(bounds)]):
                pass

    def _halves(self, numbers: Sequence[mpz]) -> Rows:
        """Rows of single halves, as they are: no Montgomery form."""
        mask = (1 << self.layout.radix) - 1
        rows = np.zeros((len(numbers), self._pitch), self._type)
        for row, number in zip(rows, numbers, strict=True):
            row[: self.limbs] = [int(number >> (self.layout.radix * j) & mask) for j in range(self.limbs)]
        return rows

    def _pairs(self, numbers: Sequence[mpz]) -> Rows:
        parts = [gmpy2.f_divmod(number % self.n**2, self.n) for number in numbers]
        return np.concatenate(
            [self._halves([low for _, low in parts]), self._halves([high for high, _ in parts])], axis=1
        )

    def _integer(self, half: Rows) -> mpz:
        return sum((mpz(int(limb)) << (self.layout.radix * j) for j, limb in enumerate(half)), mpz(0))

    def _multiply_n(self, a: Rows, b: Rows) -> Rows:
        a, b = np.ascontiguousarray(a), np.ascontiguousarray(b)
        return self._each(len(a), 1, lambda part, out: self._call("multiply_n", a[part], b[part], out))

    def _inverses(self, u: Rows) -> Rows:
        """R^2 / u modulo n for each, with one inversion for all (Montgomery's trick, as a tree)."""
        if len(u) <= 1:
            return self._halves(
                [self._r**2 * gmpy2.invert(self._integer(half), self.n) % self.n for half in u]
            )
        pairs = len(u) // 2
        left, right, rest = u[:pairs], u[pairs : 2 * pairs], u[2 * pairs :]
        above = self._inverses(np.concatenate([self._multiply_n(left, right), rest]))
        inverses = above[:pairs]
        return np.concatenate(
            [self._multiply_n(inverses, right), self._multiply_n(inverses, left), above[pairs:]]
        )


def _cut(data: bytes | bytearray, size: int, part: slice) -> memoryview:
    """The numbers of a slice, `size` bytes each."""
    return memoryview(data)[part.start * size : part.stop * size]


def _windows(exponents: Sequence[int], bits: int) -> NDArray[np.uint8]:
    """Windows of 4 bits, most significant first, of every exponent below 2^bits."""
    size = -(-bits // 8)
    data = b"".join([int(exponent).to_bytes(size, "big") for exponent in exponents])
    octets = np.frombuffer(data, dtype=np.uint8).reshape(len(exponents), size)
    windows = np.stack([octets >> 4, octets & 15], axis=2).reshape(len(exponents), 2 * size)
    return np.ascontiguousarray(windows[:, 2 * size - -(-bits // 4) :])
