"""What every Peer promises, in memory and over gRPC alike."""

from __future__ import annotations

import pytest

from tests.rounds.conversations import MakePeer, bind, done
from twinveil.errors import InvalidKey, InvalidMessage, OutOfOrder, TooMuch, TwinveilError
from twinveil.rpc.rounds_pb2 import MaskedPlaintexts, Round


def test_an_answer_belongs_to_its_question(make_peer: MakePeer) -> None:
    peer, conversation = make_peer()
    for content in (b"", b"a", b"b" * 5):
        question = bind(content)
        answer = peer.ask(question)
        assert answer.masked_plaintexts.ciphertexts == question.SerializeToString()
    assert len(conversation().seen) == 3


@pytest.mark.parametrize("size", [(1 << 20) - 20, 1 << 20, (1 << 20) + 1, (4 << 20) + 17])
def test_messages_of_many_chunks(make_peer: MakePeer, size: int) -> None:
    peer, _ = make_peer()
    question = Round(masked_plaintexts=MaskedPlaintexts(ciphertexts=bytes(range(251)) * (size // 251)))
    assert peer.ask(question).masked_plaintexts.ciphertexts == question.SerializeToString()


def test_nothing_is_shared_by_reference(make_peer: MakePeer) -> None:
    peer, conversation = make_peer()
    question = bind(b"before")
    peer.ask(question)
    question.bind.binding = b"after"
    assert conversation().seen[0].bind.binding == b"before"


def test_an_error_keeps_its_type_and_becomes_one_line(make_peer: MakePeer) -> None:
    peer, conversation = make_peer()
    with pytest.raises(InvalidKey, match=r"^the key is not the pinned one$"):
        peer.ask(bind(b"typed"))
    assert conversation().closed.wait(5)


def test_an_unplanned_error_tells_nothing(make_peer: MakePeer) -> None:
    peer, conversation = make_peer()
    with pytest.raises(TwinveilError, match=r"^internal error, see the log$") as caught:
        peer.ask(bind(b"crash"))
    assert type(caught.value) is TwinveilError
    assert conversation().closed.wait(5)


def test_after_an_error_the_conversation_is_over(make_peer: MakePeer) -> None:
    peer, conversation = make_peer()
    with pytest.raises(InvalidKey):
        peer.ask(bind(b"typed"))
    with pytest.raises(OutOfOrder, match="over"):
        peer.ask(done())
    assert len(conversation().seen) == 1


def test_closing_closes_the_conversation_once(make_peer: MakePeer) -> None:
    peer, conversation = make_peer()
    peer.ask(done())
    peer.close()
    peer.close()
    assert conversation().closed.wait(5)
    assert conversation().closings == 1
    with pytest.raises(OutOfOrder, match="over"):
        peer.ask(done())


def test_a_message_past_the_limit_is_refused_unseen(make_peer: MakePeer) -> None:
    peer, conversation = make_peer()
    with pytest.raises(TooMuch, match="message of more than"):
        peer.ask(Round(masked_plaintexts=MaskedPlaintexts(ciphertexts=bytes(6 << 20))))
    assert conversation().seen == []
    assert conversation().closed.wait(5)


def test_the_limit_is_a_messages_alone(make_peer: MakePeer) -> None:
    peer, conversation = make_peer()
    question = Round(masked_plaintexts=MaskedPlaintexts(ciphertexts=bytes((5 << 20) - 100)))
    for _ in range(4):
        peer.ask(question)
    assert len(conversation().seen) == 4


def test_a_message_without_a_body_is_refused(make_peer: MakePeer) -> None:
    peer, _ = make_peer()
    with pytest.raises(InvalidMessage):
        peer.ask(Round())


def test_an_answer_without_a_body_is_refused(make_peer: MakePeer) -> None:
    peer, _ = make_peer()
    with pytest.raises(InvalidMessage):
        peer.ask(bind(b"empty"))
