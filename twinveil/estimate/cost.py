"""What one function of a query costs, exactly: bytes, messages, big-integer operations, gates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import reduce

from twinveil.crypto.tally import Tally
from twinveil.estimate.wire import round_bytes
from twinveil.garbling.ot_extension import correction_bytes, masked_bytes
from twinveil.protocol.garbled import Step


@dataclass
class Cost:
    """One function. sent and received as S1 sees them, in serialised Rounds; s1 and s2: operations.

    garbled, evaluated: AND gates over all instances. prepared, transfers: oblivious transfers made ready
    ahead, and used. products: SMPs of single values, in the textbook engine.
    """

    sent: int = 0
    received: int = 0
    asks: int = 0
    s1: Tally = field(default_factory=Tally)
    s2: Tally = field(default_factory=Tally)
    garbled: int = 0
    evaluated: int = 0
    prepared: int = 0
    transfers: int = 0
    products: int = 0

    @property
    def bytes(self) -> int:
        return self.sent + self.received

    @property
    def messages(self) -> int:
        return 2 * self.asks

    def ask(self, request: int, reply: int) -> None:
        """One message of S1 and S2's answer, in bytes."""
        self.sent += request
        self.received += reply
        self.asks += 1

    def evaluate(self, step: Step) -> None:
        """A garbled step's part that waits for inputs: transfers and evaluation."""
        self.evaluated += step.counts.and_gates
        self.transfers += step.choices

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.sent + other.sent,
            self.received + other.received,
            self.asks + other.asks,
            Tally(self.s1.as_dict()).__iadd__(other.s1),
            Tally(self.s2.as_dict()).__iadd__(other.s2),
            self.garbled + other.garbled,
            self.evaluated + other.evaluated,
            self.prepared + other.prepared,
            self.transfers + other.transfers,
            self.products + other.products,
        )

    def as_dict(self) -> dict[str, object]:
        return {
            "bytes": self.bytes,
            "messages": self.messages,
            "cloud_s1": self.s1.as_dict(),
            "cloud_s2": self.s2.as_dict(),
            "and_gates": self.garbled + self.evaluated,
            "transfers": self.prepared + self.transfers,
        }


Costs = dict[str, Cost]
"""By function, named as in the meters: ahead, garbling, import, SCVL, SACT, SACT+SMAP, SCT, label."""


def function(costs: Costs, name: str) -> Cost:
    """The function's cost so far."""
    return costs.setdefault(name, Cost())


def total(costs: Mapping[str, Cost]) -> Cost:
    """All functions together."""
    return reduce(Cost.__add__, costs.values(), Cost())


def corrections(step: Step) -> int:
    """Bytes of S2's corrections for a step."""
    return round_bytes("corrections", bits=correction_bytes(step.choices))


def garbled_batch(step: Step) -> int:
    """Bytes of S1's garbled circuit of a step."""
    return round_bytes(
        "garbled_batch",
        tables=step.counts.table_bytes,
        garbler_labels=step.counts.garbler_label_bytes,
        masked_labels=masked_bytes(step.choices),
        decode=step.counts.decode_bytes,
    )
