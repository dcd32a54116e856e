"""Provision, owners at both clouds: models come, are listed, and go."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from typing import Protocol

import grpc

from twinveil.errors import InvalidMessage, TooMuch
from twinveil.rounds.chunks import CHUNK_BYTES
from twinveil.rpc import provision_pb2_grpc
from twinveil.rpc.provision_pb2 import (
    ModelChunk,
    ModelHeader,
    OutsourceEvent,
    RemoveModelReply,
    RemoveModelRequest,
)
from twinveil.rpc.types_pb2 import ListModelsReply, ListModelsRequest, ModelEntry, Progress
from twinveil.services.both import follow_both
from twinveil.services.calls import check_length, check_name, check_version, events
from twinveil.transport.channel import Connection
from twinveil.transport.identity import PeerIdentity, caller
from twinveil.transport.status import from_rpc_error
from twinveil.wording import Telling


class ProvisionHandler(Protocol):
    """A cloud's store of models."""

    def outsource(
        self, header: ModelHeader, data: Iterator[bytes], caller: PeerIdentity
    ) -> Generator[Progress, None, ModelEntry]:
        """Takes exactly header.data_bytes from `data`; yields progress, returns once the model is there.

        `data` raises when the owner breaks off or sends too little or too much: nothing may stay then.
        """
        ...

    def list_models(self, caller: PeerIdentity) -> Sequence[ModelEntry]:
        """Every owner's; what is said beyond their names may depend on whose they are."""
        ...

    def remove_model(self, model: str, version: str, caller: PeerIdentity) -> None:
        """Raises NotAllowed unless it is this caller's own."""
        ...


class ProvisionServicer(provision_pb2_grpc.ProvisionServicer):
    """Owner -> cloud."""

    service_name = "twinveil.rpc.Provision"

    def __init__(self, handler: ProvisionHandler, max_model_bytes: int = 1 << 30) -> None:
        self._handler = handler
        self._max_model_bytes = max_model_bytes

    def register(self, server: grpc.Server) -> None:
        provision_pb2_grpc.add_ProvisionServicer_to_server(self, server)

    def Outsource(
        self, request_iterator: Iterator[ModelChunk], context: grpc.ServicerContext
    ) -> Iterator[OutsourceEvent]:
        first = next(request_iterator, None)
        if first is None or first.WhichOneof("piece") != "header":
            raise InvalidMessage("a model must begin with its header")
        header = first.header
        check_version(header.protocol_version, caller(context))
        check_name(header.model, header.version)
        check_length("import id", header.import_id, 16)
        check_length("key fingerprint", header.key_fingerprint, 32)
        if header.data_bytes > self._max_model_bytes:
            raise TooMuch(
                f"a model of {header.data_bytes} bytes: at most {self._max_model_bytes} are allowed"
            )
        return events(
            self._handler.outsource(header, _data(request_iterator, header.data_bytes), caller(context)),
            lambda progress: OutsourceEvent(progress=progress),
            lambda entry: OutsourceEvent(outsourced=entry),
        )

    def ListModels(self, request: ListModelsRequest, context: grpc.ServicerContext) -> ListModelsReply:
        return ListModelsReply(models=self._handler.list_models(caller(context)))

    def RemoveModel(self, request: RemoveModelRequest, context: grpc.ServicerContext) -> RemoveModelReply:
        check_name(request.model, request.version)
        self._handler.remove_model(request.model, request.version, caller(context))
        return RemoveModelReply()


def _data(pieces: Iterator[ModelChunk], expected: int) -> Iterator[bytes]:
    """The data pieces after the header, exactly as many bytes as it announced, every piece but the last full.

    So their number is bounded, too: a short piece would cost far more memory and time than its bytes.
    """
    left = expected
    for piece in pieces:
        if piece.WhichOneof("piece") != "data":
            raise InvalidMessage("a model has one header, then only data")
        size = len(piece.data)
        if size > CHUNK_BYTES:
            raise TooMuch(f"a piece of {size} bytes: at most {CHUNK_BYTES} are allowed")
        if not left or size > left:
            raise InvalidMessage("the model has more data than its header says")
        if size < min(CHUNK_BYTES, left):
            raise InvalidMessage(f"a piece of {size} bytes: only the last may be shorter than {CHUNK_BYTES}")
        left -= size
        yield piece.data
    if left:
        raise InvalidMessage(f"the model's data ended {left} bytes early")


def outsource_to_both(
    links: Sequence[Connection], header: ModelHeader, halves: Sequence[bytes], timeout: float, report: Telling
) -> ModelEntry:
    """The owner's end: both halves at once, since S1 begins the import with its own and waits for S2's."""
    calls = [
        provision_pb2_grpc.ProvisionStub(link.channel).Outsource(_pieces(header, half), timeout=timeout)
        for link, half in zip(links, halves, strict=True)
    ]
    first, _ = follow_both(links, calls, report)
    return first.outsourced


def list_models(link: Connection, timeout: float) -> Sequence[ModelEntry]:
    try:
        stub = provision_pb2_grpc.ProvisionStub(link.channel)
        return list(stub.ListModels(ListModelsRequest(), timeout=timeout).models)
    except grpc.RpcError as error:
        raise from_rpc_error(error, link.peer) from None


def remove_model(link: Connection, model: str, version: str, timeout: float) -> None:
    """Raises UnknownModel, and NotAllowed if it is another owner's."""
    request = RemoveModelRequest(model=model, version=version)
    try:
        provision_pb2_grpc.ProvisionStub(link.channel).RemoveModel(request, timeout=timeout)
    except grpc.RpcError as error:
        raise from_rpc_error(error, link.peer) from None


def _pieces(header: ModelHeader, data: bytes) -> Iterator[ModelChunk]:
    yield ModelChunk(header=header)
    for start in range(0, len(data), CHUNK_BYTES):
        yield ModelChunk(data=data[start : start + CHUNK_BYTES])
