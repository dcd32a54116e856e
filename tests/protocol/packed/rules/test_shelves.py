"""S2's shelves against a model of them: whatever comes in whatever order, an item is handed out at most once."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.networks import small_icnn_model
from tests.protocol.packed.clouds import Opened
from tests.protocol.packed.rules.ledger import Patch, exact
from tests.protocol.packed.rules.spending import classify
from twinveil.errors import AlreadyUsed, BrokenOff, TooMuch, TwinveilError
from twinveil.protocol.meter import Meter
from twinveil.protocol.packed.item.conversation import items_s2
from twinveil.protocol.packed.item.s2 import ItemS2
from twinveil.protocol.packed.item.shelves import Name, Reservation, Shelves
from twinveil.protocol.packed.withheld import Withheld
from twinveil.rpc import rounds_pb2 as pb

pytestmark = pytest.mark.slow

SESSIONS = [bytes([index]) * 16 for index in range(3)]
MODELS = [b"model one", b"model two"]

names = st.tuples(st.sampled_from(SESSIONS), st.integers(0, 5))


class ShelvesMachine(RuleBasedStateMachine):
    """free: names, by session. reserved: the open reservations. memory: parts that are taken."""

    @initialize()
    def begin(self) -> None:
        self.shelves = Shelves()
        self.open: dict[bytes, tuple[bytes, ExitStack]] = {}
        self.standing: set[bytes] = set()
        self.free: set[Name] = set()
        self.reserved: list[tuple[Reservation, list[Name]]] = []
        self.made: dict[Name, weakref.ref[ItemS2]] = {}
        self.handed: list[ItemS2] = []
        self.number = 0
        self.memory = 0

    @rule(session=st.sampled_from(SESSIONS), model=st.sampled_from(MODELS))
    def a_conversation_opens(self, session: bytes, model: bytes) -> None:
        if session in self.standing:
            with pytest.raises(AlreadyUsed), self.shelves.open(session, model):
                pass
        elif session not in self.open:
            stack = ExitStack()
            stack.enter_context(self.shelves.open(session, model))
            self.open[session] = model, stack
            self.standing.add(session)

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def an_item_is_made(self, data: st.DataObject) -> None:
        session = data.draw(st.sampled_from(sorted(self.open)))
        item = ItemS2([], {}, {}, Meter())
        name, self.number = (session, self.number), self.number + 1
        self.made[name] = weakref.ref(item)
        self.memory += 1
        self.shelves.put(name, item, self._free)
        if session in self.standing:
            self.free.add(name)

    def _free(self) -> None:
        self.memory -= 1

    @rule(model=st.sampled_from(MODELS), data=st.data())
    def a_query_names_items(self, model: bytes, data: st.DataObject) -> None:
        known = st.sampled_from(sorted(self.made)) if self.made else names
        wanted = data.draw(st.lists(known | names, max_size=3))
        of_model = all(self.open[s][0] == model for s, _ in wanted if s in self.standing)
        good = bool(wanted) and len(set(wanted)) == len(wanted) and set(wanted) <= self.free and of_model
        self.free -= set(wanted)
        if not good:
            with pytest.raises(AlreadyUsed):
                self.shelves.reserve(model, wanted)
            return
        reservation = self.shelves.reserve(model, wanted)
        reservation.__enter__()
        self.reserved.append((reservation, wanted))

    def _one(self, data: st.DataObject) -> tuple[Reservation, list[Name]]:
        return self.reserved.pop(data.draw(st.integers(0, len(self.reserved) - 1)))

    @precondition(lambda self: self.reserved)
    @rule(data=st.data())
    def a_query_is_withheld(self, data: st.DataObject) -> None:
        reservation, wanted = self._one(data)
        reservation.release()
        reservation.__exit__(None, None, None)
        self.free |= {name for name in wanted if name[0] in self.standing}

    @precondition(lambda self: self.reserved)
    @rule(data=st.data())
    def a_query_burns_its_items(self, data: st.DataObject) -> None:
        reservation, wanted = self._one(data)
        before = self.memory
        if all(session in self.standing for session, _ in wanted):
            items = reservation.burn()
            assert [self.made[name]() for name in wanted] == items
            assert not any(item is other for item in items for other in self.handed)
            self.handed += items
        else:
            with pytest.raises(BrokenOff):
                reservation.burn()
        assert reservation._taken == {}
        assert self.memory == before  # the query still holds them
        reservation.release()  # too late: nothing goes back
        reservation.__exit__(None, None, None)

    @precondition(lambda self: self.reserved)
    @rule(data=st.data())
    def a_query_fails(self, data: st.DataObject) -> None:
        reservation, _ = self._one(data)
        reservation.__exit__(None, None, None)

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def a_conversation_ends(self, data: st.DataObject) -> None:
        session = data.draw(st.sampled_from(sorted(self.open)))
        self.open.pop(session)[1].close()
        self._gone({session})

    @rule(model=st.sampled_from(MODELS))
    def a_model_is_removed(self, model: bytes) -> None:
        self.shelves.forget(model)
        self._gone({session for session in self.standing if self.open[session][0] == model})

    def _gone(self, sessions: set[bytes]) -> None:
        self.standing -= sessions
        self.free = {name for name in self.free if name[0] not in sessions}

    @invariant()
    def what_is_free_is_counted_and_what_is_gone_takes_no_memory(self) -> None:
        waiting = sum(len(wanted) for _, wanted in self.reserved)
        assert self.shelves.count == len(self.free)
        assert self.memory == len(self.free) + waiting

    @invariant()
    def nothing_burnt_is_alive(self) -> None:
        held = self.free | {name for _, wanted in self.reserved for name in wanted}
        spent = {id(item) for item in self.handed}
        for name, item in self.made.items():
            alive = item()
            assert (alive is not None) == (name in held or id(alive) in spent), name


ShelvesMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestShelves = ShelvesMachine.TestCase


def left_there(self: Shelves, import_id: bytes, names: Sequence[Name]) -> Reservation:
    with self._lock:
        return Reservation(self, {name: self._shelves[name[0]].items[name[1]] for name in names})


def always(self: Shelves, taken: object) -> bool:
    return True


def kept_by_its_conversation(self: Shelves, session_ids: Sequence[bytes]) -> None:
    for each in session_ids:
        if shelf := self._shelves.pop(each, None):
            for _, free in shelf.items.values():
                free()


def paid_back_at_once(self: Reservation) -> list[ItemS2]:
    taken, self._taken = self._taken, {}
    for _, free in taken.values():
        free()
    if not self._shelves.stand(taken):
        raise BrokenOff("over")
    return [item for item, _ in taken.values()]


@pytest.mark.parametrize(
    ("where", "name", "broken"),
    [
        (Shelves, "reserve", left_there),
        (Shelves, "stand", always),
        (Shelves, "_drop", kept_by_its_conversation),
        (Reservation, "burn", paid_back_at_once),
        (Reservation, "__exit__", lambda self, *error: None),
    ],
)
def test_broken_shelves_are_found(monkeypatch: Patch, where: type, name: str, broken: Any) -> None:
    monkeypatch.setattr(where, name, broken)
    few = settings(
        max_examples=60, stateful_step_count=30, deadline=None, phases=[Phase.generate], database=None
    )
    with pytest.raises(BaseException):  # noqa: B017, PT011 - an assertion, or a KeyError of the broken shelf
        run_state_machine_as_test(ShelvesMachine, settings=few)


# A place in S2's memory is taken before an item is made, and given back when its query is over.


class Room:
    """Of so many items."""

    def __init__(self, places: int) -> None:
        self.left = places

    def __call__(self) -> Callable[[], None]:
        if not self.left:
            raise TooMuch("cloud_s2 has no memory for another item now")
        self.left -= 1
        return self._free

    def _free(self) -> None:
        self.left += 1


def with_room(patch: Patch, places: int) -> tuple[Opened, Room]:
    room = Room(places)
    patch.setattr("twinveil.rehearsal.clouds.items_s2", partial(items_s2, room=room))
    return Opened(small_icnn_model(4, side=8)), room


def test_an_item_without_room_is_withheld_and_the_others_stay(monkeypatch: Patch) -> None:
    clouds, room = with_room(monkeypatch, 1)
    clouds.make_items(1)
    for _ in range(2):
        with pytest.raises(Withheld, match="no memory for another item"):
            clouds.make_items(1)
    assert exact(clouds)
    assert room.left == 1
    clouds.make_items(1)  # with a number of its own, in the same conversation
    assert exact(clouds)


@pytest.mark.parametrize("step", ["item_offer", "labels"])
def test_room_is_given_back_whatever_ends_the_work(monkeypatch: Patch, step: str) -> None:
    clouds, room = with_room(monkeypatch, 2)
    clouds.make_items(1)
    assert room.left == 1

    def cut(message: pb.Round) -> pb.Round:
        if message.WhichOneof("body") == step:
            getattr(message, step).Clear()
        return message

    clouds.meddle = cut
    with pytest.raises(TwinveilError):
        classify(clouds, 2 if step == "item_offer" else 1)
    assert room.left == 2
