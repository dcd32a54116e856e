"""What an implementation of arithmetic modulo n^2 offers; `residues` and `tables` are written on it.

There are two: `lanes` (in C, eight or four numbers at once) and `gmp` (gmpy2, one number after the other).
Arrays are numpy arrays whose first axis runs over numbers; what a row looks like is the implementation's own
affair.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol, Self

import numpy as np
from gmpy2 import mpz
from numpy.typing import NDArray

Rows = NDArray[Any]
"""Numbers modulo n^2, or normal forms of numbers."""


class Arithmetic(Protocol):
    """Numbers modulo n^2, n odd. Arguments are right: whoever calls has checked them."""

    n: mpz
    kind: str
    """Rows of one kind may stand in one array, whatever their n."""
    size: int
    """Bytes of a number below n^2."""
    half_size: int
    """Bytes of a number below n."""

    def load(self, data: bytes) -> Rows:
        """Numbers below n^2, big endian, `size` bytes each."""

    def store(self, a: Rows) -> bytes:
        """The inverse of `load`."""

    def multiply(self, a: Rows, b: Rows) -> Rows:
        """a b, number by number; where b is shorter, each of its numbers serves as many of a in a row."""

    def square(self, a: Rows, times: int) -> Rows:
        """a^(2^times)."""

    def fold(self, a: Rows, count: int, width: int) -> Rows:
        """For every l below count the product over j of a[j count + l]^(2^(width j))."""

    def power(self, works: Sequence[tuple[Self, Rows, Sequence[int]]], bits: int) -> list[Rows]:
        """a^e for each (arithmetic, numbers, exponents below 2^bits), this one's or like it, side by side.

        Time and memory accesses do not depend on the exponents (gmpy2's on their length in words).
        """

    def add_plain(self, a: Rows, data: bytes) -> Rows:
        """a (1 + m n); m below n, big endian, `half_size` bytes each."""

    def coprime(self, a: Rows) -> bool:
        """Whether every number is coprime to n."""

    def normal(self, a: Rows) -> Rows:
        """Normal forms u (1 + k n): as right operands they cost half. ZeroDivisionError if one is no unit."""

    def multiply_normal(self, a: Rows, b: Rows) -> Rows:
        """The same for normal forms."""

    def table(self, parts: Iterable[Rows], count: int) -> Rows:
        """`count` normal forms, part by part, as `gather` and `buckets` read them."""

    def gather(self, table: Rows, index: NDArray[np.uint32]) -> Rows:
        """For every column l of index (steps, count) the product over t of table[index[t, l]].

        The last row of the table is 1.
        """

    def buckets(self, factors: Rows, digits: NDArray[np.uint8], size: int) -> Rows:
        """For every column l of digits (factors, count) the product over t of factors[t]^digits[t, l].

        factors: as a table; digits below `size`.
        """
