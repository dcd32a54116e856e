"""The sealing server behind its gRPC shell: registry, verifier and metrics in one handler."""

from __future__ import annotations

from collections.abc import Sequence

from twinveil.sealing.factors import FirstFactor
from twinveil.sealing.features import Recogniser
from twinveil.sealing.keys import PublicKeys, ServerKeys
from twinveil.sealing.network_files import Network
from twinveil.sealing.reasons import Outcome
from twinveil.sealing.receipt import Receipt
from twinveil.sealing.server.enrol import Registry
from twinveil.sealing.server.metrics import Metrics
from twinveil.sealing.server.store import Store
from twinveil.sealing.server.verify import Policy, Verifier


class SealingService:
    """A twinveil.services.sealing.SealingHandler."""

    def __init__(
        self, keys: ServerKeys, model: FirstFactor, recogniser: Recogniser, store: Store, policy: Policy
    ) -> None:
        self._keys = keys
        self._model = model
        self._policy = policy
        self._registry = Registry(keys, recogniser, store)
        self._verifier = Verifier(keys, model, recogniser, store, policy)
        self.metrics = Metrics()

    @property
    def keys(self) -> PublicKeys:
        return self._keys.public

    @property
    def network(self) -> Network:
        return self._model.network

    @property
    def sign_versions(self) -> Sequence[int]:
        return sorted(self._policy.sign_versions)

    def register_device(self, name: str, public_key: bytes) -> None:
        self._registry.register_device(name, public_key)

    def enrol(self, data: bytes, replace: bool) -> str:
        return self._registry.enrol(data, replace=replace)

    def verify(self, data: bytes) -> tuple[Outcome, Receipt | None]:
        verdict = self._verifier.verify(data)
        self.metrics.count(verdict)
        return verdict.outcome, verdict.receipt
