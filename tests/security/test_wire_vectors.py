"""Malformed streams of chunks at S2, malformed keys at everybody who pins S2's key."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import grpc
import pytest

from tests.crypto.crypto_keys import secret_key
from tests.security.stand_ins import Serving, called
from tests.security.world import S1, World, tiny_model
from twinveil.errors import TwinveilError
from twinveil.rounds.chunks import CHUNK_BYTES, cut
from twinveil.rounds.scripted import ROUNDS_VERSION
from twinveil.rpc import rounds_pb2 as pb
from twinveil.services.keys import KnownKey
from twinveil.services.rounds import RoundsServicer

OPENING = pb.Round(
    open_query=pb.OpenQuery(
        protocol_version=ROUNDS_VERSION,
        session_id=bytes(16),
        layout=bytes(32),
    )
)
FULL = bytes(CHUNK_BYTES)
GARBAGE = {
    "one byte": b"\x07",
    "ones": b"\xff" * 100,
    "a truncated Round": b"\x52\x7f\x08",
    "a length of 2^63": b"\x52" + b"\xff" * 9 + b"\x7f",
    "text that is no UTF-8": b"\x0a\x04\x22\x02\xff\xfe",
    "groups without an end": b"\x53" * 1000,
    "a run of nested messages": b"\x52\x02" * 500,
}


def streams(opening: bytes) -> Iterator[tuple[str, list[pb.Chunk], str]]:
    """Chunks after which the error is due."""
    (good,) = cut(opening, 0)

    def chunk(sequence: int = 0, part: int = 0, data: bytes = opening, last: bool = True) -> pb.Chunk:
        return pb.Chunk(sequence=sequence, part=part, data=data, last=last)

    yield "the first is number 1", [chunk(sequence=1)], "OutOfOrder"
    yield "the first is number 2^32 - 1", [chunk(sequence=2**32 - 1)], "OutOfOrder"
    yield "the first part is number 1", [chunk(part=1)], "OutOfOrder"
    yield "a chunk again", [good, good], "OutOfOrder"
    yield "a number left out", [good, chunk(sequence=2)], "OutOfOrder"
    yield "a part again", [chunk(data=FULL, last=False), chunk(data=FULL, last=False)], "OutOfOrder"
    yield "a part left out", [chunk(data=FULL, last=False), chunk(part=2)], "OutOfOrder"
    yield "a part of the next message", [chunk(data=FULL, last=False), chunk(sequence=1)], "OutOfOrder"
    yield "a byte over 1 MiB", [chunk(data=FULL + b"\0")], "TooMuch"
    yield "4 MB in one chunk", [chunk(data=bytes(4_000_000))], "TooMuch"
    yield "a short part in the middle", [chunk(last=False)], "InvalidMessage"
    yield "an empty part in the middle", [chunk(data=b"", last=False)], "InvalidMessage"
    parts = [chunk(part=part, data=FULL, last=False) for part in range(5)]
    yield "a message of 5 MiB", parts, "TooMuch"
    yield "no Round", [chunk(data=b"")], "InvalidMessage"
    for name, data in GARBAGE.items():
        yield name, [chunk(data=data)], "InvalidMessage"


def test_malformed_streams(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.outsource(tiny_model(), engines=("textbook",))
    record = world.models1.store.find("tiny", "1")
    OPENING.open_query.import_id = record.import_id
    OPENING.open_query.layout = record.layouts.textbook.digest
    servicer = RoundsServicer(world.conversations.open, 4 << 20)
    before, wrong, count = world.secret.operations, {}, 0
    for name, chunks, expected in streams(OPENING.SerializeToString()):
        found = ended(lambda chunks=chunks: list(servicer.Converse(iter(chunks), called(S1))))
        count += 1
        if found != expected:
            wrong[name] = (found, expected)
    assert not wrong
    assert count >= 20
    assert world.secret.operations == before


def ended(call: Callable[[], object]) -> str:
    try:
        call()
    except TwinveilError as error:
        return type(error).__name__
    return ""


def keys() -> Iterator[tuple[str, str, str]]:
    good = secret_key().public_key.to_jwk()
    for text in ("", "{", "null", "7", "[]", '"DAJ"', "[" * 100_000, "{}", '{"n": 1}', "\ud800"[:0] + "NaN"):
        yield f"serves {text:.12}", text, "PeerMismatch"
    for member in ("kty", "alg"):
        yield f"another {member}", json.dumps(good | {member: "RSA"}), "InvalidKey"
        yield f"{member} is a list", json.dumps(good | {member: ["DAJ"]}), "InvalidKey"
    for bad in (None, 7, "", "=", "A", "a+b", "é", ["AA"], {"n": 1}, "A" * 5000):
        yield f"n is {bad!r:.12}", json.dumps(good | {"n": bad}), "PeerMismatch"
        yield f"h is {bad!r:.12}", json.dumps(good | {"h": bad}), "InvalidKey"
    yield "no n", json.dumps({name: value for name, value in good.items() if name != "n"}), "PeerMismatch"
    yield "no h", json.dumps({name: value for name, value in good.items() if name != "h"}), "InvalidKey"
    yield "another key than the pinned one", json.dumps(secret_key(272).public_key.to_jwk()), "PeerMismatch"


def test_malformed_keys(tmp_path: Path) -> None:
    pin = tmp_path / "pin"
    pin.write_text(secret_key().public_key.fingerprint)
    wrong, count = {}, 0
    for name, jwk, expected in keys():
        channel = cast("grpc.Channel", Serving(jwk))
        found = ended(lambda channel=channel: KnownKey(pin, insecure_small_key=True).fetch(channel))
        count += 1
        if found != expected:
            wrong[name] = (found, expected)
    assert not wrong
    assert count >= 35


def test_a_small_key_is_refused_without_the_flag(tmp_path: Path) -> None:
    channel = cast("grpc.Channel", Serving(json.dumps(secret_key().public_key.to_jwk())))
    assert ended(lambda: KnownKey(tmp_path / "pin").fetch(channel)) == "PeerMismatch"
    assert not (tmp_path / "pin").exists()


@pytest.mark.parametrize("content", ["no hex", "", "zz" * 32, "\0"])
def test_a_damaged_pin(tmp_path: Path, content: str) -> None:
    """An empty or damaged pin never lets another key in unseen."""
    pin = tmp_path / "pin"
    pin.write_text(content)
    channel: Any = Serving(json.dumps(secret_key().public_key.to_jwk()))
    assert ended(lambda: KnownKey(pin, insecure_small_key=True).fetch(channel)) == "BadInput"
