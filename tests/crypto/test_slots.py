"""One mask a plaintext, one spare bit a slot: shares are exact, and what happens without either."""

from __future__ import annotations

import random
import secrets

import numpy as np
import pytest
from gmpy2 import mpz
from hypothesis import given
from hypothesis import strategies as st

from twinveil.crypto.slots import (
    Bools,
    Slots,
    Words,
    borrows_wanted,
    cut,
    draw,
    mask_share,
    masked_share,
    most_slots,
    pack,
)

MARGIN = 20


def shared(
    plaintexts: list[mpz], masks: list[mpz], slots: Slots, ring: int, read: Bools | None = None
) -> Words:
    """Both parties' shares put together, modulo 2^ring; borrows that nobody wants are noise."""
    drawn, seen = cut(masks, slots), cut([p + s for p, s in zip(plaintexts, masks, strict=True)], slots)
    read = np.ones(drawn.top.shape, np.bool_) if read is None else read
    noise = np.random.default_rng().integers(0, 1 << 63, read.shape, np.uint64)
    borrows = (drawn.top & ~seen.top).astype(np.uint64)
    theirs = np.where(borrows_wanted(read, slots, ring), borrows - noise, np.uint64(7))
    both = mask_share(drawn, noise, slots, ring) + masked_share(seen, theirs, slots, ring)
    return both & np.uint64((1 << ring) - 1)


def extreme(bits: int, source: random.Random) -> int:
    """A digit near an end of its range, or any."""
    top, half = 1 << bits, 1 << (bits - 1)
    return source.choice([0, 1, top - 1, top - 2, half, half - 1, source.randrange(top)])


@pytest.mark.parametrize("extremes", [False, True])
def test_twenty_thousand_draws_are_exact(extremes: bool) -> None:
    source = random.Random()
    left = 20_000
    while left:
        bits, slots_count = source.randint(2, 60), source.randint(1, 12)
        slots, ring, count = Slots(bits, slots_count), source.randint(1, 40), min(500, left)
        left -= count
        half = 1 << (bits - 1)
        if extremes:
            values = [
                [source.choice([0, half - 1, source.randrange(half)]) for _ in range(slots_count)]
                for _ in range(count)
            ]
            masks = [
                mpz(
                    sum(extreme(bits, source) << (bits * j) for j in range(slots_count))
                    + (source.getrandbits(MARGIN) << (bits * slots_count))
                )
                for _ in range(count)
            ]
        else:
            values = [[secrets.randbelow(half) for _ in range(slots_count)] for _ in range(count)]
            masks = draw(count, slots.mask_bits(MARGIN))
        table = np.array(values, np.uint64)
        plaintexts = pack(table, bits)
        assert (shared(plaintexts, masks, slots, ring) == table & np.uint64((1 << ring) - 1)).all()


@st.composite
def cases(draw: st.DrawFn) -> tuple[Slots, int, list[int], list[int], list[bool]]:
    bits, count = draw(st.integers(2, 90)), draw(st.integers(1, 6))
    value = st.integers(0, (1 << min(bits - 1, 63)) - 1)
    values = draw(st.lists(value, min_size=count, max_size=count))
    digits = draw(st.lists(st.integers(0, (1 << bits) - 1), min_size=count + 1, max_size=count + 1))
    read = draw(st.lists(st.booleans(), min_size=count, max_size=count))
    return Slots(bits, count), draw(st.integers(1, 40)), values, digits, read


@given(cases())
def test_every_slot_that_is_read_is_exact(case: tuple[Slots, int, list[int], list[int], list[bool]]) -> None:
    slots, ring, values, digits, read = case
    plaintexts = pack(np.array([values], np.uint64), slots.bits)
    assert plaintexts == [sum(v << (slots.bits * j) for j, v in enumerate(values))]
    masks = [mpz(sum(d << (slots.bits * j) for j, d in enumerate(digits)))]
    wanted = np.array([read])
    found = shared(plaintexts, masks, slots, ring, wanted)[0]
    assert [int(f) for f, r in zip(found, read, strict=True) if r] == [
        v % (1 << ring) for v, r in zip(values, read, strict=True) if r
    ]


@given(st.integers(0, 1 << 900), st.integers(2, 90), st.integers(1, 8))
def test_cutting_is_total(integer: int, bits: int, count: int) -> None:
    found = cut([mpz(integer)], Slots(bits, count))
    digits = [(integer >> (bits * j)) % (1 << bits) for j in range(count)]
    assert found.low.tolist() == [[d % (1 << 64) for d in digits]]
    assert found.top.tolist() == [[bool(d >> (bits - 1)) for d in digits]]


def test_a_value_in_the_spare_bit_is_refused() -> None:
    with pytest.raises(ValueError, match="spare"):
        pack(np.array([[1 << 8]], np.uint64), 9)
    assert pack(np.array([[(1 << 8) - 1]], np.uint64), 9) == [255]


def test_borrows_are_shared_only_where_they_count() -> None:
    read = np.array([[False, True, False, False, True, True]])
    wide = borrows_wanted(read, Slots(20, 6), 12)
    assert wide.tolist() == [[True, False, False, True, True, False]]
    narrow = borrows_wanted(read, Slots(9, 6), 12)
    assert narrow.tolist() == [[True, True, False, True, True, True]]


def test_a_plaintext_and_its_mask_stay_below_n() -> None:
    for key_bits in (256, 511, 2048, 3072):
        for bits in range(2, 100):
            count = most_slots(bits, key_bits, 73)
            if count:
                assert Slots(bits, count).mask_bits(73) <= key_bits - 2
            assert Slots(bits, count + 1).mask_bits(73) > key_bits - 2
    assert most_slots(200, 256, 73) == 0


# What is wrong without the spare bit, without all slots keeping it, and with too narrow a mask.


def test_broken_without_a_spare_bit() -> None:
    bits, count = 8, 4
    values = np.random.default_rng(1).integers(0, 1 << bits, (500, count), np.uint64)
    plaintexts = [mpz(sum(int(v) << (bits * j) for j, v in enumerate(row))) for row in values]
    slots = Slots(bits, count)
    found = shared(plaintexts, draw(500, slots.mask_bits(MARGIN)), slots, bits)
    assert (found != values).any(axis=1).sum() > 100


def test_broken_when_an_unwanted_slot_uses_its_spare_bit() -> None:
    bits, slots, read = 9, Slots(9, 3), np.array([[True, False, True]] * 500)
    values = [[5, (1 << bits) - 1, 7]] * 500
    plaintexts = [mpz(sum(v << (bits * j) for j, v in enumerate(row))) for row in values]
    found = shared(plaintexts, draw(500, slots.mask_bits(MARGIN)), slots, 8, read)
    assert (found[:, 0] == 5).all()
    assert (found[:, 2] != 7).any()


def guessed(margin: int, draws: int = 4000) -> float:
    """How often a threshold on z tells a top slot of 0 from one of its maximum."""
    slots = Slots(21, 4)
    wide = slots.mask_bits(margin)
    right = 0
    for mask in draw(draws, wide):
        bit = secrets.randbits(1)
        z = (mpz((1 << 20) - 1) << 63 if bit else 0) + mask
        right += (z > (1 << (wide - 1)) + (1 << 82)) == bool(bit)
    return right / draws


def test_a_mask_of_the_planned_width_hides_the_top_slot() -> None:
    assert abs(guessed(64) - 0.5) < 0.05


def test_broken_with_a_mask_that_ends_with_the_top_slot() -> None:
    assert guessed(1) > 0.7
