"""One way to serve, for every role: mutual TLS or named-insecure loopback, limits, health, a graceful end.

start(settings, services) -> Server       for tests and for a program's own use
serve(settings, services)                 the main loop of a role, until a signal or the launcher's end
"""

from __future__ import annotations

import logging
import os
import resource
import signal
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from twinveil.errors import BadConfiguration, PeerUnavailable
from twinveil.transport.address import Ready, is_loopback, split
from twinveil.transport.authorisation import Doorkeeper
from twinveil.transport.channel import MAX_MESSAGE_BYTES, WINDOW_BYTES
from twinveil.transport.credentials import TlsFiles, server_credentials
from twinveil.transport.limits import RpcLimits

HARD_STOP_SECONDS = 5.0
POLL_SECONDS = 0.1
HANDSHAKE_MS = 20_000

log = logging.getLogger(__name__)


class Service(Protocol):
    """A servicer that knows its name and how to mount itself."""

    service_name: str

    def register(self, server: grpc.Server) -> None: ...


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Where and how a role listens.

    tls is None for plaintext, which needs insecure_plaintext and a loopback address. max_calls: RPCs served
    at once, kept_for_s1: of these, calls that only S1 may have; limits: of single RPCs, by full name.
    idle_connection: seconds after which a connection without a call is closed. grace: seconds for running
    calls at the end.
    """

    role: str
    listen: str
    tls: TlsFiles | None = None
    insecure_plaintext: bool = False
    ready_file: Path | None = None
    until_stdin_closes: bool = False
    max_calls: int = 64
    kept_for_s1: int = 0
    max_message_bytes: int = MAX_MESSAGE_BYTES
    idle_connection: float = 30.0
    grace: float = 5.0
    limits: RpcLimits = field(default_factory=dict)

    def __post_init__(self) -> None:
        host, _ = split(self.listen)
        if self.tls is None and not (self.insecure_plaintext and is_loopback(host)):
            raise BadConfiguration(
                f"{self.role} has no certificate: give one, or --insecure-plaintext on a loopback address"
            )


class Server:
    """A running server. `port` is the real one where port 0 was asked for."""

    def __init__(self, settings: ServerSettings, services: Sequence[Service]) -> None:
        host, port = split(settings.listen)
        self._grace = settings.grace
        self._health = health.HealthServicer()
        # As many threads as calls: a query that waits for another RPC never waits for a thread.
        self._server = grpc.server(
            ThreadPoolExecutor(settings.max_calls, thread_name_prefix="rpc"),
            interceptors=[
                Doorkeeper(
                    settings.tls is None,
                    settings.limits,
                    clients=settings.max_calls - settings.kept_for_s1,
                    role=settings.role,
                )
            ],
            maximum_concurrent_rpcs=settings.max_calls,
            options=_options(settings),
        )
        for service in services:
            service.register(self._server)
            self._health.set(service.service_name, health_pb2.HealthCheckResponse.SERVING)
        self._health.set("", health_pb2.HealthCheckResponse.SERVING)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        self.host = host
        try:
            self.port = (
                self._server.add_insecure_port(f"{host}:{port}")
                if settings.tls is None
                else self._server.add_secure_port(f"{host}:{port}", server_credentials(settings.tls))
            )
        except RuntimeError:
            raise PeerUnavailable(
                f"{settings.role} cannot listen on {settings.listen}: is the port taken, the host another?"
            ) from None

    def start(self) -> None:
        self._server.start()

    def stop(self, grace: float | None = None) -> None:
        """Refuses new calls, lets running ones end within the grace, then cancels them."""
        self._health.enter_graceful_shutdown()
        self._server.stop(self._grace if grace is None else grace).wait()


def start(settings: ServerSettings, services: Sequence[Service]) -> Server:
    """Listens and returns. Raises PeerUnavailable if the address cannot be used."""
    server = Server(settings, services)
    server.start()
    return server


def serve(settings: ServerSettings, services: Sequence[Service]) -> None:
    """Serves until SIGTERM or SIGINT, or until stdin closes where that was asked for; says when it is ready.

    Needs the main thread. A second signal ends the process at once.
    """
    _open_many_files()
    ended = threading.Event()
    signals: list[int] = []

    def end(number: int, _frame: object) -> None:
        signals.append(number)
        if len(signals) > 1:
            os._exit(128 + number)
        log.info("%s: stopping", signal.Signals(number).name)
        ended.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    server = start(settings, services)
    if settings.until_stdin_closes:
        threading.Thread(target=_watch_stdin, args=(ended,), daemon=True).start()
    ready = Ready(settings.role, server.host, server.port, os.getpid())
    if settings.ready_file is not None:
        ready.write(settings.ready_file)
    print(ready.line(), flush=True)
    log.info("%s listens on %s:%d", settings.role, server.host, server.port)
    while not ended.wait(POLL_SECONDS):  # a signal that another thread receives does not wake this one
        pass
    _exit_after(settings.grace + HARD_STOP_SECONDS)
    if settings.ready_file is not None:
        settings.ready_file.unlink(missing_ok=True)
    server.stop()
    log.info("%s has stopped", settings.role)


def _open_many_files() -> None:
    """As many as this process may ask for: every connection is one, and the usual limit is 1,024."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # some systems name a limit that they do not give
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _watch_stdin(ended: threading.Event) -> None:
    """The launcher holds the other end of stdin: when it is gone, however it died, this process ends too."""
    while os.read(0, 4096):
        pass
    log.info("the launcher is gone: stopping")
    ended.set()


def _exit_after(seconds: float) -> None:
    """The last resort against a handler that never returns."""
    timer = threading.Timer(seconds, os._exit, args=(1,))
    timer.daemon = True
    timer.start()


def _options(settings: ServerSettings) -> list[tuple[str, int]]:
    return [
        ("grpc.so_reuseport", 0),  # two servers on one port is a mistake, not load balancing
        ("grpc.max_receive_message_length", settings.max_message_bytes),
        ("grpc.max_send_message_length", settings.max_message_bytes),
        ("grpc.max_concurrent_streams", settings.max_calls),  # of one connection
        ("grpc.server_handshake_timeout_ms", HANDSHAKE_MS),
        ("grpc.max_connection_idle_ms", int(1000 * settings.idle_connection)),
        ("grpc.max_metadata_size", 8192),
        ("grpc.http2.bdp_probe", 0),
        ("grpc.http2.lookahead_bytes", WINDOW_BYTES),
        ("grpc.keepalive_time_ms", 20_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
    ]
