"""Products of bits and pixels by correlated transfers: exact, exactly L bits a word, uniform, once."""

from __future__ import annotations

import copy
import os
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.garbling.garbled import session
from twinveil.errors import AlreadyUsed, InvalidMessage, OutOfOrder
from twinveil.garbling.ahead import Offer
from twinveil.garbling.bits import to_bits
from twinveil.garbling.ot_extension import ExtensionReceiver
from twinveil.garbling.products import HeldBits, Pixels, PixelsGiven, PixelsHeld, multiply
from twinveil.ring import modulo, packed_bytes, unpack_words

NOTHING = Offer(b"", b"", b"")


def random_bits(count: int) -> np.ndarray:
    return np.frombuffer(os.urandom(count), np.uint8) > 127


def shares(a: np.ndarray, b: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray, bytes, bytes]:
    """S1's and S2's shares of the products, corrections, words."""
    receiver, sender = session(len(a))
    held = HeldBits(receiver, b, width)
    sent, own = multiply(sender, a, held.corrections, width)
    assert not receiver.available
    assert not sender.available
    return own, held.open(sent), held.corrections, sent


@pytest.mark.parametrize("width", [1, 2, 8, 19, 20, 31, 40, 63, 64])
def test_shares_add_up_to_the_product(width: int) -> None:
    count = 1000
    zeros, ones = np.zeros(count, np.bool_), np.ones(count, np.bool_)
    for a in (random_bits(count), zeros, ones):
        for b in (random_bits(count), zeros, ones):
            own, other, corrections, sent = shares(a, b, width)
            np.testing.assert_array_equal(modulo(own + other, width), a & b)
            assert len(corrections) == 125
            assert len(sent) == packed_bytes(count, width)
            for share in (own, other):
                np.testing.assert_array_equal(share, modulo(share, width))


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 64), st.lists(st.tuples(st.booleans(), st.booleans()), max_size=40))
def test_any_bits(width: int, pairs: list[tuple[bool, bool]]) -> None:
    a, b = np.array(pairs, np.bool_).reshape(-1, 2).T
    own, other, _, _ = shares(a.copy(), b.copy(), width)
    assert modulo(own + other, width).tolist() == [int(x and y) for x, y in pairs]


def balanced(values: np.ndarray, width: int) -> bool:
    ones = to_bits(values, width).sum(axis=1)
    return bool((abs(ones - len(values) / 2) < 5 * len(values) ** 0.5).all())


@pytest.mark.parametrize("a", [False, True])
@pytest.mark.parametrize("b", [False, True])
def test_shares_words_and_corrections_are_uniform_whatever_the_bits(a: bool, b: bool) -> None:
    count, width = 20_000, 20
    own, other, corrections, sent = shares(np.full(count, a), np.full(count, b), width)
    assert balanced(own, width)
    assert balanced(other, width)
    assert balanced(unpack_words(sent, count, width), width)
    flips = np.unpackbits(np.frombuffer(corrections, np.uint8), count=count)
    assert balanced(flips.astype(np.uint64), 1)


def untold(take: Callable[[ExtensionReceiver, int], Any]) -> bool:
    """Whether the corrections of two rows of bits, xored, are other than the bits' own xor."""
    receiver, _ = session(2 * 500)
    receiver.take, taken = lambda count: take(receiver, count), receiver.take  # type: ignore[method-assign]
    receiver.taken = taken  # type: ignore[attr-defined]
    one, two = random_bits(500), random_bits(500)
    first, second = (HeldBits(receiver, bits, 20).corrections for bits in (one, two))
    told = np.frombuffer(first, np.uint8) ^ np.frombuffer(second, np.uint8)
    return told.tobytes() != np.packbits(one ^ two, bitorder="little").tobytes()


def test_a_transfer_that_serves_twice_tells_the_bits() -> None:
    assert untold(lambda receiver, count: receiver.taken(count))  # type: ignore[attr-defined]
    assert not untold(lambda receiver, count: (receiver._choices[:count], receiver._pads[:count]))


def test_transfers_serve_once() -> None:
    receiver, sender = session(10)
    held = HeldBits(receiver, random_bits(10), 8)
    with pytest.raises(OutOfOrder):
        HeldBits(receiver, random_bits(1), 8)
    sent, _ = multiply(sender, random_bits(10), held.corrections, 8)
    with pytest.raises(OutOfOrder):
        multiply(sender, random_bits(10), held.corrections, 8)
    held.open(sent)
    with pytest.raises(AlreadyUsed):
        held.open(sent)


@pytest.mark.parametrize("change", [lambda b: b[:-1], lambda b: b + b"\0", lambda b: b"", lambda b: b + b])
def test_any_other_size_is_refused(change: Any) -> None:
    receiver, sender = session(20)
    held = HeldBits(receiver, random_bits(20), 7)
    with pytest.raises(InvalidMessage, match="20 corrections"):
        multiply(sender, random_bits(20), change(held.corrections), 7)
    assert sender.available == 20
    sent, _ = multiply(sender, random_bits(20), held.corrections, 7)
    with pytest.raises(InvalidMessage, match="words of 7 bits"):
        held.open(change(sent))


@pytest.mark.parametrize("bits", [np.zeros(8), np.zeros((2, 4), np.bool_)])
def test_factors_are_one_row_of_bool(bits: np.ndarray) -> None:
    receiver, sender = session(8)
    with pytest.raises(InvalidMessage, match="one row of bool"):
        HeldBits(receiver, bits, 8)
    with pytest.raises(InvalidMessage, match="one row of bool"):
        multiply(sender, bits, b"\0", 8)
    assert receiver.available == sender.available == 8


def pixels(bits: int, width: int, batch: tuple[int, ...]) -> tuple[Pixels, PixelsGiven, PixelsHeld]:
    described = Pixels("image", (bits, *batch), width)
    receiver, sender = session(described.transfers)
    given_, held = described.garble(sender), described.hold(NOTHING, receiver)
    assert not receiver.available
    assert not sender.available
    return described, given_, held


def check_pixels(values: np.ndarray, bits: int, width: int) -> tuple[np.ndarray, np.ndarray, bytes]:
    described, made, held = pixels(bits, width, values.shape)
    answer = made.answer({"image": values ^ held.drawn["image"]})
    assert len(answer) == described.answer_bytes
    opened = held.open(answer)["image"]
    np.testing.assert_array_equal(modulo(opened + made.masks["image"], width), modulo(values, width))
    for share in (opened, made.masks["image"]):
        np.testing.assert_array_equal(share, modulo(share, width))
    return opened, made.masks["image"], answer


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_any_picture(data: st.DataObject) -> None:
    bits, width = data.draw(st.integers(1, 8)), data.draw(st.integers(1, 64))
    batch = tuple(data.draw(st.lists(st.integers(0, 4), min_size=1, max_size=3)))
    count = int(np.prod(batch))
    edges = st.sampled_from([0, (1 << bits) - 1]) | st.integers(0, (1 << bits) - 1)
    values = data.draw(st.lists(edges, min_size=count, max_size=count))
    check_pixels(np.array(values, np.uint64).reshape(batch), bits, width)


@pytest.mark.parametrize("value", [0, 255, 170])
def test_shares_and_words_are_uniform_whatever_the_picture(value: int) -> None:
    count, width = 20_000, 19
    opened, own, answer = check_pixels(np.full(count, value, np.uint64), 8, width)
    middle = packed_bytes(8 * count, width)
    assert balanced(opened, width)
    assert balanced(own, width)
    assert balanced(unpack_words(answer[:middle], 8 * count, width), width)
    assert balanced(unpack_words(answer[middle:], count, width), width)


def test_masks_are_drawn_ahead_and_each_once() -> None:
    masks = [pixels(8, 30, (300,))[1].masks["image"] for _ in range(2)]
    assert len(np.unique(masks)) == 600


def test_pixels_cost_less_than_labels() -> None:
    described = Pixels("image", (8, 1, 28, 28), 19)
    assert described.offer_bytes == (0, 0, 0)
    assert described.answer_bytes == 784 * 9 * 19 / 8
    assert described.answer_bytes < 784 * 8 * 16 / 5


def test_pixels_serve_once() -> None:
    _, made, held = pixels(8, 19, (3,))
    answer = made.answer(held.drawn)
    with pytest.raises(AlreadyUsed):
        made.answer(held.drawn)
    held.open(answer)
    with pytest.raises(AlreadyUsed):
        held.open(answer)


@pytest.mark.parametrize("change", [lambda b: b[:-1], lambda b: b + b"\0", lambda b: b""])
def test_an_answer_of_another_size_uses_the_pixels_up(change: Any) -> None:
    _, made, held = pixels(8, 19, (3,))
    answer = made.answer(held.drawn)
    with pytest.raises(InvalidMessage, match="instead of"):
        held.open(change(answer))
    with pytest.raises(AlreadyUsed):
        held.open(answer)


def test_pixels_want_their_picture_and_no_offer() -> None:
    described, made, held = pixels(8, 19, (3,))
    for wrong in ({}, {"other": np.zeros(3, np.uint64)}, {"image": np.zeros(4, np.uint64)}):
        with pytest.raises(InvalidMessage):
            made.answer(wrong)
    assert held.open(made.answer(held.drawn))
    with pytest.raises(InvalidMessage, match="empty offer"):
        described.hold(Offer(b"x", b"", b""), session(24)[0])


def test_nothing_is_copied_pickled_or_shown() -> None:
    _, made, held = pixels(8, 19, (3,))
    for secret in (made, held, HeldBits(session(8)[0], random_bits(8), 8)):
        assert repr(secret) == f"{type(secret).__name__}(...)"
        for spread in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError):
                spread(secret)
