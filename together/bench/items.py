"""What items cost on this machine: `python -m together.bench.items [key bits] [items]`.

The default network, both clouds in one thread over memory, without transport. Processor seconds of each
cloud, of S1 with serialising and parsing for both; bytes and messages as they are counted on the way.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from together.bench.dialogue import Timed
from together.bench.networks import any_model, default_plan, some_pictures
from twinveil.crypto.keygen import generate
from twinveil.errors import TwinveilError
from twinveil.network import oracle
from twinveil.params import Params
from twinveil.rehearsal.clouds import Clouds
from twinveil.rounds.counted import CountedPeer
from twinveil.rounds.memory import MemoryPeer
from twinveil.rounds.observer import Observer
from twinveil.rounds.peer import Peer
from twinveil.rounds.scripted import Script, Scripted
from twinveil.rpc import rounds_pb2 as pb


@dataclass
class TimedClouds(Clouds):
    """Clouds whose conversations are timed and counted."""

    peers: list[CountedPeer] = field(default_factory=list)
    sides: list[Timed] = field(default_factory=list)

    def peer(self, script: Callable[[pb.Round], Script], s1: Observer, s2: Observer) -> Peer:
        self.sides.append(Timed(Scripted(script)))
        self.peers.append(CountedPeer(MemoryPeer(self.sides[-1])))
        return self.peers[-1]

    def so_far(self) -> tuple[float, int, int]:
        """Seconds of S2, bytes and messages of all conversations."""
        totals = [peer.total() for peer in self.peers]
        return (
            sum(side.seconds for side in self.sides),
            sum(each.bytes for each in totals),
            sum(each.messages for each in totals),
        )


def shown(what: str, clouds: TimedClouds, work: Callable[[], object], times: int = 1) -> None:
    """Does `work` and prints the means of one time."""
    before, start, clock = clouds.so_far(), time.thread_time(), time.perf_counter()
    for _ in range(times):
        work()
    both, took = time.thread_time() - start, (time.perf_counter() - clock) / times
    s2, size, messages = (now - then for now, then in zip(clouds.so_far(), before, strict=True))
    print(
        f"{what:16}S1 {(both - s2) / times:7.3f} s   S2 {s2 / times:7.3f} s   clock {took:7.3f} s"
        f"{size / times / 1e6:8.2f} MB{messages // times:5} messages",
        flush=True,
    )


def measure(key_bits: int, items: int) -> None:
    model = any_model(default_plan())
    clouds = TimedClouds(model, generate(Params(key_bits)))
    pictures = iter(some_pictures(model.plan, items + 1))

    def classify() -> None:
        picture = next(pictures)
        if (clouds.classify(picture[np.newaxis]).values[0] != oracle.run(model, picture)).any():
            raise TwinveilError("a picture's class vector is not the oracle's")

    print(f"{key_bits} bits, {items} items")
    shown("first item", clouds, lambda: clouds.make_items(1))
    shown("item", clouds, lambda: clouds.make_items(1), items)
    shown("first picture", clouds, classify)
    shown("picture", clouds, classify, items)


if __name__ == "__main__":
    measure(*(int(each) for each in [*sys.argv[1:], *("2048", "3")[len(sys.argv) - 1 :]]))
