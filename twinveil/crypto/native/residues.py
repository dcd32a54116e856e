"""Arrays of numbers modulo n^2 that stay in the processor's own form from one step to the next.

    modulus = Modulus.squared(n, threads=2)
    c = modulus.from_bytes(data)                 # ciphertexts of a peer
    d = (c * c.squared(3)).add_plain(plaintexts) # c^9 (1 + m n), number by number
    data = d.to_bytes()

Which arithmetic does the work is `level.level()`'s choice; fewer than `FEW` numbers that come in go gmpy2's
way, which is faster there. Products of many powers are in `tables`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn, final

import numpy as np
from gmpy2 import mpz
from numpy.typing import NDArray

from twinveil.crypto.native.arithmetic import Arithmetic, Rows
from twinveil.crypto.native.gmp import Gmp
from twinveil.crypto.native.level import arithmetic, level

FEW = 4
"""Lanes serve at least so many numbers: fewer are done by gmpy2 before they are there."""

MOST_ARRAYS = 255
"""Of `powers`: a number's modulus is one byte."""


@final
class Modulus:
    """n^2 for an odd n > 2, and how numbers modulo it are computed with."""

    __slots__ = ("few", "many", "n", "n_squared")

    def __init__(self, n: mpz, few: Arithmetic, many: Arithmetic) -> None:
        self.n = n
        self.n_squared = n * n
        self.few = few
        self.many = many

    @classmethod
    def squared(cls, n: int, threads: int = 1, at: str | None = None) -> Modulus:
        """Numbers modulo n^2, computed on up to `threads` threads; `at` another level than this process's.

        ValueError if n is not odd or below 3, or there is no thread.
        """
        if n < 3 or n % 2 == 0 or threads < 1:
            raise ValueError("a modulus is the square of an odd n above 2, and takes one thread or more")
        n = mpz(n)
        return cls(n, Gmp(n, threads), arithmetic(n, at or level(), threads))

    @property
    def size(self) -> int:
        """Bytes of a number."""
        return self.many.size

    def residues(self, numbers: Sequence[int]) -> Residues:
        """The numbers; ValueError unless each is in [0, n^2)."""
        if numbers and (min(numbers) < 0 or max(numbers) >= self.n_squared):
            raise ValueError("a number is not between 0 and n^2")
        size = self.size
        return self._loaded(b"".join([number.to_bytes(size, "big") for number in numbers]))

    def from_bytes(self, data: bytes) -> Residues:
        """Numbers of `size` bytes each, big endian; ValueError unless they are whole and below n^2."""
        size = self.size
        if len(data) % size:
            raise ValueError(f"numbers take {size} bytes each, so not {len(data)} together")
        above = self.n_squared.to_bytes(size, "big")
        if any(data[at : at + size] >= above for at in range(0, len(data), size)):
            raise ValueError("a number is not below n^2")
        return self._loaded(data)

    def _loaded(self, data: bytes) -> Residues:
        chosen = self.few if len(data) < FEW * self.size else self.many
        return Residues(self, chosen, chosen.load(data))

    def __repr__(self) -> str:
        return f"Modulus(n of {self.n.bit_length()} bits, squared)"


@final
class Residues:
    """An array of numbers modulo n^2: made by a `Modulus`, by steps on others, or by `joined`."""

    __slots__ = ("arithmetic", "modulus", "rows")

    def __init__(self, modulus: Modulus, arithmetic: Arithmetic, rows: Rows) -> None:
        self.modulus = modulus
        self.arithmetic = arithmetic
        self.rows = rows

    @classmethod
    def joined(cls, parts: Sequence[Residues]) -> Residues:
        """All numbers of at least one array, one array after the other; ValueError if their moduli differ."""
        first, *others = parts
        for other in others:
            first, other = _alike(first, other)
            first = first._with(np.concatenate([first.rows, other.rows]))
        return first

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, part: slice | NDArray[np.integer]) -> Residues:
        """The numbers of a slice or at the places of an array; a number alone is a slice of one."""
        if not isinstance(part, slice | np.ndarray):
            raise TypeError("take a slice or an array of places: single numbers are arrays of one")
        return self._with(np.ascontiguousarray(self.rows[part]))

    def __mul__(self, other: Residues) -> Residues:
        """Number by number, or one number by all of the others; ValueError for other lengths or moduli."""
        a, b = _alike(self, other)
        if len(a) == 1:
            a, b = b, a
        if len(b) not in (1, len(a)):
            raise ValueError(f"{len(a)} numbers are not multiplied by {len(b)}")
        return a._with(a.arithmetic.multiply(a.rows, b.rows))

    def squared(self, times: int = 1) -> Residues:
        """x^(2^times) for each; ValueError if times is negative."""
        if times < 0:
            raise ValueError("numbers are squared 0 times or more")
        return self._with(self.arithmetic.square(self.rows, times))

    def folded(self, width: int, count: int = 1) -> Residues:
        """For every l below `count` the product over j of self[j count + l]^(2^(width j)), by Horner's rule.

        ValueError if the numbers are none or no multiple of `count`, or the width is negative.
        """
        if width < 0 or count < 1 or not len(self) or len(self) % count:
            raise ValueError(f"{len(self)} numbers do not fold to {count}, {width} bits apart")
        return self._with(self.arithmetic.fold(self.rows, count, width))

    def add_plain(self, plaintexts: Sequence[int]) -> Residues:
        """x (1 + m n) for every x and its m: of E(v), E(v + m). ValueError unless there is one m each."""
        if len(plaintexts) != len(self):
            raise ValueError(f"{len(plaintexts)} plaintexts do not go with {len(self)} numbers")
        n, size = self.modulus.n, self.arithmetic.half_size
        data = b"".join([(m % n).to_bytes(size, "big") for m in plaintexts])
        return self._with(self.arithmetic.add_plain(self.rows, data))

    def power(self, exponents: Sequence[int], bits: int) -> Residues:
        """As `powers`, for these numbers alone."""
        return powers([(self, exponents)], bits)[0]

    def coprime(self) -> bool:
        """Whether every number is coprime to n, and so a unit."""
        return self.arithmetic.coprime(self.rows)

    def to_bytes(self) -> bytes:
        """The numbers below n^2, big endian, `modulus.size` bytes each."""
        return self.arithmetic.store(self.rows)

    def to_ints(self) -> list[mpz]:
        """The numbers below n^2."""
        data, size = self.to_bytes(), self.modulus.size
        return [mpz.from_bytes(data[at : at + size], "big") for at in range(0, len(data), size)]

    def on(self, arithmetic: Arithmetic) -> Residues:
        """The same numbers for another arithmetic of the same modulus."""
        if arithmetic.kind == self.arithmetic.kind:
            return self
        return Residues(self.modulus, arithmetic, arithmetic.load(self.to_bytes()))

    def _with(self, rows: Rows) -> Residues:
        return Residues(self.modulus, self.arithmetic, rows)

    __iter__ = None

    def __bool__(self) -> NoReturn:
        raise TypeError("an array of numbers is neither true nor false; ask for len()")

    def __repr__(self) -> str:
        return f"Residues({len(self)} of {self.modulus.size} bytes)"

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "numbers leave their process as bytes, by to_bytes(): processors differ in how they hold them"
        )


def powers(works: Sequence[tuple[Residues, Sequence[int]]], bits: int) -> list[Residues]:
    """x^e for every x of every array and its e in [0, 2^bits), in constant time.

    Neither time nor memory accesses depend on the exponents (at gmpy2's level, on no more than their words).
    Arrays of different moduli of one length are done side by side, so that few numbers modulo p^2 and as few
    modulo q^2 fill the lanes together. ValueError unless each number has an exponent that fits, or for more
    than MOST_ARRAYS.
    """
    if len(works) > MOST_ARRAYS:
        raise ValueError(f"powers are of at most {MOST_ARRAYS} arrays at a time")
    for numbers, exponents in works:
        if len(numbers) != len(exponents):
            raise ValueError(f"{len(exponents)} exponents do not go with {len(numbers)} numbers")
        if bits < 1 or not all(
            exponent >= 0 and int(exponent).bit_length() <= bits for exponent in exponents
        ):
            raise ValueError(f"an exponent is negative or longer than {bits} bits")
    # Even one power is no slower in lanes than by gmpy2.
    native = [(numbers.on(numbers.modulus.many), exponents) for numbers, exponents in works]
    groups: dict[str, list[int]] = {}
    for at, (numbers, _) in enumerate(native):
        groups.setdefault(numbers.arithmetic.kind, []).append(at)
    results: dict[int, Residues] = {}
    for members in groups.values():
        arithmetic = native[members[0]][0].arithmetic
        raised = arithmetic.power(
            [(native[at][0].arithmetic, native[at][0].rows, native[at][1]) for at in members], bits
        )
        for at, rows in zip(members, raised, strict=True):
            results[at] = native[at][0]._with(rows)
    return [results[at] for at in range(len(works))]


def _alike(a: Residues, b: Residues) -> tuple[Residues, Residues]:
    """Both as one kind of rows: what gmpy2 has so far goes where the other is."""
    if a.modulus.n != b.modulus.n:
        raise ValueError("these numbers have different moduli")
    if a.arithmetic is a.modulus.few:
        return a.on(b.arithmetic), b
    return a, b.on(a.arithmetic)
