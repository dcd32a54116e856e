"""Counting and recording: exact bytes by label, and the two clouds' views."""

from __future__ import annotations

from pathlib import Path

import pytest

from twinveil.errors import BadInput, InvalidKey
from twinveil.net.counted import CountedPeer, Traffic
from twinveil.net.memory import MemoryPeer
from twinveil.net.recording import RecordingConversation, RecordingPeer, View, read_view

from .conftest import Scripted, bind, done


def test_bytes_and_rounds_by_label() -> None:
    peer = CountedPeer(MemoryPeer(Scripted()))
    with peer.step("SCVL conv1") as conv:
        replies = [peer.ask(bind(bytes(100))), peer.ask(bind(bytes(7)))]
    assert peer.label == ""
    peer.ask(done())
    assert conv.messages == 4
    assert conv.rounds == 2
    assert conv.sent == bind(bytes(100)).ByteSize() + bind(bytes(7)).ByteSize()
    assert conv.received == sum(reply.ByteSize() for reply in replies)
    total = peer.total()
    assert (total.messages, total.rounds) == (6, 3)
    assert total.bytes == sum(part.bytes for part in peer.by_label.values())
    assert total.waited > 0


def test_a_question_without_an_answer_counts_as_sent() -> None:
    peer = CountedPeer(MemoryPeer(Scripted()))
    with pytest.raises(InvalidKey):
        peer.ask(bind(b"typed"))
    total = peer.total()
    assert (total.messages, total.rounds, total.received) == (1, 0, 0)
    assert total.sent == bind(b"typed").ByteSize()
    assert Traffic().bytes == 0


def test_views_hold_what_each_side_received(tmp_path: Path) -> None:
    s1, s2 = tmp_path / "views" / "s1", tmp_path / "views" / "s2"
    conversation = RecordingConversation(Scripted(), View(s2))
    peer = RecordingPeer(MemoryPeer(conversation), View(s1))
    questions = [bind(b"one"), done(), bind(bytes(1000))]
    answers = [peer.ask(question) for question in questions]
    peer.close()
    assert [received.message for received in read_view(s1)] == answers
    assert [received.message for received in read_view(s2)] == questions
    times = [received.seconds for received in read_view(s2)]
    assert times == sorted(times)
    assert s2.stat().st_mode & 0o777 == 0o600
    with pytest.raises(FileExistsError):
        View(s1)


@pytest.mark.parametrize("cut", [1, 5, 13, 20])
def test_a_damaged_view_is_refused(tmp_path: Path, cut: int) -> None:
    view = View(tmp_path / "view")
    view.write(bind(bytes(30)))
    view.close()
    path = tmp_path / "cut"
    path.write_bytes((tmp_path / "view").read_bytes()[:-cut])
    with pytest.raises(BadInput, match="ends within a record"):
        list(read_view(path))
