"""Which role may call which RPC: one table, enforced in one interceptor that every server of Twinveil has.

An RPC that is not in the table is refused to everyone. The interceptor also is the one place where errors
become gRPC statuses, so that a servicer needs no error handling of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeAlias

import grpc

from twinveil.errors import InvalidMessage, NotAllowed
from twinveil.transport.identity import ROLES, PeerIdentity, of_caller, set_caller
from twinveil.transport.limits import USUAL, WATCHDOG, Places, RpcLimits, paced, taken
from twinveil.transport.status import boundary

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


def authorise(method: str, caller: PeerIdentity, table: Mapping[str, frozenset[str]] = TABLE) -> None:
    """Raises NotAllowed unless the table lets this caller call this RPC."""
    if caller.role not in table.get(method, frozenset()):
        raise NotAllowed(f"{caller.role} may not call {method}")


class Doorkeeper(grpc.ServerInterceptor):  # type: ignore[type-arg]
    """Every RPC passes here: the caller's identity, the table, its place and time, then the servicer.

    All of that happens before a byte of the caller's message is read, single messages included: what nobody
    may send, or too many send at once, takes no memory.
    """

    def __init__(
        self,
        insecure: bool,
        limits: RpcLimits | None = None,
        table: Mapping[str, frozenset[str]] = TABLE,
        clients: int | None = None,
        role: str = "this role",
    ) -> None:
        self._insecure = insecure
        self._limits = limits or {}
        self._table = table
        self._places = Places(self._limits, clients)
        self._role = role

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
    def _admitted(self, method: str, context: grpc.ServicerContext) -> Iterator[PeerIdentity]:
        with boundary(context, self._role):
            identity = of_caller(context, self._insecure)
            authorise(method, identity, self._table)
            set_caller(context, identity)
            seconds = self._limits.get(method, USUAL).seconds
            late = f"{method} of {identity} took more than {seconds:g} s"
            with self._places.take(method, identity), WATCHDOG.ends(context, seconds, late):
                yield identity

    def _guarded(self, handler: Handler, method: str) -> Handler:
        """The handler as one that reads its messages itself, also where there is only one."""
        idle = self._limits.get(method, USUAL).idle
        single = not handler.request_streaming
        inner: Any = next(
            each
            for each in (
                handler.unary_unary,
                handler.unary_stream,
                handler.stream_unary,
                handler.stream_stream,
            )
            if each is not None
        )

        def read(requests: Iterator[Any], context: grpc.ServicerContext, identity: PeerIdentity) -> Any:
            messages = paced(requests, context, idle, f"{method}: {identity}")
            return _only(messages) if single else messages

        def one(requests: Iterator[Any], context: grpc.ServicerContext) -> Any:
            with self._admitted(method, context) as identity:
                return inner(read(requests, context, identity), context)

        def many(requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
            with self._admitted(method, context) as identity:
                messages = inner(read(requests, context, identity), context)
                yield from taken(messages, context, idle, f"{method}: {identity}")

        codec = (handler.request_deserializer, handler.response_serializer)
        if handler.response_streaming:
            return grpc.stream_stream_rpc_method_handler(many, *codec)
        return grpc.stream_unary_rpc_method_handler(one, *codec)


def _only(messages: Iterator[Any]) -> Any:
    """The message of a call that has one. Raises InvalidMessage if the caller sends none."""
    for message in messages:
        return message
    raise InvalidMessage("a call without its message")
