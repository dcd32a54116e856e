"""Channels to other roles: mutual TLS, or plaintext on loopback where that was asked for by name."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import grpc

from twinveil.errors import BadConfiguration, PeerMismatch, PeerUnavailable, TwinveilError
from twinveil.rpc.status_pb2 import GetStatusReply, GetStatusRequest
from twinveil.rpc.status_pb2_grpc import StatusStub
from twinveil.transport.address import is_loopback, resolve, split
from twinveil.transport.credentials import TlsFiles, client_credentials, renewal, server_name, utc_now
from twinveil.transport.identity import INSECURE_ROLE_KEY, role_uri
from twinveil.transport.status import details, from_rpc_error
from twinveil.version import PROTOCOL_VERSION

WINDOW_BYTES = 1 << 20
"""What the other side may send ahead of being read, a call: 40 ms at 200 Mbit/s. Left to itself gRPC raises
this on fast networks to many times as much, for every call: 300 calls with 4 MB each then took 300 MiB at a
server before a byte of them was asked for; and begins with so little that a long link stays empty."""
MAX_MESSAGE_BYTES = 2 << 20
WAIT_SECONDS = 10.0

TLS_FAILURES = (
    (
        ("certificate has expired",),
        "its certificate has ended, by this machine's clock ({now}): if the clock is "
        "right, renew it by {renewal}",
    ),
    (
        ("certificate is not yet valid",),
        "its certificate has not begun, by this machine's clock ({now}): set the "
        "clock, or that of the machine where the kits were made",
    ),
    (
        ("issuer certificate", "self-signed", "self signed", "signature failure"),
        "its certificate comes from another "
        "authority than {authority}: take both kits from one run of twinveil kits",
    ),
    (("WRONG_VERSION_NUMBER",), "it speaks no TLS: set both sides to TLS"),
    (
        ("Socket closed",),
        "it does not take {certificate}: are both from the same authority, are both sides set to "
        "TLS, and is the clock right there (here it is {now})?",
    ),
    (
        ("handshake", "SSL", "CERTIFICATE", "certificate"),
        "do both certificates come from the same authority, are they in date, and are both sides set to TLS?",
    ),
)
"""What gRPC's own texts say when TLS, not the network, is what fails, and what that means for a person."""

ANOTHER_ROLE = "Hostname Verification"
"""What they say when the certificate there is another role's."""

OPTIONS: tuple[tuple[str, Any], ...] = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.enable_retries", 0),  # a step of the protocol is never sent twice behind its back
    ("grpc.enable_http_proxy", 0),
    ("grpc.use_local_subchannel_pool", 1),  # a new channel is a new connection: renewed certificates count
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", WINDOW_BYTES),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.client_idle_timeout_ms", 20_000),  # before the server ends the connection under a call that begins
)


@dataclass(frozen=True, slots=True)
class Me:
    """In whose name a role calls others. tls is None in the insecure plaintext mode only."""

    role: str
    name: str
    tls: TlsFiles | None


@dataclass(frozen=True, slots=True)
class Connection:
    """A channel that has been seen to work, and what it leads to, for messages to a person."""

    channel: grpc.Channel
    peer: str
    status: GetStatusReply


@contextmanager
def connect(me: Me, role: str, address: str, wait: float = WAIT_SECONDS) -> Iterator[Connection]:
    """A channel to a role that answers, has that role and speaks this protocol version; closed at the end.

    Raises PeerUnavailable if nobody answers within `wait` seconds, PeerMismatch if somebody else does.
    """
    end = time.monotonic() + wait
    target = resolve(address, role, wait)
    peer = f"{role} at {target}"
    channel = open_channel(me, role, target)
    try:
        yield Connection(channel, peer, _greet(channel, me, role, peer, max(0.1, end - time.monotonic())))
    finally:
        channel.close()


def open_channel(me: Me, role: str, target: str) -> grpc.Channel:
    """A channel to HOST:PORT, not yet connected."""
    if me.tls is not None:
        named = (*OPTIONS, ("grpc.ssl_target_name_override", server_name(role)))
        return grpc.secure_channel(target, client_credentials(me.tls), options=named)
    if not is_loopback(split(target)[0]):
        raise BadConfiguration(f"plaintext to {target} is refused: it is allowed on loopback only")
    channel = grpc.insecure_channel(target, options=OPTIONS)
    return grpc.intercept_channel(channel, _InsecureName(role_uri(me.role, me.name)))


def _greet(channel: grpc.Channel, me: Me, role: str, peer: str, wait: float) -> GetStatusReply:
    """Waits for the peer to answer and looks who it is."""
    try:
        status = StatusStub(channel).GetStatus(GetStatusRequest(), timeout=wait, wait_for_ready=True)
    except grpc.RpcError as error:
        failed = from_rpc_error(error, peer)
        if isinstance(failed, PeerUnavailable):
            raise _unreachable(channel, me, role, peer) from None
        raise failed from None
    if status.role != role:
        raise PeerMismatch(f"{peer} says that it is {status.role or 'nobody'}: check the addresses")
    if status.protocol_version != PROTOCOL_VERSION:
        raise PeerMismatch(
            f"{peer} speaks protocol version {status.protocol_version} (Twinveil {status.twinveil_version}), "
            f"this is version {PROTOCOL_VERSION}: bring both to the same release"
        )
    return status


def _unreachable(channel: grpc.Channel, me: Me, role: str, peer: str) -> TwinveilError:
    """Why nobody answers: a second call that does not wait gets the transport's own reason."""
    try:
        StatusStub(channel).GetStatus(GetStatusRequest(), timeout=1)
    except grpc.RpcError as error:
        if ANOTHER_ROLE in details(error):
            return PeerMismatch(f"{peer} has the certificate of another role: check the addresses")
        for words, meaning in TLS_FAILURES:
            if any(word in details(error) for word in words):
                return PeerUnavailable(f"{peer} answers, but mutual TLS fails: {_said(meaning, me, role)}")
    return PeerUnavailable(f"{peer} does not answer: is it running?")


def _said(meaning: str, me: Me, role: str) -> str:
    if me.tls is None:
        return "it wants TLS: give --tls FOLDER in place of --insecure-plaintext"
    return meaning.format(
        now=utc_now(), renewal=renewal(role), authority=me.tls.authority, certificate=me.tls.certificate
    )


class _InsecureName(
    grpc.UnaryUnaryClientInterceptor,  # type: ignore[type-arg]
    grpc.UnaryStreamClientInterceptor,  # type: ignore[type-arg]
    grpc.StreamUnaryClientInterceptor,  # type: ignore[type-arg]
    grpc.StreamStreamClientInterceptor,  # type: ignore[type-arg]
):
    """Says in metadata who is calling, where no certificate can say it."""

    def __init__(self, uri: str) -> None:
        self._name = (INSECURE_ROLE_KEY, uri)

    def _call(self, continuation: Callable[[Any, Any], Any], details: Any, request: Any) -> Any:
        named = details._replace(metadata=(*(details.metadata or ()), self._name))
        return continuation(named, request)

    def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return self._call(continuation, client_call_details, request)

    def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return self._call(continuation, client_call_details, request)

    def intercept_stream_unary(self, continuation: Any, client_call_details: Any, requests: Any) -> Any:
        return self._call(continuation, client_call_details, requests)

    def intercept_stream_stream(self, continuation: Any, client_call_details: Any, requests: Any) -> Any:
        return self._call(continuation, client_call_details, requests)
