"""Linear layers as floating-point products: exact at the largest operands, whole or in halves."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.networks import tiny_plans
from tests.protocol.packed.layers import linear
from twinveil.network.plan import Conv, Dense, Linear, Plan
from twinveil.protocol.packed.linear import OwnWeights, exact_at_once
from twinveil.ring import Words


def dense(ring: int) -> Dense:
    return Dense("dense", "image", 3, 8, ring)


def agrees(node: Linear, weights: Words, x: Words) -> bool:
    return bool((OwnWeights(node, weights).sums(x) == linear(x, weights, node)).all())


@given(tiny_plans(), st.integers(0, 1 << 32))
@settings(max_examples=25)
def test_any_layer(plan: Plan, seed: int) -> None:
    source = np.random.default_rng(seed)
    for node in plan.linear_nodes:
        weights, x = (
            source.integers(0, 1 << node.accumulator_bits, shape, np.uint64)
            for shape in (plan.weight_shape(node), plan.shapes[node.source])
        )
        assert agrees(node, weights, x)


@pytest.mark.parametrize("ring", [2, 8, 20, 22, 23, 26, 27, 31, 32])
@pytest.mark.parametrize("taps", [1, 2, 512, 1200, 4097])
def test_extremes(ring: int, taps: int) -> None:
    low, source = 1 << (ring - 1), np.random.default_rng(ring)
    ends = np.array([low, low - 1, low + 1, 0, 1, (1 << ring) - 1], np.uint64)
    lowest = np.full((3, taps), low, np.uint64)
    assert agrees(dense(ring), lowest, lowest[0].reshape(taps, 1, 1))
    for _ in range(5):
        weights, x = source.choice(ends, (3, taps)), source.choice(ends, (taps, 1, 1))
        assert agrees(dense(ring), weights, x)


def test_what_is_exact_at_once() -> None:
    assert exact_at_once(22, 1200)
    assert exact_at_once(27, 2)
    assert not exact_at_once(27, 3)
    assert not exact_at_once(28, 1)


def test_broken_where_long_layers_are_not_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("twinveil.protocol.packed.linear.EXACT_BITS", 99)
    odd = np.full((3, 4097), (1 << 22) + 1, np.uint64)
    assert not agrees(dense(24), odd, odd[0].reshape(-1, 1, 1))


def test_strides_and_padding() -> None:
    source = np.random.default_rng(0)
    node = Conv("conv", "image", 3, (3, 5), 2, 2, 8, 29)
    weights, x = (
        source.integers(0, 1 << 29, (3, 4, 3, 5), np.uint64),
        source.integers(0, 1 << 29, (4, 9, 8), np.uint64),
    )
    assert agrees(node, weights, x)
