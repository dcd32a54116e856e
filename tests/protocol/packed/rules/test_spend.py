"""An item goes back on S2's word alone; what a query names is this model's, free, paired as it was made."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from tests.networks import random_image, small_icnn_model
from tests.protocol.packed.clouds import Opened
from tests.protocol.packed.rules.ledger import Patch, exact
from tests.protocol.packed.rules.spending import claiming, classify, free_again, never_comes
from twinveil.errors import AlreadyUsed, BrokenOff, PeerMismatch
from twinveil.network import oracle
from twinveil.protocol.binding import Claim, QueryHead
from twinveil.protocol.packed.item.shelves import Reservation, Shelves
from twinveil.rpc import rounds_pb2 as pb

pytestmark = pytest.mark.slow


# Both halves of a query are checked while its items are reserved: what is wrong then costs no item.


@contextmanager
def another_head(patch: Patch, **fields: Any) -> Iterator[None]:
    """The user told S2 another thing of its query than S1."""
    check = QueryHead.check

    def checking(self: QueryHead, *arguments: Any) -> None:
        values = {name: getattr(self, name) for name in self.__slots__} | fields
        check(QueryHead(**values), *arguments)

    with patch.context() as here:
        here.setattr(QueryHead, "check", checking)
        yield


HEADS: dict[str, Any] = {
    "client": "another",
    "query_id": bytes(16),
    "plan_hash": bytes(32),
    "import_id": bytes(16),
    "engine": "textbook",
    "pictures": 3,
    "label_only": True,
}


@pytest.mark.parametrize("field", HEADS)
def test_a_query_that_was_never_valid_burns_nothing(clouds: Opened, monkeypatch: Patch, field: str) -> None:
    clouds.make_items(2)
    before = clouds.items_s1, clouds.items_s2
    with (
        another_head(monkeypatch, **{field: HEADS[field]}),
        pytest.raises(PeerMismatch, match="different things about this query"),
    ):
        classify(clouds, 2)
    assert free_again(clouds, before)
    assert exact(clouds)


def test_broken_where_heads_are_not_compared(clouds: Opened, monkeypatch: Patch) -> None:
    monkeypatch.setattr(QueryHead, "check", lambda *_: None)
    with another_head(monkeypatch, client="another"):
        assert exact(clouds)


def test_nor_does_a_user_that_never_came(clouds: Opened, monkeypatch: Patch) -> None:
    clouds.make_items(1)
    before = clouds.items_s1, clouds.items_s2
    with claiming(monkeypatch, never_comes), pytest.raises(BrokenOff, match="did not come in time"):
        classify(clouds)
    assert free_again(clouds, before)
    assert exact(clouds)


def test_broken_where_such_a_query_burns_them(clouds: Opened, monkeypatch: Patch) -> None:
    monkeypatch.setattr(Reservation, "release", Reservation.burn)
    clouds.make_items(1)
    before = clouds.items_s1, clouds.items_s2
    with claiming(monkeypatch, never_comes), pytest.raises(BrokenOff):
        classify(clouds)
    assert not free_again(clouds, before)


# Named by conversation and number: whatever else is on the shelf, halves are paired as they were made.


def test_items_are_paired_by_name(clouds: Opened) -> None:
    clouds.make_items(3)
    clouds.items_s1.reverse()
    assert exact(clouds)
    clouds.items_s1.pop()
    assert exact(clouds)


def test_broken_where_s2_takes_the_oldest(clouds: Opened, monkeypatch: Patch) -> None:
    reserve = Shelves.reserve

    def oldest(self: Shelves, import_id: bytes, names: Sequence[Any]) -> Reservation:
        ((session_id, _),) = names
        return reserve(self, import_id, [(session_id, min(self._shelves[session_id].items))])

    monkeypatch.setattr(Shelves, "reserve", oldest)
    clouds.make_items(2)
    clouds.items_s1.reverse()
    assert not exact(clouds)


def naming(change: Callable[[pb.Spend], None]) -> Callable[[pb.Round], pb.Round]:
    """S1 names other items than it means."""

    def meddle(message: pb.Round) -> pb.Round:
        if message.HasField("spend"):
            change(message.spend)
        return message

    return meddle


def swap(spend: pb.Spend) -> None:
    spend.items[0].number, spend.items[1].number = spend.items[1].number, spend.items[0].number


def test_pictures_are_paired_in_the_order_of_names(clouds: Opened) -> None:
    """A control: names that were changed on their way give other answers, and no error."""
    clouds.make_items(2)
    clouds.meddle = naming(swap)
    images = np.stack([random_image(clouds.model.plan, each) for each in range(2)])
    assert (clouds.classify(images).values != oracle.run_batch(clouds.model, images)).any()


# What is not held is refused, and what else was named with it is burnt: S1 has burnt it, too.


WRONG: dict[str, Callable[[pb.Spend], None]] = {
    "an item twice": lambda spend: spend.items[1].CopyFrom(spend.items[0]),
    "one that was never made": lambda spend: setattr(spend.items[1], "number", 9),
    "of another conversation": lambda spend: setattr(spend.items[1], "session_id", bytes(16)),
    "of another model": lambda spend: setattr(spend, "import_id", bytes(16)),
    "none": lambda spend: spend.ClearField("items"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_not_held_is_refused(clouds: Opened, what: str) -> None:
    clouds.make_items(3)
    mine, clouds.meddle = clouds.items_s1[:2], naming(WRONG[what])
    with pytest.raises(AlreadyUsed, match="does not hold these items"):
        classify(clouds, 2)
    assert not any(item._held for item in mine)
    assert clouds.shelves.count == {"of another model": 1, "none": 3}.get(what, 2)
    clouds.meddle = lambda message: message
    assert exact(clouds)


@pytest.fixture
def pair(clouds: Opened) -> tuple[Opened, Opened]:
    """Two models whose items lie on the same shelves."""
    other = Opened(small_icnn_model(4, side=8))
    other.shelves = clouds.shelves
    clouds.make_items(1)
    other.make_items(1)
    return clouds, other


def spends_anothers(clouds: Opened, other: Opened) -> None:
    clouds.meddle = naming(lambda spend: spend.items[0].CopyFrom(other.items_s1[0].name))
    classify(clouds)


def test_an_item_of_another_model_is_refused(pair: tuple[Opened, Opened]) -> None:
    with pytest.raises(AlreadyUsed, match="or of another model"):
        spends_anothers(*pair)


def test_broken_where_models_share_items(pair: tuple[Opened, Opened], monkeypatch: Patch) -> None:
    reserve = Shelves.reserve

    def any_model(self: Shelves, import_id: bytes, names: Sequence[Any]) -> Reservation:
        return reserve(self, self._shelves[names[0][0]].import_id, names)

    monkeypatch.setattr(Shelves, "reserve", any_model)
    spends_anothers(*pair)


# One item, one query; and no item without its conversation, or without its model.


def while_it_waits(patch: Patch, happens: Callable[[], object]) -> Any:
    """Something happens between the reservation of a query's items and its user's half."""

    def claim(claimed: Any, query_id: bytes, check: Any) -> Claim[Any]:
        happens()
        taken: Claim[Any] = claimed(query_id, check)
        return taken

    return claiming(patch, claim)


def reserved_again(clouds: Opened, patch: Patch) -> bool:
    """Whether S2 reserves the item of a query that waits for its user for another one."""
    clouds.make_items(1)
    name, found = clouds.items_s1[0].name, []

    def again() -> None:
        try:
            clouds.shelves.reserve(clouds.import_id, [(name.session_id, name.number)])
            found.append(True)
        except AlreadyUsed:
            found.append(False)

    with while_it_waits(patch, again):
        assert exact(clouds)
    return found[0]


def test_an_item_serves_one_query(clouds: Opened, monkeypatch: Patch) -> None:
    assert not reserved_again(clouds, monkeypatch)


def test_broken_where_it_stays_on_the_shelf(clouds: Opened, monkeypatch: Patch) -> None:
    def leaving(self: Shelves, import_id: bytes, names: Sequence[Any]) -> Reservation:
        return Reservation(self, {name: self._shelves[name[0]].items[name[1]] for name in names})

    monkeypatch.setattr(Shelves, "reserve", leaving)
    assert reserved_again(clouds, monkeypatch)


ENDS: dict[str, Callable[[Opened], object]] = {
    "its conversation is over": lambda clouds: clouds._making.close() if clouds._making else None,
    "its model is removed": lambda clouds: clouds.shelves.forget(clouds.import_id),
}


@pytest.mark.parametrize("end", ENDS)
def test_a_reserved_item_is_burnt_where(clouds: Opened, monkeypatch: Patch, end: str) -> None:
    clouds.make_items(2)
    mine = clouds.items_s1[:1]
    with (
        while_it_waits(monkeypatch, lambda: ENDS[end](clouds)),
        pytest.raises(BrokenOff, match="the conversation of these items has ended"),
    ):
        classify(clouds)
    assert not mine[0]._held
    assert clouds.shelves.count == 0
    assert not clouds.pictures_s2


@pytest.mark.parametrize("end", ENDS)
def test_nor_does_it_go_back_where(clouds: Opened, monkeypatch: Patch, end: str) -> None:
    clouds.make_items(2)

    def wrong(claimed: Any, query_id: bytes, check: Any) -> Claim[Any]:
        ENDS[end](clouds)
        raise PeerMismatch("another query")

    with claiming(monkeypatch, wrong), pytest.raises(PeerMismatch):
        classify(clouds)
    assert clouds.shelves.count == 0


def test_broken_where_the_end_of_a_conversation_is_not_looked_at(clouds: Opened, monkeypatch: Patch) -> None:
    monkeypatch.setattr(Shelves, "stand", lambda self, taken: True)
    clouds.make_items(1)
    with while_it_waits(monkeypatch, lambda: clouds._making and clouds._making.close()):
        assert exact(clouds)


def test_items_of_a_model_that_is_removed_are_gone(clouds: Opened) -> None:
    clouds.make_items(1)
    clouds.shelves.forget(clouds.import_id)
    clouds.make_items(1)  # its conversation stands, its shelf does not
    assert clouds.shelves.count == 0
    with pytest.raises(AlreadyUsed):
        classify(clouds)
