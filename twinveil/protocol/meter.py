"""What a query costs, function by function: seconds, bytes, messages, big-integer operations.

Figures are public (they follow from the plan and the machine); no value of the protocol enters them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

from twinveil.crypto.tally import Tally
from twinveil.network.schedule import Stage
from twinveil.rounds.counted import CountedPeer, Traffic


@dataclass
class Figures:
    """One function's cost at one party. Bytes are payloads of the messages between the clouds."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    operations: Tally = field(default_factory=Tally)


class Meter:
    """Figures by function name; functions do not nest.

    peer: whose traffic is counted (S1). tally: what every kernel of the query adds to; what is added to it
    during a function is the function's. S2's is its key's, so that figures there are exact while one query
    runs at a time.
    """

    def __init__(self, peer: CountedPeer | None = None, tally: Tally | None = None) -> None:
        self.functions: dict[str, Figures] = {}
        self.peer = peer
        self.tally = Tally() if tally is None else tally

    @contextmanager
    def function(self, name: str) -> Iterator[None]:
        figures = self.functions.setdefault(name, Figures())
        started, cpu, before = time.perf_counter(), time.process_time(), self.tally.as_dict()
        try:
            with self.peer.step(name) if self.peer else nullcontext():
                yield
        finally:
            figures.seconds += time.perf_counter() - started
            figures.cpu_seconds += time.process_time() - cpu
            for kind, count in self.tally.as_dict().items():
                figures.operations.add(kind, count - before.get(kind, 0))

    def include(self, other: Meter) -> None:
        """What was paid for this before it began: its items."""
        for name, figures in other.functions.items():
            own = self.functions.setdefault(name, Figures())
            own.seconds += figures.seconds
            own.cpu_seconds += figures.cpu_seconds
            own.operations += figures.operations
        if self.peer and other.peer:
            for name, traffic in other.peer.by_label.items():
                self.peer.by_label.setdefault(name, Traffic()).add(traffic)

    def as_dict(self) -> dict[str, dict[str, Any]]:
        """JSON-ready figures of every function."""
        made: dict[str, dict[str, Any]] = {}
        for name, figures in self.functions.items():
            made[name] = {
                "seconds": figures.seconds,
                "cpu_seconds": figures.cpu_seconds,
                "operations": figures.operations.as_dict(),
            }
            if self.peer:
                traffic = self.peer.by_label.get(name, Traffic())
                made[name] |= {
                    "waiting_seconds": traffic.waited,
                    "bytes": traffic.bytes,
                    "messages": traffic.messages,
                }
        return made


def nonlinear(stage: Stage) -> str:
    """The name under which a stage's circuit is booked: SACT and SMAP of one stage are one circuit."""
    return "SACT+SMAP" if stage.pools else "SACT"
