"""S1's way to S2: one channel, S2's pinned key, a new conversation for an import, a query, items."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

from twinveil.crypto.public_key import PublicKey
from twinveil.errors import BadConfiguration, PeerUnavailable, TooMuch
from twinveil.parallel import Workers
from twinveil.params import Params
from twinveil.protocol.packed.powers import Machine
from twinveil.rpc.rounds_pb2 import Round
from twinveil.services.keys import KnownKey
from twinveil.services.rounds import GrpcPeer
from twinveil.transport.channel import Connection, Me, connect

PLACE_SECONDS = 3.0
"""How long a conversation waits for a place at S2 that nothing of its own cloud gives way for."""
PLACE_POLL = 0.1

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class S2Address:
    """How S2 is reached, and what its key must be."""

    me: Me
    address: str
    wait: float
    round_deadline: float
    s2_key: KnownKey


@dataclass(frozen=True)
class Tools:
    """What S1 computes with: S2's key, and its own workers."""

    key: PublicKey
    workers: Workers
    params: Params

    @property
    def machine(self) -> Machine:
        return Machine(self.key, self.workers)


class _Way:
    """One connection. Left for a newer one, it stays open until its last conversation has ended."""

    def __init__(self, s2: S2Address) -> None:
        self._open = ExitStack()
        self._tls = s2.me.tls
        self._stamp = self._tls and self._tls.stamp()
        try:
            self.link: Connection = self._open.enter_context(connect(s2.me, "cloud_s2", s2.address, s2.wait))
        except BadConfiguration as error:
            log.error("cloud_s2 is not called: %s", error)
            raise PeerUnavailable("cloud_s1 cannot call cloud_s2 as it is set up: its log says why") from None
        self.conversations = 0
        self.left = False

    @property
    def is_outdated(self) -> bool:
        """Whether there are newer certificates than those it was opened with."""
        return self._tls is not None and self._tls.stamp() not in ((), self._stamp)

    def close_if_done(self) -> None:
        if self.left and not self.conversations:
            self._open.close()


class PeerS2:
    """A conversation with S2 that begins again where S2 has no place for it: another one gives way, or ends.

    S2 refuses for want of a place before it reads anything, and the first message is public.
    """

    def __init__(self, begin: Callable[[], GrpcPeer], give_way: Callable[[], bool]) -> None:
        self._begin = begin
        self._give_way = give_way
        self._peer = begin()
        self._asked = False

    def ask(self, message: Round) -> Round:
        first, self._asked = not self._asked, True
        end, waited = time.monotonic() + PLACE_SECONDS, False
        while True:
            try:
                return self._peer.ask(message)
            except TooMuch:
                if not first or time.monotonic() > end:
                    raise
            # Once: what gave way may not be what held the place, and more of it would only be lost.
            if waited or not self._give_way():
                time.sleep(PLACE_POLL)
            waited = True
            self._peer = self._begin()

    @property
    def left(self) -> bool:
        """As of GrpcPeer."""
        return self._peer.left

    def close(self) -> None:
        self._peer.close()


class CloudS2:
    """Connects when first needed, and again after S2 was away or certificates were renewed.

    A way on which S2 was once out of reach is left, whoever noticed: its channel would refuse a conversation
    at once until its next attempt, although S2 may be back. Each new way looks at S2's key again.
    give_way: ends a conversation that can be spared; False where there is none.
    """

    def __init__(self, s2: S2Address, give_way: Callable[[], bool] = lambda: False) -> None:
        self._s2 = s2
        self._give_way = give_way
        self._lock = threading.Lock()
        self._way: _Way | None = None
        self._key: PublicKey | None = None

    @property
    def fingerprint(self) -> bytes:
        """Of the key, empty before the first contact."""
        return bytes.fromhex(self._key.fingerprint) if self._key else b""

    def key(self) -> PublicKey:
        """S2's key. Raises PeerUnavailable without S2, PeerMismatch for another key than the pinned one."""
        with self._lock:
            way = self._connected()
            if self._key is None:
                self._key = self._s2.s2_key.fetch(way.link.channel)
            return self._key

    def tools(self, workers: Workers) -> Tools:
        key = self.key()
        return Tools(key, workers, self._s2.s2_key.params(key))

    def peer(self) -> PeerS2:
        """A new conversation."""
        return PeerS2(self._begin, self._give_way)

    def _begin(self) -> GrpcPeer:
        with self._lock:
            way = self._connected()
            way.conversations += 1
        return GrpcPeer(way.link.channel, self._s2.round_deadline, ended=lambda lost: self._ended(way, lost))

    def _connected(self) -> _Way:
        if self._way is not None and self._way.is_outdated:
            self._leave()
        if self._way is None:
            self._way, self._key = _Way(self._s2), None
        return self._way

    def _leave(self) -> None:
        way, self._way = self._way, None
        if way is not None:
            way.left = True
            way.close_if_done()

    def _ended(self, way: _Way, lost: bool) -> None:
        with self._lock:
            way.conversations -= 1
            if lost and way is self._way:
                self._leave()
            else:
                way.close_if_done()
