"""Queries prepared ahead: one at a time, waited for, dropped when S2 has left or the model is gone."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import Any

from cloud_s1.ahead import Ahead, Prepared
from tests.networks import random_model
from twinveil.errors import PeerUnavailable
from twinveil.params import Params
from twinveil.protocol.model.layout import ImportLayout
from twinveil.store import Record


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
    made: list[Any] = field(default_factory=list)

    def __call__(self, record: Record, engine: str) -> Prepared:
        wire = Wire()
        self.made.append(wire)
        return Prepared(record, engine, Query(self.gate, self.fails), wire, wire)  # type: ignore[arg-type]


RECORD = Record(
    "m", "1", bytes(16), ImportLayout(random_model(1).plan, Params(), ("packed",)), False, "00", "alice"
)


def after_one_query(maker: Maker) -> Ahead:
    ahead = Ahead(1, maker)
    ahead.begin()
    ahead.end(RECORD, "packed")
    return ahead


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
    ahead.end(RECORD, "packed")
    time.sleep(0.1)
    assert not maker.made
    ahead.end(RECORD, "packed")
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
