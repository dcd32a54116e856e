"""Queries prepared ahead of their pictures, while the cloud has nothing else to do."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cloud_s1.way_to_s2 import PeerS2
from twinveil.cloud.store import Record
from twinveil.errors import TooMuch, TwinveilError
from twinveil.protocol.textbook.query.s1 import QueryS1
from twinveil.rounds.peer import Peer
from twinveil.start.settings import MAX_PREPARED

log = logging.getLogger(__name__)


@dataclass
class Prepared:
    """A query with its open conversation: `peer` as the query sees it, `wire` below it."""

    record: Record
    engine: str
    query: QueryS1
    peer: Peer
    wire: PeerS2

    @property
    def key(self) -> tuple[bytes, str]:
        return self.record.import_id, self.engine

    def close(self) -> None:
        self.peer.close()


class Ahead:
    """Keeps up to `keep` packed queries of one picture prepared for each model in use.

    Each holds memory, and a conversation at S2: of all models there are at most `most`, and the one prepared
    first makes room for another. make: a new query, not yet prepared; TooMuch where there is no room for it.
    One is prepared at a time, and none is begun while a query runs; a query that comes meanwhile waits for it
    rather than do the same work beside it.
    """

    def __init__(self, keep: int, make: Callable[[Record, str], Prepared], most: int = MAX_PREPARED) -> None:
        self._keep = keep
        self._make = make
        self._most = most
        self._ready: list[Prepared] = []
        self._wanted: deque[tuple[Record, str]] = deque(maxlen=most)
        self._at_work: tuple[bytes, str] | None = None
        self._running = 0
        self._changed = threading.Condition()
        if keep:
            threading.Thread(target=self._work, name="prepare-ahead", daemon=True).start()

    @property
    def count(self) -> int:
        """Queries that wait for a picture, and whose conversation still stands."""
        with self._changed:
            return sum(not prepared.wire.left for prepared in self._ready)

    def begin(self) -> None:
        """A query begins: nothing more is prepared until `end`."""
        with self._changed:
            self._running += 1

    def end(self) -> None:
        """A query is over, however it ended."""
        with self._changed:
            self._running -= 1
            self._changed.notify_all()

    def want(self, record: Record, engine: str) -> None:
        """A query of this model was answered: the next one may be prepared.

        Not after one that failed. What cannot be done now would be tried again by itself, at S2 too, and a
        user who only begins queries would have each of them prepared.
        """
        with self._changed:
            if self._keep and engine == "packed":
                self._wanted.append((record, engine))
            self._changed.notify_all()

    def take(self, record: Record, engine: str, seconds: float) -> Prepared | None:
        """A prepared query whose conversation still stands; waits up to `seconds` for one at work."""
        key = (record.import_id, engine)
        with self._changed:
            self._changed.wait_for(lambda: self._at_work != key or self._find(key) is not None, seconds)
            found = self._find(key)
            if found is not None:
                self._ready.remove(found)
            return found

    def busy(self, record: Record, engine: str) -> bool:
        """Whether a query of this model is being prepared at this moment."""
        with self._changed:
            return self._at_work == (record.import_id, engine)

    def forget(self, import_id: bytes) -> None:
        """The model is gone, and so are its prepared queries, and the one at work when it is made."""
        with self._changed:
            gone = [prepared for prepared in self._ready if prepared.record.import_id == import_id]
            for prepared in gone:
                self._ready.remove(prepared)
            for wish in [wish for wish in self._wanted if wish[0].import_id == import_id]:
                self._wanted.remove(wish)
            if self._at_work is not None and self._at_work[0] == import_id:
                self._at_work = None
                self._changed.notify_all()
        _close(gone)

    def give_way(self) -> bool:
        """Ends the one prepared first: there is room for another conversation. False where there is none."""
        with self._changed:
            self._sweep()
            gone, self._ready = self._ready[:1], self._ready[1:]
        _close(gone)
        return bool(gone)

    def _sweep(self) -> None:
        """Under the lock: those that S2 has left are dropped."""
        for prepared in [p for p in self._ready if p.wire.left]:
            self._ready.remove(prepared)
            prepared.close()

    def _find(self, key: tuple[bytes, str]) -> Prepared | None:
        """Under the lock: one that fits and stands."""
        self._sweep()
        return next((prepared for prepared in self._ready if prepared.key == key), None)

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._wanted and not self._running)
                record, engine = self._wanted.popleft()
                key = (record.import_id, engine)
                self._sweep()
                if sum(prepared.key == key for prepared in self._ready) >= self._keep:
                    continue
                self._at_work = key
            prepared = self._prepare(record, engine)
            with self._changed:
                # Not so if its model was removed meanwhile.
                kept = self._at_work == key
                if prepared is not None and kept:
                    self._ready.append(prepared)
                self._at_work = None
                self._changed.notify_all()
            if prepared is not None and not kept:
                prepared.close()

    def _prepare(self, record: Record, engine: str) -> Prepared | None:
        prepared = None
        try:
            prepared = self._new(record, engine)
            prepared.query.prepare()
        except TwinveilError as error:
            log.info("no query was prepared ahead: %s", error)
        except Exception:
            log.exception("no query was prepared ahead")
        else:
            return prepared
        if prepared is not None:
            prepared.close()
        return None

    def _new(self, record: Record, engine: str) -> Prepared:
        if len(self._ready) >= self._most:
            self.give_way()
        try:
            return self._make(record, engine)
        except TooMuch:
            if not self.give_way():
                raise
        return self._make(record, engine)


def _close(gone: Sequence[Prepared]) -> None:
    """Not under the lock: S2 is told, and waited for."""
    for prepared in gone:
        prepared.close()
