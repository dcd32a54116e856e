"""Powers of one fixed base by a window table (Brickell, Gordon, McCurley, Wilson, EUROCRYPT 1992, section 2).

With all h^(j 2^(8 i)) at hand, h^s is one table entry for each byte of s, multiplied together: no
squaring. Entries are normal forms, so that a step is a half multiplication. Made once per process and base.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from gmpy2 import mpz

from twinveil.crypto.normal_form import (
    NORMALISE_MODMULS,
    PRODUCT_MODMULS,
    UNIT,
    lengthened,
    long_unit,
    normalise,
    product,
    value,
)
from twinveil.crypto.tally import INVERSE_N, MODMUL_N, MODMUL_N2, MODMUL_N2_HALF, Tally

WINDOW = 8
"""Bits of a digit. For 2112-bit exponents at 2048 bits: 42 MB, 0.4 s to make, 264 steps; 10 bits would take
135 MB and 1.2 s for 212 steps, and win 7 % (measured: a larger table leaves the caches)."""
ENTRY_BYTES = 56
"""Of one mpz in a list, beyond its limbs."""
BATCH = 128
"""Exponents done together: 128 products of full size and one digit's 255 entries fit a second-level cache."""


class FixedBase:
    """base^s mod N^2 for s below 2^bits, a digit a byte."""

    __slots__ = ("_ks", "_modulus", "_n", "_us", "positions")

    def __init__(self, base: mpz, n: mpz, bits: int, tally: Tally) -> None:
        self.positions = -(-bits // WINDOW)
        self._n = n
        self._modulus = n * n
        self._us: list[list[mpz]] = []
        self._ks: list[list[mpz]] = []
        power = normalise([base], n)[0]
        unit, unit_k = long_unit(n)
        for position in range(self.positions):
            entries = [UNIT, power]
            for _ in range((1 << WINDOW) - 2):
                entries.append(product(entries[-1], power, n))
            power = product(entries[-1], power, n)
            if position:
                self._us.append([unit, *(entry.u for entry in entries[1:])])
                self._ks.append([unit_k, *(entry.k for entry in entries[1:])])
            else:
                first, first_ks = lengthened(entries, n)
                self._us.append(first)
                self._ks.append(first_ks)
        tally += self.table_counts(bits)

    @property
    def memory_bytes(self) -> int:
        """What the table takes: two numbers below N an entry, three at the first digit, with overhead."""
        return (2 * self.positions + 1 << WINDOW) * (int(self._n.bit_length()) // 8 + ENTRY_BYTES)

    @staticmethod
    def table_counts(bits: int) -> dict[str, int]:
        """Operations that make the table."""
        products = -(-bits // WINDOW) * ((1 << WINDOW) - 1)
        lengthened = 1 << WINDOW
        return {MODMUL_N: NORMALISE_MODMULS + products * PRODUCT_MODMULS + lengthened, INVERSE_N: 1}

    @staticmethod
    def power_counts(bits: int, count: int) -> dict[str, int]:
        """Operations of `count` powers."""
        return {MODMUL_N2_HALF: count * (-(-bits // WINDOW) - 1), MODMUL_N2: count}

    def powers(self, exponents: Sequence[int], tally: Tally) -> list[mpz]:
        """[base^s mod N^2] for s in [0, 2^bits); OverflowError for any other."""
        results: list[mpz] = []
        for start in range(0, len(exponents), BATCH):
            results += self._batch(exponents[start : start + BATCH])
        tally += self.power_counts(WINDOW * self.positions, len(exponents))
        return results

    def _batch(self, exponents: Sequence[int]) -> list[mpz]:
        """Digit by digit for all exponents, so that one digit's part of the table stays in the cache."""
        n, modulus = self._n, self._modulus
        columns = zip(*[exponent.to_bytes(self.positions, "little") for exponent in exponents], strict=True)
        first = next(columns)
        products = [self._us[0][digit] for digit in first]
        sums = [self._ks[0][digit] for digit in first]
        for us, ks, digits in zip(self._us[1:], self._ks[1:], columns, strict=True):
            products = [
                running * us[digit] % modulus for running, digit in zip(products, digits, strict=True)
            ]
            sums = [total + ks[digit] for total, digit in zip(sums, digits, strict=True)]
        return [value(u, k, n, modulus) for u, k in zip(products, sums, strict=True)]


_tables: dict[tuple[mpz, mpz, int], FixedBase] = {}
_lock = threading.Lock()


def fixed_base(base: mpz, n: mpz, bits: int, tally: Tally) -> FixedBase:
    """This process's table for `base`; made on first use (and counted then), kept for good."""
    key = (base, n, bits)
    with _lock:
        table = _tables.get(key)
        if table is None:
            table = _tables[key] = FixedBase(base, n, bits, tally)
        return table
