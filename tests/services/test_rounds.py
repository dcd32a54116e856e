"""What only a real stream can do: stay silent, break, come from the wrong caller."""

from __future__ import annotations

import time

import pytest

from tests.rounds.conversations import MESSAGE_BYTES, RoundsServer, bind, done
from twinveil.errors import BadInput, NotAllowed, OutOfOrder, PeerUnavailable
from twinveil.rpc.rounds_pb2 import Chunk
from twinveil.rpc.rounds_pb2_grpc import RoundsStub
from twinveil.services.rounds import GrpcPeer


def test_a_silent_peer_is_given_up_at_the_deadline(rounds_server: RoundsServer) -> None:
    peer = GrpcPeer(rounds_server.channel(), deadline=0.5, most=MESSAGE_BYTES)
    begin = time.monotonic()
    with pytest.raises(PeerUnavailable, match=r"cloud_s2 did not answer within 0\.5 s"):
        peer.ask(bind(b"hang"))
    assert time.monotonic() - begin < 2
    rounds_server.conversations[0].release.set()
    assert rounds_server.conversations[0].closed.wait(5)


def test_a_peer_that_goes_away_is_noticed_before_the_deadline(rounds_server: RoundsServer) -> None:
    peer = GrpcPeer(rounds_server.channel(), deadline=30, most=MESSAGE_BYTES)
    peer.ask(done())
    rounds_server.server.stop(0).wait()
    with pytest.raises(PeerUnavailable):
        peer.ask(done())
    assert rounds_server.conversations[0].closed.wait(5)


def test_nobody_there(rounds_server: RoundsServer) -> None:
    rounds_server.server.stop(0).wait()
    with pytest.raises(PeerUnavailable, match="is it running"):
        GrpcPeer(rounds_server.channel(), deadline=30).ask(done())


def test_a_vanished_client_frees_its_conversation(rounds_server: RoundsServer) -> None:
    channel = rounds_server.channel()
    GrpcPeer(channel, deadline=30, most=MESSAGE_BYTES).ask(done())
    channel.close()
    assert rounds_server.conversations[0].closed.wait(5)
    assert rounds_server.conversations[0].closings == 1


def test_the_conversation_knows_its_caller(rounds_server: RoundsServer) -> None:
    GrpcPeer(rounds_server.channel(), deadline=30).ask(done())
    GrpcPeer(rounds_server.channel("twinveil://cloud_s1/other"), deadline=30).ask(done())
    first, second = rounds_server.callers
    assert (str(first), str(second)) == ("cloud_s1/s1", "cloud_s1/other")
    assert first.fingerprint != second.fingerprint
    assert not first.secure


@pytest.mark.parametrize("role", ["owner", "user", "cloud_s2"])
def test_no_other_role_converses(rounds_server: RoundsServer, role: str) -> None:
    peer = GrpcPeer(rounds_server.channel(f"twinveil://{role}/x"), deadline=30)
    with pytest.raises(NotAllowed, match=f"{role} may not call /twinveil.rpc.Rounds/Converse"):
        peer.ask(done())
    assert rounds_server.conversations == []


@pytest.mark.parametrize(
    "uri", ["", "cloud_s1", "twinveil://cloud_s1/", "twinveil://cloud_s3/x", "twinveil://cloud_s1/a b"]
)
def test_a_caller_without_a_proper_name_is_refused(rounds_server: RoundsServer, uri: str) -> None:
    with pytest.raises(NotAllowed):
        GrpcPeer(rounds_server.channel(uri), deadline=30).ask(done())
    assert rounds_server.conversations == []


def test_a_conversation_that_cannot_be_opened(rounds_server: RoundsServer) -> None:
    with pytest.raises(BadInput, match="not now"):
        GrpcPeer(rounds_server.channel("twinveil://cloud_s1/refused"), deadline=30).ask(done())


@pytest.mark.parametrize("order", [[1], [0, 0], [0, 2], [0, 1, 1]])
def test_repeated_and_missing_messages_are_out_of_order(
    rounds_server: RoundsServer, order: list[int]
) -> None:
    data = done().SerializeToString()
    chunks = iter([Chunk(sequence=number, data=data, last=True) for number in order])
    call = RoundsStub(rounds_server.channel()).Converse(chunks)
    with pytest.raises(Exception, match="expected part") as caught:
        list(call)
    assert dict(caught.value.trailing_metadata())["twinveil-error"] == OutOfOrder.__name__  # type: ignore[attr-defined]
