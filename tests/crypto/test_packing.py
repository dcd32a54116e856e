"""Packing is exact in every slot, for negative values and masks, too."""

from __future__ import annotations

import numpy as np
import pytest
from gmpy2 import mpz
from hypothesis import given
from hypothesis import strategies as st

from tests.crypto.crypto_keys import secret_key
from tests.crypto.unpacking import unpack_wide
from twinveil.crypto.packing import draw_masks, pack, pack_wide, unpack_low


@st.composite
def slots(draw: st.DrawFn) -> tuple[list[list[int]], int]:
    width = draw(st.integers(1, 11))
    columns = draw(st.integers(1, 6))
    top = (1 << min(64, 8 * width)) - 1
    row = st.lists(st.integers(0, top), min_size=columns, max_size=columns)
    return draw(st.lists(row, min_size=1, max_size=4)), width


@given(slots())
def test_packing_is_the_sum_of_shifted_slots(case: tuple[list[list[int]], int]) -> None:
    rows, width = case
    packed = pack(np.array(rows, dtype=np.uint64), width)
    assert packed == [sum(v << (8 * width * j) for j, v in enumerate(row)) for row in rows]
    assert packed == pack_wide(rows, width)
    bits = min(64, 8 * width)
    assert unpack_low(packed, len(rows[0]), width, bits).tolist() == rows
    assert unpack_wide(packed, len(rows[0]), width) == rows


@given(slots(), st.integers(1, 64))
def test_unpacking_keeps_the_low_bits_alone(case: tuple[list[list[int]], int], bits: int) -> None:
    rows, width = case
    bits = min(bits, 8 * width)
    above = [value + (1 << (8 * width * len(rows[0]))) * 5 for value in pack_wide(rows, width)]
    expected = [[value % (1 << bits) for value in row] for row in rows]
    assert unpack_low(above, len(rows[0]), width, bits).tolist() == expected


@given(st.lists(st.integers(-(2**30), 2**30), min_size=1, max_size=6), st.integers(0, 40))
def test_negative_slots_modulo_n_come_back_once_masked(values: list[int], mask_bits: int) -> None:
    """Carries between slots cancel modulo N: y + s is exact slot by slot although y borrows."""
    n = secret_key(512).public_key.n
    width = 6
    total = sum(value << (8 * width * j) for j, value in enumerate(values)) % n
    masks, low = draw_masks(1, len(values), width, mask_bits, 1 << 30)
    opened = (total + masks[0]) % n
    slots = unpack_wide([opened], len(values), width)[0]
    assert [slot - int(mask) for slot, mask in zip(slots, low[0], strict=True)] == values
    shares = unpack_low([opened], len(values), width, 48) - low
    assert [int(share) for share in shares[0]] == [value % 2**64 for value in values]


def test_masks_fill_their_range_and_no_more() -> None:
    packed, low = draw_masks(400, 3, 10, [3, 70, 0], [5, 2**71, 7])
    rows = unpack_wide(packed, 3, 10)
    assert {row[0] for row in rows} == set(range(5, 13))
    assert all(2**71 <= row[1] < 2**71 + 2**70 for row in rows)
    assert max(row[1] for row in rows) - 2**71 > 2**69
    assert {row[2] for row in rows} == {7}
    assert low.tolist() == [[value % 2**64 for value in row] for row in rows]


def test_masks_are_drawn_anew() -> None:
    first, _ = draw_masks(50, 4, 8, 40)
    second, _ = draw_masks(50, 4, 8, 40)
    assert len({*first, *second}) == 100


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        pack(np.array([[256]], dtype=np.uint64), 1)
    with pytest.raises(ValueError, match="uint64"):
        pack(np.array([[1]]), 1)
    with pytest.raises(OverflowError):
        pack_wide([[1 << 24]], 3)
    with pytest.raises(ValueError, match="do not fit"):
        draw_masks(1, 1, 2, 16, 1)
    with pytest.raises(ValueError, match="do not fit"):
        draw_masks(1, 1, 2, 8, -1)
    with pytest.raises(ValueError, match="slots"):
        draw_masks(1, 2, 2, [8])
    with pytest.raises(ValueError, match="low bits"):
        unpack_low([mpz(1)], 1, 2, 17)
