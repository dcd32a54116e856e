"""Queries prepared ahead: one at a time, waited for, dropped when S2 has left, a model is gone, more come."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field, replace
from typing import Any

from cloud_s1.ahead import Ahead, Prepared
from tests.networks import random_model
from twinveil.cloud.store import Record
from twinveil.errors import PeerUnavailable, TooMuch
from twinveil.params import Params
from twinveil.protocol.textbook.model.layout import ImportLayout


@dataclass
class Wire:
    left: bool = False
    closed: bool = False

    def close(self) -> None:
        self.closed = True


@dataclass
class Query:
    gate: threading.Event
    fails: bool = False

    def prepare(self) -> None:
        self.gate.wait(5)
        if self.fails:
            raise PeerUnavailable("gone")


@dataclass
class Maker:
    """Stands for the making of queries; `gate` holds their preparation up."""

    gate: threading.Event = field(default_factory=threading.Event)
    fails: bool = False
    room: int = 100
    made: list[Any] = field(default_factory=list)

    def __call__(self, record: Record, engine: str) -> Prepared:
        if sum(not wire.closed for wire in self.made) >= self.room:
            raise TooMuch("no room")
        wire = Wire()
        self.made.append(wire)
        return Prepared(record, engine, Query(self.gate, self.fails), wire, wire)  # type: ignore[arg-type]


RECORD = Record(
    "m", "1", bytes(16), ImportLayout(random_model(1).plan, Params(), ("packed",)), False, "00", "alice"
)
OTHERS = [replace(RECORD, import_id=bytes([number]) * 16) for number in range(1, 5)]


def answer(ahead: Ahead, record: Record = RECORD) -> None:
    ahead.begin()
    ahead.want(record, "packed")
    ahead.end()


def after_one_query(maker: Maker) -> Ahead:
    ahead = Ahead(1, maker)
    answer(ahead)
    return ahead


def after_one_query_each(ahead: Ahead, maker: Maker) -> None:
    """Of four models, one after the other."""
    maker.gate.set()
    for number, record in enumerate(OTHERS, 1):
        answer(ahead, record)
        until(
            lambda number=number, record=record: (
                len(maker.made) == number and not ahead.busy(record, "packed")
            )
        )


def until(holds: Any) -> None:
    end = time.monotonic() + 5
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_query_waits_for_the_one_at_work_and_takes_it_once() -> None:
    maker = Maker()
    ahead = after_one_query(maker)
    until(lambda: ahead.busy(RECORD, "packed"))
    assert ahead.take(RECORD, "packed", 0.05) is None
    threading.Timer(0.2, maker.gate.set).start()
    found = ahead.take(RECORD, "packed", 5)
    assert found is not None
    assert found.wire is maker.made[0]
    assert ahead.take(RECORD, "packed", 0.05) is None
    assert len(maker.made) == 1


def test_nothing_is_begun_while_a_query_runs() -> None:
    maker = Maker()
    maker.gate.set()
    ahead = Ahead(1, maker)
    ahead.begin()
    ahead.begin()
    ahead.want(RECORD, "packed")
    ahead.end()
    time.sleep(0.1)
    assert not maker.made
    ahead.want(RECORD, "packed")
    ahead.end()
    until(lambda: ahead.count == 1)
    time.sleep(0.1)
    assert ahead.count == 1


def test_what_s2_has_left_is_dropped() -> None:
    maker = Maker()
    maker.gate.set()
    ahead = after_one_query(maker)
    until(lambda: ahead.count == 1)
    maker.made[0].left = True
    assert ahead.take(RECORD, "packed", 0.05) is None
    assert maker.made[0].closed
    assert ahead.count == 0


def test_a_removed_model_takes_its_queries_with_it() -> None:
    maker = Maker()
    maker.gate.set()
    ahead = after_one_query(maker)
    until(lambda: ahead.count == 1)
    ahead.forget(b"another import!!")
    assert ahead.count == 1
    ahead.forget(RECORD.import_id)
    assert ahead.count == 0
    assert maker.made[0].closed


def test_a_failed_preparation_leaves_nothing() -> None:
    maker = Maker(fails=True)
    maker.gate.set()
    ahead = after_one_query(maker)
    until(lambda: maker.made and maker.made[0].closed)
    assert ahead.count == 0
    assert not ahead.busy(RECORD, "packed")


def test_a_model_removed_meanwhile_takes_the_query_at_work_with_it() -> None:
    maker = Maker()
    ahead = after_one_query(maker)
    until(lambda: ahead.busy(RECORD, "packed"))
    ahead.begin()
    ahead.want(RECORD, "packed")
    ahead.forget(RECORD.import_id)
    assert not ahead.busy(RECORD, "packed")
    maker.gate.set()
    until(lambda: maker.made[0].closed)
    ahead.end()
    answer(ahead, OTHERS[0])
    until(lambda: ahead.count == 1)
    assert ahead.take(RECORD, "packed", 0) is None
    assert len(maker.made) == 2


def test_nothing_is_prepared_after_a_query_that_failed() -> None:
    maker = Maker()
    maker.gate.set()
    ahead = Ahead(1, maker)
    ahead.begin()
    ahead.end()
    answer(ahead, OTHERS[0])
    until(lambda: ahead.count == 1)
    assert len(maker.made) == 1


def test_those_prepared_first_make_room() -> None:
    maker = Maker()
    ahead = Ahead(1, maker, most=2)
    after_one_query_each(ahead, maker)
    assert [wire.closed for wire in maker.made] == [True, True, False, False]
    assert ahead.count == 2
    assert ahead.take(OTHERS[0], "packed", 0) is None
    assert ahead.take(OTHERS[3], "packed", 0) is not None


def test_the_one_prepared_first_makes_room_where_there_is_none_for_the_next() -> None:
    maker = Maker(room=2)
    ahead = Ahead(1, maker)
    after_one_query_each(ahead, maker)
    assert [wire.closed for wire in maker.made] == [True, True, False, False]


def test_nothing_is_prepared_where_there_is_never_room() -> None:
    maker = Maker(room=1)
    ahead = after_one_query(maker)
    maker.gate.set()
    until(lambda: ahead.count == 1)
    maker.room = 0
    answer(ahead, OTHERS[0])
    until(lambda: ahead.count == 0)
    maker.room = 1
    answer(ahead, OTHERS[1])
    until(lambda: ahead.count == 1)
    assert len(maker.made) == 2


def test_the_one_prepared_first_gives_way() -> None:
    maker = Maker()
    ahead = Ahead(1, maker)
    after_one_query_each(ahead, maker)
    maker.made[0].left = True
    assert ahead.give_way()
    assert [wire.closed for wire in maker.made] == [True, True, False, False]
    assert ahead.give_way()
    assert ahead.give_way()
    assert not ahead.give_way()


def test_wishes_do_not_pile_up() -> None:
    maker = Maker()
    ahead = Ahead(1, maker, most=2)
    ahead.begin()
    for record in OTHERS:
        for _ in range(100):
            ahead.want(record, "packed")
    assert len(ahead._wanted) == 2
