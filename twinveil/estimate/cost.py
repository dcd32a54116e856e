"""What one function costs, exactly: bytes, messages, big-integer operations, gates, transfers, products."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields

from twinveil.crypto.nonces import encrypt_counts, nonce_counts
from twinveil.crypto.public_key import PublicKey
from twinveil.crypto.secret_key import SecretKey
from twinveil.crypto.tally import POWER_P2, Tally
from twinveil.protocol.turns import Turn


@dataclass
class Cost:
    """One function. sent, received as S1 sees them, in serialised Rounds; asks: S1's messages, all answered.

    s1, s2: operations; s1_shared, s2_shared: of these what a cloud shares out between its workers; the rest
    is one core's. garbled, evaluated: AND gates over all instances. prepared, transfers: oblivious transfers
    made, and used by somebody who chooses; bases: how often base transfers begin them. products: SMPs of
    single values, in the textbook engine. sums: products of integers that a cloud has in the clear, at both.
    """

    sent: int = 0
    received: int = 0
    asks: int = 0
    s1: Tally = field(default_factory=Tally)
    s2: Tally = field(default_factory=Tally)
    s1_shared: Tally = field(default_factory=Tally)
    s2_shared: Tally = field(default_factory=Tally)
    garbled: int = 0
    evaluated: int = 0
    prepared: int = 0
    transfers: int = 0
    bases: int = 0
    products: int = 0
    sums: int = 0

    @property
    def bytes(self) -> int:
        return self.sent + self.received

    @property
    def messages(self) -> int:
        return 2 * self.asks

    def take(self, turn: Turn) -> None:
        """A turn's messages."""
        self.sent += turn.times * turn.sent
        self.received += turn.times * turn.received
        self.asks += turn.times

    def at_s1(self, counts: Tally | Mapping[str, int]) -> None:
        """Operations that S1's workers share."""
        self.s1 += counts
        self.s1_shared += counts

    def at_s2(self, counts: Tally | Mapping[str, int]) -> None:
        """Operations that S2's workers share."""
        self.s2 += counts
        self.s2_shared += counts

    def encrypt(self, key_bits: int, count: int, more: int = 0) -> None:
        """S2 encrypts, with short nonces drawn now."""
        self.at_s2(nonce_counts(key_bits, "short", count, more))
        self.s2 += encrypt_counts(count)

    def decrypt(self, *counts: int) -> None:
        """S2 reads that many ciphertexts of each part of a message and decrypts all in one batch.

        Workers share the powers; the batch's check is one thread's.
        """
        whole = sum(counts)
        for count in counts:
            self.s2 += PublicKey.check_counts(count)
        self.s2 += SecretKey.decrypt_counts(whole)
        self.s2_shared.add(POWER_P2, 2 * whole)

    def include(self, other: Cost, times: int = 1) -> None:
        """Add another's cost, `times` times."""
        for each in fields(self):
            mine, theirs = getattr(self, each.name), getattr(other, each.name)
            if isinstance(theirs, Tally):
                mine += {kind: times * count for kind, count in theirs.as_dict().items()}
            else:
                setattr(self, each.name, mine + times * theirs)

    def as_dict(self) -> dict[str, object]:
        return {
            "bytes": self.bytes,
            "messages": self.messages,
            "cloud_s1": self.s1.as_dict(),
            "cloud_s2": self.s2.as_dict(),
            "and_gates": self.garbled + self.evaluated,
            "transfers": self.prepared + self.transfers,
            "products": self.products,
        }


Costs = dict[str, Cost]
"""By function, named as in the meters."""


def function(costs: Costs, name: str) -> Cost:
    """The function's cost so far."""
    return costs.setdefault(name, Cost())


def booked(turns: Iterable[Turn]) -> Costs:
    """Messages by function."""
    costs: Costs = {}
    for turn in turns:
        function(costs, turn.function).take(turn)
    return costs


def total(costs: Mapping[str, Cost]) -> Cost:
    """All functions together."""
    whole = Cost()
    for cost in costs.values():
        whole.include(cost)
    return whole
