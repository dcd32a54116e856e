"""Users at S1: every query is one conversation with S2, prepared ahead where the cloud has had the time."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Generator
from contextlib import closing, suppress
from dataclasses import dataclass

from cloud_s1.models import ModelsS1
from cloud_s1.s2 import CloudS2
from twinveil.errors import PeerUnavailable, TwinveilError
from twinveil.net.grpc_peer import GrpcPeer
from twinveil.net.identity import PeerIdentity
from twinveil.parallel import Workers
from twinveil.protocol.query.engines_s1 import query_s1
from twinveil.protocol.query.s1 import QueryS1
from twinveil.requests import read_query
from twinveil.rpc.inference_pb2 import AnswerHalf, QueryHalf
from twinveil.rpc.types_pb2 import Progress
from twinveil.store import Record

log = logging.getLogger(__name__)


@dataclass
class Prepared:
    """A query that waits for its picture, with its open conversation."""

    query: QueryS1
    peer: GrpcPeer

    def close(self) -> None:
        self.peer.close()


class QueriesS1:
    """An InferenceHandler. `ahead`: queries of one picture that are kept prepared for each model in use."""

    def __init__(self, models: ModelsS1, cloud_s2: CloudS2, workers: Workers, ahead: int = 0) -> None:
        self._models = models
        self._cloud_s2 = cloud_s2
        self._workers = workers
        self._ahead = ahead
        self._ready: dict[tuple[bytes, str], list[Prepared]] = {}
        self._lock = threading.Lock()
        self._idle = threading.Condition(self._lock)
        self._wanted: list[tuple[Record, str]] = []
        self.running = 0
        if ahead:
            threading.Thread(target=self._prepare_ahead, name="prepare-ahead", daemon=True).start()

    @property
    def prepared(self) -> int:
        """Queries that wait for a picture."""
        with self._lock:
            return sum(len(ready) for ready in self._ready.values())

    def classify(self, query: QueryHalf, caller: PeerIdentity) -> Generator[Progress, None, AnswerHalf]:
        record = self._models.store.find(query.model, query.version)
        tools = self._cloud_s2.tools(self._workers)
        head, half = read_query(query, caller, record, tools.params, tools.key.n)
        with self._lock:
            self.running += 1
        try:
            with closing(self._take(record, query.engine, query.pictures)) as prepared:
                if not prepared.query.prepared:
                    yield Progress(label="preparing")
                    prepared.query.prepare()
                work = prepared.query.classify(head, half)
                while True:
                    try:
                        step = next(work)
                    except StopIteration as end:
                        figures = json.dumps(prepared.query.meter.as_dict())
                        return AnswerHalf(half=end.value, figures_json=figures)
                    yield Progress(stage=step.stage, stages=step.stages, label=step.label)
        except PeerUnavailable:
            self._cloud_s2.lost()
            raise
        finally:
            with self._idle:
                self.running -= 1
                if self._ahead:
                    self._wanted.append((record, query.engine))
                self._idle.notify_all()

    def _take(self, record: Record, engine: str, pictures: int) -> Prepared:
        """A prepared query if there is one that still stands, else a new one."""
        if pictures == 1:
            with self._lock:
                ready = self._ready.get((record.import_id, engine), [])
                if ready:
                    return ready.pop(0)
        return self._new(record, engine, pictures)

    def _new(self, record: Record, engine: str, pictures: int = 1) -> Prepared:
        tools = self._cloud_s2.tools(self._workers)
        model = self._models.load(record, tools.key)
        peer = self._cloud_s2.peer()
        return Prepared(query_s1(model, record.import_id, engine, tools, peer, pictures), peer)

    def _prepare_ahead(self) -> None:
        """Fills up what the last queries took, while no query runs."""
        while True:
            with self._idle:
                while not self._wanted or self.running:
                    self._idle.wait()
                record, engine = self._wanted.pop(0)
                ready = self._ready.setdefault((record.import_id, engine), [])
                if engine != "packed" or len(ready) >= self._ahead:
                    continue
            with suppress(TwinveilError):
                prepared = self._new(record, engine)
                try:
                    prepared.query.prepare()
                except TwinveilError as error:
                    log.info("no query was prepared ahead: %s", error)
                    prepared.close()
                    continue
                with self._lock:
                    ready.append(prepared)
