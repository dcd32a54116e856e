"""Powers of one fixed base by a window table (Brickell, Gordon, McCurley, Wilson, EUROCRYPT 1992, section 2).

With all h^(j 2^(w i)) at hand, h^s is one table entry for each w-bit digit of s, multiplied together: no
squaring. Entries are normal forms, so that a step is a half multiplication. Made once per process and base.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from gmpy2 import mpz

from twinveil.crypto.normal_form import (
    NORMALISE_MODMULS,
    ONE,
    PRODUCT_MODMULS,
    ZERO,
    normalise,
    product,
    value,
)
from twinveil.crypto.tally import INVERSE_N, MODMUL_N, MODMUL_N2, MODMUL_N2_HALF, Tally

ENTRY_BYTES = 56
"""Of one mpz in a list, beyond its limbs."""


class FixedBase:
    """base^s mod N^2 for s below 2^bits."""

    __slots__ = ("_ks", "_modulus", "_n", "_us", "bits", "window")

    def __init__(self, base: mpz, n: mpz, bits: int, window: int, tally: Tally) -> None:
        self.bits = -(-bits // window) * window
        self.window = window
        self._n = n
        self._modulus = n * n
        self._us: list[list[mpz]] = []
        self._ks: list[list[mpz]] = []
        power = normalise([base], n)[0]
        for _ in range(self.positions):
            entry = power
            us, ks = [ONE, power.u], [ZERO, power.k]
            for _ in range((1 << window) - 2):
                entry = product(entry, power, n)
                us.append(entry.u)
                ks.append(entry.k)
            power = product(entry, power, n)
            self._us.append(us)
            self._ks.append(ks)
        tally += self.table_counts(self.bits, window)

    @property
    def positions(self) -> int:
        """Digits of an exponent."""
        return self.bits // self.window

    @property
    def memory_bytes(self) -> int:
        """What the table takes: two numbers below N an entry, with Python's overhead."""
        return (self.positions << self.window) * 2 * (int(self._n.bit_length()) // 8 + ENTRY_BYTES)

    @staticmethod
    def table_counts(bits: int, window: int) -> dict[str, int]:
        """Operations that make the table."""
        products = -(-bits // window) * ((1 << window) - 1)
        return {MODMUL_N: NORMALISE_MODMULS + products * PRODUCT_MODMULS, INVERSE_N: 1}

    @staticmethod
    def power_counts(bits: int, window: int, count: int) -> dict[str, int]:
        """Operations of `count` powers."""
        return {MODMUL_N2_HALF: count * (-(-bits // window) - 1), MODMUL_N2: count}

    def powers(self, exponents: Sequence[int], tally: Tally) -> list[mpz]:
        """[base^s mod N^2]; every s in [0, 2^bits)."""
        n, modulus, window = self._n, self._modulus, self.window
        mask = (1 << window) - 1
        shifts = range(0, self.bits, window)
        results = []
        for exponent in exponents:
            if not 0 <= exponent < 1 << self.bits:
                raise ValueError(f"an exponent has more than {self.bits} bits")
            accumulator, k = ONE, ZERO
            digits = [(exponent >> shift) & mask for shift in shifts]
            accumulator = self._us[0][digits[0]]
            for factors, digit in zip(self._us[1:], digits[1:], strict=True):
                accumulator = accumulator * factors[digit] % modulus
            for parts, digit in zip(self._ks, digits, strict=True):
                k += parts[digit]
            results.append(value(accumulator, k, n, modulus))
        tally += self.power_counts(self.bits, window, len(exponents))
        return results


_tables: dict[tuple[mpz, mpz, int, int], FixedBase] = {}
_lock = threading.Lock()


def fixed_base(base: mpz, n: mpz, bits: int, window: int, tally: Tally) -> FixedBase:
    """This process's table for `base`; made on first use (and counted then), kept for good."""
    key = (base, n, bits, window)
    with _lock:
        table = _tables.get(key)
        if table is None:
            table = _tables[key] = FixedBase(base, n, bits, window, tally)
        return table
