"""Integers to bits and back, at every width."""

from __future__ import annotations

import secrets

import numpy as np
import pytest

from tests.garbling.signed import from_signed_bits
from twinveil.errors import InvalidMessage
from twinveil.garbling.bits import bits_to_integers, from_bits, integers_to_bits, to_bits


@pytest.mark.parametrize("bits", [1, 7, 8, 22, 31, 63, 64])
def test_round_trip(bits: int) -> None:
    values = np.array([secrets.randbits(bits) for _ in range(24)], np.uint64).reshape(2, 3, 4)
    made = to_bits(values, bits)
    assert made.shape == (bits, 2, 3, 4)
    assert made.dtype == np.bool_
    np.testing.assert_array_equal(from_bits(made), values)
    signed = values.view(np.int64) >> np.int64(64 - bits)
    np.testing.assert_array_equal(from_signed_bits(to_bits(signed, bits)), signed)


def test_bit_zero_is_least_significant_and_high_bits_are_dropped() -> None:
    np.testing.assert_array_equal(to_bits(np.array([6, 14]), 3)[:, 0], [False, True, True])
    np.testing.assert_array_equal(to_bits(np.array(14), 3), [False, True, True])
    assert from_signed_bits(to_bits(np.array([-1, -4], np.int32), 3)).tolist() == [-1, -4]
    assert from_bits(to_bits(np.array([-1], np.int8), 64)).tolist() == [2**64 - 1]


@pytest.mark.parametrize("bits", [1, 64, 65, 2047, 2048])
def test_long_integers(bits: int) -> None:
    values = [0, (1 << bits) - 1, 1, secrets.randbits(bits)]
    made = integers_to_bits(values, bits)
    assert made.shape == (bits, 4)
    assert made.dtype == np.bool_
    assert bits_to_integers(made) == values
    assert made[:, 1].all()


def test_what_does_not_fit_is_refused() -> None:
    for values in ([4], [-1]):
        with pytest.raises(InvalidMessage):
            integers_to_bits(values, 2)
    for bits in (0, 65):
        with pytest.raises(InvalidMessage):
            to_bits(np.array([1]), bits)
        with pytest.raises(InvalidMessage):
            from_bits(np.zeros((bits, 1), np.bool_))
    with pytest.raises(InvalidMessage):
        to_bits(np.array([1.0]), 8)
    assert integers_to_bits([], 5).shape == (5, 0)
