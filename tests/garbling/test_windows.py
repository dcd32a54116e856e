"""Max-pooling on wires against a loop over windows, and how few comparisons it takes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.garbling.garbled import run_both
from tests.garbling.pools import max_windows
from tests.garbling.signed import from_signed_bits
from twinveil.errors import InvalidMessage
from twinveil.garbling import ideal
from twinveil.garbling.bits import from_bits, to_bits
from twinveil.garbling.circuit import count
from twinveil.garbling.gates import Gates, Wires
from twinveil.garbling.windows import schedule, windows

Inputs = Mapping[str, Wires]


@st.composite
def pools(draw: st.DrawFn) -> tuple[int, int, int, int, int, int]:
    size = draw(st.integers(1, 5))
    stride, padding = draw(st.integers(1, 4)), draw(st.integers(0, size - 1))
    least = max(1, size - padding)
    height, width = draw(st.integers(least, 9)), draw(st.integers(least, 9))
    return height, width, size, stride, padding, draw(st.integers(0, 2**32 - 1))


@settings(max_examples=120, deadline=None)
@given(pools(), st.booleans())
def test_any_windows(pool: tuple[int, int, int, int, int, int], signed: bool) -> None:
    """Small values, so that ties abound; negative ones, so that a padded zero would win."""
    height, width, size, stride, padding, seed = pool
    rng = np.random.default_rng(seed)
    values = rng.integers(-4, 0, (2, height, width)) if signed else rng.integers(0, 4, (2, height, width))

    def program(g: Gates, a: Inputs, b: Inputs) -> dict[str, Wires]:
        return {"maximum": max_windows(g, b["v"], size, stride, padding, signed)}

    out = run_both(program, {}, {"v": to_bits(values, 3)})
    maximum = (from_signed_bits if signed else from_bits)(out["maximum"])
    np.testing.assert_array_equal(maximum, ideal.max_windows(values, size, stride, padding))


def test_bytes_over_more_batch_axes() -> None:
    values = np.random.default_rng(3).integers(0, 256, (2, 3, 14, 13))

    def program(g: Gates, a: Inputs, b: Inputs) -> dict[str, Wires]:
        return {"z": max_windows(g, b["v"], 3, 2, 1)}

    out = run_both(program, {}, {"v": to_bits(values, 8)})["z"]
    np.testing.assert_array_equal(from_bits(out), ideal.max_windows(values, 3, 2, 1))


@pytest.mark.parametrize(
    ("side", "size", "stride", "padding", "comparisons"),
    [
        (14, 3, 2, 1, 13),  # two an output, one at the padded border
        (7, 3, 1, 1, 9),  # three for two neighbours instead of four; one and one at the borders
        (8, 3, 1, 0, 9),
        (6, 2, 2, 0, 3),
        (7, 2, 2, 0, 3),
        (5, 1, 1, 0, 0),
        (12, 5, 1, 0, 20),  # five for two neighbours instead of eight
        (9, 2, 4, 0, 2),
    ],
)
def test_comparisons_along_an_axis(side: int, size: int, stride: int, padding: int, comparisons: int) -> None:
    assert schedule(side, size, stride, padding).comparisons == comparisons


def test_and_gates_of_the_default_pools() -> None:
    def pool(size: int, stride: int, padding: int, channels: int, side: int) -> int:
        def program(g: Gates, a: Inputs, b: Inputs) -> dict[str, Wires]:
            return {"z": max_windows(g, b["v"], size, stride, padding)}

        return count(program, {}, {"v": (8, channels, side, side)}).and_gates

    assert pool(3, 2, 1, 8, 14) == 16 * 8 * (13 * 14 + 13 * 7)
    assert pool(3, 1, 1, 16, 7) == 16 * 16 * (9 * 7 + 9 * 7)
    assert pool(2, 2, 0, 88, 7) == 16 * 88 * (3 * 6 + 3 * 3)


def test_rounds_are_few() -> None:
    assert len(schedule(7, 3, 1, 1).rounds) == 2
    assert len(schedule(14, 3, 2, 1).rounds) == 2
    assert len(schedule(1024, 9, 1, 4).rounds) <= 5


@pytest.mark.parametrize(
    ("side", "size", "stride", "padding"),
    [(4, 0, 1, 0), (4, 3, 0, 0), (4, 3, 1, 3), (4, 3, 1, -1), (2, 3, 1, 0)],
)
def test_impossible_windows_are_refused(side: int, size: int, stride: int, padding: int) -> None:
    with pytest.raises(InvalidMessage):
        windows(side, size, stride, padding)


def test_no_window_is_empty() -> None:
    for size in range(1, 6):
        for padding in range(size):
            for side in range(max(1, size - 2 * padding), 8):
                assert all(low < high for low, high in windows(side, size, 1, padding))
