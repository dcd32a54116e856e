"""Items are burnt before a byte of their query leaves S2, and by whatever is no refusal at both clouds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from tests.networks import small_icnn_model
from tests.protocol.packed.clouds import Opened
from tests.protocol.packed.rules.ledger import Patch
from tests.protocol.packed.rules.spending import claiming, classify
from twinveil.errors import TwinveilError
from twinveil.protocol.binding import Claim
from twinveil.protocol.packed.item.s1 import ItemS1
from twinveil.protocol.packed.item.s2 import ItemS2
from twinveil.protocol.packed.item.shelves import Reservation, Shelves
from twinveil.protocol.packed.online import s2 as online_s2
from twinveil.rounds.observer import Blind
from twinveil.rpc import rounds_pb2 as pb

pytestmark = pytest.mark.slow


# Burnt before the first byte of (d xor m) xor rho is handed to the transport.


class FirstByte(Blind):
    """S2's observer, told of a message before the transport has it. It breaks the conversation there."""

    def __init__(self) -> None:
        self.items: list[ItemS2] = []
        self.shelves = Shelves()
        self.found: set[str] | None = None

    def sent(self, message: pb.Round) -> None:
        if not message.HasField("shared_turn"):
            return
        self.found = set()
        if self.shelves.count:
            self.found.add("on the shelf")
        if any(item._held for item in self.items):
            self.found.add("not spent")
        raise ConnectionError("the link is cut here")


def at_the_first_byte(pictures: int) -> tuple[Opened, FirstByte]:
    """A query that is cut off when S2 hands its first turn over."""
    seen = FirstByte()
    clouds = Opened(
        small_icnn_model(4, side=8), observer=lambda role: seen if role == "cloud_s2" else Blind()
    )
    seen.shelves = clouds.shelves
    clouds.make_items(pictures)
    seen.items = clouds.items_s2
    with pytest.raises(TwinveilError):
        classify(clouds, pictures)
    return clouds, seen


@pytest.mark.parametrize("pictures", [1, 3])
def test_all_items_are_burnt_at_the_first_byte(pictures: int) -> None:
    clouds, seen = at_the_first_byte(pictures)
    assert seen.found == set()
    assert (clouds.items_s1, clouds.items_s2) == ([], [])


def test_broken_where_they_are_burnt_when_the_query_is_over(monkeypatch: Patch) -> None:
    def reserve(self: Shelves, import_id: bytes, names: Sequence[Any]) -> Reservation:
        taken = {name: self._shelves[name[0]].items[name[1]] for name in names}
        return Reservation(self, taken)

    monkeypatch.setattr(Shelves, "reserve", reserve)
    assert at_the_first_byte(1)[1].found == {"on the shelf"}


def test_broken_where_the_turn_is_made_first(monkeypatch: Patch) -> None:
    class Late(online_s2.PicturesS2):
        def __init__(self, model: Any, plan: Any, items: Sequence[ItemS2], *rest: Any) -> None:
            held = [item._held for item in items]
            super().__init__(model, plan, items, *rest)
            for item, each in zip(items, held, strict=True):
                item._held = each

    monkeypatch.setattr(online_s2, "PicturesS2", Late)
    assert at_the_first_byte(2)[1].found == {"not spent"}


# Whatever else happens burns it at both.


def fault(claimed: Any, query_id: bytes, check: Any) -> Claim[Any]:
    raise RuntimeError("not a planned error")


def cut_off(message: pb.Round) -> pb.Round:
    if message.HasField("spend"):
        raise ConnectionError("the link is cut here")
    return message


def lost_on_its_way_back(message: pb.Round) -> pb.Round:
    if message.HasField("shared_turn"):
        raise ConnectionError("the link is cut here")
    return message


def both_burnt(clouds: Opened, mine: Sequence[ItemS1]) -> bool:
    return not clouds.items_s1 and not any(item._held for item in mine)


def test_an_unplanned_error_burns_at_both(clouds: Opened, monkeypatch: Patch) -> None:
    clouds.make_items(2)
    mine = clouds.items_s1
    with claiming(monkeypatch, fault), pytest.raises(TwinveilError):
        classify(clouds, 2)
    assert both_burnt(clouds, mine)
    assert clouds.items_s2 == []


@pytest.mark.parametrize("meddle", [cut_off, lost_on_its_way_back])
def test_silence_burns_at_s1(clouds: Opened, meddle: Callable[[pb.Round], pb.Round]) -> None:
    """S2 has it still where S1's question never came: nobody can name it any more."""
    clouds.make_items(1)
    mine, clouds.meddle = clouds.items_s1, meddle
    with pytest.raises(ConnectionError):
        classify(clouds)
    assert both_burnt(clouds, mine)


def test_broken_where_s1_keeps_them(clouds: Opened, monkeypatch: Patch) -> None:
    monkeypatch.setattr(ItemS1, "burn", lambda self: None)
    clouds.make_items(1)
    mine, clouds.meddle = clouds.items_s1, lost_on_its_way_back
    with pytest.raises(ConnectionError):
        classify(clouds)
    assert not both_burnt(clouds, mine)
