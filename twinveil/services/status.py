"""Status, everybody at every role: who it is and how it is doing. transport/channel.py asks."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import grpc
import psutil

from twinveil.rpc import status_pb2_grpc
from twinveil.rpc.status_pb2 import GetStatusReply, GetStatusRequest
from twinveil.rpc.types_pb2 import ModelEntry
from twinveil.version import PROTOCOL_VERSION, VERSION


@dataclass(frozen=True, slots=True)
class Facts:
    """What a role says of itself in Status beside its name and version."""

    key_fingerprint: bytes = b""
    models: Sequence[ModelEntry] = ()
    running_queries: int = 0
    ready_items: int = 0
    arithmetic: str = ""


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
            ready_items=facts.ready_items,
            arithmetic=facts.arithmetic,
            uptime_seconds=time.monotonic() - self._begin,
            memory_bytes=resident_bytes(),
            pid=os.getpid(),
            clock_seconds=time.time(),
        )


def resident_bytes() -> int:
    """Memory of this process and its workers."""
    process = psutil.Process()
    total = 0
    for each in (process, *process.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            total += each.memory_info().rss
    return total
