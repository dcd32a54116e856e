"""Every level's arithmetic gives what Python's integers give, on extreme numbers and at every length."""

from __future__ import annotations

import itertools
import random
from math import prod

import numpy as np
import pytest
from gmpy2 import mpz

from tests.crypto.native import (
    BITS,
    LEVELS,
    at_level,
    extremes,
    moduli,
    plain_bytes,
    to_numbers,
    to_rows,
    units,
)
from twinveil.crypto.native.arithmetic import Arithmetic, Rows
from twinveil.crypto.native.lanes import Lanes
from twinveil.crypto.native.level import NATIVE

CASES = [(level, bits, kind) for level in LEVELS for bits in BITS for kind in range(len(moduli(64)))]


@pytest.fixture(params=CASES, ids=lambda case: f"{case[0]}-{case[1]}-{('full', 'empty', 'random')[case[2]]}")
def on(request: pytest.FixtureRequest) -> Arithmetic:
    level, bits, kind = request.param
    return at_level(moduli(bits)[kind], level)


def test_numbers_come_back(on: Arithmetic) -> None:
    numbers = extremes(int(on.n))
    for count in (*range(10), len(numbers)):
        assert to_numbers(on, to_rows(on, numbers[:count])) == numbers[:count]


def test_products(on: Arithmetic) -> None:
    squared, numbers = int(on.n) ** 2, extremes(int(on.n))
    rows = to_rows(on, numbers)
    for shift in (0, 1, 5):
        others = numbers[shift:] + numbers[:shift]
        expected = [x * y % squared for x, y in zip(numbers, others, strict=True)]
        assert to_numbers(on, on.multiply(rows, to_rows(on, others))) == expected
    for served in (1, 2):  # each of the second array serves several of the first
        products = on.multiply(rows[:16], to_rows(on, numbers[-served:]))
        expected = [x * numbers[at * served // 16 - served] % squared for at, x in enumerate(numbers[:16])]
        assert to_numbers(on, products) == expected


def test_squares(on: Arithmetic) -> None:
    squared, numbers = int(on.n) ** 2, extremes(int(on.n))
    rows = to_rows(on, numbers)
    for times in (0, 1, 2, 7):
        assert to_numbers(on, on.square(rows, times)) == [pow(x, 1 << times, squared) for x in numbers]


def test_folds(on: Arithmetic) -> None:
    squared, numbers = int(on.n) ** 2, extremes(int(on.n))[:18]
    rows = to_rows(on, numbers)
    for count, width in ((18, 3), (9, 0), (3, 4), (1, 1)):
        expected = [
            prod(pow(x, 1 << (width * j), squared) for j, x in enumerate(numbers[start::count])) % squared
            for start in range(count)
        ]
        assert to_numbers(on, on.fold(rows, count, width)) == expected


def test_powers(on: Arithmetic) -> None:
    squared, numbers = int(on.n) ** 2, extremes(int(on.n))
    rows = to_rows(on, numbers)
    for bits in (1, 4, 67):
        top = (1 << bits) - 1
        exponents = [each for _, each in zip(numbers, itertools.cycle([0, 1, top, top // 3]), strict=False)]
        raised = on.power([(on, rows, exponents)], bits)[0]
        assert to_numbers(on, raised) == [pow(x, e, squared) for x, e in zip(numbers, exponents, strict=True)]


def test_plaintexts_are_added(on: Arithmetic) -> None:
    n, numbers = int(on.n), extremes(int(on.n))
    plain = [m % n for m in (n - 1, 0, 1, n // 2, *numbers[4:])]
    added = on.add_plain(to_rows(on, numbers), plain_bytes(on, plain))
    assert to_numbers(on, added) == [x * (1 + m * n) % n**2 for x, m in zip(numbers, plain, strict=True)]


def test_coprime(on: Arithmetic) -> None:
    n = int(on.n)
    good = units(n, extremes(n))
    assert on.coprime(to_rows(on, good))
    assert on.coprime(to_rows(on, []))
    for bad in (0, n, n * (n - 1)):
        for at in (0, len(good) // 2, len(good)):
            assert not on.coprime(to_rows(on, [*good[:at], bad, *good[at:]]))


def normal_rows(on: Arithmetic, numbers: list[int]) -> Rows:
    return on.normal(to_rows(on, numbers))


def test_products_from_tables(on: Arithmetic) -> None:
    """Entries are numbers and products of two in normal form; from one column to three groups of lanes."""
    n = int(on.n)
    squared, rng = n * n, random.Random(n)
    good = [*units(n, extremes(n))[:14], 1]
    forms = normal_rows(on, good)
    table = on.table([on.multiply_normal(forms, forms[::-1].copy()), forms], 2 * len(forms))
    entries = [x * y for x, y in zip(good, reversed(good), strict=True)] + good
    for steps, count in ((1, 1), (2, 3), (13, 1), (9, 2), (5, 19)):
        index = np.array(
            [[rng.randrange(len(entries)) for _ in range(count)] for _ in range(steps)], np.uint32
        )
        index[:, 0] = 1
        expected = [prod(entries[at] for at in column) % squared for column in index.T.tolist()]
        assert to_numbers(on, on.gather(table, index)) == expected


def test_long_products_of_normal_forms(on: Arithmetic) -> None:
    """What adds up in a normal form is kept below its bound."""
    n = int(on.n)
    good = [*units(n, extremes(n))[:9], 1]
    start = forms = normal_rows(on, good)
    for _ in range(20):
        forms = on.multiply_normal(forms, start)
    rows = on.gather(on.table([forms], len(forms)), np.arange(len(good), dtype=np.uint32)[np.newaxis])
    assert to_numbers(on, rows) == [pow(x, 21, n * n) for x in good]


@pytest.mark.parametrize("size", [2, 16, 256])
def test_buckets(on: Arithmetic, size: int) -> None:
    n = int(on.n)
    squared, rng = n * n, random.Random(n)
    good = units(n, extremes(n))[:6]
    factors = on.table([normal_rows(on, good)], len(good))
    for count in (1, 9):
        digits = np.array([[rng.randrange(size) for _ in range(count)] for _ in good], np.uint8)
        digits[:, 0] = size - 1
        expected = [
            prod(pow(x, digit, squared) for x, digit in zip(good, column, strict=True)) % squared
            for column in digits.T.tolist()
        ]
        assert to_numbers(on, on.buckets(factors, digits, size)) == expected


def test_normal_forms_need_units(on: Arithmetic) -> None:
    n = int(on.n)
    with pytest.raises(ZeroDivisionError):
        on.normal(to_rows(on, [1, n, 2]))
    assert len(on.normal(to_rows(on, []))) == 0


@pytest.mark.parametrize("level", NATIVE)
@pytest.mark.parametrize("bits", BITS)
def test_up_to_the_lazy_bound(level: str, bits: int) -> None:
    """Halves may be anything up to 2 n: rows with the largest give right results everywhere."""
    for n in moduli(bits):
        on = at_level(n, level)
        assert isinstance(on, Lanes)  # there are no other rows to write by hand
        halves = [2 * n, 2 * n - 1, n, n - 1, n + 1, 0, (1 << bits) - 1]
        pairs = list(itertools.product(halves, halves))
        low, high = (on._halves([mpz(each) for each in part]) for part in zip(*pairs, strict=True))
        rows = np.concatenate([low, high], axis=1)
        squared = n * n
        inverse = pow(int(on._r), -1, squared)
        numbers = [(a + b * n) * inverse % squared for a, b in pairs]
        assert to_numbers(on, rows) == numbers
        twisted = rows[::-1].copy()
        assert to_numbers(on, on.multiply(rows, twisted)) == [
            x * y % squared for x, y in zip(numbers, reversed(numbers), strict=True)
        ]
        assert to_numbers(on, on.square(rows, 3)) == [pow(x, 8, squared) for x in numbers]
        assert to_numbers(on, on.add_plain(rows, plain_bytes(on, [n - 1] * len(rows)))) == [
            x * (1 - n) % squared for x in numbers
        ]
        assert to_numbers(on, on.power([(on, rows, [15] * len(rows))], 4)[0]) == [
            pow(x, 15, squared) for x in numbers
        ]
        # As u and k of a table, too: u (1 + k / R n), in Montgomery form
        entries = [a * (1 + b * inverse * n) * inverse for a, b in pairs]
        columns = np.arange(len(pairs), dtype=np.uint32)
        index = np.stack([columns, np.full_like(columns, 1), columns[::-1]])
        assert to_numbers(on, on.gather(rows, index)) == [
            x * entries[1] * y % squared for x, y in zip(entries, reversed(entries), strict=True)
        ]


@pytest.mark.parametrize("level", LEVELS)
def test_many_terms_in_one_sum(level: str) -> None:
    """More steps and factors than columns of sums take before they are settled."""
    n = (1 << 256) - 1
    on = at_level(n, level)
    number = pow(7, 1000, n * n)
    factors = on.table([on.normal(to_rows(on, [number]))], 1)
    steps = np.zeros((20_000, 3), np.uint32)
    assert to_numbers(on, on.gather(factors, steps)) == [pow(number, 20_000, n * n)] * 3
    digits = np.full((5000, 2), 255, np.uint8)
    raised = on.buckets(np.repeat(factors, 5000, axis=0), digits, 256)
    assert to_numbers(on, raised) == [pow(number, 5000 * 255, n * n)] * 2
