"""r and u below the layer's own 2^L, zero at padding; the circuit's r is the exponents'; what has masks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.protocol.packed.clouds import Opened
from tests.protocol.packed.rules.ledger import Ledger, Patch, exact, made
from twinveil.protocol.packed import powers
from twinveil.protocol.packed.geometry import Index, placed
from twinveil.protocol.packed.item import s1 as item_s1
from twinveil.protocol.packed.item import s2 as item_s2
from twinveil.ring import Words

pytestmark = pytest.mark.slow


def unreduced(clouds: Opened, ledger: Ledger) -> set[str]:
    found = set()
    raised = iter(ledger.raised)
    for layer, packed in zip(clouds.plan.layout.layers.values(), ledger.packed, strict=False):
        used = [("plaintext", packed, layer.inputs.inputs)]
        used += [("exponent", next(raised, None), layer.kernel.reads.T) for _ in range(layer.kernel.chunks)]
        for what, values, index in used:
            if values is None:
                continue
            if (values >> np.uint64(layer.ring)).any():
                found.add(f"{what} not reduced")
            if values[index == 0].any():
                found.add(f"{what} at padding")
    return found


def test_what_is_raised_and_packed_is_reduced(clouds: Opened, monkeypatch: Patch) -> None:
    ledger = made(clouds, monkeypatch)
    layers = clouds.plan.layout.layers.values()
    assert len(ledger.packed) == len(layers)
    assert len(ledger.raised) == sum(layer.kernel.chunks for layer in layers)
    assert unreduced(clouds, ledger) == set()


def whole(values: Words, index: Index, ring: int) -> Words:
    return placed(values, index, 31)


def padded(values: Words, index: Index, ring: int) -> Words:
    return np.where(index == 0, np.uint64(1), placed(values, index, ring))


@pytest.mark.parametrize(
    ("where", "wrong", "finding"),
    [
        (item_s2, whole, "plaintext not reduced"),
        (item_s2, padded, "plaintext at padding"),
        (powers, whole, "exponent not reduced"),
        (powers, padded, "exponent at padding"),
    ],
)
def test_broken_where_it_is_not(
    clouds: Opened, monkeypatch: Patch, where: object, wrong: Callable[..., Words], finding: str
) -> None:
    monkeypatch.setattr(where, "placed", wrong)
    assert finding in unreduced(clouds, made(clouds, monkeypatch))


def test_only_what_a_linear_layer_reads_has_masks(clouds: Opened) -> None:
    clouds.make_items(1)
    circuits, _ = clouds.items_s1[0].spend()
    read = {name for step in clouds.plan.layout.steps for name in step.inputs}
    assert {name for half in circuits for name in half.masks} == read | {"label"}
    pools = [step.name for stage in clouds.plan.stages for step in stage.pools]
    assert set(pools) & read
    assert set(pools) - read


def test_broken_where_exponents_have_another_r(clouds: Opened, monkeypatch: Patch) -> None:
    joined = item_s1.joined

    def another(step: Any, pieces: Any) -> Words:
        found = joined(step, pieces)
        return found ^ np.uint64(1) if step.node is clouds.model.plan.output else found

    assert exact(clouds)
    monkeypatch.setattr(item_s1, "joined", another)
    assert not exact(clouds)
