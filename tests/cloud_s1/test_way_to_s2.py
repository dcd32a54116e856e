"""S1's way to S2: given up once S2 was out of reach, whoever noticed; the next looks at its key again.

Where S2 has no place for a conversation, one that can be spared gives way.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloud_s1.way_to_s2 import CloudS2, PeerS2, S2Address
from tests.crypto.crypto_keys import secret_key, toy
from tests.rounds.conversations import Scripted, bind, done
from twinveil.crypto.keygen import generate
from twinveil.errors import InvalidKey, PeerMismatch, PeerUnavailable, TooMuch
from twinveil.services.keys import PIN, KeysServicer, KnownKey
from twinveil.services.rounds import RoundsServicer
from twinveil.services.status import StatusServicer
from twinveil.transport.certificates import issue, make_authority
from twinveil.transport.channel import Me
from twinveil.transport.limits import CallLimits, RpcLimits
from twinveil.transport.server import Server, ServerSettings, start

BACKOFF_SECONDS = 2.5
"""After these a channel without its peer waits a second between its attempts."""


class S2:
    """S2's end, which can go and come back where it was."""

    def __init__(self, limits: RpcLimits | None = None) -> None:
        self.key = secret_key(512)
        self.limits = limits or {}
        self.server = self._started(0)
        self.port = self.server.port

    def _started(self, port: int) -> Server:
        public = self.key.public_key
        services = [
            StatusServicer("cloud_s2"),
            KeysServicer(json.dumps(public.to_jwk()), bytes.fromhex(public.fingerprint)),
            RoundsServicer(lambda _: Scripted()),
        ]
        address = f"127.0.0.1:{port}"
        return start(
            ServerSettings("cloud_s2", address, None, insecure_plaintext=True, limits=self.limits), services
        )

    def go(self) -> None:
        self.server.stop(0)

    def come_back(self) -> None:
        self.server = self._started(self.port)


@pytest.fixture
def s2() -> Iterator[S2]:
    made = S2()
    yield made
    made.go()


def address_of(s2: S2, folder: Path) -> S2Address:
    me = Me("cloud_s1", "s1", None)
    s2_key = KnownKey(folder / PIN, insecure_small_key=True)
    return S2Address(me, f"127.0.0.1:{s2.port}", 5.0, 2.0, s2_key)


@pytest.fixture
def way(s2: S2, tmp_path: Path) -> CloudS2:
    return CloudS2(address_of(s2, tmp_path))


class Spare:
    """Conversations that can be spared."""

    def __init__(self, s2: S2, folder: Path) -> None:
        self.way = CloudS2(address_of(s2, folder), self.give_way)
        self.peers: list[PeerS2] = []
        self.asked = 0

    def give_way(self) -> bool:
        self.asked += 1
        if self.peers:
            self.peers.pop(0).close()
            return True
        return False


@pytest.fixture
def spare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Spare]:
    """S2 has places for two conversations; two that can be spared hold them. S1 is soon impatient."""
    monkeypatch.setattr("cloud_s1.way_to_s2.PLACE_SECONDS", 0.5)
    s2 = S2({"/twinveil.rpc.Rounds/Converse": CallLimits(per_caller=2)})
    made = Spare(s2, tmp_path)
    for _ in range(2):
        made.peers.append(made.way.peer())
        made.peers[-1].ask(done())
    yield made
    s2.go()


def an_answer(way: CloudS2) -> bool:
    peer = way.peer()
    try:
        return peer.ask(done()).HasField("masked_plaintexts")
    finally:
        peer.close()


def test_what_is_wrong_with_s1s_own_certificate_is_for_its_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ended = issue(make_authority(), "cloud_s1", "s1", tmp_path, days=-1)
    me = Me("cloud_s1", "s1", ended)
    way = CloudS2(S2Address(me, "127.0.0.1:1", 5.0, 2.0, KnownKey(tmp_path / PIN)))
    with pytest.raises(
        PeerUnavailable, match=r"^cloud_s1 cannot call cloud_s2 as it is set up: its log says why$"
    ):
        way.key()
    assert f"{ended.certificate} ended 20" in caplog.text


@pytest.mark.parametrize("asked_before", [True, False], ids=["running", "opened while it was away"])
def test_a_conversation_that_nobody_asks_any_more_shows_that_s2_was_away(
    s2: S2, way: CloudS2, asked_before: bool
) -> None:
    """As when a user leaves before S1 has its error: nobody asks, only the transport knows."""
    assert an_answer(way)
    if asked_before:
        left = way.peer()
        left.ask(done())
    s2.go()
    if not asked_before:
        left = way.peer()
    time.sleep(BACKOFF_SECONDS)
    left.close()
    s2.come_back()
    assert an_answer(way)


def test_a_conversation_that_fails_shows_that_s2_was_away(s2: S2, way: CloudS2) -> None:
    assert an_answer(way)
    s2.go()
    with pytest.raises(PeerUnavailable):
        an_answer(way)
    time.sleep(BACKOFF_SECONDS)
    s2.come_back()
    assert an_answer(way)


def test_a_new_way_looks_at_the_key_again(s2: S2, way: CloudS2) -> None:
    assert way.key().fingerprint == s2.key.public_key.fingerprint
    s2.go()
    with pytest.raises(PeerUnavailable):
        an_answer(way)
    s2.key = generate(toy(512))
    s2.come_back()
    with pytest.raises(PeerMismatch, match="is pinned"):
        way.key()


def test_other_conversations_go_on_when_a_way_is_left(s2: S2, way: CloudS2) -> None:
    stays = way.peer()
    stays.ask(done())
    silent = way.peer()
    with pytest.raises(PeerUnavailable, match="did not answer within"):
        silent.ask(bind(b"hang"))
    assert an_answer(way)
    assert stays.ask(done()).HasField("masked_plaintexts")
    stays.close()


def test_a_conversation_that_can_be_spared_gives_way(spare: Spare) -> None:
    peer = spare.way.peer()
    for _ in range(2):
        assert peer.ask(done()).HasField("masked_plaintexts")
    assert not peer.left
    assert (spare.asked, len(spare.peers)) == (1, 1)
    peer.close()
    assert peer.left


def test_without_one_that_can_be_spared_there_is_no_place(spare: Spare) -> None:
    held, spare.peers = spare.peers, []
    with pytest.raises(TooMuch, match="may have 2 of"):
        an_answer(spare.way)
    assert spare.asked == 1
    assert not any(peer.left for peer in held)


def test_it_begins_once_more_and_not_again(spare: Spare) -> None:
    """What gives way may not be what held the place."""
    held, spare.peers = spare.peers, [spare.way.peer() for _ in range(2)]
    with pytest.raises(TooMuch):
        an_answer(spare.way)
    assert spare.asked == 1
    assert not any(peer.left for peer in held)


def test_a_place_that_becomes_free_is_waited_for(spare: Spare, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cloud_s1.way_to_s2.PLACE_SECONDS", 20.0)
    held, spare.peers = spare.peers, []
    threading.Timer(0.3, held[0].close).start()
    assert an_answer(spare.way)
    assert spare.asked == 1
    assert not held[1].left


def test_nothing_gives_way_to_what_fails_otherwise(spare: Spare) -> None:
    peer = spare.peers.pop()
    with pytest.raises(InvalidKey):
        peer.ask(bind(b"typed"))
    with pytest.raises(InvalidKey):
        spare.way.peer().ask(bind(b"typed"))
    peer = spare.way.peer()
    peer.ask(done())
    with pytest.raises(TooMuch):
        peer.ask(bind(b"much"))
    assert spare.asked == 0
