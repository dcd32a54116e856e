"""Tables leave ahead, S1's labels after S2's turn, all of a stage in one message (adaptivity).

A user who works with S2 may choose its picture when it has seen the tables: whatever else S2 had by then
would be a way to choose by.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from tests.networks import random_image
from tests.protocol.packed.clouds import Opened
from tests.protocol.packed.rules.ledger import Patch
from twinveil.errors import TwinveilError
from twinveil.garbling import ahead, garbler
from twinveil.garbling.ahead import Circuit, GarblerHalf
from twinveil.garbling.labels import LABEL
from twinveil.protocol.packed.online.s1 import PicturesS1

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("label_only", [False, True])
def test_the_order_of_messages(clouds: Opened, label_only: bool) -> None:
    clouds.make_items(0)
    clouds.steps()
    clouds.make_items(1)
    assert clouds.steps() == ["make_item", "item_inputs", "item_offer", "item_words"]
    clouds.classify(random_image(clouds.model.plan, 0)[None], label_only=label_only)
    stages = len(clouds.plan.stages)
    turns = ["spend", "shared_turn", *["labels", "shared_turn"] * (stages - 1)]
    assert clouds.steps() == turns + ["labels", "answered"] * label_only


def both_labels(half: GarblerHalf) -> list[bytes]:
    """Of the first wire of each of S1's inputs, and of the last."""
    assert half._zeros is not None
    found = []
    for zeros in half._zeros.values():
        for zero in (zeros.reshape(-1)[0], zeros.reshape(-1)[-1]):
            one = np.frombuffer(zero.tobytes(), "<u8") ^ half._delta
            found += [zero.tobytes(), one.tobytes()]
    return found


def early(clouds: Opened, patch: Patch) -> set[str]:
    """Messages of S1's that hold a label of an input of its own, before S2's turn of that stage."""
    labels: list[list[bytes]] = []
    garble = Circuit.garble

    def garbling(self: Circuit, transfers: Any) -> GarblerHalf:
        half = garble(self, transfers)
        labels.append(both_labels(half))
        return half

    with patch.context() as here, contextlib.suppress(TwinveilError):
        here.setattr(Circuit, "garble", garbling)
        clouds.classify(random_image(clouds.model.plan, 0)[None], label_only=True)
    stages = [part.stage for part in clouds.plan.parts if isinstance(part.circuit, Circuit)]
    found, turns = set(), 0
    for message in clouds.messages:
        body = str(message.WhichOneof("body"))
        turns += body == "shared_turn"
        data = message.SerializeToString()
        later = (of for stage, of in zip(stages, labels, strict=True) if stage >= turns)
        if any(label in data for of in later for label in of):
            found.add(body)
    return found


def test_labels_leave_after_the_turn_that_they_answer(clouds: Opened, monkeypatch: Patch) -> None:
    assert early(clouds, monkeypatch) == set()


def test_labels_are_found_where_they_are(clouds: Opened, monkeypatch: Patch) -> None:
    """In the message that answers their stage's turn, one of the two of every wire."""
    seen: list[bytes] = []
    garble = Circuit.garble

    def garbling(self: Circuit, transfers: Any) -> GarblerHalf:
        half = garble(self, transfers)
        seen.extend(both_labels(half))
        return half

    monkeypatch.setattr(Circuit, "garble", garbling)
    clouds.classify(random_image(clouds.model.plan, 0)[None], label_only=True)
    sent = b"".join(message.labels.labels for message in clouds.messages)
    assert sum(label in sent for label in seen) == len(seen) // 2


def ahead_of_all(patch: Patch) -> None:
    """Tables leave with the labels of an input that is all zero."""
    offer = GarblerHalf.offer

    def more(self: GarblerHalf) -> ahead.Offer:
        made = offer(self)
        return made._replace(labels=made.labels + b"".join(both_labels(self)))

    patch.setattr(GarblerHalf, "offer", more)


def a_stage_ahead(patch: Patch) -> None:
    """With a stage's labels leave those of the next."""
    answer = PicturesS1.answer

    def more(self: PicturesS1, shares: bytes) -> Iterator[bytes]:
        (made,) = answer(self, shares)
        ((circuits, _),) = self._items
        following = circuits[self._next] if self._next is not None and self._next < len(circuits) else None
        yield made + b"".join(both_labels(following) if isinstance(following, GarblerHalf) else [])

    patch.setattr(PicturesS1, "answer", more)


@pytest.mark.parametrize(("broken", "where"), [(ahead_of_all, "item_offer"), (a_stage_ahead, "labels")])
def test_broken_where_labels_leave_early(
    clouds: Opened, monkeypatch: Patch, broken: Callable[[Patch], None], where: str
) -> None:
    broken(monkeypatch)
    assert early(clouds, monkeypatch) == {where}


# The transfers' own offset is not a circuit's, and no two circuits have one.


def offsets(clouds: Opened) -> list[bytes]:
    clouds.make_items(1)
    circuits, _ = clouds.items_s1[0].spend()
    assert clouds._maker
    transfers = clouds._maker._chosen._s.tobytes()
    return [transfers, *(half._delta.tobytes() for half in circuits if isinstance(half, GarblerHalf))]


def test_every_circuit_has_an_offset_of_its_own(clouds: Opened) -> None:
    found = offsets(clouds)
    assert len(set(found)) == len(found) == len(clouds.plan.stages)


def test_broken_with_one_offset_for_all_circuits(clouds: Opened, monkeypatch: Patch) -> None:
    stock, random_labels = np.frombuffer(b"offset" * 4, LABEL, 1).copy(), garbler.random_labels
    monkeypatch.setattr(garbler, "random_labels", lambda n: stock.copy() if n == 1 else random_labels(n))
    assert len(set(offsets(clouds))) == 2
