"""Owners at S1: the blinded model arrives, the import runs against S2, the model is there or not."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing

from cloud_s1.models import ModelsS1
from cloud_s1.way_to_s2 import CloudS2
from twinveil.cloud.requests import import_binding, read_header
from twinveil.halves.model import collect, read_halves
from twinveil.parallel import Workers
from twinveil.protocol.model.s1 import import_model
from twinveil.rounds.observed import ObservedPeer
from twinveil.rounds.observer import NOBODY, Observer
from twinveil.rounds.scripted import expect
from twinveil.rpc import rounds_pb2 as pb
from twinveil.rpc.provision_pb2 import ModelHeader
from twinveil.rpc.types_pb2 import ModelEntry, Progress
from twinveil.transport.identity import PeerIdentity


class ProvisionS1:
    """A ProvisionHandler. removed: told the import id of a model that is gone. ready: items by import id."""

    def __init__(
        self,
        models: ModelsS1,
        cloud_s2: CloudS2,
        workers: Workers,
        observers: Callable[[], Observer] = lambda: NOBODY,
        removed: Callable[[bytes], None] = lambda import_id: None,
        ready: Callable[[], Mapping[bytes, int]] = dict,
    ) -> None:
        self._observers = observers
        self._removed, self._ready = removed, ready
        self._models = models
        self._cloud_s2 = cloud_s2
        self._workers = workers

    def outsource(
        self, header: ModelHeader, data: Iterator[bytes], caller: PeerIdentity
    ) -> Generator[Progress, None, ModelEntry]:
        tools = self._cloud_s2.tools(self._workers)
        record = read_header(header, caller, tools.params, tools.key)
        self._models.store.refuse_existing(record.model, record.version)
        self._models.store.refuse_known(record.import_id)
        halves = read_halves(record.plan, record.engines, tools.params, tools.key.n, collect(data))
        observer = self._observers()
        with closing(ObservedPeer(self._cloud_s2.peer(), observer)) as peer:
            model = yield from import_model(
                peer.ask,
                record.import_id,
                import_binding(record, caller),
                record.layouts,
                halves,
                tools.machine,
                observer,
            )
            with self._models.stage(record, model, tools.key) as staged:
                expect(peer.ask(pb.Round(commit=pb.Commit())), "done")
                staged.commit()
        return record.entry()

    def list_models(self, caller: PeerIdentity) -> Sequence[ModelEntry]:
        """With the items that lie ready of the caller's own: of others' they tell how those are used."""
        entries, ready = self._models.store.entries(), self._ready()
        own = {
            (each.model, each.version): each
            for each in self._models.store.records()
            if each.owner == caller.name
        }
        for entry in entries:
            if record := own.get((entry.model, entry.version)):
                entry.ready = ready.get(record.import_id, 0)
        return entries

    def remove_model(self, model: str, version: str, caller: PeerIdentity) -> None:
        record = self._models.store.remove(model, version, caller.name)
        if record is not None:
            self._models.loaded.forget(record.import_id)
            self._removed(record.import_id)
