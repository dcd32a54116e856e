"""What a query costs, function by function: seconds, bytes, messages, big-integer operations.

Figures are public (they follow from the plan and the machine); no value of the protocol enters them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field

from twinveil.crypto.tally import Tally
from twinveil.net.counted import CountedPeer, Traffic
from twinveil.schedule import Stage


@dataclass
class Figures:
    """One function's cost at one party. Bytes are payloads of the messages between the clouds."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    operations: Tally = field(default_factory=Tally)


class Meter:
    """Figures by function name; functions do not nest.

    peer: whose traffic is counted (S1). source: a tally that somebody else fills (S2's key): what is added to
    it during a function is the function's, so figures are exact while one query runs at a time. Without a
    source, `tally` counts for the function at hand.
    """

    def __init__(self, peer: CountedPeer | None = None, source: Tally | None = None) -> None:
        self.functions: dict[str, Figures] = {}
        self.peer = peer
        self._source = source
        self._current = Figures()

    @property
    def tally(self) -> Tally:
        return self._current.operations

    @contextmanager
    def function(self, name: str) -> Iterator[None]:
        outer, self._current = self._current, self.functions.setdefault(name, Figures())
        started, cpu = time.perf_counter(), time.process_time()
        before = self._source.as_dict() if self._source else {}
        try:
            with self.peer.step(name) if self.peer else nullcontext():
                yield
        finally:
            self._current.seconds += time.perf_counter() - started
            self._current.cpu_seconds += time.process_time() - cpu
            for kind, count in (self._source.as_dict() if self._source else {}).items():
                self._current.operations.add(kind, count - before.get(kind, 0))
            self._current = outer

    def as_dict(self) -> dict[str, dict[str, object]]:
        """JSON-ready figures of every function."""
        made: dict[str, dict[str, object]] = {}
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
                    "rounds": 2 * traffic.rounds,
                }
        return made


def nonlinear(stage: Stage) -> str:
    """The name under which a stage's circuit is booked: SACT and SMAP of one stage are one circuit."""
    return "SACT+SMAP" if stage.pools else "SACT"
