"""Items of the models in use: made while the cloud has nothing else to do, or for the query that wants one."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from cloud_s1.way_to_s2 import PeerS2
from twinveil.cloud.store import Record
from twinveil.errors import BrokenOff, TooMuch, TwinveilError
from twinveil.protocol.packed.item.s1 import ItemS1, MakerS1
from twinveil.protocol.packed.withheld import Withheld
from twinveil.rpc.types_pb2 import Progress
from twinveil.start.settings import MAX_PREPARED

log = logging.getLogger(__name__)

WAIT = 0.5
"""Seconds between signs of life to a user who waits for an item."""
LANES = 2
"""Conversations of a model in which items are made: S1 works on one while S2 works on another."""


@dataclass
class Lane:
    """A conversation in which items of one model are made, one after the other, and by which they live."""

    record: Record
    maker: MakerS1
    wire: PeerS2
    close: Callable[[], None]
    busy: bool = False
    """One of its items is being made."""
    out: int = 0
    """Its items that queries hold."""


@dataclass
class Held:
    """An item with its conversation and its part of the memory."""

    item: ItemS1
    lane: Lane
    memory: ExitStack


@dataclass(eq=False)
class Wish:
    """One item that is to be made. ahead: for nobody yet; else for the query that waits for `done`."""

    record: Record
    ahead: bool
    done: threading.Event = field(default_factory=threading.Event)
    made: Held | None = None
    error: TwinveilError | None = None
    left: bool = False
    """The query that wanted it is over."""


class Stock:
    """Keeps up to `keep` items ready of each model in use; of all models there are at most `most`.

    open: a new conversation for a model. room: takes an item's memory; TooMuch where there is none; its argument
    says whether it is made ahead. Items are made on LANES threads, those that a query waits for first; ahead is
    made only while no query is answered. Safe for threads.
    """

    def __init__(
        self,
        keep: int,
        open: Callable[[Record], Lane],
        room: Callable[[Record, bool], ExitStack],
        most: int = MAX_PREPARED,
    ) -> None:
        self._keep, self._open, self._room, self._most = keep, open, room, most
        self._ready: deque[Held] = deque()
        self._lanes: list[Lane] = []
        self._wishes: list[Wish] = []
        self._at_work: list[Wish] = []
        self._answering = 0
        self._changed = threading.Condition()
        for _ in range(LANES):
            threading.Thread(target=self._work, name="items", daemon=True).start()

    @property
    def count(self) -> int:
        """Items that wait for a picture, and whose conversation still stands."""
        with self._changed:
            return sum(not held.lane.wire.left for held in self._ready)

    def want(self, record: Record) -> None:
        """A query of this model was answered: items for those to come may be made.

        Not after one that failed. What cannot be done now would be tried again by itself, at S2 too, and a
        user who only begins queries would have items made for each of them.
        """
        with self._changed:
            self._sweep()
            import_id = record.import_id
            there = sum(held.lane.record.import_id == import_id for held in self._ready)
            coming = sum(
                wish.ahead and wish.record.import_id == import_id for wish in (*self._wishes, *self._at_work)
            )
            missing = self._keep - there - coming
            self._wishes += [Wish(record, ahead=True) for _ in range(missing)]
            self._changed.notify_all()

    def collect(self, record: Record, count: int) -> Generator[Progress, None, list[Held]]:
        """`count` items, ready ones first, the others as soon as they are made; yields while it waits.

        Raises what kept one from being made; what there is then stays for others.
        """
        held = self._take(record, count)
        wishes = [Wish(record, ahead=False) for _ in range(count - len(held))]
        with self._changed:
            self._wishes += wishes
            self._changed.notify_all()
        try:
            for wish in wishes:
                while not wish.done.wait(WAIT):
                    yield Progress(stage=len(held), stages=count, label="preparing")
                if wish.error is not None:
                    raise wish.error
                if wish.made is not None:
                    held.append(wish.made)
                    wish.made = None
        except BaseException:
            self._abandon(wishes)
            self._give_back(held)
            raise
        return held

    @contextmanager
    def spending(self, held: Sequence[Held]) -> Iterator[list[ItemS1]]:
        """A query is answered with these items, and nothing is made ahead meanwhile.

        They are burnt at the end, however it ended, but for Withheld: nothing of them was opened then, and they
        serve another query. Raises Withheld's own error.
        """
        with self._changed:
            self._answering += 1
        try:
            yield [each.item for each in held]
        except Withheld as withheld:
            self._give_back(held)
            held = []
            raise withheld.error from None
        finally:
            with self._changed:
                self._answering -= 1
                for each in held:
                    each.lane.out -= 1
                    each.memory.close()
                self._changed.notify_all()

    def _give_back(self, items: Sequence[Held]) -> None:
        with self._changed:
            for held in items:
                held.lane.out -= 1
            self._keep_ready(items)

    def forget(self, import_id: bytes) -> None:
        """The model is gone, and so are its items, and those that are being made."""
        with self._changed:
            gone = [lane for lane in self._lanes if lane.record.import_id == import_id]
            for wish in [wish for wish in self._wishes if wish.record.import_id == import_id]:
                self._wishes.remove(wish)
                _fail(wish, BrokenOff("the model was removed: get the model again"))
            self._drop(gone)
        _close(gone)

    def give_way(self) -> bool:
        """Ends the conversation of a model whose items nobody waits for. False where there is none."""
        with self._changed:
            self._sweep()
            gone = [lane for lane in self._lanes if not lane.busy and not lane.out][:1]
            self._drop(gone)
        _close(gone)
        return bool(gone)

    def _take(self, record: Record, count: int) -> list[Held]:
        with self._changed:
            self._sweep()
            found = [held for held in self._ready if held.lane.record.import_id == record.import_id][:count]
            for held in found:
                self._ready.remove(held)
                held.lane.out += 1
            return found

    def _keep_ready(self, items: Sequence[Held]) -> None:
        """Under the lock."""
        for held in items:
            if held.lane in self._lanes and not held.lane.wire.left:
                self._ready.append(held)
            else:
                held.memory.close()

    def _sweep(self) -> None:
        """Under the lock: what S2 has left is dropped."""
        self._drop([lane for lane in self._lanes if lane.wire.left and not lane.busy])

    def _drop(self, gone: Sequence[Lane]) -> None:
        """Under the lock: these conversations and their items."""
        for lane in gone:
            self._lanes.remove(lane)
        for held in [held for held in self._ready if held.lane in gone]:
            self._ready.remove(held)
            held.memory.close()

    def _abandon(self, wishes: Sequence[Wish]) -> None:
        """The query is over: what is not begun is not made, what is made serves another."""
        with self._changed:
            for wish in wishes:
                wish.left = True
                if wish in self._wishes:
                    self._wishes.remove(wish)
                if wish.made is not None:
                    wish.made.lane.out -= 1
                    self._keep_ready([wish.made])

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._next() is not None)
                wish = self._next()
                if wish is None:
                    continue
                self._wishes.remove(wish)
                self._at_work.append(wish)
            made = error = None
            try:
                made = self._make(wish)
            except Withheld as withheld:
                error = withheld.error
            except TwinveilError as failed:
                error = failed
            except Exception:
                log.exception("an item was not made")
                error = TwinveilError("cloud_s1 could not prepare this query: its log says why")
            with self._changed:
                self._at_work.remove(wish)
                if made is not None and (wish.ahead or wish.left):
                    self._keep_ready([made])
                elif made is not None:
                    made.lane.out += 1
                    wish.made = made
                if error is not None:
                    _fail(wish, error)
                wish.done.set()
                self._changed.notify_all()

    def _next(self) -> Wish | None:
        """Under the lock: what a query waits for, else what is to lie ready if there is nothing else to do."""
        urgent = next((wish for wish in self._wishes if not wish.ahead), None)
        if urgent is not None or self._answering:
            return urgent
        return next(iter(self._wishes), None)

    def _make(self, wish: Wish) -> Held:
        memory = self._memory(wish)
        try:
            lane = self._lane(wish.record)
            try:
                item = lane.maker.make()
            finally:
                with self._changed:
                    lane.busy = False
                    self._sweep()
        except BaseException:
            memory.close()
            raise
        return Held(item, lane, memory)

    def _memory(self, wish: Wish) -> ExitStack:
        """An item's; for one that a query waits for, conversations of others give way."""
        if wish.ahead and self.count >= self._most:
            self.give_way()
        while True:
            try:
                return self._room(wish.record, wish.ahead)
            except TooMuch:
                if wish.ahead or not self.give_way():
                    raise

    def _lane(self, record: Record) -> Lane:
        """One that is free, or a new one."""
        with self._changed:
            for lane in self._lanes:
                if lane.record.import_id == record.import_id and not lane.busy and not lane.wire.left:
                    lane.busy = True
                    return lane
        lane = self._open(record)
        lane.busy = True
        with self._changed:
            self._lanes.append(lane)
        return lane


def _fail(wish: Wish, error: TwinveilError) -> None:
    if wish.ahead:
        log.info("no item was made ahead: %s", error)
    wish.error = error
    wish.done.set()


def _close(gone: Sequence[Lane]) -> None:
    """Not under the lock: S2 is told, and waited for."""
    for lane in gone:
        lane.close()
