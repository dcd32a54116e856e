"""Users at S1: every query is one conversation with S2, prepared ahead where the cloud has had the time."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Generator
from contextlib import ExitStack, closing
from dataclasses import dataclass

from cloud_s1.ahead import Ahead, Prepared
from cloud_s1.budget import Budget, half_of_memory
from cloud_s1.models import ModelsS1
from cloud_s1.way_to_s2 import CloudS2
from twinveil.cloud.requests import read_query
from twinveil.cloud.store import Record
from twinveil.errors import TooMuch
from twinveil.parallel import Workers
from twinveil.protocol.query.engines_s1 import query_s1
from twinveil.protocol.size import query_size
from twinveil.rounds.observed import ObservedPeer
from twinveil.rounds.observer import NOBODY, Observer
from twinveil.rpc.inference_pb2 import AnswerHalf, QueryHalf
from twinveil.rpc.types_pb2 import Progress
from twinveil.transport.identity import PeerIdentity

WAIT = 0.5
"""Seconds between signs of life to a user who waits for a query that is being prepared."""
SPARE = 4
"""One part in so many of the memory for queries is the most that those prepared ahead hold."""


@dataclass
class Counted(Prepared):
    """A query that has its conversation and its part of the memory until it is closed."""

    held: ExitStack

    def close(self) -> None:
        self.held.close()


class QueriesS1:
    """An InferenceHandler. ahead: queries of one picture that are kept prepared for each model in use.

    memory: bytes that queries may take at once; None: half of the machine's.
    """

    def __init__(
        self,
        models: ModelsS1,
        cloud_s2: CloudS2,
        workers: Workers,
        ahead: int = 0,
        observers: Callable[[], Observer] = lambda: NOBODY,
        memory: int | None = None,
    ) -> None:
        memory = half_of_memory() if memory is None else memory
        self._budget, self._spare = Budget(memory), Budget(memory // SPARE)
        self._observers = observers
        self._models = models
        self._cloud_s2 = cloud_s2
        self._workers = workers
        self._lock = threading.Lock()
        self.ahead = Ahead(ahead, self._new_ahead)
        self.running = 0

    def classify(self, query: QueryHalf, caller: PeerIdentity) -> Generator[Progress, None, AnswerHalf]:
        record = self._models.store.find(query.model, query.version)
        tools = self._cloud_s2.tools(self._workers)
        head, half = read_query(query, caller, record, tools.params, tools.key.n)
        with self._lock:
            self.running += 1
        self.ahead.begin()
        try:
            with closing((yield from self._take(record, query.engine, query.pictures))) as prepared:
                if not prepared.query.prepared:
                    yield Progress(label="preparing")
                    prepared.query.prepare()
                answer = yield from prepared.query.classify(head, half)
                self.ahead.want(record, query.engine)
                return AnswerHalf(half=answer, figures_json=json.dumps(prepared.query.meter.as_dict()))
        finally:
            with self._lock:
                self.running -= 1
            self.ahead.end()

    def _take(self, record: Record, engine: str, pictures: int) -> Generator[Progress, None, Prepared]:
        """A prepared query if there is one or one is being made, else a new one; others give way to it."""
        while pictures == 1:
            found = self.ahead.take(record, engine, WAIT)
            if found is not None:
                return found
            if not self.ahead.busy(record, engine):
                break
            yield Progress(label="preparing")
        while True:
            try:
                return self._new(record, engine, pictures)
            except TooMuch:
                if not self.ahead.give_way():
                    raise

    def _new_ahead(self, record: Record, engine: str) -> Prepared:
        """For a later query. Idle ones leave most of the memory to those that run."""
        return self._new(record, engine, 1, self._spare)

    def _new(self, record: Record, engine: str, pictures: int, *others: Budget) -> Prepared:
        """Not yet prepared. Raises TooMuch where a budget has no memory for it."""
        tools = self._cloud_s2.tools(self._workers)
        size = query_size(record.plan, tools.params, engine, pictures).memory
        with ExitStack() as held:
            for budget in (self._budget, *others):
                held.enter_context(budget.take(size))
            model = self._models.load(record, tools.key)
            observer = self._observers()
            wire = self._cloud_s2.peer()
            peer = ObservedPeer(wire, observer)
            held.callback(peer.close)
            query = query_s1(model, record.import_id, engine, tools, peer, pictures, observer=observer)
            return Counted(record, engine, query, peer, wire, held.pop_all())
