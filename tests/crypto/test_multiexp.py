"""Every schedule gives the product of powers, and performs exactly what it predicts."""

from __future__ import annotations

import secrets
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pytest
from gmpy2 import mpz, powmod
from hypothesis import given, settings
from hypothesis import strategies as st

import twinveil.crypto.multiexp as multiexp
import twinveil.crypto.normal_form as normal_form
from tests.crypto.crypto_keys import secret_key
from twinveil.crypto.fixed_base import FixedBase
from twinveil.crypto.multiexp import (
    Buckets,
    Job,
    Tables,
    multi_exponentiate,
    multi_exponentiate_all,
    operation_count,
    predict,
    predict_all,
    shift_combine,
)
from twinveil.crypto.multiexp_fixed import FixedBases
from twinveil.crypto.multiexp_schedule import choose
from twinveil.crypto.normal_form import linear_forms, normalise, product
from twinveil.crypto.tally import MODMUL_N, MODMUL_N2, MODMUL_N2_HALF, SQUARE_N2, Tally
from twinveil.parallel import Workers

Patch = pytest.MonkeyPatch
KEY = secret_key().public_key
N, MODULUS = KEY.n, KEY.n_squared


def units(count: int) -> list[mpz]:
    return [mpz(secrets.randbelow(int(MODULUS) - 2) + 1) for _ in range(count)]


def draw(outputs: int, bases: int, bits: int) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """Random exponents with the extremes in the first rows."""
    data = np.frombuffer(secrets.token_bytes(8 * outputs * bases), dtype=np.uint64).reshape(outputs, bases)
    exponents = data >> np.uint64(64 - bits)
    exponents[0] = (1 << bits) - 1
    if outputs > 1:
        exponents[1] = 0
    return exponents


def reference(bases: list[mpz], exponents: np.ndarray[Any, np.dtype[np.uint64]]) -> list[mpz]:
    results = []
    for row in exponents.tolist():
        result = mpz(1)
        for base, exponent in zip(bases, row, strict=True):
            result = result * powmod(base, exponent, MODULUS) % MODULUS
        results.append(result)
    return results


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 40), st.integers(1, 5), st.integers(1, 64))
def test_any_shape(bases: int, outputs: int, bits: int) -> None:
    values, exponents = units(bases), draw(outputs, bases, bits)
    tally = Tally()
    assert multi_exponentiate(values, exponents, bits, MODULUS, tally) == reference(values, exponents)
    assert tally == Tally(predict(bases, outputs, bits))
    assert tally.total == operation_count(bases, outputs, bits)


SCHEDULES = [
    Buckets((5,)),
    Buckets((1, 4)),
    Buckets((3, 2)),
    Buckets((2, 1, 1, 1)),
    Tables(1, 1),
    Tables(3, 1),
    Tables(4, 2),
    Tables(2, 5),
    Tables(5, 1),
]


@pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
def test_any_schedule(schedule: Buckets | Tables) -> None:
    values, exponents = units(13), draw(40, 13, 5)
    results = multi_exponentiate(values, exponents, 5, MODULUS, Tally(), schedule)
    assert results == reference(values, exponents)


class Spy:
    """An integer that counts each `x * y % m` it takes part in, by kind."""

    counts: dict[str, int]

    def __init__(self, number: mpz, kind: str | None = None) -> None:
        self.number = number
        self.kind = kind

    def __mul__(self, other: Spy) -> Spy:
        if other is self and self.kind != "one":  # untouched buckets are all this same one
            kind = SQUARE_N2
        else:
            kind = MODMUL_N2_HALF if other.kind == "half" else MODMUL_N2
        return Spy(self.number * other.number, kind)

    def __mod__(self, modulus: mpz) -> Spy:
        if self.kind is not None:
            Spy.counts[self.kind] = Spy.counts.get(self.kind, 0) + 1
        return Spy(self.number % modulus)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
def test_counts_are_what_is_performed(schedule: Buckets | Tables, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernels run on numbers that count; `predict` must have known every one of them."""
    performed = Tally()

    def spied_normalise(values: list[mpz], n: mpz) -> list[Any]:
        performed.add(MODMUL_N, normal_form.NORMALISE_MODMULS * len(values))
        return normalise(values, n)

    def spied_product(a: Any, b: Any, n: mpz) -> Any:
        performed.add(MODMUL_N, normal_form.PRODUCT_MODMULS)
        return product(a, b, n)

    def spied_linear_forms(weights: Any, values: list[mpz], n: mpz) -> list[mpz]:
        if len(sums):
            performed.add(MODMUL_N, len(values))  # the t of every base: one division each
        sums.append(len(values))
        return linear_forms(weights, values, n)

    def spied_lengthened(forms: Any, n: mpz) -> Any:
        performed.add(MODMUL_N, len(forms))
        return normal_form.lengthened(forms, n)

    def spied_value(u: Any, k: mpz, n: mpz, modulus: mpz) -> mpz:
        performed.add(MODMUL_N2)
        return normal_form.value(u.number, k, n, modulus)

    sums: list[int] = []
    monkeypatch.setattr(multiexp, "normalise", spied_normalise)
    monkeypatch.setattr(multiexp, "product", spied_product)
    monkeypatch.setattr(multiexp, "linear_forms", spied_linear_forms)
    monkeypatch.setattr(multiexp, "lengthened", spied_lengthened)
    monkeypatch.setattr(multiexp, "value", spied_value)

    real_raise, real_tables = multiexp._raise, multiexp.group_tables

    def spied_raise(factors: list[mpz], *rest: Any) -> Any:
        *digits, empty, modulus = rest
        return real_raise([Spy(f, "half") for f in factors], *digits, Spy(empty, "one"), modulus)

    def spied_tables(*arguments: Any) -> Any:
        tables = real_tables(*arguments)
        halves = [[Spy(f, "half") for f in table] for table in tables.factors]
        return multiexp.GroupTables(halves, tables.ks)

    monkeypatch.setattr(multiexp, "_raise", spied_raise)
    monkeypatch.setattr(multiexp, "group_tables", spied_tables)
    Spy.counts = {}
    bases, outputs, bits = 13, 7, 5
    values, exponents = units(bases), draw(outputs, bases, bits)
    exponents[:, 0] = (1 << bits) - 1
    predicted = Tally()
    results = multi_exponentiate(values, exponents, bits, MODULUS, predicted, schedule)
    assert results == reference(values, exponents)
    performed += Spy.counts
    performed.add("inverse_n")
    assert performed == predicted


class Lengths:
    """A number whose products write down how long both factors were."""

    seen: ClassVar[set[tuple[int, int]]]

    def __init__(self, number: mpz) -> None:
        self.number = number

    def __mul__(self, other: Lengths) -> Lengths:
        limbs = [-(-int(each.number.bit_length()) // 64) for each in (self, other)]
        Lengths.seen.add((limbs[0], limbs[1]))
        return Lengths(self.number * other.number)

    def __mod__(self, modulus: mpz) -> Lengths:
        return Lengths(self.number % modulus)


def short_factors(
    exponents: npt.NDArray[np.uint64], bits: int, schedule: Buckets | Tables, begin: mpz | None = None
) -> bool:
    """Whether a running product is shorter than N^2, or a factor than N: such products take no time.

    begin: what empty buckets hold instead.
    """
    with pytest.MonkeyPatch.context() as patch:
        raised, tables, valued = multiexp._raise, multiexp.group_tables, multiexp.value

        def measured_raise(factors: list[mpz], *rest: Any) -> Any:
            *digits, empty, modulus = rest
            return raised([Lengths(mpz(f)) for f in factors], *digits, Lengths(begin or empty), modulus)  # type: ignore[misc]

        def measured_tables(*arguments: Any) -> Any:
            made = tables(*arguments)
            return multiexp.GroupTables([[Lengths(f) for f in each] for each in made.factors], made.ks)  # type: ignore[misc]

        patch.setattr(multiexp, "_raise", measured_raise)
        patch.setattr(multiexp, "group_tables", measured_tables)
        patch.setattr(multiexp, "value", lambda u, *rest: valued(u.number, *rest))
        Lengths.seen = set()
        multi_exponentiate(units(exponents.shape[1]), exponents, bits, MODULUS, Tally(), schedule)
    least = -(-int(N.bit_length()) // 64)
    return any(running < 2 * least or factor < least for running, factor in Lengths.seen)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
def test_no_digit_makes_a_multiplication_short(schedule: Buckets | Tables, monkeypatch: Patch) -> None:
    """Of all-zero exponents, and of few: time would tell them (found with 1 in tables and empty buckets)."""
    sparse = np.zeros((3, 13), np.uint64)
    sparse[1, 4] = 1
    sparse[2] = 1
    assert not short_factors(sparse, 5, schedule)
    monkeypatch.setattr(multiexp, "long_unit", lambda n: (mpz(1), mpz(0)))
    monkeypatch.setattr(multiexp, "lengthened", lambda forms, n: ([f.u for f in forms], [f.k for f in forms]))
    assert short_factors(sparse, 5, schedule, begin=mpz(1))


def test_no_entry_of_a_fixed_base_is_short(monkeypatch: Patch) -> None:
    base = units(1)[0]
    least = N.bit_length() - 64
    table = FixedBase(base, N, 40, Tally())
    assert min(entry.bit_length() for us in table._us for entry in us) > least
    assert min(entry.bit_length() for entry in table._us[0]) > 2 * least
    monkeypatch.setattr("twinveil.crypto.fixed_base.long_unit", lambda n: (mpz(1), mpz(0)))
    assert min(entry.bit_length() for us in FixedBase(base, N, 40, Tally())._us for entry in us) == 1


def test_counts_do_not_depend_on_exponents() -> None:
    values = units(30)
    zero, full = np.zeros((2, 30), dtype=np.uint64), np.full((2, 30), 2**20 - 1, dtype=np.uint64)
    tallies = []
    for exponents in (zero, full):
        tally = Tally()
        multi_exponentiate(values, exponents, 20, MODULUS, tally)
        tallies.append(tally)
    assert tallies[0] == tallies[1]


def test_many_bases_go_to_buckets_and_few_to_tables() -> None:
    assert isinstance(choose(1200, 8, 22), Buckets)
    assert isinstance(choose(72, 16, 22), Tables)


@pytest.mark.parametrize(("bases", "outputs", "bound"), [(1200, 8, 3.6), (72, 16, 4.0)])
def test_steps_a_term_stay_below_the_bar(bases: int, outputs: int, bound: float) -> None:
    """Multiplications mod N^2, of either size, for each of the terms of 22 bits."""
    counts = predict(bases, outputs, 22)
    steps = sum(counts[kind] for kind in (MODMUL_N2, MODMUL_N2_HALF, SQUARE_N2))
    assert steps / (bases * outputs) < bound


@pytest.mark.parametrize("bases", [5, 150])
def test_at_full_size_it_is_a_sum_of_products(bases: int) -> None:
    key = secret_key(2048)
    plaintexts, exponents = list(range(1000, 1000 + bases)), draw(4, bases, 22)
    values = key.public_key.parse(key.encrypt(plaintexts).to_bytes(), bases)
    results = multi_exponentiate(values, exponents, 22, key.public_key.n_squared, Tally())
    assert key.decrypt(results) == [int(row @ np.array(plaintexts, dtype=np.uint64)) for row in exponents]


def test_fixed_bases() -> None:
    values, exponents = units(21), draw(5, 21, 33)
    built, tally = Tally(), Tally()
    fixed = FixedBases(values, MODULUS, built)
    assert fixed.power(exponents, 33, tally) == reference(values, exponents)
    assert tally == Tally(fixed.counts(5, 33))
    assert built == Tally(fixed.schedule.table_counts(21))
    assert fixed.memory_bytes > 0


def test_worker_processes_give_the_same(workers: Workers) -> None:
    jobs = [
        Job(values, draw(outputs, len(values), 22), 22) for values, outputs in ((units(9), 5), (units(40), 1))
    ]
    for batch in (jobs, jobs[:1]):
        tally = Tally()
        results = multi_exponentiate_all(batch, MODULUS, tally, workers)
        assert results == [reference(list(job.bases), job.exponents) for job in batch]
        shapes = [(len(job.bases), job.exponents.shape[0], job.bits) for job in batch]
        assert tally == predict_all(shapes, workers.count)
    fixed, tally = FixedBases(jobs[0].bases, MODULUS, Tally()), Tally()
    assert fixed.power(jobs[0].exponents, 22, tally, workers) == results[0]
    assert tally == Tally(fixed.counts(5, 22))


@pytest.fixture(scope="module")
def workers() -> Any:
    with Workers.processes(2) as pool:
        yield pool


def test_shift_combine() -> None:
    values, tally = units(4), Tally()
    combined = shift_combine(values, 16, MODULUS, tally)
    expected = mpz(1)
    for place, number in enumerate(values):
        expected = expected * powmod(number, 1 << (16 * place), MODULUS) % MODULUS
    assert combined == expected
    assert tally.as_dict() == {MODMUL_N2: 3, SQUARE_N2: 48}


def test_normal_forms() -> None:
    a, b = units(2)
    forms = normalise([a, b], N)
    for unit, form in zip((a, b), forms, strict=True):
        assert form.u * (1 + form.k * N) % MODULUS == unit
        assert form.u * form.inverse % N == 1
    both = product(forms[0], forms[1], N)
    assert both.u * (1 + both.k * N) % MODULUS == a * b % MODULUS
    with pytest.raises(ZeroDivisionError):
        normalise([a, N], N)


@given(st.integers(1, 300), st.integers(1, 64))
@settings(deadline=None, max_examples=30)
def test_linear_forms_are_exact(count: int, bits: int) -> None:
    weights = draw(2, count, bits)
    values = [mpz(secrets.randbelow(int(N))) for _ in range(count)]
    values[0] = N - 1
    expected = [sum(w * v for w, v in zip(row, values, strict=True)) for row in weights.tolist()]
    assert linear_forms(weights, values, N) == expected


@pytest.mark.parametrize("bits", [1, 8, 40, 47])
def test_fixed_base_table(bits: int) -> None:
    base, built, tally = units(1)[0], Tally(), Tally()
    table = FixedBase(base, N, bits, built)
    exponents = [0, 1, 2**bits - 1, *(secrets.randbits(bits) for _ in range(200))]
    assert table.powers(exponents, tally) == [powmod(base, e, MODULUS) for e in exponents]
    assert table.powers([], tally) == []
    assert built == Tally(FixedBase.table_counts(bits))
    assert tally == Tally(FixedBase.power_counts(bits, 203))
    assert table.memory_bytes > 0
    for wrong in (-1, 1 << (8 * table.positions)):
        with pytest.raises(OverflowError):
            table.powers([wrong], Tally())


def test_misuse_is_refused() -> None:
    values, good = units(2), draw(1, 2, 8)
    with pytest.raises(ValueError, match="uint64"):
        multi_exponentiate(values, good.astype(np.int64), 8, MODULUS, Tally())
    with pytest.raises(ValueError, match="shape"):
        multi_exponentiate(values[:1], good, 8, MODULUS, Tally())
    with pytest.raises(ValueError, match="longer"):
        multi_exponentiate(values, good, 7, MODULUS, Tally())
    with pytest.raises(ValueError, match="bits"):
        multi_exponentiate(values, good, 65, MODULUS, Tally())
    with pytest.raises(ValueError, match="square"):
        multi_exponentiate(values, good, 8, MODULUS - 1, Tally())
