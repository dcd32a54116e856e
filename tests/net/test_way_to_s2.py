"""S1's way to S2: given up once S2 was out of reach, whoever noticed; the next looks at its key again."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloud_s1.s2 import CloudS2, Contact
from tests.crypto_keys import secret_key, toy
from twinveil.crypto.keygen import generate
from twinveil.errors import PeerMismatch, PeerUnavailable
from twinveil.net.channel import Me
from twinveil.net.grpc_peer import RoundsServicer
from twinveil.net.server import Server, ServerSettings, start
from twinveil.net.servicers import KeysServicer, StatusServicer
from twinveil.pinning import PIN, KnownKey

from .conftest import Scripted, bind, done

BACKOFF_SECONDS = 2.5
"""After these a channel without its peer waits a second between its attempts."""


class S2:
    """S2's end, which can go and come back where it was."""

    def __init__(self) -> None:
        self.key = secret_key(512)
        self.server = self._started(0)
        self.port = self.server.port

    def _started(self, port: int) -> Server:
        public = self.key.public_key
        services = [
            StatusServicer("cloud_s2"),
            KeysServicer(json.dumps(public.to_jwk()), bytes.fromhex(public.fingerprint)),
            RoundsServicer(lambda _: Scripted()),
        ]
        return start(ServerSettings("cloud_s2", f"127.0.0.1:{port}", None, insecure_plaintext=True), services)

    def go(self) -> None:
        self.server.stop(0)

    def come_back(self) -> None:
        self.server = self._started(self.port)


@pytest.fixture
def s2() -> Iterator[S2]:
    made = S2()
    yield made
    made.go()


@pytest.fixture
def way(s2: S2, tmp_path: Path) -> CloudS2:
    me = Me("cloud_s1", "s1", None)
    s2_key = KnownKey(tmp_path / PIN, insecure_small_key=True)
    return CloudS2(Contact(me, f"127.0.0.1:{s2.port}", 5.0, 2.0, s2_key))


def an_answer(way: CloudS2) -> bool:
    peer = way.peer()
    try:
        return peer.ask(done()).HasField("masked_plaintexts")
    finally:
        peer.close()


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
