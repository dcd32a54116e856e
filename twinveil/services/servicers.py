"""The services of all roles as thin shells: check sizes and versions, call a handler object, encode."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, suppress
from typing import TypeVar, cast

import grpc
import psutil

from twinveil.errors import BadInput, InvalidMessage, PeerMismatch, TooMuch
from twinveil.network.card import check_name
from twinveil.rounds.chunks import CHUNK_BYTES
from twinveil.rpc import (
    catalogue_pb2_grpc,
    gateway_pb2_grpc,
    inference_pb2_grpc,
    keys_pb2_grpc,
    provision_pb2_grpc,
    status_pb2_grpc,
)
from twinveil.rpc.catalogue_pb2 import GetModelReply, GetModelRequest
from twinveil.rpc.gateway_pb2 import GatewayEvent, Picture
from twinveil.rpc.inference_pb2 import AnswerEvent, QueryHalf
from twinveil.rpc.keys_pb2 import GetPublicKeyReply, GetPublicKeyRequest
from twinveil.rpc.provision_pb2 import (
    ModelChunk,
    OutsourceEvent,
    RemoveModelReply,
    RemoveModelRequest,
)
from twinveil.rpc.status_pb2 import GetStatusReply, GetStatusRequest
from twinveil.rpc.types_pb2 import ListModelsReply, ListModelsRequest, Progress
from twinveil.services.handlers import (
    CatalogueHandler,
    Facts,
    GatewayHandler,
    InferenceHandler,
    ProvisionHandler,
)
from twinveil.transport.identity import caller
from twinveil.version import PROTOCOL_VERSION, VERSION

Event = TypeVar("Event")
Outcome = TypeVar("Outcome")


class InferenceServicer(inference_pb2_grpc.InferenceServicer):
    """User -> cloud."""

    service_name = "twinveil.rpc.Inference"

    def __init__(self, handler: InferenceHandler) -> None:
        self._handler = handler

    def register(self, server: grpc.Server) -> None:
        inference_pb2_grpc.add_InferenceServicer_to_server(self, server)

    def Classify(self, request: QueryHalf, context: grpc.ServicerContext) -> Iterator[AnswerEvent]:
        _check_version(request.protocol_version)
        _check_name(request.model, request.version)
        _check_length("query id", request.query_id, 16)
        _check_length("plan hash", request.plan_hash, 32)
        if not request.pictures or not request.half:
            raise InvalidMessage("a query without a picture")
        return _events(
            self._handler.classify(request, caller(context)),
            lambda progress: AnswerEvent(progress=progress),
            lambda half: AnswerEvent(answer=half),
        )


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
        _check_version(header.protocol_version)
        _check_name(header.model, header.version)
        _check_length("import id", header.import_id, 16)
        _check_length("key fingerprint", header.key_fingerprint, 32)
        if header.data_bytes > self._max_model_bytes:
            raise TooMuch(
                f"a model of {header.data_bytes} bytes: at most {self._max_model_bytes} are allowed"
            )
        return _events(
            self._handler.outsource(header, _data(request_iterator, header.data_bytes), caller(context)),
            lambda progress: OutsourceEvent(progress=progress),
            lambda entry: OutsourceEvent(outsourced=entry),
        )

    def ListModels(self, request: ListModelsRequest, context: grpc.ServicerContext) -> ListModelsReply:
        return ListModelsReply(models=self._handler.list_models())

    def RemoveModel(self, request: RemoveModelRequest, context: grpc.ServicerContext) -> RemoveModelReply:
        _check_name(request.model, request.version)
        self._handler.remove_model(request.model, request.version, caller(context))
        return RemoveModelReply()


class KeysServicer(keys_pb2_grpc.KeysServicer):
    """S2 -> everyone."""

    service_name = "twinveil.rpc.Keys"

    def __init__(self, jwk: str, fingerprint: bytes) -> None:
        self._reply = GetPublicKeyReply(jwk=jwk, fingerprint=fingerprint)

    def register(self, server: grpc.Server) -> None:
        keys_pb2_grpc.add_KeysServicer_to_server(self, server)

    def GetPublicKey(self, request: GetPublicKeyRequest, context: grpc.ServicerContext) -> GetPublicKeyReply:
        return self._reply


class StatusServicer(status_pb2_grpc.StatusServicer):
    """Every role -> every role."""

    service_name = "twinveil.rpc.Status"

    def __init__(self, role: str, facts: Callable[[], Facts] = Facts) -> None:
        self._role = role
        self._facts = facts
        self._begin = time.monotonic()

    def register(self, server: grpc.Server) -> None:
        status_pb2_grpc.add_StatusServicer_to_server(self, server)

    def GetStatus(self, request: GetStatusRequest, context: grpc.ServicerContext) -> GetStatusReply:
        facts = self._facts()
        return GetStatusReply(
            role=self._role,
            twinveil_version=VERSION,
            protocol_version=PROTOCOL_VERSION,
            key_fingerprint=facts.key_fingerprint,
            models=facts.models,
            running_queries=facts.running_queries,
            prepared_queries=facts.prepared_queries,
            uptime_seconds=time.monotonic() - self._begin,
            memory_bytes=resident_bytes(),
            pid=os.getpid(),
            clock_seconds=time.time(),
        )


class CatalogueServicer(catalogue_pb2_grpc.CatalogueServicer):
    """Owner -> users."""

    service_name = "twinveil.rpc.Catalogue"

    def __init__(self, handler: CatalogueHandler) -> None:
        self._handler = handler

    def register(self, server: grpc.Server) -> None:
        catalogue_pb2_grpc.add_CatalogueServicer_to_server(self, server)

    def ListModels(self, request: ListModelsRequest, context: grpc.ServicerContext) -> ListModelsReply:
        return ListModelsReply(models=self._handler.list_models())

    def GetModel(self, request: GetModelRequest, context: grpc.ServicerContext) -> GetModelReply:
        return self._handler.get_model(request.model, request.version)


class GatewayServicer(gateway_pb2_grpc.GatewayServicer):
    """User -> programs on the same machine."""

    service_name = "twinveil.rpc.Gateway"

    def __init__(self, handler: GatewayHandler) -> None:
        self._handler = handler

    def register(self, server: grpc.Server) -> None:
        gateway_pb2_grpc.add_GatewayServicer_to_server(self, server)

    def Classify(self, request: Picture, context: grpc.ServicerContext) -> Iterator[GatewayEvent]:
        return _events(
            self._handler.classify(request, caller(context)),
            lambda progress: GatewayEvent(progress=progress),
            lambda result: GatewayEvent(result=result),
        )


def resident_bytes() -> int:
    """Memory of this process and its workers."""
    process = psutil.Process()
    total = 0
    for each in (process, *process.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            total += each.memory_info().rss
    return total


def _events(
    work: Generator[Progress, None, Outcome],
    of_progress: Callable[[Progress], Event],
    of_result: Callable[[Outcome], Event],
) -> Iterator[Event]:
    """A handler's generator as a stream of events; closed when the stream ends, however it ends."""
    with closing(work):
        result = yield from _map(work, of_progress)
        yield of_result(result)


def _map(
    work: Generator[Progress, None, Outcome], of_progress: Callable[[Progress], Event]
) -> Generator[Event, None, Outcome]:
    while True:
        try:
            progress = next(work)
        except StopIteration as end:
            return cast("Outcome", end.value)
        yield of_progress(progress)


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


def _check_version(version: int) -> None:
    if version != PROTOCOL_VERSION:
        raise PeerMismatch(
            f"the caller speaks protocol version {version}, this cloud speaks {PROTOCOL_VERSION}: "
            "bring both to the same release"
        )


def _check_name(model: str, version: str) -> None:
    try:
        check_name(model, version)
    except BadInput as error:
        raise InvalidMessage(str(error)) from None


def _check_length(what: str, value: bytes, length: int) -> None:
    if len(value) != length:
        raise InvalidMessage(f"the {what} has {len(value)} bytes instead of {length}")
