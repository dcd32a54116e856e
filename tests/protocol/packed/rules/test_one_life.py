"""An item serves one picture, in one process, as long as the conversation in which it was made."""

from __future__ import annotations

import copy
import gc
import os
import pickle
import weakref
from collections.abc import Callable
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tests.networks import random_image
from tests.protocol.packed.clouds import Opened
from tests.protocol.packed.rules.ledger import Patch, empty_half, exact
from twinveil.errors import AlreadyUsed, OutOfOrder, TwinveilError
from twinveil.halves.ring import read_picture_halves, share_pictures
from twinveil.protocol.packed.item.s2 import ItemS2
from twinveil.protocol.packed.item.shelves import Shelves
from twinveil.protocol.packed.online import s1 as online_s1
from twinveil.protocol.packed.online import s2 as online_s2
from twinveil.protocol.single_use import SingleUse
from twinveil.ring import Words
from twinveil.rounds.scripted import Scripted
from twinveil.rpc import rounds_pb2 as pb

pytestmark = pytest.mark.slow


# Used twice, S2's first turns would show S1 the difference of two pictures.


def two_pictures_on(item: ItemS2, clouds: Opened) -> tuple[Words, npt.NDArray[np.uint8]]:
    """What S1 finds the difference of two pictures to be, from two first turns and its halves; what it is."""
    plan = clouds.model.plan
    images = np.stack([random_image(plan, seed) for seed in (1, 2)])
    mine, theirs = (read_picture_halves(plan, 2, half) for half in share_pictures(images, plan))
    turns = [online_s2.PicturesS2(clouds.of_s2, clouds.plan, [item], [half]).first for half in theirs]
    first, second = read_picture_halves(plan, 2, b"".join(turns))
    return first ^ second ^ mine[0] ^ mine[1], images[0] ^ images[1]


def test_an_item_is_spent_once(clouds: Opened) -> None:
    clouds.make_items(1)
    (mine,), (theirs,) = clouds.items_s1, clouds.items_s2
    with pytest.raises(AlreadyUsed, match="serves one picture"):
        two_pictures_on(theirs, clouds)
    online_s1.PicturesS1(clouds.of_s1, clouds.plan, [mine], [empty_half(clouds)])
    with pytest.raises(AlreadyUsed, match="serves one picture"):
        online_s1.PicturesS1(clouds.of_s1, clouds.plan, [mine], [empty_half(clouds)])


def test_broken_where_an_item_is_not_used_up(clouds: Opened, monkeypatch: Patch) -> None:
    clouds.make_items(1)
    (theirs,) = clouds.items_s2
    held = theirs._held
    monkeypatch.setattr(ItemS2, "spend", lambda self: held)
    found, difference = two_pictures_on(theirs, clouds)
    assert (found == difference).all()


# One process.


def everything_single(clouds: Opened) -> dict[str, SingleUse]:
    clouds.make_items(2)
    clouds.classify(random_image(clouds.model.plan, 0)[None])
    assert clouds._maker
    pictures = clouds.pictures_s1 + clouds.pictures_s2
    found = [*clouds.items_s1, *clouds.items_s2, *pictures, clouds._maker]
    return {type(each).__name__: each for each in found}


def test_nothing_is_copied_or_pickled(clouds: Opened) -> None:
    singles = everything_single(clouds)
    assert set(singles) == {"ItemS1", "ItemS2", "PicturesS1", "PicturesS2", "MakerS1"}
    circuits, _ = clouds.items_s1[0]._held or ((), {})
    assert circuits
    for single in (*singles.values(), *circuits):
        with pytest.raises(TypeError, match="neither pickled nor copied"):
            pickle.dumps(single)
        with pytest.raises(TypeError, match="neither pickled nor copied"):
            copy.copy(single)
        assert "(...)" in repr(single)


def refused_in_a_child(action: Callable[[], object]) -> bool:
    """Whether a forked process gets AlreadyUsed for it."""
    gc.freeze()
    child = os.fork()
    if not child:
        with suppress(BaseException):
            try:
                action()
            except AlreadyUsed as error:
                os._exit(7 if "belongs to the process that made it" in str(error) else 1)
        os._exit(1)
    _, status = os.waitpid(child, 0)
    gc.unfreeze()
    return os.waitstatus_to_exitcode(status) == 7


def actions(clouds: Opened) -> dict[str, Callable[[], object]]:
    singles: dict[str, Any] = everything_single(clouds)
    return {
        "an item of S1's": singles["ItemS1"].spend,
        "an item of S2's": singles["ItemS2"].spend,
        "S1's turns": lambda: singles["PicturesS1"].answer(b""),
        "S2's turns": lambda: singles["PicturesS2"].answer(b""),
        "more items": singles["MakerS1"].make,
    }


def test_a_fork_shares_nothing(clouds: Opened) -> None:
    assert {what for what, action in actions(clouds).items() if not refused_in_a_child(action)} == set()
    clouds.items_s1[0].spend()  # the child's try has cost nothing here


def test_broken_where_a_fork_is_not_noticed(clouds: Opened, monkeypatch: Patch) -> None:
    monkeypatch.setattr(SingleUse, "refuse_copies", lambda self: None)
    assert not any(refused_in_a_child(action) for action in actions(clouds).values())


# One conversation: its end, or an error in it, is the end of all its items; nothing of them stays in memory.


class Alive:
    """S2's items, watched without being held."""

    def __init__(self, clouds: Opened) -> None:
        self.items = [weakref.ref(item) for item in clouds.items_s2]
        self.tables = [weakref.ref(item._held[0][1]) for item in clouds.items_s2 if item._held]

    def __bool__(self) -> bool:
        gc.collect()
        return any(each() is not None for each in (*self.items, *self.tables))


ENDS: dict[str, Callable[[Opened], object]] = {
    "closed": lambda clouds: clouds._making.close() if clouds._making else None,
    "another step": lambda clouds: _say(clouds, pb.Round(done=pb.Done())),
    "an item out of turn": lambda clouds: _say(clouds, pb.Round(make_item=pb.MakeItem(number=7))),
    "an older message": lambda clouds: _say(clouds, clouds.messages[0]),
}


def _say(clouds: Opened, message: pb.Round) -> None:
    assert clouds._making
    with pytest.raises(TwinveilError):
        clouds._making.ask(message)


def ended(clouds: Opened, how: str) -> Alive:
    clouds.make_items(0)
    clouds.messages.clear()
    clouds.make_items(2)
    alive = Alive(clouds)
    assert len(alive.items) == 2
    assert alive
    ENDS[how](clouds)
    return alive


@pytest.mark.parametrize("how", ENDS)
def test_the_end_of_its_conversation_is_the_end_of_an_item(clouds: Opened, how: str) -> None:
    alive = ended(clouds, how)
    assert not alive
    assert clouds.shelves.count == 0
    with pytest.raises(OutOfOrder):
        clouds.make_items(1)
    with pytest.raises(AlreadyUsed, match="does not hold these items"):
        clouds.classify(random_image(clouds.model.plan, 0)[None])


def test_broken_where_items_outlive_their_conversation(clouds: Opened, monkeypatch: Patch) -> None:
    monkeypatch.setattr(Shelves, "_drop", lambda self, session_ids: None)
    assert ended(clouds, "closed")
    assert exact(clouds)


def test_an_error_in_a_query_burns_its_items_and_no_others(clouds: Opened) -> None:
    clouds.make_items(2)
    alive = Alive(clouds)
    clouds.meddle = _short_labels
    with pytest.raises(TwinveilError):
        clouds.classify(random_image(clouds.model.plan, 0)[None])
    clouds.meddle = lambda message: message
    clouds.pictures_s1.clear()
    clouds.pictures_s2.clear()
    gc.collect()
    assert [item() is None for item in alive.items] == [True, False]
    assert [tables() is None for tables in alive.tables] == [True, False]
    assert exact(clouds)


def _short_labels(message: pb.Round) -> pb.Round:
    if message.HasField("labels"):
        message.labels.labels = message.labels.labels[:-1]
    return message


def test_nothing_of_a_spent_item_stays(clouds: Opened) -> None:
    clouds.make_items(1)
    alive = Alive(clouds)
    assert exact(clouds)
    clouds.pictures_s2.clear()
    assert not alive


# The same bytes again get the stored reply; other bytes end the query.


@contextmanager
def said_twice(clouds: Opened, patch: Patch, second: Callable[[pb.Round], pb.Round]) -> Any:
    """Every message reaches S2 twice. second: what it is the second time."""
    handle = Scripted.handle

    def twice(self: Scripted, message: pb.Round) -> pb.Round:
        first = handle(self, message)
        again = pb.Round.FromString(message.SerializeToString())
        assert handle(self, second(again)) == first
        return first

    with patch.context() as here:
        here.setattr(Scripted, "handle", twice)
        yield


def test_the_same_bytes_get_the_stored_reply(clouds: Opened, monkeypatch: Patch) -> None:
    with said_twice(clouds, monkeypatch, lambda message: message):
        clouds.make_items(2)
        assert exact(clouds)
    assert clouds.shelves.count == 1
    assert exact(clouds)


def _flipped(message: pb.Round) -> pb.Round:
    labels = message.labels.labels
    message.labels.labels = bytes([labels[0] ^ 1]) + labels[1:] if labels else b""
    return message


def test_other_bytes_end_the_query(clouds: Opened, monkeypatch: Patch) -> None:
    clouds.make_items(1)
    with said_twice(clouds, monkeypatch, _flipped), pytest.raises(TwinveilError):
        exact(clouds)
    assert clouds.shelves.count == 0


def test_broken_where_a_reply_is_not_stored(clouds: Opened, monkeypatch: Patch) -> None:
    clouds.make_items(1)
    monkeypatch.setattr(Scripted, "handle", lambda self, message: self._step(message, os.urandom(32)))
    with said_twice(clouds, monkeypatch, lambda message: message), pytest.raises(TwinveilError):
        exact(clouds)
