"""One step between the clouds by itself: the real code of both sides, one thread, every message counted."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from twinveil.rounds.counted import CountedPeer, Traffic
from twinveil.rounds.memory import MemoryPeer
from twinveil.rounds.peer import Ask, Conversation
from twinveil.rounds.scripted import Script, Scripted
from twinveil.rpc import rounds_pb2 as pb


@dataclass(frozen=True, slots=True)
class Run:
    """One run, in processor seconds of its thread: other work of the machine does not count.

    s1, s2: of each side, S1's with serialising and parsing for both. traffic: what was sent.
    """

    s1: float
    s2: float
    traffic: Traffic

    @property
    def seconds(self) -> float:
        """Of both sides."""
        return self.s1 + self.s2


def play(s1: Callable[[Ask], None], s2: Callable[[pb.Round], Script]) -> Run:
    """s1 asks; s2 answers."""
    other = Timed(Scripted(s2))
    peer, start = CountedPeer(MemoryPeer(other)), time.thread_time()
    with peer.step("all"):
        s1(peer.ask)
    took = time.thread_time() - start
    peer.close()
    return Run(took - other.seconds, other.seconds, peer.by_label["all"])


class Timed:
    """A Conversation whose processor seconds are summed."""

    def __init__(self, conversation: Conversation) -> None:
        self._conversation = conversation
        self.seconds = 0.0

    def handle(self, message: pb.Round) -> pb.Round:
        start = time.thread_time()
        try:
            return self._conversation.handle(message)
        finally:
            self.seconds += time.thread_time() - start

    def close(self) -> None:
        self._conversation.close()
