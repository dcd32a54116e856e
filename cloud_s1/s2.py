"""S1's way to S2: one channel, S2's pinned key, a new conversation for every import and query."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from twinveil.crypto.public_key import PublicKey, Rerandomiser
from twinveil.crypto.tally import Tally
from twinveil.net.channel import Link, Me, connect
from twinveil.net.grpc_peer import GrpcPeer
from twinveil.parallel import Workers
from twinveil.params import Params
from twinveil.pinning import pinned_key
from twinveil.protocol.query.s1 import Tools


@dataclass(frozen=True)
class Contact:
    """How S2 is reached, and what its key must be."""

    me: Me
    address: str
    wait: float
    round_deadline: float
    pin: Path
    fingerprint: str | None
    insecure_small_key: bool


class CloudS2:
    """Connects when first needed, and again after S2 was away."""

    def __init__(self, contact: Contact) -> None:
        self._contact = contact
        self._lock = threading.Lock()
        self._open = ExitStack()
        self._link: Link | None = None
        self._key: PublicKey | None = None

    @property
    def fingerprint(self) -> bytes:
        """Of the key, empty before the first contact."""
        return bytes.fromhex(self._key.fingerprint) if self._key else b""

    def key(self) -> PublicKey:
        """S2's key. Raises PeerUnavailable without S2, PeerMismatch for another key than the pinned one."""
        with self._lock:
            if self._key is None:
                contact = self._contact
                link = self._connected()
                self._key = pinned_key(
                    link.channel, contact.pin, contact.fingerprint, contact.insecure_small_key
                )
            return self._key

    def tools(self, workers: Workers) -> Tools:
        key = self.key()
        params = Params(key.bits, insecure_small_key=self._contact.insecure_small_key)
        return Tools(key, Rerandomiser(key, Tally()), workers, params)

    def peer(self) -> GrpcPeer:
        """A new conversation."""
        with self._lock:
            link = self._connected()
        return GrpcPeer(link.channel, self._contact.round_deadline)

    def lost(self) -> None:
        """After a failure: look again who is there before the next conversation."""
        with self._lock:
            self._open.close()
            self._link = None
            self._key = None

    def _connected(self) -> Link:
        if self._link is None:
            contact = self._contact
            self._link = self._open.enter_context(
                connect(contact.me, "cloud_s2", contact.address, contact.wait)
            )
        return self._link
