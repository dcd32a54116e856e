"""Pools side by side: the same maxima as pool by pool, with as many comparisons and fewer rounds."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.garbling.garbled import run_both
from tests.garbling.pools import max_windows
from twinveil.garbling import ideal
from twinveil.garbling.bits import from_bits, to_bits
from twinveil.garbling.gates import Counter, Plain, blank
from twinveil.garbling.tournament import Tournament, run

Pool = tuple[int, int, int]


@st.composite
def pools(draw: st.DrawFn) -> tuple[tuple[int, ...], list[tuple[int, Pool]]]:
    """A tensor's shape, and pools (size, stride, padding), each on it or on one of those before."""
    shape = (draw(st.integers(1, 2)), draw(st.integers(1, 7)), draw(st.integers(1, 7)))
    shapes, made = [shape], []
    for _ in range(draw(st.integers(0, 4))):
        source = draw(st.integers(0, len(shapes) - 1))
        size = draw(st.integers(1, 4))
        padding = draw(st.integers(0, size // 2))
        stride = draw(st.integers(1, 3))
        sides = [(side + 2 * padding - size) // stride + 1 for side in shapes[source][1:]]
        if min(shapes[source][1:]) + 2 * padding >= size:
            made.append((source, (size, stride, padding)))
            shapes.append((shape[0], *sides))
    return shape, made


@settings(max_examples=60, deadline=None)
@given(pools(), st.integers(0, 2**32))
def test_any_pools_on_pools(drawn: tuple[tuple[int, ...], list[tuple[int, Pool]]], seed: int) -> None:
    shape, made = drawn
    values = [np.random.default_rng(seed).integers(0, 8, shape)]
    tournament = Tournament(values[0].size)
    names = [np.arange(values[0].size).reshape(shape)]
    comparisons = 0
    for source, pool in made:
        names.append(tournament.pool(names[source], *pool))
        values.append(ideal.max_windows(values[source], *pool))
        counter = Counter()
        max_windows(counter, blank((1, *values[source].shape)), *pool)
        comparisons += counter.and_gates // 2
    assert tournament.comparisons == comparisons
    rounds = tournament.rounds()
    assert sum(len(left) for left, _ in rounds) == comparisons
    assert all(len(left) == len(right) > 0 for left, right in rounds)
    row = from_bits(run(Plain(), to_bits(values[0].reshape(-1), 3), rounds))
    for each, expected in zip(names, values, strict=True):
        np.testing.assert_array_equal(row[tournament.places(each)], expected)


def test_garbled_like_plain() -> None:
    values = np.random.default_rng(0).integers(0, 256, 2 * 49)
    tournament = Tournament(values.size)
    names = np.arange(values.size).reshape(2, 7, 7)
    first = tournament.pool(names, 3, 1, 1)
    outputs = [first, tournament.pool(first, 2, 2, 0), tournament.pool(names, 2, 2, 0)]
    rounds, places = tournament.rounds(), [tournament.places(each) for each in outputs]

    def program(g, a, b):  # type: ignore[no-untyped-def]
        row = run(g, b["x"], rounds)
        return {str(number): row.take(at, axis=1) for number, at in enumerate(places)}

    out = run_both(program, {}, {"x": to_bits(values, 8)})
    pooled = ideal.max_windows(values.reshape(2, 7, 7), 3, 1, 1)
    np.testing.assert_array_equal(from_bits(out["0"]), pooled)
    np.testing.assert_array_equal(from_bits(out["1"]), ideal.max_windows(pooled, 2, 2, 0))
    np.testing.assert_array_equal(from_bits(out["2"]), ideal.max_windows(values.reshape(2, 7, 7), 2, 2, 0))


def test_pools_of_one_depth_are_one_round() -> None:
    tournament = Tournament(4 * 49)
    names = np.arange(4 * 49).reshape(4, 7, 7)
    alone = Tournament(4 * 49)
    alone.pool(names, 3, 1, 1)
    for _ in range(5):
        tournament.pool(names, 3, 1, 1)
    assert len(tournament.rounds()) == len(alone.rounds())
    assert tournament.comparisons == 5 * alone.comparisons
