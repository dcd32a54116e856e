"""One step between the clouds by itself: the real code of both sides, one thread, every message counted.

S1 asks and S2 answers, as everywhere. Where it is S2 that begins a step, the request before it is empty, and
so is the answer after the step; in a query these two are messages of the steps before and after.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from twinveil.rounds.counted import CountedPeer, Traffic
from twinveil.rounds.memory import MemoryPeer
from twinveil.rounds.peer import Ask, Conversation
from twinveil.rounds.scripted import Script, Scripted
from twinveil.rpc import rounds_pb2 as pb


@dataclass(frozen=True, slots=True)
class Run:
    """One run, in processor seconds of its thread: other work of the machine does not count.

    ahead: of both sides before any input; s1, s2: of each side from then on, S1's with serialising and
    parsing for both. traffic_ahead, traffic: what was sent in these two parts.
    """

    ahead: float
    s1: float
    s2: float
    traffic_ahead: Traffic
    traffic: Traffic

    @property
    def seconds(self) -> float:
        """Of both sides, once there is an input."""
        return self.s1 + self.s2


def play(s1: Callable[[Ask], Iterator[None]], s2: Callable[[pb.Round], Script]) -> Run:
    """s1 asks and yields once, between what is made ahead and the rest; s2 answers."""
    other = Timed(Scripted(s2))
    peer, took = CountedPeer(MemoryPeer(other)), []
    side = s1(peer.ask)
    for part in ("ahead", "online"):
        other.seconds, start = 0.0, time.thread_time()
        with peer.step(part):
            next(side, None)
        took.append(time.thread_time() - start)
    peer.close()
    traffic = peer.by_label
    return Run(took[0], took[1] - other.seconds, other.seconds, traffic["ahead"], traffic["online"])


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
