"""Arrays of numbers: every operation is right at every level, and refuses what does not fit."""

from __future__ import annotations

import copy
import math
import multiprocessing
import pickle
import random
import threading
from collections.abc import Callable
from typing import Any

import gmpy2
import numpy as np
import pytest
from gmpy2 import mpz
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.crypto.native import LEVELS, at_level
from twinveil.crypto.native.residues import FEW, MOST_ARRAYS, Modulus, Residues, powers
from twinveil.crypto.native.tables import FixedBase

N = int(gmpy2.next_prime((1 << 255) + 12345) * gmpy2.next_prime((1 << 256) - 12345))
SQUARED = N * N


@pytest.fixture(params=LEVELS)
def level(request: pytest.FixtureRequest) -> str:
    at_level(N, request.param)
    return str(request.param)


@pytest.fixture
def modulus(level: str) -> Modulus:
    return Modulus.squared(N, at=level)


def draw(count: int, seed: int = 0) -> list[int]:
    rng = random.Random(seed)
    return [rng.randrange(SQUARED) for _ in range(count)]


@pytest.mark.parametrize("count", [0, 1, FEW - 1, FEW, 9, 40])
def test_every_operation(modulus: Modulus, count: int) -> None:
    numbers, others = draw(count), draw(count, 1)
    a, b = modulus.residues(numbers), modulus.residues([mpz(each) for each in others])
    assert a.to_ints() == numbers
    assert modulus.from_bytes(a.to_bytes()).to_ints() == numbers
    assert len(a.to_bytes()) == count * modulus.size
    assert (a * b).to_ints() == [x * y % SQUARED for x, y in zip(numbers, others, strict=True)]
    assert a.squared().to_ints() == [x * x % SQUARED for x in numbers]
    assert a.squared(5).to_ints() == [pow(x, 32, SQUARED) for x in numbers]
    plain = [-1, N, N + 7, *others][:count]
    assert a.add_plain(plain).to_ints() == [
        x * (1 + m * N) % SQUARED for x, m in zip(numbers, plain, strict=True)
    ]
    exponents = [each >> 900 for each in others]
    assert a.power(exponents, 130).to_ints() == [
        pow(x, e, SQUARED) for x, e in zip(numbers, exponents, strict=True)
    ]
    assert a.coprime()
    assert not Residues.joined([a, modulus.residues([3 * N])]).coprime()


def test_few_and_many_meet(modulus: Modulus) -> None:
    """Few numbers are gmpy2's, many are in lanes: they multiply and join all the same."""
    many, few, one = (modulus.residues(draw(count, count)) for count in (11, 2, 1))
    assert (many[:2] * few).to_ints() == [
        x * y % SQUARED for x, y in zip(draw(11, 11), draw(2, 2), strict=False)
    ]
    expected = [x * draw(1, 1)[0] % SQUARED for x in draw(11, 11)]
    assert (many * one).to_ints() == (one * many).to_ints() == expected
    assert Residues.joined([one, many, few]).to_ints() == draw(1, 1) + draw(11, 11) + draw(2, 2)


def test_parts(modulus: Modulus) -> None:
    numbers = draw(13)
    a = modulus.residues(numbers)
    assert a[3:5].to_ints() == numbers[3:5]
    assert (a[::-2] * a[::-2]).to_ints() == [x * x % SQUARED for x in numbers[::-2]]
    places = np.array([4, 4, 0, 12])
    assert a[places].squared().to_ints() == [numbers[at] ** 2 % SQUARED for at in places]
    assert len(a[13:]) == 0


def test_folding(modulus: Modulus) -> None:
    numbers = draw(12)
    a = modulus.residues(numbers)
    assert a.folded(10).to_ints() == [
        math.prod(pow(x, 1 << (10 * j), SQUARED) for j, x in enumerate(numbers)) % SQUARED
    ]
    assert a.folded(1, 6).to_ints() == [
        x * y * y % SQUARED for x, y in zip(numbers, numbers[6:], strict=False)
    ]
    assert a.folded(3, 12).to_ints() == numbers


def test_powers_side_by_side(level: str) -> None:
    """Numbers modulo p^2 and q^2, and modulo something of another length: order and numbers stay."""
    works, expected = [], []
    for seed, n in enumerate((N, N + 2, N >> 100 | 1)):
        numbers = [each % (n * n) for each in draw(3, seed)]
        works.append((Modulus.squared(n, at=level).residues(numbers), [n - 1] * 3))
        expected.append([pow(x, n - 1, n * n) for x in numbers])
    assert [each.to_ints() for each in powers(works, 512)] == expected


REFUSED: dict[str, Callable[[Modulus], object]] = {
    "negative number": lambda m: m.residues([-1]),
    "number of n^2": lambda m: m.residues([0, 1, 2, 3, SQUARED]),
    "bytes of n^2": lambda m: m.from_bytes(SQUARED.to_bytes(m.size, "big")),
    "a byte too many": lambda m: m.from_bytes(bytes(m.size + 1)),
    "other lengths": lambda m: m.residues(draw(5)) * m.residues(draw(6)),
    "none by one of two": lambda m: m.residues([]) * m.residues(draw(2)),
    "other moduli": lambda m: m.residues(draw(5)) * Modulus.squared(N + 2).residues([1] * 5),
    "joined moduli": lambda m: Residues.joined([m.residues(draw(5)), Modulus.squared(N + 2).residues([1])]),
    "negative squarings": lambda m: m.residues(draw(5)).squared(-1),
    "nothing to fold": lambda m: m.residues([]).folded(1),
    "uneven folds": lambda m: m.residues(draw(5)).folded(1, 2),
    "negative width": lambda m: m.residues(draw(5)).folded(-1),
    "too few plaintexts": lambda m: m.residues(draw(5)).add_plain([1] * 4),
    "too few exponents": lambda m: m.residues(draw(5)).power([1] * 4, 8),
    "negative exponent": lambda m: m.residues(draw(5)).power([1, 2, 3, 4, -1], 8),
    "long exponent": lambda m: m.residues(draw(5)).power([1, 2, 3, 4, 256], 8),
    "too many arrays": lambda m: powers([(m.residues([1]), [1])] * (MOST_ARRAYS + 1), 8),
    "no bits": lambda m: m.residues(draw(5)).power([0] * 5, 0),
    "even modulus": lambda _: Modulus.squared(N + 1),
    "small modulus": lambda _: Modulus.squared(1),
    "negative modulus": lambda _: Modulus.squared(-N),
    "no threads": lambda _: Modulus.squared(N, threads=0),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_input_is_refused(modulus: Modulus, case: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        REFUSED[case](modulus)


def test_misuse_raises(modulus: Modulus) -> None:
    a: Any = modulus.residues(draw(5))
    for misuse in (
        lambda: a[0],
        lambda: iter(a),
        lambda: bool(a),
        lambda: pickle.dumps(a),
        lambda: copy.copy(a),
    ):
        with pytest.raises(TypeError):
            misuse()


@settings(deadline=None, max_examples=30)
@given(st.data())
def test_any_steps(data: st.DataObject) -> None:
    """A few steps in any order at any level, on numbers of any n of 3 to 300 bits."""
    name = data.draw(st.sampled_from(LEVELS))
    n = data.draw(st.integers(3, 1 << 300)) | 1
    numbers = data.draw(st.lists(st.integers(0, n * n - 1), max_size=12))
    at_level(n, name)
    a = Modulus.squared(n, at=name).residues(numbers)
    for step in data.draw(st.lists(st.sampled_from(["square", "multiply", "power", "add"]), max_size=4)):
        if step == "square":
            a, numbers = a.squared(2), [pow(x, 4, n * n) for x in numbers]
        elif step == "multiply":
            a, numbers = a * a[::-1], [x * y % n**2 for x, y in zip(numbers, numbers[::-1], strict=True)]
        elif step == "power":
            a, numbers = a.power([37] * len(a), 6), [pow(x, 37, n * n) for x in numbers]
        else:
            a, numbers = a.add_plain(numbers), [x * (1 + x * n) % n**2 for x in numbers]
    assert a.to_ints() == numbers


@pytest.mark.parametrize("threads", [2, 3, 7])
def test_threads_give_the_same(level: str, threads: int) -> None:
    """Work enough for every operation to be shared out."""
    count = 2100
    numbers = draw(count)
    one, several = (Modulus.squared(N, each, level).residues(numbers) for each in (1, threads))
    for operation in (
        lambda a: a * a[::-1],
        lambda a: a.squared(3),
        lambda a: a.folded(2, 300),
        lambda a: a.add_plain(numbers),
        lambda a: a.power(range(count), 12),
        lambda a: FixedBase(a[:1], 64).powers([x >> 960 for x in numbers]),
    ):
        assert operation(several).to_bytes() == operation(one).to_bytes()


def test_callers_in_many_threads(level: str) -> None:
    modulus = Modulus.squared(N, 2, level)
    base = FixedBase(modulus.residues(draw(1)), 64)
    expected, found = [pow(draw(1)[0], e, SQUARED) for e in range(200)], []

    def call() -> None:
        found.append(base.powers(range(200)).to_ints())

    callers = [threading.Thread(target=call) for _ in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert found == [expected] * 4


def _in_child(level: str, seed: int) -> bytes:
    return (Modulus.squared(N, 2, level).residues(draw(1200, seed)).squared(9)).to_bytes()


def test_a_fork_computes_on(level: str) -> None:
    """Threads served before the fork; the child starts its own."""
    expected = _in_child(level, 5)
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.apply(_in_child, (level, 5)) == expected
