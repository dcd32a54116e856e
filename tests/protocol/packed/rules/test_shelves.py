"""S2's shelves against a model of them: whatever comes in whatever order, an item is handed out once."""

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
        for session, model in zip(SESSIONS, MODELS, strict=False):
            self.a_conversation_opens(session, model)
            self._make(session, 3)

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
    @rule(data=st.data(), count=st.integers(1, 3))
    def items_are_made(self, data: st.DataObject, count: int) -> None:
        self._make(data.draw(st.sampled_from(sorted(self.open))), count)

    def _make(self, session: bytes, count: int) -> None:
        for _ in range(count):
            item = ItemS2([], {}, {}, Meter())
            name, self.number = (session, self.number), self.number + 1
            self.made[name] = weakref.ref(item)
            self.memory += 1
            self.shelves.put(name, item, self._free)
            if session in self.standing:
                self.free.add(name)

    def _free(self) -> None:
        self.memory -= 1

    @precondition(lambda self: self.free)
    @rule(data=st.data())
    def a_query_names_its_items(self, data: st.DataObject) -> None:
        model = self.open[data.draw(st.sampled_from(sorted(self.free)))[0]][0]
        items = st.sampled_from(sorted(name for name in self.free if self.open[name[0]][0] == model))
        wanted = data.draw(st.lists(items, min_size=1, max_size=3, unique=True))
        reservation = self.shelves.reserve(model, wanted)
        reservation.__enter__()
        self.reserved.append((reservation, wanted))
        self.free -= set(wanted)

    @rule(model=st.sampled_from(MODELS), data=st.data())
    def a_query_names_anything(self, model: bytes, data: st.DataObject) -> None:
        known = st.sampled_from(sorted(self.made)) if self.made else names
        wanted = data.draw(st.lists(known | names, max_size=3))
        of_model = all(self.open[s][0] == model for s, _ in wanted if s in self.standing)
        if wanted and len(set(wanted)) == len(wanted) and set(wanted) <= self.free and of_model:
            return
        with pytest.raises(AlreadyUsed):
            self.shelves.reserve(model, wanted)
        self.free -= set(wanted)

    @precondition(lambda self: self.reserved)
    @rule(data=st.data(), how=st.sampled_from(["burnt", "withheld", "failed"]))
    def a_query_goes_on(self, data: st.DataObject, how: str) -> None:
        reservation, wanted = self.reserved.pop(data.draw(st.integers(0, len(self.reserved) - 1)))
        standing = [name for name in wanted if name[0] in self.standing]
        if how == "withheld":
            reservation.release()
            self.free |= set(standing)
        elif how == "burnt":
            self._burn(reservation, wanted, len(standing) == len(wanted))
        reservation.__exit__(None, None, None)

    def _burn(self, reservation: Reservation, wanted: list[Name], standing: bool) -> None:
        before = self.memory
        if standing:
            items = reservation.burn()
            assert [self.made[name]() for name in wanted] == items
            assert not any(item is other for item in items for other in self.handed)
            self.handed += items
        else:
            with pytest.raises(BrokenOff):
                reservation.burn()
        assert self.memory == before  # the query still holds them
        reservation.release()  # too late: nothing goes back

    @precondition(lambda self: self.open)
    @rule(data=st.data(), removed=st.booleans())
    def a_conversation_ends_or_its_model_is_removed(self, data: st.DataObject, removed: bool) -> None:
        session = data.draw(st.sampled_from(sorted(self.open)))
        model = self.open[session][0]
        if removed:
            self.shelves.forget(model)
            self._gone({each for each in self.standing if self.open[each][0] == model})
        else:
            self.open.pop(session)[1].close()
            self._gone({session})

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
    until_found = settings(
        ShelvesMachine.TestCase.settings, max_examples=500, phases=[Phase.generate], derandomize=True
    )
    with pytest.raises((AssertionError, LookupError, pytest.fail.Exception)):
        run_state_machine_as_test(ShelvesMachine, settings=until_found)


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
