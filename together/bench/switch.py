"""A switch between network devices, late and at a rate: from each port to each other leads a wire of its own.

`python -m together.bench.switch LATENCY BANDWIDTH ADDRESS=DEVICE ...` carries IPv4 packets, seconds one way
and bits a second, between TUN devices that it inherits open, until its stdin closes.
"""

from __future__ import annotations

from twinveil.start.process import leave_folder

if __name__ == "__main__":
    leave_folder()

import heapq
import os
import select
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from itertools import count

from twinveil.estimate.seconds import Link

QUEUE_BYTES = 1_500_000
"""What may wait before a wire: a thousand full packets. What is more is lost, as on any network."""
PACKET_BYTES = 65_536
BURST = 64
"""Packets of one port that are taken before the others, and what is due, have their turn."""
DESTINATION = slice(16, 20)
"""In an IPv4 header."""


@dataclass
class Wire:
    """One way between two ports. free: when what was sent before has left."""

    link: Link
    free: float = 0.0

    def arrival(self, now: float, size: int) -> float | None:
        """When a packet that is sent now arrives; None if the queue has no room for it."""
        start = max(self.free, now)
        if start - now > self.link.transfer(QUEUE_BYTES):
            return None
        self.free = start + self.link.transfer(size)
        return self.free + self.link.latency


@dataclass
class Switch:
    """ports: device of each address."""

    ports: Mapping[bytes, int]
    link: Link
    _wires: dict[tuple[int, int], Wire] = field(default_factory=dict)
    _under_way: list[tuple[float, int, int, bytes]] = field(default_factory=list)
    """A heap: when it arrives, what was sent first, device, packet."""
    _order: count[int] = field(default_factory=count)

    def take(self, source: int, packet: bytes, now: float) -> None:
        """What is for no port of the switch, or finds no room, is lost."""
        target = self.ports.get(packet[DESTINATION])
        if target is None:
            return
        wire = self._wires.setdefault((source, target), Wire(self.link))
        arrival = wire.arrival(now, len(packet))
        if arrival is not None:
            heapq.heappush(self._under_way, (arrival, next(self._order), target, packet))

    def deliver(self, now: float) -> None:
        """Everything that has arrived by now."""
        while self._under_way and self._under_way[0][0] <= now:
            *_, target, packet = heapq.heappop(self._under_way)
            with suppress(OSError):  # a receiver that takes no more: the packet is lost
                os.write(target, packet)

    def run(self, until: int) -> None:
        """Until something can be read there, or it is closed."""
        devices = list(self.ports.values())
        for device in devices:
            os.set_blocking(device, False)
        while True:
            wait = max(0.0, self._under_way[0][0] - time.monotonic()) if self._under_way else None
            readable, _, _ = select.select([*devices, until], [], [], wait)
            if until in readable:
                return
            for device in readable:
                self._take_all(device)
            self.deliver(time.monotonic())

    def _take_all(self, device: int) -> None:
        with suppress(BlockingIOError):
            for _ in range(BURST):
                self.take(device, os.read(device, PACKET_BYTES), time.monotonic())


def main(latency: str, bandwidth: str, *ports: str) -> None:
    made = {}
    for port in ports:
        address, _, device = port.partition("=")
        made[IPv4Address(address).packed] = int(device)
    Switch(made, Link(float(latency), float(bandwidth))).run(sys.stdin.fileno())


if __name__ == "__main__":
    main(*sys.argv[1:])
