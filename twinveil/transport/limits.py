"""What one call may cost a server: seconds in all, seconds of silence, places among the calls at once.

A caller's own deadline counts as well, but it may be far off or missing: these bounds hold whatever it says.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, TypeVar

from twinveil.errors import TooMuch
from twinveil.transport.identity import PeerIdentity

Item = TypeVar("Item")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CallLimits:
    """Bounds on the calls of one RPC.

    seconds: longest a call may take. idle: longest a caller may be silent while the server waits for its next
    message. at_once: calls served at once, None for as many as the server has. per_caller: of one caller.
    """

    seconds: float = 60.0
    idle: float = 30.0
    at_once: int | None = None
    per_caller: int = 16


USUAL = CallLimits(idle=5.0, per_caller=8)
"""For every RPC that has no limits of its own: a small message, which is there at once. per_caller is of all
of them together, or a caller would have that many of each."""

RpcLimits = Mapping[str, CallLimits]
"""By the full name of an RPC."""


class Places:
    """Who holds how many of the calls that are served at once.

    clients: the most that all callers but S1 have at once; None for as many as the server has.
    """

    def __init__(self, limits: RpcLimits, clients: int | None = None) -> None:
        self._limits = limits
        self._clients = clients
        self._by_clients = 0
        self._lock = threading.Lock()
        self._taken: Counter[str] = Counter()
        self._by_caller: Counter[tuple[str, bytes]] = Counter()

    @contextmanager
    def take(self, method: str, caller: PeerIdentity) -> Iterator[None]:
        """A place for one call, given back at the end. Raises TooMuch at once if there is none."""
        limits = self._limits.get(method, USUAL)
        kind = method if method in self._limits else "small calls"
        own, client = (kind, caller.fingerprint), int(caller.role != "cloud_s1")
        with self._lock:
            if client and self._clients is not None and self._by_clients >= self._clients:
                raise TooMuch("too many calls at once: try again later")
            if limits.at_once is not None and self._taken[method] >= limits.at_once:
                raise TooMuch(f"too many calls of {method} at once: try again later")
            if self._by_caller[own] >= limits.per_caller:
                raise TooMuch(f"{caller} may have {limits.per_caller} of {kind} at once: try again later")
            self._taken[method] += 1
            self._by_caller[own] += 1
            self._by_clients += client
        try:
            yield
        finally:
            with self._lock:
                self._taken[method] -= 1
                self._by_caller[own] -= 1
                self._by_clients -= client
                if not self._by_caller[own]:
                    del self._by_caller[own]


class Cancellable(Protocol):
    """A call that can be ended from outside, such as a grpc.ServicerContext."""

    def cancel(self) -> object: ...


class Watchdog:
    """Cancels calls that take too long; one thread for all of them, started with the first."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._due: list[tuple[float, int]] = []
        self._calls: dict[int, tuple[Cancellable, str]] = {}
        self._numbers = itertools.count()
        self._running = False

    @contextmanager
    def ends(self, call: Cancellable, seconds: float, why: str) -> Iterator[None]:
        """Cancels `call` unless the block ends within `seconds`."""
        number = next(self._numbers)
        with self._changed:
            self._calls[number] = call, why
            heapq.heappush(self._due, (time.monotonic() + seconds, number))
            if not self._running:
                self._running = True
                threading.Thread(target=self._watch, name="watchdog", daemon=True).start()
            elif self._due[0][1] == number:
                self._changed.notify()
        try:
            yield
        finally:
            with self._changed:
                self._calls.pop(number, None)

    def _watch(self) -> None:
        while True:
            with self._changed:
                while self._due and self._due[0][1] not in self._calls:
                    heapq.heappop(self._due)
                wait = self._due[0][0] - time.monotonic() if self._due else None
                if wait is None or wait > 0:
                    self._changed.wait(wait)
                    continue
                call, why = self._calls.pop(heapq.heappop(self._due)[1])
            log.warning("a call is ended: %s", why)
            call.cancel()


WATCHDOG = Watchdog()


def paced(messages: Iterator[Item], call: Cancellable, idle: float, who: str) -> Iterator[Item]:
    """A caller's messages; the call ends when the next one does not come within `idle` seconds."""
    while True:
        with WATCHDOG.ends(call, idle, f"{who} sent nothing for {idle:g} s"):
            try:
                message = next(messages)
            except StopIteration:
                return
        yield message


def taken(messages: Iterator[Item], call: Cancellable, idle: float, who: str) -> Iterator[Item]:
    """A server's messages; the call ends when one is not taken within `idle` seconds.

    Whatever waits while it sends would else wait for a caller that reads nothing until the call's own end.
    """
    for message in messages:
        with WATCHDOG.ends(call, idle, f"{who} took nothing for {idle:g} s"):
            yield message
