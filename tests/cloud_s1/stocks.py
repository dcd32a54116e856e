"""A stock over conversations of no S2, for its tests."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

from cloud_s1.stock import Held, Lane, Stock
from twinveil.cloud.budget import Budget
from twinveil.cloud.store import Record
from twinveil.rehearsal.clouds import finish

SECONDS = 10.0
"""A test that waits longer has failed."""


def record(name: str) -> Record:
    return cast("Record", SimpleNamespace(import_id=name.encode()))


A, B = record("a"), record("b")


class Maker:
    """A conversation's maker: gives numbered items, or what `way` says; may be made to wait."""

    def __init__(self, made: Made, of: Record, number: int) -> None:
        self._made, self._of, self._number, self._count = made, of, number, 0

    def make(self) -> str:
        made, self._count = self._made, self._count + 1
        name = f"{self._of.import_id.decode()}{self._number}.{self._count - 1}"
        with made.lock:
            made.begun.append(name)
        if not made.go.wait(SECONDS):
            raise RuntimeError("nobody lets it go")
        made.way(name)
        return name


@dataclass
class Made:
    """A stock over conversations of no S2. way: may raise for an item; go: items may come to their end."""

    keep: int = 0
    most: int = 64
    memory: int = 1 << 20
    way: Callable[[str], object] = lambda name: None
    begun: list[str] = field(default_factory=list)
    lanes: list[Lane] = field(default_factory=list)
    closed: list[Lane] = field(default_factory=list)
    go: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.budget = Budget("cloud_s1", self.memory)
        self.stock = Stock(self.keep, self.begin, self.room, self.most)
        self.go.set()

    def begin(self, of: Record) -> Lane:
        wire = SimpleNamespace(left=False)
        maker: Any = Maker(self, of, sum(each.record is of for each in self.lanes))
        lane = Lane(of, maker, cast("Any", wire), lambda: self.closed.append(lane))
        self.lanes.append(lane)
        return lane

    def room(self, of: Record, ahead: bool) -> ExitStack:
        with ExitStack() as held:
            held.enter_context(self.budget.take(1))
            return held.pop_all()

    @property
    def taken(self) -> int:
        """Items that have a part of the memory."""
        return self.budget._taken

    def get(self, of: Record, count: int = 1) -> list[Held]:
        return finish(self.stock.collect(of, count))

    def ask(self, of: Record, count: int = 1, error: BaseException | None = None) -> list[str]:
        """A query: the items' names."""
        with self.stock.spending(self.get(of, count)) as items:
            if error is not None:
                raise error
            return [str(each) for each in items]

    def ready(self, count: int) -> None:
        """Waits until so many lie ready, and nothing else is coming."""
        eventually(lambda: self.stock.count == count and not self.stock._makers)


def eventually(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.001)


def waiting(of: Generator[Any, None, Any]) -> None:
    """As far as its first sign of life."""
    assert next(of).label == "preparing"
