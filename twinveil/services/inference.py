"""Inference, users at both clouds: one half of a picture to each, one half of the answer back."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from typing import Protocol

import grpc

from twinveil.errors import InvalidMessage
from twinveil.rpc import inference_pb2_grpc
from twinveil.rpc.inference_pb2 import AnswerEvent, AnswerHalf, QueryHalf
from twinveil.rpc.types_pb2 import Progress
from twinveil.services.both import follow_both
from twinveil.services.calls import check_length, check_name, check_version, events
from twinveil.transport.channel import Connection
from twinveil.transport.identity import PeerIdentity, caller
from twinveil.wording import Telling

PREPARING = "preparing"
"""Label of S1's progress while a query waits for items that did not lie ready."""


class InferenceHandler(Protocol):
    """One cloud's half of a classification."""

    def classify(self, query: QueryHalf, caller: PeerIdentity) -> Generator[Progress, None, AnswerHalf]:
        """Yields progress, returns this cloud's half of the answer."""
        ...


class InferenceServicer(inference_pb2_grpc.InferenceServicer):
    """User -> cloud."""

    service_name = "twinveil.rpc.Inference"

    def __init__(self, handler: InferenceHandler) -> None:
        self._handler = handler

    def register(self, server: grpc.Server) -> None:
        inference_pb2_grpc.add_InferenceServicer_to_server(self, server)

    def Classify(self, request: QueryHalf, context: grpc.ServicerContext) -> Iterator[AnswerEvent]:
        check_version(request.protocol_version, caller(context))
        check_name(request.model, request.version)
        check_length("query id", request.query_id, 16)
        check_length("plan hash", request.plan_hash, 32)
        check_length("import id", request.import_id, 16)
        if not request.pictures or not request.half:
            raise InvalidMessage("a query without a picture")
        return events(
            self._handler.classify(request, caller(context)),
            lambda progress: AnswerEvent(progress=progress),
            lambda half: AnswerEvent(answer=half),
        )


def classify_at_both(
    links: Sequence[Connection], requests: Sequence[QueryHalf], timeout: float, report: Telling
) -> tuple[AnswerHalf, AnswerHalf]:
    """The user's end: each cloud's half of the answer, S1's first. Raises what the first to fail says."""
    calls = [
        inference_pb2_grpc.InferenceStub(link.channel).Classify(request, timeout=timeout)
        for link, request in zip(links, requests, strict=True)
    ]
    first, second = follow_both(links, calls, report)
    return first.answer, second.answer
