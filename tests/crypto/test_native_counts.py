"""Operations that are forecast are those that are done: counted at gmpy2's level."""

from __future__ import annotations

import random
from collections.abc import Callable

import gmpy2
import numpy as np
import pytest
from gmpy2 import mpz
from numpy.typing import NDArray

from twinveil.crypto.native.arithmetic import Rows
from twinveil.crypto.native.gmp import Gmp, _column
from twinveil.crypto.native.residues import Modulus, Residues
from twinveil.crypto.native.tables import (
    FixedBase,
    Tables,
    best,
    exponentiation_counts,
    fold_counts,
    multi_exponentiate,
    power_counts,
    product_counts,
    table_counts,
)
from twinveil.crypto.tally import INVERSE_N, MODMUL_N, MODMUL_N2, MODMUL_N2_HALF, SQUARE_N2, Tally

N = gmpy2.next_prime((mpz(1) << 127) + 99) * gmpy2.next_prime((mpz(1) << 128) - 99)


class Number:
    """One that counts each `x * y % m` it takes part in: by a factor below n, half of one."""

    def __init__(self, tally: Tally, number: mpz, factor: bool = False) -> None:
        self.tally = tally
        self.number = number
        self.factor = factor

    def __mul__(self, other: Number | mpz) -> Number:
        half = isinstance(other, Number) and other.factor
        self.tally.add(MODMUL_N2_HALF if half else MODMUL_N2)
        return Number(self.tally, self.number * (other.number if isinstance(other, Number) else other))

    def __rmul__(self, other: mpz) -> Number:
        self.tally.add(MODMUL_N2_HALF if self.factor else MODMUL_N2)
        return Number(self.tally, other * self.number)

    def __mod__(self, modulus: mpz) -> Number:
        return Number(self.tally, self.number % modulus)


class Counting(Gmp):
    """Multiplications of the long loops one by one, others by their number of rows."""

    def __init__(self) -> None:
        super().__init__(N)
        self.tally = Tally()

    def multiply(self, a: Rows, b: Rows) -> Rows:
        self.tally.add(MODMUL_N2, len(a))
        return super().multiply(a, b)

    def square(self, a: Rows, times: int) -> Rows:
        self.tally.add(SQUARE_N2, times * len(a))
        return super().square(a, times)

    def normal(self, a: Rows) -> Rows:
        self.tally += {MODMUL_N: 5 * len(a), INVERSE_N: 1}
        return super().normal(a)

    def multiply_normal(self, a: Rows, b: Rows) -> Rows:
        self.tally.add(MODMUL_N, 3 * len(a))
        return super().multiply_normal(a, b)

    def gather(self, table: Rows, index: NDArray[np.uint32]) -> Rows:
        return super().gather(self._counted(table), index)

    def buckets(self, factors: Rows, digits: NDArray[np.uint8], size: int) -> Rows:
        return super().buckets(self._counted(factors), digits, size)

    def _counted(self, table: Rows) -> Rows:
        counted = table.copy()
        counted["u"] = _column([Number(self.tally, u, factor=True) for u in table["u"].tolist()])
        return counted

    def _value(self, u: Number, k: mpz) -> mpz:  # type: ignore[override]
        self.tally.add(MODMUL_N2)
        return super()._value(u.number, k)


@pytest.fixture
def on() -> Counting:
    return Counting()


def units(on: Counting, count: int) -> Residues:
    rng = random.Random(count)
    return Modulus(N, on, on).residues([rng.randrange(1, int(N) ** 2) for _ in range(count)])


def draw(outputs: int, bases: int, bits: int) -> NDArray[np.uint64]:
    return np.random.default_rng(0).integers(0, 1 << bits, (outputs, bases), np.uint64)


@pytest.mark.parametrize("group", range(1, 9))
@pytest.mark.parametrize("count", [1, 8, 21])
def test_tables(on: Counting, count: int, group: int) -> None:
    tables = Tables(units(on, count), group)
    assert on.tally == Tally(table_counts(count, group))
    for outputs, bits in ((1, 1), (3, 20)):
        on.tally = Tally()
        tables.products(draw(outputs, count, bits), bits)
        assert on.tally == Tally(product_counts(count, outputs, bits, group))


@pytest.mark.parametrize(
    ("bases", "outputs", "bits", "way"),
    [(9, 30, 6, "tables"), (400, 2, 18, "buckets"), (100, 1, 64, "buckets")],
)
def test_products_of_bases_that_serve_once(
    on: Counting, bases: int, outputs: int, bits: int, way: str
) -> None:
    """Windows are whole and every bucket is used: only then is each multiplication seen."""
    found, window = best(bases, outputs, bits)
    assert found == way
    assert way == "tables" or bits % window == 0
    multi_exponentiate(units(on, bases), draw(outputs, bases, bits), bits)
    assert on.tally == Tally(exponentiation_counts(bases, outputs, bits))
    assert not exponentiation_counts(bases, 0, bits)


@pytest.mark.parametrize("window", [3, 8, 9])
@pytest.mark.parametrize("bits", [1, 16, 60, 296])
def test_powers_of_a_fixed_base(on: Counting, bits: int, window: int) -> None:
    base = FixedBase(units(on, 1), bits, window)
    on.tally = Tally()
    base.powers([0, (1 << bits) - 1, 1])
    assert on.tally == Tally(power_counts(3, bits, window))


@pytest.mark.parametrize(
    ("fold", "counts"),
    [
        (lambda numbers: numbers.folded(7), fold_counts(12, 7)),
        (lambda numbers: numbers.folded(7, 4), fold_counts(3, 7, 4)),
        (lambda numbers: numbers.folded(7, 12), {}),
    ],
)
def test_folding(on: Counting, fold: Callable[[Residues], Residues], counts: dict[str, int]) -> None:
    fold(units(on, 12))
    assert on.tally == Tally(counts)
