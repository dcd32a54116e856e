"""Owners at S2: the blindings wait here until S1 runs the import."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence

from cloud_s2.models import ModelsS2
from cloud_s2.pending import Pending
from twinveil.cloud.rendezvous import Rendezvous
from twinveil.cloud.requests import import_binding, read_header
from twinveil.cloud.store import Record
from twinveil.crypto.public_key import PublicKey
from twinveil.halves.model import Halves, collect, read_halves
from twinveil.params import Params
from twinveil.rpc.provision_pb2 import ModelHeader
from twinveil.rpc.types_pb2 import ModelEntry, Progress
from twinveil.transport.identity import PeerIdentity

IMPORT_SECONDS = 3600.0


class PendingImport(Pending[ModelEntry]):
    """One model's blindings on their way."""

    def __init__(self, record: Record, halves: Halves, binding: bytes) -> None:
        super().__init__("the import", "outsource the model again")
        self.record = record
        self.halves = halves
        self.binding = binding


class ProvisionS2:
    """A ProvisionHandler. unclaimed: seconds that a half waits for S1 to begin its import.

    removed: told the import id of a model that is gone.
    """

    def __init__(
        self,
        models: ModelsS2,
        params: Params,
        key: PublicKey,
        unclaimed: float,
        removed: Callable[[bytes], None] = lambda import_id: None,
    ) -> None:
        self._removed = removed
        self._models = models
        self._params = params
        self._key = key
        self._unclaimed = unclaimed
        self._pending: Rendezvous[PendingImport] = Rendezvous("model")

    def claim(
        self, import_id: bytes, seconds: float, check: Callable[[PendingImport], None]
    ) -> PendingImport:
        """The half of this import, for one conversation. What `check` raises leaves it where it is."""
        pending = self._pending.claim(import_id, seconds, check)
        pending.claimed = True
        return pending

    def outsource(
        self, header: ModelHeader, data: Iterator[bytes], caller: PeerIdentity
    ) -> Generator[Progress, None, ModelEntry]:
        record = read_header(header, caller, self._params, self._key)
        self._models.store.refuse_existing(record.model, record.version)
        self._models.store.refuse_known(record.import_id)
        halves = read_halves(record.plan, record.engines, self._params, self._key.n, collect(data))
        pending = PendingImport(record, halves, import_binding(record, caller))
        self._pending.deposit(record.import_id, pending)
        try:
            return (yield from pending.outcome(self._unclaimed, IMPORT_SECONDS))
        finally:
            self._pending.withdraw(record.import_id)

    def list_models(self, caller: PeerIdentity) -> Sequence[ModelEntry]:
        return self._models.store.entries()

    def remove_model(self, model: str, version: str, caller: PeerIdentity) -> None:
        record = self._models.store.remove(model, version, caller.name)
        if record is not None:
            self._models.loaded.forget(record.import_id)
            self._removed(record.import_id)
