"""Counting: exact bytes by label."""

from __future__ import annotations

import pytest

from tests.rounds.conversations import Scripted, bind, done
from twinveil.errors import InvalidKey
from twinveil.rounds.counted import CountedPeer, Traffic
from twinveil.rounds.memory import MemoryPeer


def test_bytes_and_round_trips_by_label() -> None:
    peer = CountedPeer(MemoryPeer(Scripted()))
    with peer.step("SCVL") as conv:
        replies = [peer.ask(bind(bytes(100))), peer.ask(bind(bytes(7)))]
    assert peer.label == ""
    peer.ask(done())
    assert conv.messages == 4
    assert conv.round_trips == 2
    assert conv.sent == bind(bytes(100)).ByteSize() + bind(bytes(7)).ByteSize()
    assert conv.received == sum(reply.ByteSize() for reply in replies)
    total = peer.total()
    assert (total.messages, total.round_trips) == (6, 3)
    assert total.bytes == sum(part.bytes for part in peer.by_label.values())
    assert total.waited > 0


def test_a_question_without_an_answer_counts_as_sent() -> None:
    peer = CountedPeer(MemoryPeer(Scripted()))
    with pytest.raises(InvalidKey):
        peer.ask(bind(b"typed"))
    total = peer.total()
    assert (total.messages, total.round_trips, total.received) == (1, 0, 0)
    assert total.sent == bind(b"typed").ByteSize()
    assert Traffic().bytes == 0
