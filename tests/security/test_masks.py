"""The ledger of masks beyond packed queries, and that it sees a mask that is too short."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.networks import random_image
from tests.security.ledger import Ledger
from tests.security.settle import settle, settle_import, settle_textbook
from tests.security.world import World, filled, tiny_model
from twinveil.garbling.garbler import Garbler
from twinveil.garbling.gates import Wires
from twinveil.garbling.outputs import Integers, Widths, read, share
from twinveil.halves.blinding import Segment
from twinveil.network import oracle
from twinveil.network.plan import IMAGE, Concat, Conv, Dense, MaxPool, Plan, QuantisedModel, Relu
from twinveil.protocol.model import layout as model_layout
from twinveil.protocol.packed.layout import ItemLayout
from twinveil.protocol.textbook.model.layout import ImportLayout
from twinveil.protocol.textbook.steps import TextbookLayout
from twinveil.ring import modulo

pytestmark = pytest.mark.slow

BOTH = ("packed", "textbook")


@pytest.mark.parametrize("weights", [-128, 127])
@pytest.mark.parametrize("pixels", [0, 255])
def test_extremes_of_the_textbook_engine(tmp_path: Path, ledger: Ledger, weights: int, pixels: int) -> None:
    world, model = World(tmp_path), tiny_model(weights)
    world.outsource(model, engines=BOTH)
    settle_import(ledger, world, model.plan, honest=True, engines=BOTH)
    ledger.clear()
    image = np.full(model.plan.image_shape, pixels, np.uint8)
    assert (world.classify(model, image, "textbook") == oracle.run(model, image)).all()
    settle_textbook(ledger, world, model.plan)


def branched_model() -> QuantisedModel:
    """Two pieces of one shape: whoever knew their difference would know what a module makes of a picture."""
    branches = [
        node
        for name in ("left", "right")
        for node in (
            Conv(f"{name}_conv", "image", 2, (2, 2), 1, 0, 8, 20),
            Relu(name, f"{name}_conv", 4, 8),
        )
    ]
    joined = (Concat("both", ("left", "right")), MaxPool("pool", "both", 2, 1, 0))
    return filled(Plan((1, 3, 3), 8, (*branches, *joined, Dense("dense", "pool", 2, 8, 20)), 0))


def narrow_model(accumulator_bits: int) -> QuantisedModel:
    """Accumulators of fewer bits than the pixels that they are made of, or of few more."""
    nodes = (
        Conv("conv", "image", 2, (2, 2), 1, 0, 2, accumulator_bits),
        Relu("relu", "conv", 0, 8),
        MaxPool("pool", "relu", 2, 1, 0),
        Dense("dense", "pool", 2, 2, accumulator_bits),
    )
    return filled(Plan((1, 3, 3), 8, nodes, 0))


def test_pieces_of_one_shape_have_masks_of_their_own(tmp_path: Path, ledger: Ledger) -> None:
    world, model = World(tmp_path), branched_model()
    world.outsource(model)
    ledger.clear()
    image = random_image(model.plan, 1)
    assert (world.classify(model, image) == oracle.run(model, image)).all()
    settle(ledger, world, model.plan)
    assert [each.seen.shape for each in ledger.shares] == [(1, 3, 3), (2, 1, 1), (2, 1, 1)]


@pytest.mark.parametrize(("engine", "flipped"), [("packed", {"label"}), ("textbook", {"t", "mr", "label"})])
def test_labels_and_records_are_flipped_by_bits_that_were_drawn(
    tmp_path: Path, ledger: Ledger, engine: str, flipped: set[str]
) -> None:
    world, model = World(tmp_path), tiny_model()
    world.outsource(model, engines=BOTH)
    ledger.clear()
    world.ask(world.query(model.plan, random_image(model.plan, 1), engine=engine, label_only=True))
    settle_query(engine, ledger, world, model.plan)
    assert {each.name for each in ledger.flips} == flipped


@pytest.mark.parametrize("accumulator_bits", range(2, 11))
def test_shares_hide_what_is_wider_than_its_readers(
    tmp_path: Path, ledger: Ledger, accumulator_bits: int
) -> None:
    """Whatever the owner's plan: sums wrap, and all that a circuit gives out is under the mask."""
    world, model = World(tmp_path), narrow_model(accumulator_bits)
    world.outsource(model)
    ledger.clear()
    world.classify(model, np.arange(9, dtype=np.uint8).reshape(1, 3, 3) * 28)
    settle(ledger, world, model.plan)


LESS = 34
"""Bits that are missing of the textbook engine's 40 of sigma; both clouds believe that the rest is enough."""


def shorter(honest: Any) -> Any:
    return lambda *arguments: honest(*arguments) - LESS


class LessMargin:
    """Of the packed engine's masks."""

    def __get__(self, layout: ItemLayout, owner: object = None) -> int:
        return layout.sigma + layout._fitted[0] - 1


Width = Callable[[Segment, int], int]


def short_plaintexts(name: str) -> Callable[[Width], Width]:
    """Of a user's picture, or of an owner's weights and biases."""

    def change(honest: Width) -> Width:
        return lambda segment, sigma: honest(segment, sigma) - LESS * (segment.name in name.split())

    return change


SHORT = {
    "a picture": ("textbook", Segment, "plaintext_mask_bits", short_plaintexts(IMAGE)),
    "sums of the packed engine": ("packed", ItemLayout, "margin", lambda honest: LessMargin()),
    "values of the textbook engine": ("textbook", TextbookLayout, "mask_bits", shorter),
    "plaintexts of an import": ("import", Segment, "plaintext_mask_bits", short_plaintexts("weights biases")),
    "weights out of an import": ("import", ImportLayout, "mask_bits", shorter),
}
"""What has too short a mask: the conversation, and where its width comes from."""


@pytest.fixture(autouse=True)
def fresh_digests() -> Iterator[None]:
    """Of layouts, after tests that patch their widths."""
    yield
    model_layout._digest.cache_clear()


@pytest.mark.parametrize("what", SHORT)
def test_a_mask_too_short_is_seen(
    tmp_path: Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """The answer is right all the same: nothing but the ledger tells."""
    conversation, place, name, change = SHORT[what]
    monkeypatch.setattr(place, name, change(getattr(place, name)))
    world, model = World(tmp_path), tiny_model()
    world.outsource(model, engines=BOTH)
    with pytest.raises(AssertionError) if conversation == "import" else nullcontext():
        settle_import(ledger, world, model.plan, honest=True, engines=BOTH)
    ledger.clear()
    engine = "textbook" if conversation == "textbook" else "packed"
    image = random_image(model.plan, 1)
    assert (world.classify(model, image, engine) == oracle.run(model, image)).all()
    with nullcontext() if conversation == "import" else pytest.raises(AssertionError):
        settle_query(engine, ledger, world, model.plan)


def settle_query(engine: str, ledger: Ledger, world: World, plan: Plan) -> None:
    (settle_textbook if engine == "textbook" else settle)(ledger, world, plan)


def test_one_mask_for_two_pieces_is_seen(
    tmp_path: Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two branches under one mask: their difference is open. Here, too, the answer is right."""
    world, model = World(tmp_path), branched_model()
    world.outsource(model)
    ledger.clear()
    under_one_mask(monkeypatch)
    image = random_image(model.plan, 1)
    assert (world.classify(model, image) == oracle.run(model, image)).all()
    with pytest.raises(AssertionError):
        settle(ledger, world, model.plan)


def under_one_mask(patch: pytest.MonkeyPatch) -> None:
    """As if a circuit's r fell out alike for both branches: S2's part of one is moved by what they differ."""
    moved: list[Integers] = []

    def sharing(
        garbler: Garbler, outputs: Mapping[str, Wires], widths: Widths
    ) -> tuple[bytes, dict[str, Integers]]:
        sent, masks = share(garbler, outputs, widths)
        if {"pool.left", "pool.right"} <= masks.keys():
            moved.append(modulo(masks["pool.right"] - masks["pool.left"], widths["pool.right"]))
            masks["pool.right"] = masks["pool.left"]
        return sent, masks

    def reading(*arguments: Any) -> dict[str, Integers]:
        found = read(*arguments)
        if "pool.right" in found:
            found["pool.right"] = modulo(found["pool.right"] + moved.pop(0), arguments[2]["pool.right"])
        return found

    patch.setattr("twinveil.garbling.ahead.share", sharing)
    patch.setattr("twinveil.garbling.ahead.read", reading)
