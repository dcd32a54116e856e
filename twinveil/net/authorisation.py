"""Which role may call which RPC: one table, enforced in one interceptor that every server of Twinveil has.

An RPC that is not in the table is refused to everyone. The interceptor also is the one place where errors
become gRPC statuses, so that a servicer needs no error handling of its own.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeAlias

import grpc

from twinveil.errors import NotAllowed, TooMuch
from twinveil.net.identity import ROLES, PeerIdentity, of_caller, set_caller
from twinveil.net.status import boundary

EVERYONE = frozenset(ROLES)

TABLE: Mapping[str, frozenset[str]] = {
    "/twinveil.rpc.Rounds/Converse": frozenset({"cloud_s1"}),
    "/twinveil.rpc.Inference/Classify": frozenset({"user"}),
    "/twinveil.rpc.Provision/Outsource": frozenset({"owner"}),
    "/twinveil.rpc.Provision/ListModels": frozenset({"owner"}),
    "/twinveil.rpc.Provision/RemoveModel": frozenset({"owner"}),
    "/twinveil.rpc.Keys/GetPublicKey": EVERYONE,
    "/twinveil.rpc.Status/GetStatus": EVERYONE,
    "/twinveil.rpc.Catalogue/ListModels": frozenset({"owner", "user"}),
    "/twinveil.rpc.Catalogue/GetModel": frozenset({"owner", "user"}),
    "/twinveil.rpc.Gateway/Classify": frozenset({"user"}),
    "/twinveil.rpc.Sealing/GetTerms": frozenset({"owner", "user"}),
    "/twinveil.rpc.Sealing/GetNetwork": frozenset({"owner", "user"}),
    "/twinveil.rpc.Sealing/RegisterDevice": frozenset({"owner"}),
    "/twinveil.rpc.Sealing/Enrol": frozenset({"owner"}),
    "/twinveil.rpc.Sealing/Verify": frozenset({"user"}),
    "/grpc.health.v1.Health/Check": EVERYONE,
}
"""RPC -> the roles that may call it."""

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Unary = Callable[[Any, grpc.ServicerContext], Any]
Streaming = Callable[[Any, grpc.ServicerContext], Iterator[Any]]


def authorise(method: str, caller: PeerIdentity, table: Mapping[str, frozenset[str]] = TABLE) -> None:
    """Raises NotAllowed unless the table lets this caller call this RPC."""
    if caller.role not in table.get(method, frozenset()):
        raise NotAllowed(f"{caller.role} may not call {method}")


class Gate(grpc.ServerInterceptor):  # type: ignore[type-arg]
    """Every RPC passes here: the caller's identity, the table, then the servicer inside an error boundary."""

    def __init__(
        self,
        insecure: bool,
        concurrent: Mapping[str, int] | None = None,
        table: Mapping[str, frozenset[str]] = TABLE,
    ) -> None:
        """concurrent: RPC -> calls of it that are served at once; more are refused with TooMuch."""
        self._insecure = insecure
        self._table = table
        self._slots = {method: threading.Semaphore(count) for method, count in (concurrent or {}).items()}

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Handler | None],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        handler = continuation(handler_call_details)
        if handler is None:
            return None
        return self._guarded(handler, handler_call_details.method)

    @contextmanager
    def _slot(self, method: str) -> Iterator[None]:
        slots = self._slots.get(method)
        if slots is None:
            yield
            return
        if not slots.acquire(blocking=False):
            raise TooMuch(f"too many calls of {method} at once: try again later")
        try:
            yield
        finally:
            slots.release()

    def _guarded(self, handler: Handler, method: str) -> Handler | None:
        def check(context: grpc.ServicerContext) -> None:
            identity = of_caller(context, self._insecure)
            authorise(method, identity, self._table)
            set_caller(context, identity)

        def one(inner: Unary) -> Unary:
            def behaviour(request: Any, context: grpc.ServicerContext) -> Any:
                with boundary(context), self._slot(method):
                    check(context)
                    return inner(request, context)

            return behaviour

        def many(inner: Streaming) -> Streaming:
            def behaviour(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
                with boundary(context), self._slot(method):
                    check(context)
                    yield from inner(request, context)

            return behaviour

        codec = (handler.request_deserializer, handler.response_serializer)
        if handler.unary_unary is not None:
            return grpc.unary_unary_rpc_method_handler(one(handler.unary_unary), *codec)
        if handler.unary_stream is not None:
            return grpc.unary_stream_rpc_method_handler(many(handler.unary_stream), *codec)
        if handler.stream_unary is not None:
            return grpc.stream_unary_rpc_method_handler(one(handler.stream_unary), *codec)
        if handler.stream_stream is not None:
            return grpc.stream_stream_rpc_method_handler(many(handler.stream_stream), *codec)
        return None
