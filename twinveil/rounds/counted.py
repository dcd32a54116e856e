"""What a conversation costs: bytes, messages, round trips and waiting, for each step by its label."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from twinveil.rounds.peer import Peer
from twinveil.rpc.rounds_pb2 import Round


@dataclass(slots=True)
class Traffic:
    """Sums over the messages of one label.

    sent, received: bytes of serialised Rounds, from S1's side. round_trips: questions that got their answer,
    before which the next could not go: each costs the link's latency there and back. waited: seconds from
    asking to answer.
    """

    messages: int = 0
    sent: int = 0
    received: int = 0
    round_trips: int = 0
    waited: float = 0.0

    @property
    def bytes(self) -> int:
        return self.sent + self.received

    def add(self, other: Traffic) -> None:
        self.messages += other.messages
        self.sent += other.sent
        self.received += other.received
        self.round_trips += other.round_trips
        self.waited += other.waited


class CountedPeer:
    """A Peer that counts what passes through it. `label` names the function at work: "SCVL"."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self.label = ""
        self.by_label: dict[str, Traffic] = {}

    def ask(self, message: Round) -> Round:
        begin = time.perf_counter()
        traffic = self.by_label.setdefault(self.label, Traffic())
        traffic.add(Traffic(messages=1, sent=message.ByteSize()))
        try:
            reply = self._peer.ask(message)
        finally:
            traffic.waited += time.perf_counter() - begin
        traffic.add(Traffic(messages=1, received=reply.ByteSize(), round_trips=1))
        return reply

    def close(self) -> None:
        self._peer.close()

    @contextmanager
    def step(self, label: str) -> Iterator[Traffic]:
        """Counts what is asked inside under this label; gives its running sums."""
        before, self.label = self.label, label
        try:
            yield self.by_label.setdefault(label, Traffic())
        finally:
            self.label = before

    def total(self) -> Traffic:
        """The sums over all labels."""
        total = Traffic()
        for traffic in self.by_label.values():
            total.add(traffic)
        return total
