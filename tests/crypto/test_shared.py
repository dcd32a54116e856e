"""Work that is shared out gives what it gives in one process, and is counted the same."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.crypto.crypto_keys import secret_key
from twinveil.crypto import shared
from twinveil.crypto.native.level import GMPY2
from twinveil.crypto.native.residues import Residues
from twinveil.crypto.native.tables import exponentiation_counts, product_counts, table_counts
from twinveil.crypto.shared import FixedBases, Job, multi_exponentiate_all, own_workers, table_bytes
from twinveil.crypto.tally import Tally
from twinveil.parallel import INLINE, Workers

KEY = secret_key().public_key
MODULUS = int(KEY.n_squared)


@pytest.fixture(scope="module", params=["inline", "threads", "processes"])
def workers(request: pytest.FixtureRequest) -> Iterator[Workers]:
    made = {
        "inline": Workers,
        "threads": lambda: Workers.threads(2),
        "processes": lambda: Workers.processes(2),
    }
    with made[request.param]() as found:
        yield found


def units(count: int) -> Residues:
    return KEY.modulus().residues([secrets.randbelow(MODULUS - 2) + 1 for _ in range(count)])


def draw(outputs: int, bases: int, bits: int) -> NDArray[np.uint64]:
    source = np.random.default_rng(0)
    return source.integers(0, 1 << bits, (outputs, bases), np.uint64)


def reference(bases: Residues, exponents: NDArray[np.uint64]) -> list[int]:
    made = []
    for row in exponents.tolist():
        product = 1
        for base, exponent in zip(bases.to_ints(), row, strict=True):
            product = product * pow(int(base), exponent, MODULUS) % MODULUS
        made.append(product)
    return made


def test_jobs(workers: Workers) -> None:
    jobs = [Job(units(bases), draw(outputs, bases, 22), 22) for bases, outputs in ((9, 5), (40, 1), (2, 30))]
    for batch in (jobs, jobs[:1], []):
        tally, wanted = Tally(), Tally()
        made = multi_exponentiate_all(batch, tally, workers)
        assert [each.to_ints() for each in made] == [reference(job.bases, job.exponents) for job in batch]
        for job in batch:
            wanted += exponentiation_counts(len(job.bases), len(job.exponents), 22)
        assert tally == wanted


@pytest.mark.parametrize("group", [1, 5, 8])
def test_fixed_bases(workers: Workers, group: int) -> None:
    built, bases = Tally(), units(21)
    fixed = FixedBases(bases, built, group)
    assert built == Tally(table_counts(21, group))
    for outputs in (5, 1, 2):
        exponents, tally = draw(outputs, 21, 33), Tally()
        assert fixed.products(exponents, 33, tally, workers).to_ints() == reference(bases, exponents)
        assert tally == Tally(product_counts(21, outputs, 33, group))


def test_bad_exponents_are_refused_before_anything_is_counted_or_sent(workers: Workers) -> None:
    tally, bases, exponents = Tally(), units(2), draw(1, 2, 8)
    fixed = FixedBases(bases, Tally())
    for bits in (65, 3):
        with pytest.raises(ValueError, match="bits"):
            multi_exponentiate_all([Job(bases, exponents | np.uint64(128), bits)], tally, workers)
        with pytest.raises(ValueError, match="bits"):
            fixed.products(exponents | np.uint64(128), bits, tally, workers)
    assert not tally.total


def test_a_process_that_works_for_another_keeps_tables_within_its_budget(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The set that was used longest ago makes room, and comes again."""
    monkeypatch.setattr(shared, "_cache", type(shared._cache)())
    monkeypatch.setattr(shared, "MAX_CACHED_BYTES", 2 * table_bytes(9, 8, KEY.bits))
    sets = [units(9) for _ in range(3)]
    tables = [shared._cached(bytes([at]), 8, bases) for at, bases in enumerate(sets)]
    assert list(shared._cache) == [b"\1", b"\2"]
    assert shared._cached(b"\1", 8, sets[1]) is tables[1]
    assert shared._cached(b"\0", 8, sets[0]) is not tables[0]
    assert list(shared._cache) == [b"\1", b"\0"]


@pytest.mark.parametrize("level", ["ifma", GMPY2])
def test_own_workers_are_threads_where_arithmetic_is_native(
    monkeypatch: pytest.MonkeyPatch, level: str
) -> None:
    monkeypatch.setattr(shared, "level", lambda: level)
    with own_workers(2) as workers:
        assert workers.count == 2
        assert workers.apart == (level == GMPY2)


def test_inline_is_one_thread_of_this_process() -> None:
    assert (INLINE.here, INLINE.apart) == (1, False)
