"""What a role puts behind its services. Handlers know nothing of gRPC.

Long ones are generators that yield Progress and return the result; when the caller goes away the generator is
closed, and its `finally` frees what it held.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from twinveil.rpc.catalogue_pb2 import GetModelReply
from twinveil.rpc.gateway_pb2 import Picture, Result
from twinveil.rpc.inference_pb2 import AnswerHalf, QueryHalf
from twinveil.rpc.provision_pb2 import ModelHeader
from twinveil.rpc.types_pb2 import ModelEntry, Progress
from twinveil.transport.identity import PeerIdentity


class InferenceHandler(Protocol):
    """One cloud's half of a classification."""

    def classify(self, query: QueryHalf, caller: PeerIdentity) -> Generator[Progress, None, AnswerHalf]:
        """Yields progress, returns this cloud's half of the answer."""
        ...


class ProvisionHandler(Protocol):
    """A cloud's store of models."""

    def outsource(
        self, header: ModelHeader, data: Iterator[bytes], caller: PeerIdentity
    ) -> Generator[Progress, None, ModelEntry]:
        """Takes exactly header.data_bytes from `data`; yields progress, returns once the model is there.

        `data` raises when the owner breaks off or sends too little or too much: nothing may stay then.
        """
        ...

    def list_models(self) -> Sequence[ModelEntry]: ...

    def remove_model(self, model: str, version: str, caller: PeerIdentity) -> None:
        """Raises NotAllowed unless it is this caller's own."""
        ...


class CatalogueHandler(Protocol):
    """What the owner tells users."""

    def list_models(self) -> Sequence[ModelEntry]: ...

    def get_model(self, model: str, version: str) -> GetModelReply:
        """version may be empty: the newest. Raises UnknownModel."""
        ...


class GatewayHandler(Protocol):
    """Classification for programs on the user's machine."""

    def classify(self, picture: Picture, caller: PeerIdentity) -> Generator[Progress, None, Result]: ...


@dataclass(frozen=True, slots=True)
class Facts:
    """What a role says of itself in Status beside its name and version."""

    key_fingerprint: bytes = b""
    models: Sequence[ModelEntry] = ()
    running_queries: int = 0
    prepared_queries: int = 0
