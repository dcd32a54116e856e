"""Seconds and memory of a query, from its cost and a machine.

The clouds take turns: while one computes the other waits, so that a function's time on one machine is the
sum of both. What a cloud shares out between its workers runs on all cores; other big integers (all of S1's in
the textbook engine but the import's nonces), circuits and messages on one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from twinveil.crypto.fixed_base import WINDOW
from twinveil.crypto.multiexp_fixed import FIXED_GROUP, MAX_CACHED_BYTES, OVERHEAD_BYTES
from twinveil.crypto.multiexp_schedule import Tables
from twinveil.crypto.nonces import Reach, exponent_bits
from twinveil.estimate.cost import Cost, Costs
from twinveil.estimate.machine import Machine
from twinveil.estimate.textbook import live_numbers
from twinveil.garbling.labels import LABEL_BYTES
from twinveil.network.plan import Plan
from twinveil.protocol.packed.layout import PackedLayout

AHEAD = ("ahead", "garbling")
"""Functions that need no picture."""
USER_MESSAGES = 2
"""The request that starts a query and the answer that ends it."""
PROCESS_BYTES = 130 << 20
"""Of a cloud's process: Python, numpy, gRPC, arrays between two steps."""
WORKER_BYTES = 70 << 20
"""Of a worker's process."""


@dataclass(frozen=True, slots=True)
class Link:
    """latency: seconds one way. bandwidth: bits a second; None is no limit."""

    latency: float = 0.0
    bandwidth: float | None = None

    def seconds(self, messages: int, payload: int) -> float:
        """What the messages spend on the way, one after the other."""
        transfer = 8 * payload / self.bandwidth if self.bandwidth else 0.0
        return messages * self.latency + transfer


LOOPBACK = Link()


@dataclass(frozen=True, slots=True)
class Seconds:
    """integers: processor seconds in big integers, shared: of these what runs on all cores; circuits: in
    garbling, transfers, evaluation; other: in messages. wall: with the machine's cores, link included."""

    integers: float
    shared: float
    circuits: float
    other: float
    wall: float

    @property
    def processor(self) -> float:
        return self.integers + self.circuits + self.other


def of_function(cost: Cost, machine: Machine, link: Link = LOOPBACK) -> Seconds:
    """One function at both clouds together."""
    integers = cost.s1.seconds(machine.costs) + cost.s2.seconds(machine.costs)
    shared = cost.s1_shared.seconds(machine.costs) + cost.s2_shared.seconds(machine.costs)
    circuits = cost.garbled * machine.garble + cost.evaluated * machine.evaluate
    circuits += cost.prepared * machine.prepare + cost.transfers * machine.transfer
    if cost.prepared:
        circuits += machine.base
    other = 2 * (cost.bytes * machine.byte + cost.messages * machine.message)
    computing = integers - shared + shared / machine.cores + circuits + other
    wall = computing + link.seconds(cost.messages, cost.bytes)
    return Seconds(integers, shared, circuits, other, wall)


def of_query(costs: Costs, machine: Machine, link: Link = LOOPBACK) -> dict[str, Seconds]:
    """By function."""
    return {name: of_function(cost, machine, link) for name, cost in costs.items()}


def latency(seconds: Mapping[str, Seconds], link: Link = LOOPBACK) -> float:
    """From request to class, what can be made ahead made ahead."""
    online = sum(each.wall for name, each in seconds.items() if name not in AHEAD)
    return online + USER_MESSAGES * link.latency


def sustained(seconds: Mapping[str, Seconds], link: Link = LOOPBACK) -> float:
    """A picture with nothing made ahead."""
    return sum(each.wall for each in seconds.values()) + USER_MESSAGES * link.latency


def rounds(costs: Costs) -> int:
    """Longest chain of dependent messages, from the user's request to its answer."""
    return USER_MESSAGES + sum(cost.messages for name, cost in costs.items() if name not in AHEAD)


def memory(costs: Costs, plan: Plan, key_bits: int, engine: str, workers: int) -> dict[str, int]:
    """Bytes at each cloud at the peak, by role, roughly: processes and their tables, and the query."""
    processes = PROCESS_BYTES + workers * WORKER_BYTES
    tables = {"cloud_s1": _nonce_table(key_bits, "full"), "cloud_s2": _nonce_table(key_bits, "short")}
    if engine == "packed":
        tables["cloud_s1"] += min(MAX_CACHED_BYTES, kernel_table_bytes(plan, key_bits))
    query = query_memory(costs, plan, key_bits, engine)
    return {role: processes + workers * tables[role] + query[role] for role in query}


def query_memory(costs: Costs, plan: Plan, key_bits: int, engine: str) -> dict[str, int]:
    """Of these what one query adds: circuits, transfers, numbers, messages."""
    transfers = sum(cost.transfers for cost in costs.values())
    s1 = sum(cost.circuits for cost in costs.values()) + transfers * 2 * LABEL_BYTES
    s2 = transfers * 2 * LABEL_BYTES
    if engine == "packed":
        largest = max(cost.bytes for cost in costs.values())
    else:
        largest = max(cost.largest for cost in costs.values())
        s1 += live_numbers(plan) * (2 * (key_bits // 8) + OVERHEAD_BYTES)
    return {"cloud_s1": s1 + 4 * largest, "cloud_s2": s2 + 3 * largest}


def kernel_table_bytes(plan: Plan, key_bits: int) -> int:
    """Tables on E(K) in one process: two numbers below N an entry, three in a first group."""
    numbers = 0
    for layer in PackedLayout(plan, key_bits, 40).layers.values():
        chunks, bases, _ = layer.kernel_slots.shape
        groups = Tables(min(FIXED_GROUP, bases), 1).groups(bases)
        numbers += chunks * (2 * sum(1 << size for size in groups) + (1 << groups[0]))
    return numbers * (key_bits // 8 + OVERHEAD_BYTES)


def _nonce_table(key_bits: int, reach: Reach) -> int:
    positions = -(-exponent_bits(key_bits, reach) // WINDOW)
    return (2 * positions + 1 << WINDOW) * (key_bits // 8 + OVERHEAD_BYTES)
