"""The switch by itself: how late, how fast, in which order, and what it has no room for."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from ipaddress import IPv4Address

import pytest

from together.bench.switch import DESTINATION, QUEUE_BYTES, Switch, Wire
from twinveil.estimate.seconds import Link

LINK = Link(latency=0.02, bandwidth=100e6)
FULL = 1_500
FULL_SECONDS = 8 * FULL / 100e6
A, B, C = (IPv4Address(f"10.0.0.{number}").packed for number in (1, 2, 3))

Ends = dict[bytes, tuple[socket.socket, int]]
"""Of each address: the host's end, and the descriptor that the switch has."""


@pytest.fixture
def ends() -> Iterator[Ends]:
    """Sockets in the place of devices: they, too, keep packets apart."""
    with ExitStack() as stack:
        made = {}
        for address in (A, B, C):
            host, device = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
            stack.enter_context(host)
            stack.enter_context(device)
            host.setblocking(False)
            made[address] = (host, device.fileno())
        yield made


@pytest.fixture
def switch(ends: Ends) -> Switch:
    return Switch({address: device for address, (_, device) in ends.items()}, LINK)


def packet(target: bytes, payload: bytes = b"", size: int = 0) -> bytes:
    return (bytes(DESTINATION.start) + target + payload).ljust(size, b"\0")


def arrived(host: socket.socket) -> list[bytes]:
    found = []
    while True:
        try:
            found.append(host.recv(1 << 16))
        except BlockingIOError:
            return found


def test_a_packet_takes_its_length_and_the_way() -> None:
    assert Wire(LINK).arrival(5.0, FULL) == pytest.approx(5.0 + FULL_SECONDS + LINK.latency)


def test_packets_leave_one_after_the_other_at_the_rate() -> None:
    wire = Wire(LINK)
    arrivals = [wire.arrival(1.0, FULL) for _ in range(100)]
    assert arrivals == pytest.approx([1.0 + (n + 1) * FULL_SECONDS + LINK.latency for n in range(100)])
    later = wire.arrival(9.0, FULL)
    assert later == pytest.approx(9.0 + FULL_SECONDS + LINK.latency)  # an idle wire saves nothing up


def test_what_finds_no_room_is_lost_until_there_is_some() -> None:
    wire = Wire(LINK)
    taken = [wire.arrival(0.0, FULL) is not None for _ in range(2 * QUEUE_BYTES // FULL)]
    assert taken.index(False) * FULL == pytest.approx(QUEUE_BYTES, abs=2 * FULL)
    assert not any(taken[taken.index(False) :])
    assert wire.arrival(2 * FULL_SECONDS, FULL) is not None


def test_each_goes_where_it_is_addressed_in_its_order_when_it_is_due(ends: Ends, switch: Switch) -> None:
    source = ends[A][1]
    sent = [packet(B, bytes([number])) for number in range(20)]
    for number, each in enumerate(sent):
        switch.take(source, each, number / 1e3)
    switch.take(source, packet(C), 0.0)
    switch.take(source, packet(IPv4Address("10.0.0.9").packed), 0.0)
    switch.take(source, b"\x60 too short for anybody", 0.0)
    switch.deliver(LINK.latency)
    assert [arrived(ends[each][0]) for each in (A, B, C)] == [[], [], []]
    switch.deliver(LINK.latency + 0.0095)
    assert arrived(ends[B][0]) == sent[:10]
    switch.deliver(1.0)
    assert [arrived(ends[each][0]) for each in (A, B, C)] == [[], sent[10:], [packet(C)]]


def test_wires_do_not_share_a_rate(ends: Ends, switch: Switch) -> None:
    for source, target in ((A, B), (B, A), (A, C)):
        switch.take(ends[source][1], packet(target, size=FULL), 0.0)
    switch.deliver(LINK.latency + 1.5 * FULL_SECONDS)
    assert [len(arrived(host)) for host, _ in ends.values()] == [1, 1, 1]


def test_a_receiver_that_takes_no_more_stops_nobody(ends: Ends, switch: Switch) -> None:
    os.set_blocking(ends[B][1], False)
    for number in range(5_000):
        switch.take(ends[A][1], packet(B), number / 1e3)
    switch.take(ends[A][1], packet(C), 0.0)
    switch.deliver(10.0)
    assert 0 < len(arrived(ends[B][0])) < 5_000
    assert arrived(ends[C][0]) == [packet(C)]


def test_it_runs_until_it_is_told_to_end(ends: Ends, switch: Switch) -> None:
    until, end = os.pipe()
    thread = threading.Thread(target=switch.run, args=(until,))
    thread.start()
    try:
        start = time.monotonic()
        ends[A][0].send(packet(B, b"!"))
        ends[B][0].settimeout(10)
        assert ends[B][0].recv(100) == packet(B, b"!")
        assert time.monotonic() - start >= LINK.latency
    finally:
        os.close(end)
        thread.join(10)
        os.close(until)
    assert not thread.is_alive()
