"""Gadgets: exhaustive over 8-bit pairs, random at full width, garbled and plain, with their AND counts."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from tests.garbling.garbled import run_both
from tests.garbling.signed import from_signed_bits
from twinveil.errors import InvalidMessage
from twinveil.garbling import gadgets, ideal
from twinveil.garbling.bits import (
    bits_to_integers,
    from_bits,
    integers_to_bits,
    to_bits,
)
from twinveil.garbling.circuit import count
from twinveil.garbling.gates import Counter, Gates, Wires, blank

pytestmark = pytest.mark.slow

Inputs = Mapping[str, Wires]
PAIRS = np.arange(256).repeat(256), np.tile(np.arange(256), 256)
SIGNED_PAIRS = PAIRS[0] - 128, PAIRS[1] - 128


def on_pair(gadget: Callable[[Gates, Wires, Wires], Wires], a: np.ndarray, b: np.ndarray, bits: int) -> Any:
    """gadget(g, a, b): a by the garbler, b by the evaluator."""

    def program(g: Gates, x: Inputs, y: Inputs) -> dict[str, Wires]:
        return {"z": gadget(g, x["a"], y["b"])}

    return run_both(program, {"a": to_bits(a, bits)}, {"b": to_bits(b, bits)})["z"]


def ands(gadget: Callable[..., Wires], *shapes: tuple[int, ...], **options: Any) -> int:
    counter = Counter()
    gadget(counter, *[blank(shape) for shape in shapes], **options)
    return counter.and_gates


def random_integers(bits: int, size: int, signed: bool = False) -> np.ndarray:
    values = np.array([secrets.randbits(bits) for _ in range(size)], np.int64)
    values[:4] = [0, (1 << bits) - 1, 1 << bits - 1, (1 << bits - 1) - 1]
    return values - (1 << bits - 1) if signed else values


def test_every_pair_of_bytes() -> None:
    a, b = PAIRS

    def program(g: Gates, x: Inputs, y: Inputs) -> dict[str, Wires]:
        a, b = x["a"], y["b"]
        above = gadgets.greater(g, a, b)
        return {
            "sum": gadgets.add(g, a, b),
            "sum carry": gadgets.add(g, a, b, carry=True),
            "difference": gadgets.subtract(g, a, b),
            "greater": above,
            "maximum": gadgets.maximum(g, a, b),
            "mux": gadgets.mux(g, above, b, a),
            "signed greater": gadgets.greater(g, a, b, signed=True),
            "signed maximum": gadgets.maximum(g, a, b, signed=True),
            "narrow": gadgets.add(g, a[:3], b, carry=True),
            "narrow difference": gadgets.subtract(g, a, b[:5]),
            "cut difference": gadgets.subtract(g, a[:5], b),
        }

    out = run_both(program, {"a": to_bits(a, 8)}, {"b": to_bits(b, 8)})
    np.testing.assert_array_equal(from_bits(out["sum"]), ideal.add(a, b, 8))
    np.testing.assert_array_equal(from_bits(out["sum carry"]), a + b)
    np.testing.assert_array_equal(from_bits(out["difference"]), ideal.subtract(a, b, 8))
    np.testing.assert_array_equal(out["greater"][0], ideal.greater(a, b))
    np.testing.assert_array_equal(from_bits(out["maximum"]), ideal.maximum(a, b))
    np.testing.assert_array_equal(from_bits(out["mux"]), ideal.mux(a > b, b, a))
    signed_a, signed_b = a.astype(np.int8).astype(np.int64), b.astype(np.int8).astype(np.int64)
    np.testing.assert_array_equal(out["signed greater"][0], ideal.greater(signed_a, signed_b))
    np.testing.assert_array_equal(from_signed_bits(out["signed maximum"]), ideal.maximum(signed_a, signed_b))
    np.testing.assert_array_equal(from_bits(out["narrow"]), a % 8 + b)
    np.testing.assert_array_equal(from_bits(out["narrow difference"]), (a - b % 32) % 256)
    np.testing.assert_array_equal(from_bits(out["cut difference"]), (a - b) % 32)


@pytest.mark.parametrize("shift", range(8))
def test_relu_of_every_difference_of_bytes(shift: int) -> None:
    """ReLU with truncation and saturation after (z - s), for every z and s, every shift and result width."""
    z, s = SIGNED_PAIRS
    widths = (1, 2, 4, 7, 8)

    def program(g: Gates, x: Inputs, y: Inputs) -> dict[str, Wires]:
        v = gadgets.subtract(g, y["z"], x["s"])
        return {f"{bits}": gadgets.relu_requantise(g, v, shift, bits) for bits in widths}

    out = run_both(program, {"s": to_bits(s, 9)}, {"z": to_bits(z, 9)})
    for bits in widths:
        np.testing.assert_array_equal(from_bits(out[f"{bits}"]), ideal.relu_requantise(z - s, shift, bits))


def test_sign_of_every_difference_of_bytes() -> None:
    z, s = SIGNED_PAIRS
    out = on_pair(lambda g, a, b: gadgets.is_positive(g, gadgets.subtract(g, b, a)), s, z, 9)
    np.testing.assert_array_equal(out[0], ideal.is_positive(z - s))


@pytest.mark.parametrize("bits", [1, 2, 21, 22, 31, 63])
def test_full_width(bits: int) -> None:
    a, b = random_integers(bits, 500), random_integers(bits, 500)[::-1].copy()
    a[10:20] = b[10:20]
    modulus = 1 << bits
    out = on_pair(lambda g, x, y: gadgets.add(g, x, y), a, b, bits)
    assert from_bits(out).tolist() == [(x + y) % modulus for x, y in zip(a.tolist(), b.tolist(), strict=True)]
    out = on_pair(lambda g, x, y: gadgets.subtract(g, x, y), a, b, bits)
    assert from_bits(out).tolist() == [(x - y) % modulus for x, y in zip(a.tolist(), b.tolist(), strict=True)]
    np.testing.assert_array_equal(on_pair(gadgets.greater, a, b, bits)[0], a > b)
    np.testing.assert_array_equal(from_bits(on_pair(gadgets.maximum, a, b, bits)), np.maximum(a, b))
    a, b = random_integers(bits, 500, True), random_integers(bits, 500, True)[::-1].copy()
    out = on_pair(lambda g, x, y: gadgets.maximum(g, x, y, signed=True), a, b, bits)
    np.testing.assert_array_equal(from_signed_bits(out), np.maximum(a, b))
    out = on_pair(lambda g, x, y: gadgets.is_positive(g, gadgets.subtract(g, x, y)), a, a - b, bits)
    np.testing.assert_array_equal(out[0], from_signed_bits(to_bits(b, bits)) > 0)


@pytest.mark.parametrize(
    ("shift", "bits"), [(0, 8), (7, 8), (12, 8), (13, 8), (14, 8), (20, 3), (21, 8), (25, 4)]
)
def test_relu_at_full_width(shift: int, bits: int) -> None:
    v = random_integers(22, 800, True)
    s = random_integers(22, 800)
    out = on_pair(
        lambda g, x, y: gadgets.relu_requantise(g, gadgets.subtract(g, y, x), shift, bits), s, v + s, 22
    )
    assert out.shape == (bits, 800)
    np.testing.assert_array_equal(from_bits(out), ideal.relu_requantise(v, shift, bits))


@pytest.mark.parametrize("carry", [False, True])
def test_masks_of_all_ones_carry_over_every_bit(carry: bool) -> None:
    values = np.arange(256)
    mask = np.full(256, (1 << 30) - 1)

    def program(g: Gates, x: Inputs, y: Inputs) -> dict[str, Wires]:
        return {"z": gadgets.add_mask(g, y["v"], x["r"], carry)}

    out = run_both(program, {"r": to_bits(mask, 30)}, {"v": to_bits(values, 8)})["z"]
    assert len(out) == 30 + carry
    np.testing.assert_array_equal(from_bits(out), (values + mask) % (1 << 30 + carry))
    with pytest.raises(InvalidMessage):
        gadgets.add_mask(Counter(), blank((9, 1)), blank((8, 1)))


def test_plaintexts_of_two_thousand_bits() -> None:
    bits = 2048
    z = [secrets.randbits(bits) for _ in range(3)] + [0, 0, (1 << bits) - 1]
    s = [secrets.randbits(bits) for _ in range(3)] + [1, (1 << bits) - 1, (1 << bits) - 1]

    def program(g: Gates, x: Inputs, y: Inputs) -> dict[str, Wires]:
        return {"z": gadgets.subtract(g, y["z"], x["s"])}

    out = run_both(program, {"s": integers_to_bits(s, bits)}, {"z": integers_to_bits(z, bits)})["z"]
    assert bits_to_integers(out) == [(x - y) % (1 << bits) for x, y in zip(z, s, strict=True)]
    assert count(program, {"s": (bits, 6)}, {"z": (bits, 6)}).and_gates == 6 * (bits - 1)


@pytest.mark.parametrize(
    ("bits", "block"), [(1, 0), (2, 0), (3, 1), (5, 2), (8, 0), (8, 8), (9, 20), (2048, 0)]
)
def test_wide_sums_and_differences(bits: int, block: int) -> None:
    top = (1 << bits) - 1
    a = [secrets.randbits(bits) for _ in range(60)] + [0, top, top, 1, 0, top >> 1]
    b = [secrets.randbits(bits) for _ in range(60)] + [0, 1, top, top, 1, 1]

    def program(g: Gates, x: Inputs, y: Inputs) -> dict[str, Wires]:
        return {
            "sum": gadgets.add_wide(g, x["a"], y["b"], block),
            "difference": gadgets.subtract_wide(g, x["a"], y["b"], block),
        }

    out = run_both(program, {"a": integers_to_bits(a, bits)}, {"b": integers_to_bits(b, bits)})
    assert bits_to_integers(out["sum"]) == [(x + y) & top for x, y in zip(a, b, strict=True)]
    assert bits_to_integers(out["difference"]) == [(x - y) & top for x, y in zip(a, b, strict=True)]
    counts = count(program, {"a": (bits, 66)}, {"b": (bits, 66)})
    if not block:
        assert counts.and_gates <= 2 * 66 * 3 * bits
        assert counts.gates <= 2 * (2 * bits**0.5 + 3)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("many", [1, 2, 3, 4, 5, 7, 8, 10, 16, 17])
def test_argmax_and_record_with_ties(many: int, signed: bool) -> None:
    rng = np.random.default_rng(many)
    values = rng.integers(-2 if signed else 0, 2 if signed else 4, (many, 300)).astype(np.int64)
    values[:, 0] = 1
    values[:, 1] = values[:, 1].min()

    def program(g: Gates, x: Inputs, y: Inputs) -> dict[str, Wires]:
        return {
            "index": gadgets.argmax(g, y["v"], signed),
            "record": gadgets.one_hot_maximum(g, y["v"], signed),
        }

    out = run_both(program, {}, {"v": to_bits(values, 5)})
    assert len(out["index"]) == (many - 1).bit_length()
    if many > 1:
        np.testing.assert_array_equal(from_bits(out["index"]), ideal.argmax(values))
    np.testing.assert_array_equal(out["record"], ideal.one_hot_maximum(values))
    assert (out["record"].sum(axis=0) == 1).all()


def test_argmax_at_full_width_over_any_batch_axes() -> None:
    values = random_integers(22, 10 * 2 * 3 * 4, True).reshape(10, 2, 3, 4)
    values[9] = values[:9].max(axis=0)

    def program(g: Gates, x: Inputs, y: Inputs) -> dict[str, Wires]:
        return {"index": gadgets.argmax(g, y["v"], signed=True)}

    out = run_both(program, {}, {"v": to_bits(values, 22)})["index"]
    np.testing.assert_array_equal(from_bits(out), ideal.argmax(values))


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 8, 9])
def test_every_and_some(n: int) -> None:
    values = np.arange(1 << n)

    def program(g: Gates, x: Inputs, y: Inputs) -> dict[str, Wires]:
        return {"every": gadgets.every(g, y["v"]), "some": gadgets.some(g, y["v"])}

    out = run_both(program, {}, {"v": to_bits(values, n)})
    np.testing.assert_array_equal(out["every"][0], values == (1 << n) - 1)
    np.testing.assert_array_equal(out["some"][0], values > 0)
    assert ands(gadgets.every, (n, 1)) == ands(gadgets.some, (n, 1)) == n - 1


def test_batches_broadcast() -> None:
    a, b = random_integers(8, 12).reshape(3, 4), random_integers(8, 4).reshape(1, 4)
    np.testing.assert_array_equal(from_bits(on_pair(gadgets.add, a, b, 8)), (a + b) % 256)
    np.testing.assert_array_equal(from_bits(on_pair(gadgets.maximum, a, b, 8)), np.maximum(a, b))
    np.testing.assert_array_equal(from_bits(on_pair(gadgets.subtract, b, a, 8)), (b - a) % 256)


def test_and_counts_are_those_of_the_docstrings() -> None:
    n, batch = 22, 5
    wide, byte, one = (n, batch), (8, batch), (1, batch)
    per_element = {
        "add": ands(gadgets.add, wide, wide),
        "add carry": ands(gadgets.add, wide, wide, carry=True),
        "add narrow": ands(gadgets.add, byte, wide),
        "subtract": ands(gadgets.subtract, wide, wide),
        "subtract narrow": ands(gadgets.subtract, wide, byte),
        "mask": ands(gadgets.add_mask, byte, wide),
        "greater": ands(gadgets.greater, wide, wide),
        "greater signed": ands(gadgets.greater, wide, wide, signed=True),
        "mux": ands(gadgets.mux, one, wide, wide),
        "maximum": ands(gadgets.maximum, wide, wide),
        "positive": ands(gadgets.is_positive, wide),
        "relu 7": ands(gadgets.relu_requantise, wide, shift=7, bits=8),
        "relu 12": ands(gadgets.relu_requantise, wide, shift=12, bits=8),
        "relu 13": ands(gadgets.relu_requantise, wide, shift=13, bits=8),
        "relu 15": ands(gadgets.relu_requantise, wide, shift=15, bits=8),
        "relu 30": ands(gadgets.relu_requantise, wide, shift=30, bits=8),
        "record of 9": ands(gadgets.one_hot_maximum, (8, 9, batch)),
    }
    assert {name: total // batch for name, total in per_element.items()} == {
        "add": n - 1,
        "add carry": n,
        "add narrow": n - 1,
        "subtract": n - 1,
        "subtract narrow": n - 1,
        "mask": n - 1,
        "greater": n,
        "greater signed": n,
        "mux": n,
        "maximum": 2 * n,
        "positive": n - 1,
        "relu 7": 8 + 6,
        "relu 12": 8 + 1,
        "relu 13": 8,
        "relu 15": 6,
        "relu 30": 0,
        "record of 9": 8 * 8 + 7 * 8 + 7,
    }
    assert all(total % batch == 0 for total in per_element.values())


def test_wrong_widths_are_refused() -> None:
    g = Counter()
    for call in (
        lambda: gadgets.greater(g, blank((3, 1)), blank((4, 1))),
        lambda: gadgets.greater(g, blank((0, 1)), blank((0, 1))),
        lambda: gadgets.add(g, blank((3, 1)), blank((0, 1))),
    ):
        with pytest.raises(InvalidMessage):
            call()
