"""Stand-ins for what gRPC brings to a servicer or a caller."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, cast

import grpc

from twinveil.rpc.keys_pb2 import GetPublicKeyReply
from twinveil.transport.identity import PeerIdentity, set_caller
from twinveil.transport.server import Service


class Caller:
    """Stands for a gRPC context."""


def called(identity: PeerIdentity) -> grpc.ServicerContext:
    """The context of a call that this role makes."""
    context = cast("grpc.ServicerContext", Caller())
    set_caller(context, identity)
    return context


class Serving:
    """Stands for a channel to S2 that serves this as its key."""

    def __init__(self, jwk: str) -> None:
        self._reply = GetPublicKeyReply(jwk=jwk)

    def unary_unary(self, *_: object, **__: object) -> Callable[..., GetPublicKeyReply]:
        return lambda *_, **__: self._reply


class Registered:
    """Stands for a gRPC server: keeps what services register, by "Service.Method"."""

    def __init__(self, services: Iterable[Service]) -> None:
        self.methods: dict[str, Any] = {}
        for service in services:
            service.register(cast("grpc.Server", self))

    def add_generic_rpc_handlers(self, handlers: object) -> None:
        """The same handlers as in the other call."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        name = service.rpartition(".")[2]
        self.methods |= {f"{name}.{method}": handler for method, handler in handlers.items()}


class Near:
    """Stands for a channel to a role in this process; `bend` gets every reply's method and message."""

    def __init__(
        self,
        methods: Mapping[str, Any],
        caller: PeerIdentity,
        bend: Callable[[str, Any], Any] = lambda method, reply: reply,
    ) -> None:
        self._methods, self._caller, self._bend = methods, caller, bend

    def unary_unary(self, path: str, **codec: Any) -> Callable[..., Any]:
        return lambda request, **_: self._reply(path, codec, self._call(path, codec, request))

    def unary_stream(self, path: str, **codec: Any) -> Callable[..., Any]:
        return lambda request, **_: Stream(
            self._reply(path, codec, each) for each in self._call(path, codec, request)
        )

    def _call(self, path: str, codec: Mapping[str, Any], request: Any) -> Any:
        handler = self._methods[_method(path)]
        sent = handler.request_deserializer(codec["request_serializer"](request))
        return (handler.unary_unary or handler.unary_stream)(sent, called(self._caller))

    def _reply(self, path: str, codec: Mapping[str, Any], reply: Any) -> Any:
        data = self._methods[_method(path)].response_serializer(reply)
        return self._bend(_method(path), codec["response_deserializer"](data))


def _method(path: str) -> str:
    """Service.Method of /package.Service/Method."""
    return path.rpartition(".")[2].replace("/", ".")


class Stream:
    """Stands for the replies of a call."""

    def __init__(self, replies: Iterator[Any]) -> None:
        self._replies = replies

    def __iter__(self) -> Iterator[Any]:
        return self._replies

    def cancel(self) -> None:
        """Nothing is under way."""
