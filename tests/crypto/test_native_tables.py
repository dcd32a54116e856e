"""Products of powers, from tables and in buckets, at every level and every shape."""

from __future__ import annotations

import random
from typing import Any, ClassVar

import gmpy2
import numpy as np
import pytest
from gmpy2 import mpz
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.crypto.native import LEVELS, at_level
from twinveil.crypto.native import tables as tables_module
from twinveil.crypto.native.arithmetic import Rows
from twinveil.crypto.native.gmp import Gmp, _column
from twinveil.crypto.native.residues import Modulus
from twinveil.crypto.native.tables import FixedBase, Tables, best, in_buckets, multi_exponentiate

N = int(gmpy2.next_prime((1 << 127) + 99) * gmpy2.next_prime((1 << 128) - 99))
SQUARED = N * N


@pytest.fixture(params=LEVELS)
def modulus(request: pytest.FixtureRequest) -> Modulus:
    at_level(N, request.param)
    return Modulus.squared(N, at=request.param)


def units(count: int) -> list[int]:
    rng = random.Random(count)
    return [rng.randrange(1, SQUARED) for _ in range(count)]


def draw(outputs: int, bases: int, bits: int) -> NDArray[np.uint64]:
    """Random exponents with the extremes in the first rows."""
    rng = random.Random(bits)
    rows = [[rng.getrandbits(bits) for _ in range(bases)] for _ in range(outputs)]
    rows[0] = [(1 << bits) - 1] * bases
    if outputs > 1:
        rows[1] = [0] * bases
    return np.array(rows, np.uint64).reshape(outputs, bases)


def reference(bases: list[int], exponents: NDArray[np.uint64]) -> list[int]:
    results = []
    for row in exponents.tolist():
        result = 1
        for base, exponent in zip(bases, row, strict=True):
            result = result * pow(base, exponent, SQUARED) % SQUARED
        results.append(result)
    return results


@pytest.mark.parametrize("group", range(1, 9))
def test_tables(modulus: Modulus, group: int) -> None:
    for count in (1, 7, 8, 9, 17):
        tables = Tables(modulus.residues(units(count)), group)
        for outputs, bits in ((1, 1), (2, 64), (9, 20)):
            exponents = draw(outputs, count, bits)
            assert tables.products(exponents, bits).to_ints() == reference(units(count), exponents)
        assert tables.products(exponents[:0], bits).to_ints() == []


@pytest.mark.parametrize("window", range(1, 9))
def test_buckets(modulus: Modulus, window: int) -> None:
    bases = modulus.residues(units(11))
    for outputs, bits in ((1, 1), (3, 64), (9, 20)):
        exponents = draw(outputs, 11, bits)
        found = in_buckets(bases, exponents, bits, window).to_ints()
        assert found == reference(units(11), exponents)


@settings(deadline=None, max_examples=30)
@given(st.sampled_from(LEVELS), st.integers(1, 40), st.integers(1, 20), st.integers(1, 64))
def test_any_shape(name: str, bases: int, outputs: int, bits: int) -> None:
    at_level(N, name)
    exponents = draw(outputs, bases, bits)
    residues = Modulus.squared(N, at=name).residues(units(bases))
    assert multi_exponentiate(residues, exponents, bits).to_ints() == reference(units(bases), exponents)


@pytest.mark.parametrize("window", [1, 7, 8, 11])
@pytest.mark.parametrize("bits", [1, 8, 63, 300])
def test_fixed_base(modulus: Modulus, bits: int, window: int) -> None:
    base = FixedBase(modulus.residues(units(1)), bits, window)
    rng = random.Random(bits)
    exponents = [0, 1, (1 << bits) - 1, *(rng.getrandbits(bits) for _ in range(10))]
    for count in (0, 1, 2, len(exponents)):
        found = base.powers(exponents[:count]).to_ints()
        assert found == [pow(units(1)[0], e, SQUARED) for e in exponents[:count]]


@pytest.mark.parametrize("bases", [1, 5, 8, 17])
def test_no_entry_is_one(modulus: Modulus, bases: int) -> None:
    """A multiplication by 1 is short: an entry that is 1 would tell digits that are 0 by the time."""
    on = modulus.many
    tables = Tables(modulus.residues(units(bases)))
    entries = np.arange(len(tables._entries.rows) - 1, dtype=np.uint32)  # the last row is for padding alone
    entries = entries[np.newaxis]
    data = on.store(on.gather(tables._entries.rows, entries))
    shortest = min(int.from_bytes(data[at : at + on.size], "big") for at in range(0, len(data), on.size))
    assert shortest.bit_length() > 2 * N.bit_length() - 40


class Measured:
    """A number whose products write down how long both factors were, in words."""

    seen: ClassVar[set[tuple[int, int]]]

    def __init__(self, number: mpz) -> None:
        self.number = number

    def __mul__(self, other: Measured | mpz) -> Measured:
        right = other.number if isinstance(other, Measured) else other
        self.seen.add((words(self.number), words(right)))
        return Measured(self.number * right)

    def __rmul__(self, other: mpz) -> Measured:
        return Measured(other) * self

    def __mod__(self, modulus: mpz) -> Measured:
        return Measured(self.number % modulus)


def words(number: mpz) -> int:
    return -(-int(number.bit_length()) // 64)


class Measuring(Gmp):
    """Writes down the lengths of all factors of the long loops."""

    def gather(self, table: Rows, index: NDArray[np.uint32]) -> Rows:
        return super().gather(self._measured(table), index)

    def buckets(self, factors: Rows, digits: NDArray[np.uint8], size: int) -> Rows:
        return super().buckets(self._measured(factors), digits, size)

    def _measured(self, table: Rows) -> Rows:
        measured = table.copy()
        measured["u"] = _column([Measured(u) for u in table["u"].tolist()])
        return measured

    def _value(self, u: Measured | mpz, k: mpz) -> mpz:
        return super()._value(u.number if isinstance(u, Measured) else u, k)


@pytest.mark.parametrize("way", ["tables", "buckets"])
def test_no_digit_makes_a_multiplication_short(monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    """By gmpy2, of exponents that are all 0, and few of them not: time would tell them.

    Lanes have no short numbers. Found where masks are 1.
    """

    def short() -> bool:
        on, exponents = Measuring(mpz(N)), np.zeros((3, 13), np.uint64)
        exponents[1, 4] = 1
        exponents[2] = 1
        bases, Measured.seen = Modulus(mpz(N), on, on).residues(units(13)), set()
        if way == "tables":
            made = Tables(bases, 3).products(exponents, 6)
        else:
            made = in_buckets(bases, exponents, 6, 3)
        assert made.to_ints() == reference(units(13), exponents)
        least = words(mpz(N))
        # The first product of table entries has two factors below n, whatever the digits.
        return any(min(pair) < least or (way == "buckets" and pair[0] < 2 * least) for pair in Measured.seen)

    assert not short()
    if way == "tables":
        monkeypatch.setattr(tables_module, "_masks", lambda m, on, n: m.residues([1] * n).on(on).rows)
        assert short()


def test_which_way_is_best() -> None:
    """Tables for few bases and many outputs, buckets for many bases: constants, the same everywhere."""
    assert best(72, 16, 22) == ("tables", 6)
    assert best(1200, 8, 22) == ("buckets", 6)
    assert best(250, 1, 64)[0] == "buckets"
    assert best(1, 1000, 30)[0] == "tables"


def test_what_does_not_fit_is_refused(modulus: Modulus) -> None:
    bases = modulus.residues(units(5))
    tables = Tables(bases)
    good = draw(2, 5, 10)
    wrong: list[tuple[Any, int]] = [
        (good.astype(np.int64), 10),
        (good[:, :4].copy(), 10),
        (good[0], 10),
        (good, 9),
        (good, 0),
        (good, 65),
    ]
    for exponents, bits in wrong:
        with pytest.raises(ValueError, match=r"exponent"):
            tables.products(exponents, bits)
        with pytest.raises(ValueError, match=r"exponent"):
            multi_exponentiate(bases, exponents, bits)
    for group in (0, 9):
        with pytest.raises(ValueError, match=r"groups"):
            Tables(bases, group)
    with pytest.raises(ValueError, match=r"tables"):
        Tables(bases[:0])
    with pytest.raises(ValueError, match=r"fixed base"):
        FixedBase(bases, 10)
    with pytest.raises(ValueError, match=r"fixed base"):
        FixedBase(bases[:1], 0)
    with pytest.raises(ValueError, match=r"fixed base"):
        FixedBase(bases[:1], 10, 0)
    for exponent in (-1, 1 << 10):
        with pytest.raises(ValueError, match=r"exponent"):
            FixedBase(bases[:1], 10).powers([exponent])


def test_bases_are_units(modulus: Modulus) -> None:
    bases = modulus.residues([*units(4), 3 * N])
    with pytest.raises(ZeroDivisionError):
        Tables(bases)
    for outputs in (1, 40):
        with pytest.raises(ZeroDivisionError):
            multi_exponentiate(bases, draw(outputs, 5, 10), 10)
    with pytest.raises(ZeroDivisionError):
        FixedBase(bases[4:], 10)
