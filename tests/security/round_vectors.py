"""Malformed Rounds for every step between the clouds, in both directions, each with the error that is due."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from google.protobuf.message import Message

from tests.security import faults
from tests.security.faults import of_body, set_field
from twinveil.crypto.secret_key import SecretKey
from twinveil.rounds.scripted import ROUNDS_VERSION
from twinveil.rpc import rounds_pb2 as pb

CIPHERTEXTS = {
    "prepare": ("masked_sums",),
    "masked_plaintexts": ("ciphertexts",),
    "masked_sums": ("ciphertexts",),
    "smp_operands": ("left", "right"),
    "import_opened": ("factors", "differences"),
    "import_factors": ("factors",),
    "encrypted_shares": ("ciphertexts",),
    "smp_products": ("products",),
    "record_bits": ("ciphertexts",),
}
SIZED = {
    "garbled_batch": ("tables", "garbler_labels", "masked_labels", "decode"),
    "prepared": ("extension",),
    "corrections": ("bits", "extension"),
}
POINTS = ("prepare", "masked_plaintexts", "import_opened", "query_opened")
UINT32 = (1 << 32) - 1
OTHER_VERSIONS = (0, ROUNDS_VERSION + 1, UINT32)

OPENINGS = {"open_import": "PeerUnavailable", "open_query": "UnknownModel"}
"""What an empty opening of either kind of conversation ends with."""

Change = Callable[[pb.Round], pb.Round]


@dataclass(frozen=True)
class Vector:
    change: Change
    error: str


def vectors(key: SecretKey, body: str, message: pb.Round) -> Iterator[tuple[str, Vector]]:
    """All malformed versions of one honest message; fields that are empty in it stay so."""
    for name, vector in _all(key, body, getattr(message, body)):
        if vector.change(message) != message:
            yield name, vector


def _all(key: SecretKey, body: str, part: Message) -> Iterator[tuple[str, Vector]]:
    for field in CIPHERTEXTS.get(body, ()):
        if getattr(part, field):
            yield from _changed(body, field, faults.ciphertexts(key), "InvalidCiphertext")
        else:
            yield from _changed(body, field, [("one where none is due", _one(key))], "InvalidCiphertext")
    for field in SIZED.get(body, ()):
        if getattr(part, field):
            yield from _changed(body, field, faults.sizes(16), "InvalidMessage")
    if body in POINTS and part.base_ot:
        yield from _changed(body, "base_ot", faults.points(), "InvalidMessage")
    for other in faults.other_bodies(body):
        error = OPENINGS.get(other, "OutOfOrder") if body in OPENINGS else "OutOfOrder"
        yield f"{other} instead", Vector(lambda sent, other=other: of_body(other), error)
    yield "no body", Vector(lambda sent: pb.Round(), "InvalidMessage")
    for field, value, error in SPECIAL.get(body, ()):
        shown = value.hex() if isinstance(value, bytes) else value
        yield f"{field} {str(shown)[:40]!r}", Vector(_assign(body, field, value), error)
    if body in ("bind", "open_import"):
        yield "binding with a flipped bit", _flip(body, "binding")
        yield "binding without its last byte", Vector(_cut(body, "binding"), "PeerMismatch")
    if body == "bind":
        yield "the other answer is wanted", Vector(_assign_flag, "PeerMismatch")


SPECIAL: dict[str, list[tuple[str, object, str]]] = {
    "open_query": [
        *(("protocol_version", version, "PeerMismatch") for version in OTHER_VERSIONS),
        *(("session_id", bytes(size), "InvalidMessage") for size in (0, 15, 17, 1025)),
        *(("import_id", unknown, "UnknownModel") for unknown in (b"", bytes(15), bytes(16), bytes(17))),
        *(("layout", other, "PeerMismatch") for other in (b"", bytes(31), bytes(32), bytes(33))),
        *(("engine", name, "BadInput") for name in ("", "PACKED", "preprocessed", "packed ")),
        *(("pictures", count, "TooMuch") for count in (0, 65, UINT32)),
    ],
    "open_import": [
        *(("protocol_version", version, "PeerMismatch") for version in OTHER_VERSIONS),
        *(("session_id", bytes(size), "InvalidMessage") for size in (0, 15, 17, 1025)),
        *(("import_id", unknown, "PeerUnavailable") for unknown in (b"", bytes(15), bytes(16), bytes(17))),
        *(("layout", other, "PeerMismatch") for other in (b"", bytes(31), bytes(32), bytes(33))),
        *(
            ("engines", names, "PeerMismatch")
            for names in ([], ["packed"], ["textbook", "packed"], ["packed", "textbook", "packed"], ["", ""])
        ),
        *(("binding", other, "PeerMismatch") for other in (b"", bytes(32), bytes(33), bytes(1000))),
    ],
    "bind": [
        *(("query_id", unknown, "PeerUnavailable") for unknown in (b"", bytes(15), bytes(16), bytes(17))),
        *(("binding", other, "PeerMismatch") for other in (b"", bytes(32), bytes(33), bytes(1000))),
    ],
}


def _changed(
    body: str,
    field: str,
    changes: Iterable[tuple[str, faults.Change]],
    error: str,
) -> Iterator[tuple[str, Vector]]:
    for name, change in changes:
        yield (
            f"{field}, {name}",
            Vector(lambda sent, change=change: set_field(sent, body, field, change), error),
        )


def _one(key: SecretKey) -> faults.Change:
    return lambda sent: (key.public_key.n + 1).to_bytes(key.public_key.ciphertext_bytes, "big")


def _assign(body: str, field: str, value: object) -> Change:
    def change(sent: pb.Round) -> pb.Round:
        changed = pb.Round()
        changed.CopyFrom(sent)
        part = getattr(changed, body)
        if isinstance(value, list):
            del getattr(part, field)[:]
            getattr(part, field).extend(value)
        else:
            setattr(part, field, value)
        return changed

    return change


def _flip(body: str, field: str) -> Vector:
    def change(data: bytes) -> bytes:
        place = secrets.randbelow(8 * len(data))
        flipped = bytearray(data)
        flipped[place // 8] ^= 1 << place % 8
        return bytes(flipped)

    return Vector(lambda sent: set_field(sent, body, field, change), "PeerMismatch")


def _cut(body: str, field: str) -> Change:
    return lambda sent: set_field(sent, body, field, lambda data: data[:-1])


def _assign_flag(sent: pb.Round) -> pb.Round:
    return _assign("bind", "label_only", not sent.bind.label_only)(sent)
