"""TwinveilError <-> gRPC status: one clean line and the error's type; never a traceback.

The type travels as trailing metadata `twinveil-error`, so that the caller raises the very same type again.
An exception that nobody planned becomes INTERNAL with a fixed text; its traceback stays in this side's log.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import grpc
from grpc import RpcError as RpcError

from twinveil.errors import HostFault, NotAllowed, PeerMismatch, PeerUnavailable, TooMuch, TwinveilError
from twinveil.wording import CATALOGUE, one_line, sanitised

ERROR_KEY = "twinveil-error"

log = logging.getLogger(__name__)

_TRANSPORT = {
    grpc.StatusCode.UNAVAILABLE: PeerUnavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: PeerUnavailable,
    grpc.StatusCode.CANCELLED: PeerUnavailable,
    grpc.StatusCode.RESOURCE_EXHAUSTED: TooMuch,
    grpc.StatusCode.PERMISSION_DENIED: NotAllowed,
    grpc.StatusCode.UNAUTHENTICATED: NotAllowed,
    grpc.StatusCode.UNIMPLEMENTED: PeerMismatch,
}


@contextmanager
def boundary(context: grpc.ServicerContext, role: str = "this role") -> Iterator[None]:
    """Turns what is raised inside into the RPC's status. Every handler of every service runs inside one."""
    try:
        yield
    except TwinveilError as error:
        abort(context, sanitised(error))
    except Exception as error:
        if isinstance(error, grpc.RpcError) and not isinstance(error, grpc.Call):
            raise  # how grpc's request iterator says that the caller is gone
        told = sanitised(error, role)
        if isinstance(told, HostFault):
            log.error("%s", error)
        else:
            log.exception("unexpected error")
        abort(context, told)


def abort(context: grpc.ServicerContext, error: TwinveilError) -> NoReturn:
    """Ends the RPC with this error."""
    context.set_trailing_metadata(((ERROR_KEY, type(error).__name__),))
    context.abort(getattr(grpc.StatusCode, error.status), one_line(str(error)))


def details(error: Exception) -> str:
    """What the transport says about a failed call."""
    return (error.details() or "") if isinstance(error, grpc.Call) else ""


def from_rpc_error(error: Exception, peer: str) -> TwinveilError:
    """The error that the other side raised, or what the transport says about it.

    peer: who was asked, for a person: "cloud_s2 at 127.0.0.1:7002".
    """
    if not isinstance(error, grpc.Call):
        return TwinveilError(f"{peer}: the call failed")
    code, detail = error.code(), one_line(details(error))
    for key, value in error.trailing_metadata() or ():
        if key == ERROR_KEY and isinstance(value, str) and value in CATALOGUE:
            return CATALOGUE[value](detail)
    kind = _TRANSPORT.get(code, TwinveilError)
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return kind(f"{peer} did not answer in time")
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return kind(f"{peer} does not offer this service: is it another role or version?")
    if kind is PeerUnavailable:
        return kind(f"{peer} does not answer or went away: is it running? ({detail})")
    return kind(f"{peer}: {detail or code.name}")
