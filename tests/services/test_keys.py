"""The first contact decides which key is S2's, however many contacts are the first."""

from __future__ import annotations

import errno
import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from tests.crypto.crypto_keys import secret_key
from twinveil.crypto.keygen import generate
from twinveil.crypto.public_key import PublicKey
from twinveil.errors import PeerMismatch
from twinveil.params import Params
from twinveil.rpc.keys_pb2 import GetPublicKeyReply, GetPublicKeyRequest
from twinveil.services import keys as pinning
from twinveil.services.keys import KnownKey


def refuse(*_: object) -> None:
    """As vfat answers who wants a hard link."""
    raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))


@pytest.mark.parametrize("links", [True, False], ids=["links", "no links"])
def test_first_contacts_at_once_pin_one_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    if not links:
        monkeypatch.setattr("os.link", refuse)
    params = Params(256, insecure_small_key=True)
    keys = [secret_key().public_key, generate(params).public_key] * 2
    together = threading.Barrier(len(keys))

    class Stub:
        """S2, behind a channel that is the key itself: everybody has asked before anybody has an answer."""

        def __init__(self, channel: PublicKey) -> None:
            self._key = channel

        def GetPublicKey(self, request: GetPublicKeyRequest, timeout: float) -> GetPublicKeyReply:
            together.wait(10)
            return GetPublicKeyReply(jwk=json.dumps(self._key.to_jwk()))

    monkeypatch.setattr(pinning.keys_pb2_grpc, "KeysStub", Stub)

    def fetched(pin: Path, channel: grpc.Channel) -> str | None:
        try:
            return KnownKey(pin, insecure_small_key=True).fetch(channel).fingerprint
        except PeerMismatch:
            return None

    with ThreadPoolExecutor(len(keys)) as threads:
        for number in range(20):
            pin = tmp_path / str(number)
            found = list(threads.map(fetched, [pin] * len(keys), keys))
            assert {each for each in found if each} == {pin.read_text().strip()}
            assert found.count(None) == 2


MET = bytes(range(32))


def test_the_fingerprint_that_s2_tells_is_pinned_and_no_other_taken(tmp_path: Path) -> None:
    """Who needs no key of S2's, as the packed engine's users, still meets no other S2."""
    known = KnownKey(tmp_path / "state" / "pin")
    assert known.meet(MET) == MET.hex() == known.meet(MET) == known.known()
    with pytest.raises(PeerMismatch, match=r"^cloud_s2 has key 0{16}\.\.\., but 00010203"):
        known.meet(bytes(32))
    assert known.known() == MET.hex()


def test_the_fingerprint_from_outside_wins_and_is_pinned_only_if_met(tmp_path: Path) -> None:
    known = KnownKey(tmp_path / "pin", MET.hex())
    with pytest.raises(PeerMismatch, match="is pinned"):
        known.meet(bytes(32))
    assert not known.pin.exists()
    known.meet(MET)
    assert known.pin.read_text().strip() == MET.hex()


@pytest.mark.parametrize("told", [b"", bytes(31), bytes(64)])
def test_an_s2_without_a_fingerprint_is_refused(tmp_path: Path, told: bytes) -> None:
    known = KnownKey(tmp_path / "pin")
    with pytest.raises(PeerMismatch, match="does not say which key it has"):
        known.meet(told)
    assert not known.pin.exists()
