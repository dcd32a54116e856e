"""Queries prepared ahead of their pictures, while the cloud has nothing else to do."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

from twinveil.errors import TwinveilError
from twinveil.net.grpc_peer import GrpcPeer
from twinveil.net.peer import Peer
from twinveil.protocol.query.s1 import QueryS1
from twinveil.store import Record

log = logging.getLogger(__name__)


@dataclass
class Prepared:
    """A query with its open conversation: `peer` as the query sees it, `wire` below it."""

    record: Record
    engine: str
    query: QueryS1
    peer: Peer
    wire: GrpcPeer

    def close(self) -> None:
        self.peer.close()


class Ahead:
    """Keeps up to `keep` packed queries of one picture prepared for each model in use.

    make: a new query, not yet prepared. One is prepared at a time, and none is begun while a query runs; a
    query that comes meanwhile waits for it rather than do the same work beside it.
    """

    def __init__(self, keep: int, make: Callable[[Record, str], Prepared]) -> None:
        self._keep = keep
        self._make = make
        self._ready: list[Prepared] = []
        self._wanted: list[tuple[Record, str]] = []
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

    def end(self, record: Record, engine: str) -> None:
        """A query of this model is over; the next one may be prepared."""
        with self._changed:
            self._running -= 1
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
        """The model is gone, and so are its prepared queries."""
        self._drop(lambda prepared: prepared.record.import_id == import_id)

    def _find(self, key: tuple[bytes, str]) -> Prepared | None:
        """Under the lock: one that fits and stands; those that S2 has left are dropped."""
        for prepared in [p for p in self._ready if p.wire.left]:
            self._ready.remove(prepared)
            prepared.close()
        return next((p for p in self._ready if (p.record.import_id, p.engine) == key), None)

    def _drop(self, doomed: Callable[[Prepared], bool]) -> None:
        with self._changed:
            gone = [prepared for prepared in self._ready if doomed(prepared)]
            self._ready = [prepared for prepared in self._ready if prepared not in gone]
        for prepared in gone:
            prepared.close()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._wanted and not self._running)
                record, engine = self._wanted.pop(0)
                key = (record.import_id, engine)
                if sum((p.record.import_id, p.engine) == key for p in self._ready) >= self._keep:
                    continue
                self._at_work = key
            prepared = self._prepare(record, engine)
            with self._changed:
                self._at_work = None
                if prepared is not None:
                    self._ready.append(prepared)
                self._changed.notify_all()

    def _prepare(self, record: Record, engine: str) -> Prepared | None:
        prepared = None
        try:
            prepared = self._make(record, engine)
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
