"""Arithmetic modulo n^2 by gmpy2, one number after the other: for few numbers, and where nothing is faster.

Rows are integers, those of a normal form (u, k, 1/u modulo n). Those of a table are u, and k in limbs of 32
bits: the k only add up, which numpy does for all limbs and many numbers at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal, Self

import gmpy2
import numpy as np
from gmpy2 import mpz
from numpy.typing import NDArray

from twinveil.crypto.native.arithmetic import Rows

GATHER_BATCH = 128
"""Products that grow together: 75 KB at 2048 bits, which with one step's part of a table fits the cache."""

LIMB_BYTES = 4
"""Of a k in a table. Sums of 64 bits hold more limbs than there will be terms."""


class Gmp:
    """Numbers modulo n^2; `threads` serve powers only, everything else holds Python's lock."""

    kind = "gmpy2"

    def __init__(self, n: mpz, threads: int = 1) -> None:
        self.n = n
        self.threads = threads
        self._modulus = n * n
        self.size = (int(self._modulus.bit_length()) + 7) // 8
        self.half_size = (int(n.bit_length()) + 7) // 8
        self._limbs = -(-self.half_size // LIMB_BYTES)

    def load(self, data: bytes) -> Rows:
        return _column(_cut(data, self.size))

    def store(self, a: Rows) -> bytes:
        return b"".join([number.to_bytes(self.size, "big") for number in a.tolist()])

    def multiply(self, a: Rows, b: Rows) -> Rows:
        modulus, pairs = self._modulus, zip(a.tolist(), _served(b, a), strict=True)
        return _column([x * y % modulus for x, y in pairs])

    def square(self, a: Rows, times: int) -> Rows:
        modulus, numbers = self._modulus, a.tolist()
        for _ in range(times):
            numbers = [x * x % modulus for x in numbers]
        return _column(numbers)

    def fold(self, a: Rows, count: int, width: int) -> Rows:
        parts = a.reshape(-1, count)
        total: Rows = parts[-1]
        for part in parts[-2::-1]:
            total = self.multiply(self.square(total, width), part)
        return total

    def power(self, works: Sequence[tuple[Self, Rows, Sequence[int]]], bits: int) -> list[Rows]:
        results = []
        for arithmetic, rows, exponents in works:
            pairs = list(zip(rows.tolist(), exponents, strict=True))
            parts = [pairs[start :: self.threads] for start in range(self.threads)]
            if self.threads == 1 or len(pairs) < 2:
                raised = [arithmetic._powers(pairs)]
                parts = [pairs]
            else:
                with ThreadPoolExecutor(self.threads) as executor:
                    raised = list(executor.map(arithmetic._powers, parts))
            column = _column([None] * len(pairs))
            for start, part in enumerate(raised):
                column[start :: len(parts)] = part
            results.append(column)
        return results

    def _powers(self, pairs: Iterable[tuple[mpz, int]]) -> list[mpz]:
        modulus, power = self._modulus, gmpy2.powmod_sec
        with gmpy2.context(gmpy2.get_context(), allow_release_gil=True):
            return [power(base, exponent, modulus) if exponent else mpz(1) for base, exponent in pairs]

    def add_plain(self, a: Rows, data: bytes) -> Rows:
        n, modulus = self.n, self._modulus
        plain = _cut(data, self.half_size)
        return _column([x * (1 + m * n) % modulus for x, m in zip(a.tolist(), plain, strict=True)])

    def coprime(self, a: Rows) -> bool:
        n, product = self.n, mpz(1)
        for x in a.tolist():
            product = product * x % n
        return bool(gmpy2.gcd(product, n) == 1)

    def normal(self, a: Rows) -> Rows:
        """One inversion for all (Montgomery's trick)."""
        n = self.n
        parts = [divmod(number, n) for number in a.tolist()]
        prefixes = [running := mpz(1)]
        for _, u in parts:
            running = running * u % n
            prefixes.append(running)
        running = gmpy2.invert(running, n)
        forms: list[mpz] = []
        for prefix, (high, u) in zip(reversed(prefixes[:-1]), reversed(parts), strict=True):
            inverse = running * prefix % n
            running = running * u % n
            forms += inverse, high * inverse % n, u
        return _column(forms[::-1]).reshape(-1, 3)

    def multiply_normal(self, a: Rows, b: Rows) -> Rows:
        n = self.n
        forms: list[mpz] = []
        for (u1, k1, inverse1), (u2, k2, inverse2) in zip(a.tolist(), _served(b, a), strict=True):
            quotient, u = divmod(u1 * u2, n)  # u1 u2 = u + q n = u (1 + q / u n)
            inverse = inverse1 * inverse2 % n
            forms += u, (k1 + k2 + quotient * inverse) % n, inverse
        return _column(forms).reshape(-1, 3)

    def table(self, parts: Iterable[Rows], count: int) -> Rows:
        table = np.empty(count, [("u", object), ("k", "<u4", self._limbs)])
        size, start = LIMB_BYTES * self._limbs, 0
        for forms in parts:
            part = table[start : start + len(forms)]
            ks = b"".join([k.to_bytes(size, "little") for k in forms[:, 1].tolist()])
            part["u"], part["k"] = forms[:, 0], np.frombuffer(ks, "<u4").reshape(len(forms), -1)
            start += len(forms)
        return table

    def gather(self, table: Rows, index: NDArray[np.uint32]) -> Rows:
        modulus = self._modulus
        us, ks = table["u"].tolist(), table["k"]
        results: list[mpz] = []
        for start in range(0, index.shape[1], GATHER_BATCH):
            steps = index[:, start : start + GATHER_BATCH]
            first, *rest = steps.tolist()
            products = [us[at] for at in first]
            for places in rest:
                products = [x * us[at] % modulus for x, at in zip(products, places, strict=True)]
            sums = np.zeros((len(first), self._limbs), np.uint64)
            for step in steps:
                sums += ks[step]
            results += map(self._value, products, self._settled(sums))
        return _column(results)

    def buckets(self, factors: Rows, digits: NDArray[np.uint8], size: int) -> Rows:
        modulus = self._modulus
        us, ks = factors["u"].tolist(), factors["k"].astype(np.uint64)
        # Buckets begin at 1 - n, as long as any other: the first factor in one costs what others cost.
        start = modulus - self.n + 1
        excess = 1 + size * (size - 1) // 2 * self.n
        results = []
        for column in digits.T.tolist():
            buckets = [start] * size
            for u, digit in zip(us, column, strict=True):
                buckets[digit] = buckets[digit] * u % modulus
            running = total = buckets[-1]
            for bucket in buckets[-2:0:-1]:
                running = running * bucket % modulus
                total = total * running % modulus
            results.append(total * excess % modulus)
        sums = self._settled(digits.T.astype(np.uint64) @ ks)
        return _column([self._value(u, k) for u, k in zip(results, sums, strict=True)])

    def _value(self, u: mpz, k: mpz) -> mpz:
        """u (1 + k n)"""
        return (u + u * k % self.n * self.n) % self._modulus

    def _settled(self, sums: NDArray[np.uint64]) -> list[mpz]:
        """Every k from its limbs, which may be longer than a limb is."""
        size, bits = LIMB_BYTES * self._limbs, 8 * LIMB_BYTES
        low, high = (_cut(part.astype("<u4").tobytes(), size, "little") for part in (sums, sums >> bits))
        return [k + (carries << bits) for k, carries in zip(low, high, strict=True)]


def _served(b: Rows, a: Rows) -> list[Any]:
    """The numbers of b, each as often as it serves for a."""
    numbers: list[Any] = b.repeat(max(1, len(a) // max(1, len(b))), axis=0).tolist()
    return numbers


def _column(numbers: Sequence[object]) -> Rows:
    """Not by assignment, which asks every number whether it is an array."""
    return np.fromiter(numbers, object, len(numbers))


def _cut(data: bytes, size: int, order: Literal["big", "little"] = "big") -> list[mpz]:
    return [mpz.from_bytes(data[at : at + size], order) for at in range(0, len(data), size)]
