"""Seconds of a query and its items, from their cost and a machine.

The clouds take turns: while one computes the other waits, so that a function's time on one machine is the
sum of both. What a cloud shares out between its workers runs on all cores; other big integers (most of S1's
in the textbook engine), circuits and messages on one. Where items are made one after the other, S1 works on
one while S2 works on another.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from twinveil.estimate.cost import Cost, Costs, total
from twinveil.estimate.machine import Machine

USER_MESSAGES = 2
"""The request that starts a query and the answer that ends it."""


@dataclass(frozen=True, slots=True)
class Link:
    """latency: seconds one way. bandwidth: bits a second; None is no limit."""

    latency: float = 0.0
    bandwidth: float | None = None

    def transfer(self, payload: int) -> float:
        """Seconds that so many bytes take."""
        return 8 * payload / self.bandwidth if self.bandwidth else 0.0

    def seconds(self, messages: int, payload: int) -> float:
        """What the messages spend on the way, one after the other."""
        return messages * self.latency + self.transfer(payload)


LOOPBACK = Link()


@dataclass(frozen=True, slots=True)
class Seconds:
    """integers: processor seconds in big integers; circuits: in garbling, transfers, evaluation; other: in
    integers in the clear, and messages. wall: with the machine's cores, link included.
    """

    integers: float
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
    circuits += cost.bases * machine.base
    other = 2 * (cost.bytes * machine.byte + cost.messages * machine.message) + cost.sums * machine.product
    computing = integers - shared + shared / machine.cores + circuits + other
    wall = computing + link.seconds(cost.messages, cost.bytes)
    return Seconds(integers, circuits, other, wall)


def of_functions(costs: Costs, machine: Machine, link: Link = LOOPBACK) -> dict[str, Seconds]:
    """By name."""
    return {name: of_function(cost, machine, link) for name, cost in costs.items()}


def wall(seconds: Mapping[str, Seconds]) -> float:
    """One after the other."""
    return sum(each.wall for each in seconds.values())


def pace(costs: Costs, machine: Machine, link: Link = LOOPBACK) -> float:
    """From one item to the next where many are made: what cores, or the link, are full with."""
    processor = sum(each.processor for each in of_functions(costs, machine).values())
    whole = total(costs)
    return max(processor / machine.cores, link.transfer(max(whole.sent, whole.received)))


def rounds(costs: Costs) -> int:
    """Longest chain of dependent messages, from the user's request to its answer."""
    return USER_MESSAGES + total(costs).messages
