"""An item is one picture; several take several, each with its own draws, side by side in one message."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.protocol.packed.clouds import Opened
from tests.protocol.packed.rules.ledger import Patch, empty_half
from twinveil.errors import AlreadyUsed, OutOfOrder
from twinveil.protocol.packed.item.s2 import ItemS2
from twinveil.protocol.packed.online.s1 import PicturesS1
from twinveil.protocol.packed.online.s2 import PicturesS2

pytestmark = pytest.mark.slow


def test_two_pictures_take_two_items(clouds: Opened) -> None:
    clouds.make_items(1)
    (mine,), (theirs,) = clouds.items_s1, clouds.items_s2
    halves = [empty_half(clouds)] * 2
    with pytest.raises(AlreadyUsed):
        PicturesS2(clouds.of_s2, clouds.plan, [theirs, theirs], halves)
    with pytest.raises(AlreadyUsed):
        PicturesS1(clouds.of_s1, clouds.plan, [mine, mine], halves)


@pytest.mark.parametrize("halves", [0, 2])
def test_items_that_do_not_fit_the_pictures_are_burnt(clouds: Opened, halves: int) -> None:
    clouds.make_items(1)
    (mine,), (theirs,) = clouds.items_s1, clouds.items_s2
    with pytest.raises(OutOfOrder, match="a picture takes one item"):
        PicturesS1(clouds.of_s1, clouds.plan, [mine], [empty_half(clouds)] * halves)
    with pytest.raises(OutOfOrder, match="a picture takes one item"):
        PicturesS2(clouds.of_s2, clouds.plan, [theirs], [empty_half(clouds)] * halves)
    assert mine._held is theirs._held is None


def one_rho_for_two(items: Sequence[ItemS2], clouds: Opened) -> bool:
    """Whether two empty pictures look alike to S1, side by side."""
    first = PicturesS2(clouds.of_s2, clouds.plan, items, [empty_half(clouds)] * 2).first
    return first[: len(first) // 2] == first[len(first) // 2 :]


def test_pictures_side_by_side_have_their_own_rho(clouds: Opened) -> None:
    clouds.make_items(2)
    assert not one_rho_for_two(clouds.items_s2, clouds)


def test_broken_with_one_item_for_two_pictures(clouds: Opened, monkeypatch: Patch) -> None:
    clouds.make_items(1)
    (theirs,) = clouds.items_s2
    held = theirs._held
    monkeypatch.setattr(ItemS2, "spend", lambda self: held)
    assert one_rho_for_two([theirs, theirs], clouds)
