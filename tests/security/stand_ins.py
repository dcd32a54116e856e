"""Stand-ins for what gRPC brings to a servicer or a caller."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import grpc

from twinveil.net.identity import PeerIdentity, set_caller
from twinveil.rpc.keys_pb2 import GetPublicKeyReply


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
