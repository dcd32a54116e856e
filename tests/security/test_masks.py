"""The ledger of masks beyond packed queries, and that it sees a mask that is too short."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.networks import random_image
from tests.security.ledger import Ledger
from tests.security.settle import settle, settle_import, settle_picture, settle_textbook
from tests.security.world import World, tiny_model
from twinveil import oracle
from twinveil.blinding import Segment
from twinveil.plan import IMAGE, Plan
from twinveil.protocol.model.layout import ImportLayout, digest_of
from twinveil.protocol.packed import layout as packed_layout
from twinveil.protocol.packed.layout import Slots
from twinveil.protocol.textbook.steps import TextbookLayout

BOTH = ("packed", "textbook")


@pytest.mark.parametrize("weights", [-128, 127])
@pytest.mark.parametrize("pixels", [0, 255])
def test_extremes_of_the_textbook_engine(tmp_path: Path, ledger: Ledger, weights: int, pixels: int) -> None:
    world, model = World(tmp_path), tiny_model(weights)
    world.outsource(model, engines=BOTH)
    settle_import(ledger, world, model.plan, honest=True)
    ledger.clear()
    image = np.full(model.plan.image_shape, pixels, np.uint8)
    assert (world.classify(model, image, "textbook") == oracle.run(model, image)).all()
    settle_textbook(ledger, world, model.plan)


LESS = 34
"""Bits that are missing of sigma's 40; both clouds believe that the rest is enough."""


def shorter(honest: Any) -> Any:
    return lambda *arguments: honest(*arguments) - LESS


def short_sums(ahead: bool, less: int) -> Callable[[Callable[..., Slots]], Callable[..., Slots]]:
    """Of the two kinds, those made ahead may be negative; their slots have to hold an import's u + R, too."""

    def change(honest: Callable[..., Slots]) -> Callable[..., Slots]:
        def slots(bits: int, negative: bool, margin: int, room: int, what: str) -> Slots:
            return honest(bits, negative, margin - less if negative == ahead else margin, room, what)

        return slots

    return change


Width = Callable[[Segment, int], int]


def short_plaintexts(picture: bool) -> Callable[[Width], Width]:
    """Of a user's picture, or of an owner's weights and biases."""

    def change(honest: Width) -> Width:
        return lambda segment, sigma: honest(segment, sigma) - LESS * ((segment.name == IMAGE) == picture)

    return change


SHORT = {
    "a picture": ("packed", Segment, "plaintext_mask_bits", short_plaintexts(picture=True)),
    "sums of the packed engine": ("packed", packed_layout, "_slots", short_sums(False, LESS)),
    "sums made ahead": ("packed", packed_layout, "_slots", short_sums(True, 16)),
    "values of the textbook engine": ("textbook", TextbookLayout, "mask_bits", shorter),
    "plaintexts of an import": ("import", Segment, "plaintext_mask_bits", short_plaintexts(picture=False)),
    "weights out of an import": ("import", ImportLayout, "mask_bits", shorter),
}
"""What has too short a mask: the conversation, and where its width comes from."""


@pytest.fixture(autouse=True)
def fresh_digests() -> Iterator[None]:
    """Of layouts, after tests that patch their widths."""
    yield
    digest_of.cache_clear()


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
        settle_import(ledger, world, model.plan, honest=True)
    ledger.clear()
    engine = "textbook" if conversation == "textbook" else "packed"
    image = random_image(model.plan, 1)
    assert (world.classify(model, image, engine) == oracle.run(model, image)).all()
    with nullcontext() if conversation == "import" else pytest.raises(AssertionError):
        settle_query(engine, ledger, world, model.plan)


def settle_query(engine: str, ledger: Ledger, world: World, plan: Plan) -> None:
    if engine == "textbook":
        settle_textbook(ledger, world, plan)
    else:
        settle(ledger, world, plan)
        settle_picture(ledger, world, plan, honest=True)
