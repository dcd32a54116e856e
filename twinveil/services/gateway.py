"""Gateway, programs on the user's machine at the user's process: picture in, class out."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Protocol

import grpc

from twinveil.errors import PeerUnavailable
from twinveil.rpc import gateway_pb2_grpc
from twinveil.rpc.gateway_pb2 import GatewayEvent, Picture, Result
from twinveil.rpc.types_pb2 import Progress
from twinveil.services.calls import events
from twinveil.transport.channel import Connection
from twinveil.transport.identity import PeerIdentity, caller
from twinveil.transport.status import from_rpc_error
from twinveil.wording import Telling


class GatewayHandler(Protocol):
    """Classification for programs on the user's machine."""

    def classify(self, picture: Picture, caller: PeerIdentity) -> Generator[Progress, None, Result]: ...


class GatewayServicer(gateway_pb2_grpc.GatewayServicer):
    """User -> programs on the same machine."""

    service_name = "twinveil.rpc.Gateway"

    def __init__(self, handler: GatewayHandler) -> None:
        self._handler = handler

    def register(self, server: grpc.Server) -> None:
        gateway_pb2_grpc.add_GatewayServicer_to_server(self, server)

    def Classify(self, request: Picture, context: grpc.ServicerContext) -> Iterator[GatewayEvent]:
        return events(
            self._handler.classify(request, caller(context)),
            lambda progress: GatewayEvent(progress=progress),
            lambda result: GatewayEvent(result=result),
        )


def classify(link: Connection, picture: Picture, timeout: float, report: Telling) -> Result:
    """The program's end. Raises what the user's process says."""
    try:
        for event in gateway_pb2_grpc.GatewayStub(link.channel).Classify(picture, timeout=timeout):
            if event.WhichOneof("event") == "result":
                return event.result
            report(event.progress.stage, event.progress.stages, event.progress.label)
    except grpc.RpcError as error:
        raise from_rpc_error(error, link.peer) from None
    raise PeerUnavailable(f"{link.peer} ended the call without a result: ask again")
