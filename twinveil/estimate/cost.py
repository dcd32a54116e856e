"""What one function of a query costs, exactly: bytes, messages, big-integer operations, gates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from twinveil.crypto.nonces import encrypt_counts, nonce_counts
from twinveil.crypto.public_key import PublicKey
from twinveil.crypto.secret_key import SecretKey
from twinveil.crypto.tally import POWER_P2, Tally
from twinveil.estimate.wire import round_bytes
from twinveil.garbling.ot_extension import correction_bytes, masked_bytes
from twinveil.protocol.textbook.garbled import GarbledStep


@dataclass
class Cost:
    """One function. sent and received as S1 sees them, in serialised Rounds; s1 and s2: operations.

    s1_shared, s2_shared: of these what a cloud shares out between its workers; the rest is one core's.
    largest, circuits: bytes of the longest message, and of all garbled circuits. garbled, evaluated: AND
    gates over all instances. prepared, transfers: oblivious transfers made ready ahead, and used. products:
    SMPs of single values, in the textbook engine.
    """

    sent: int = 0
    received: int = 0
    asks: int = 0
    s1: Tally = field(default_factory=Tally)
    s2: Tally = field(default_factory=Tally)
    s1_shared: Tally = field(default_factory=Tally)
    s2_shared: Tally = field(default_factory=Tally)
    largest: int = 0
    circuits: int = 0
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
        self.largest = max(self.largest, request, reply)

    def share_out(self, counts: Tally | Mapping[str, int]) -> None:
        """Operations that S1's workers share."""
        self.s1 += counts
        self.s1_shared += counts

    def draw(self, key_bits: int, count: int) -> None:
        """S1's full nonces; one alone is nobody's to share."""
        made = nonce_counts(key_bits, "full", count)
        self.s1 += made
        self.s1_shared += made if count > 1 else {}

    def draw_short(self, key_bits: int, count: int) -> None:
        """S2's short nonces."""
        made = nonce_counts(key_bits, "short", count)
        self.s2 += made
        self.s2_shared += made if count > 1 else {}

    def encrypt(self, key_bits: int, count: int) -> None:
        """S2 encrypts, with nonces drawn now."""
        self.draw_short(key_bits, count)
        self.s2 += encrypt_counts(count)

    def decrypt(self, *counts: int) -> None:
        """S2 reads that many ciphertexts of each part of a message and decrypts all in one batch.

        Threads share the powers; the batch's check is one thread's.
        """
        whole = sum(counts)
        for count in counts:
            self.s2 += PublicKey.check_counts(count)
        self.s2 += SecretKey.decrypt_counts(whole)
        self.s2_shared.add(POWER_P2, 2 * whole if whole > 1 else 0)

    def evaluate(self, step: GarbledStep) -> None:
        """A garbled step's part that waits for inputs: transfers and evaluation."""
        self.circuits += garbled_batch(step)
        self.evaluated += step.counts.and_gates
        self.transfers += step.choices

    def include(self, other: Cost, times: int = 1) -> None:
        """Add another's cost, `times` times."""
        self.sent += times * other.sent
        self.received += times * other.received
        self.asks += times * other.asks
        self.largest = max(self.largest, other.largest if times else 0)
        self.circuits += times * other.circuits
        self.garbled += times * other.garbled
        self.evaluated += times * other.evaluated
        self.prepared += times * other.prepared
        self.transfers += times * other.transfers
        self.products += times * other.products
        for mine, theirs in (
            (self.s1, other.s1),
            (self.s2, other.s2),
            (self.s1_shared, other.s1_shared),
            (self.s2_shared, other.s2_shared),
        ):
            mine += {kind: times * count for kind, count in theirs.as_dict().items()}

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
    whole = Cost()
    for cost in costs.values():
        whole.include(cost)
    return whole


def corrections(step: GarbledStep) -> int:
    """Bytes of S2's corrections for a step."""
    return round_bytes("corrections", bits=correction_bytes(step.choices))


def garbled_batch(step: GarbledStep) -> int:
    """Bytes of S1's garbled circuit of a step."""
    return round_bytes(
        "garbled_batch",
        tables=step.counts.table_bytes,
        garbler_labels=step.counts.garbler_label_bytes,
        masked_labels=masked_bytes(step.choices),
        decode=step.counts.decode_bytes,
    )
