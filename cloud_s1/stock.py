"""Items of the models in use: made while the cloud has nothing else to do, or for a query that waits."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from cloud_s1.models import MAX_LOADED
from cloud_s1.way_to_s2 import PeerS2
from twinveil.cloud.store import Record
from twinveil.errors import BrokenOff, TooLarge, TooMuch, TwinveilError
from twinveil.protocol.packed.item.s1 import ItemS1, MakerS1
from twinveil.protocol.packed.withheld import Withheld
from twinveil.rpc.types_pb2 import Progress
from twinveil.services.inference import PREPARING
from twinveil.start.settings import MAX_PREPARED

Taken = TypeVar("Taken")

log = logging.getLogger(__name__)

WAIT = 0.5
"""Seconds between signs of life to a user who waits for an item."""
LANES = 2
"""Conversations of a model in which items are made: S1 works on one while S2 works on another."""


@dataclass(eq=False)
class Lane:
    """A conversation in which items of one model are made, one after the other, and by which they live."""

    record: Record
    maker: MakerS1
    wire: PeerS2
    close: Callable[[], None]
    busy: bool = True
    """One of its items is being made: nobody else touches the conversation."""
    doomed: bool = False
    """Ends as soon as it is not busy."""
    out: int = 0
    """Its items that queries hold."""


@dataclass(eq=False)
class Held:
    """An item with its conversation and its part of the memory."""

    item: ItemS1
    lane: Lane
    memory: ExitStack


@dataclass(eq=False)
class Wish:
    """One item that is to be made. ahead: for nobody yet, or not any more; else a query waits for `done`."""

    record: Record
    ahead: bool
    done: threading.Event = field(default_factory=threading.Event)
    made: Held | None = None
    error: TwinveilError | None = None


class Stock:
    """Keeps up to `keep` items ready of each of MAX_LOADED models in use; of all there are at most `most`.

    begin: a new conversation for a model. room: takes an item's memory; TooMuch where there is none; its
    argument says whether it is made ahead. Items are made on LANES threads, which last while there are any to
    make, those first that a query waits for; ahead is made only while no query is answered. Safe for threads.
    """

    def __init__(
        self,
        keep: int,
        begin: Callable[[Record], Lane],
        room: Callable[[Record, bool], ExitStack],
        most: int = MAX_PREPARED,
    ) -> None:
        self._keep, self._begin, self._room, self._most = keep, begin, room, most
        self._ready: list[Held] = []
        self._lanes: list[Lane] = []
        self._over: list[Lane] = []
        """Still to be closed."""
        self._wishes: list[Wish] = []
        self._at_work: list[Wish] = []
        self._makers = self._answering = 0
        self._lock = threading.Lock()

    @property
    def count(self) -> int:
        """Items that wait for a picture, and whose conversation still stands."""
        return sum(self.ready().values())

    def ready(self) -> Counter[bytes]:
        """The same by import id."""
        with self._lock:
            return Counter(held.lane.record.import_id for held in self._ready if not held.lane.wire.left)

    def want(self, record: Record) -> None:
        """A query of this model was answered: items for those to come may be made.

        Not after one that failed. What cannot be done now would be tried again by itself, at S2 too, and a
        user who only begins queries would have items made for each of them.
        """
        with self._changing():
            there = sum(_is_of(held.lane, record.import_id) for held in self._ready)
            coming = sum(
                wish.ahead and _is_of(wish, record.import_id) for wish in (*self._wishes, *self._at_work)
            )
            self._wishes += [Wish(record, ahead=True) for _ in range(self._keep - there - coming)]

    def collect(
        self, record: Record, count: int, share: Callable[[int, int], int] = min
    ) -> Generator[Progress, None, list[Held]]:
        """`count` items, ready ones first, the others as soon as they are made; yields while it waits.

        share: how many this query takes, from those that it wants and those that lie ready. Raises what kept
        one from being made; what there is then stays for others, also where nobody waits any more.
        """
        with self._changing():
            held = [each for each in self._ready if _is_of(each.lane, record.import_id)]
            held = held[: share(count, len(held))]
            for each in held:
                self._ready.remove(each)
                each.lane.out += 1
            wishes = [Wish(record, ahead=False) for _ in range(count - len(held))]
            self._wishes += wishes
        try:
            for wish in wishes:
                yield Progress(stage=len(held), stages=count, label=PREPARING)
                while not wish.done.wait(WAIT):
                    yield Progress(stage=len(held), stages=count, label=PREPARING)
                if wish.made is not None:
                    held.append(wish.made)
                elif wish.error is not None:
                    raise wish.error
            yield Progress(stage=count, stages=count, label="computing")
        except BaseException:
            self._leave(wishes, held)
            raise
        return held

    @contextmanager
    def spending(self, held: Sequence[Held]) -> Iterator[list[ItemS1]]:
        """A query is answered with these items, and nothing is made ahead meanwhile.

        They are burnt at the end, however it ended, but for Withheld: nothing of them was opened then, and
        they serve another query. Raises Withheld's own error.
        """
        with self._changing():
            self._answering += 1
        over: list[Lane] = []
        try:
            yield [each.item for each in held]
        except Withheld as withheld:
            with self._changing():
                self._give_back(held)
            held = []
            raise withheld.error from None
        except BaseException:
            # What S2 has not heard of, or has given back unheard, lies there as long as its conversation.
            over = [each.lane for each in held]
            raise
        finally:
            with self._changing():
                self._answering -= 1
                for each in held:
                    each.lane.out -= 1
                    each.memory.close()
                self._end(over)

    def forget(self, import_id: bytes) -> None:
        """The model is gone, and so are its items, and those that are being made."""
        with self._changing():
            for wish in [wish for wish in (*self._wishes, *self._at_work) if _is_of(wish, import_id)]:
                wish.error = BrokenOff("the model was removed: get the model again")
                if wish in self._wishes:
                    self._wishes.remove(wish)
                    wish.done.set()
            self._end([lane for lane in self._lanes if _is_of(lane, import_id)])

    def give_way(self) -> bool:
        """Ends the oldest conversation whose items nobody waits for. False where there is none."""
        with self._changing():
            spare = [lane for lane in self._lanes if not lane.busy and not lane.out][:1]
            self._end(spare)
        return bool(spare)

    def giving_way(self, take: Callable[[], Taken]) -> Taken:
        """What `take` gives. While it raises TooMuch, what nobody waits for gives way."""
        while True:
            try:
                return take()
            except TooMuch as error:
                if isinstance(error, TooLarge) or not self.give_way():
                    raise

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Under the lock: what S2 has left is gone first; what then is to be made is begun.

        What ends is closed after it, as S2 may be waited for.
        """
        with self._lock:
            self._end([lane for lane in self._lanes if lane.wire.left and not lane.busy])
            yield
            for _ in self._due()[: LANES - self._makers]:
                threading.Thread(target=self._work, name="items", daemon=True).start()
                self._makers += 1
            over, self._over = self._over, []
        for lane in over:
            lane.close()

    def _end(self, lanes: Sequence[Lane]) -> None:
        """Under the lock: these conversations and their items; one that is busy when it is not any more."""
        for lane in lanes:
            lane.doomed = True
            if lane in self._lanes and not lane.busy:
                self._lanes.remove(lane)
                self._over.append(lane)
        for held in [held for held in self._ready if held.lane.doomed]:
            self._ready.remove(held)
            held.memory.close()

    def _give_back(self, items: Sequence[Held]) -> None:
        """Under the lock."""
        for held in items:
            held.lane.out -= 1
            self._keep_ready(held)

    def _keep_ready(self, held: Held) -> None:
        """Under the lock."""
        if held.lane.doomed:
            held.memory.close()
        else:
            self._ready.append(held)

    def _leave(self, wishes: Sequence[Wish], held: Sequence[Held]) -> None:
        """The query is over: what is not begun is not made, what is or will be there serves another."""
        with self._changing():
            for wish in wishes:
                wish.ahead = True
                if wish in self._wishes:
                    self._wishes.remove(wish)
            made = [wish.made for wish in wishes if wish.made is not None and wish.made not in held]
            self._give_back([*held, *made])

    def _work(self) -> None:
        while True:
            with self._lock:
                due = self._due()
                if not due:
                    self._makers -= 1
                    return
                wish = due[0]
                self._wishes.remove(wish)
                self._at_work.append(wish)
            made = error = None
            try:
                made = self._make(wish)
            except TwinveilError as failed:
                error = failed
            except Exception:
                log.exception("an item was not made")
                error = TwinveilError("cloud_s1 could not prepare this query: its log says why")
            with self._changing():
                self._at_work.remove(wish)
                if made is not None and made.lane.doomed:
                    error = BrokenOff(
                        "the conversation in which this query was prepared has ended: ask again"
                    )
                wish.error = wish.error or error
                if made is None:
                    log.info("no item was made: %s", wish.error)
                elif wish.ahead or wish.error:
                    self._keep_ready(made)
                else:
                    made.lane.out += 1
                    wish.made = made
                wish.done.set()

    def _due(self) -> list[Wish]:
        """Under the lock: what queries wait for, else what is to lie ready if no query is answered."""
        urgent = [wish for wish in self._wishes if not wish.ahead]
        return urgent or ([] if self._answering else self._wishes)

    def _make(self, wish: Wish) -> Held:
        """For who waits, others' conversations give way where memory is taken, here or at S2."""
        return self._made(wish) if wish.ahead else self.giving_way(partial(self._made, wish))

    def _made(self, wish: Wish) -> Held:
        with ExitStack() as memory:
            memory.enter_context(self._memory(wish))
            with self._lane(wish) as lane:
                return Held(lane.maker.make(), lane, memory.pop_all())

    def _memory(self, wish: Wish) -> ExitStack:
        if wish.ahead and self.count >= self._most and not self.give_way():
            raise TooMuch(f"{self._most} items lie ready already")
        return self._room(wish.record, wish.ahead)

    @contextmanager
    def _lane(self, wish: Wish) -> Iterator[Lane]:
        """One that is free, or a new one, for one item. An error but Withheld ends it, and all its items."""
        with self._changing():
            lane = next(
                (each for each in self._lanes if _is_of(each, wish.record.import_id) and not each.busy), None
            )
            if lane is not None:
                lane.busy = True
        if lane is None:
            self._limit_models(wish.record.import_id)
            lane = self._begin(wish.record)
            with self._changing():
                self._lanes.append(lane)
        ends = True
        try:
            yield lane
            ends = False
        except Withheld as withheld:
            ends = False
            raise withheld.error from None
        finally:
            with self._changing():
                lane.busy = False
                if ends or lane.doomed or wish.error is not None:
                    self._end([lane])

    def _limit_models(self, import_id: bytes) -> None:
        """Each conversation keeps its model in memory: until there are few of others, the oldest ends."""
        more = True
        while more:
            with self._lock:
                others = {lane.record.import_id for lane in self._lanes} - {import_id}
            more = len(others) >= MAX_LOADED and self.give_way()


def _is_of(each: Lane | Wish, import_id: bytes) -> bool:
    return each.record.import_id == import_id
