"""Malformed Rounds for every step between the clouds, in both directions, each with the error that is due."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import Message

from tests.security import faults
from tests.security.faults import of_body, set_field
from twinveil.crypto.secret_key import SecretKey
from twinveil.rounds.scripted import ROUNDS_VERSION
from twinveil.rpc import rounds_pb2 as pb

CIPHERTEXTS = {
    "masked_plaintexts": ("ciphertexts",),
    "masked_sums": ("ciphertexts",),
    "smp_operands": ("left", "right"),
    "import_opened": ("factors", "differences"),
    "import_factors": ("factors",),
    "encrypted_shares": ("ciphertexts",),
    "smp_products": ("products",),
    "record_bits": ("ciphertexts",),
    "masked_kernel": ("ciphertexts",),
    "shared_kernel": ("kernels",),
    "item_inputs": ("ciphertexts",),
    "item_offer": ("ciphertexts",),
}
SIZED = {
    "garbled_batch": ("tables", "garbler_labels", "masked_labels", "decode"),
    "prepared": ("extension",),
    "corrections": ("bits", "extension"),
    "masked_kernel": ("extension", "corrections"),
    "shared_kernel": ("words",),
    "item_inputs": ("extension",),
    "item_offer": ("extension", "corrections"),
    "item_words": ("words",),
    "shared_turn": ("shares",),
    "labels": ("labels",),
}
POINTS = {
    "prepare": ("base_ot",),
    "masked_plaintexts": ("base_ot",),
    "open_import": ("base_ot",),
    "import_opened": ("base_ot",),
    "query_opened": ("base_ot",),
    "open_items": ("base_ot",),
    "items_opened": ("base_ot_reply", "base_ot"),
    "make_item": ("base_ot_reply",),
}
OFFERED = ("tables", "labels", "words")
UINT32 = (1 << 32) - 1
OTHER_VERSIONS = (0, ROUNDS_VERSION + 1, UINT32)

OPENINGS = {
    "open_import": "PeerUnavailable",
    "open_query": "UnknownModel",
    "open_items": "UnknownModel",
    "spend": "UnknownModel",
}
"""What an empty opening of each kind of conversation ends with."""

Change = Callable[[pb.Round], pb.Round]


@dataclass(frozen=True)
class Vector:
    change: Change
    error: str


def vectors(key: SecretKey, body: str, message: pb.Round, first: bool) -> Iterator[tuple[str, Vector]]:
    """All malformed versions of one honest message; fields that are empty in it stay so.

    first: whether it is its conversation's first message, or the answer to that.
    """
    for name, vector in _all(key, body, getattr(message, body), first):
        if vector.change(message) != message:
            yield name, vector


def _all(key: SecretKey, body: str, part: Message, first: bool) -> Iterator[tuple[str, Vector]]:
    for fields, changes, error in (
        (CIPHERTEXTS, list(faults.ciphertexts(key)), "InvalidCiphertext"),
        (SIZED, list(faults.sizes(16)), "InvalidMessage"),
        (POINTS, list(faults.points()), "InvalidMessage"),
    ):
        for field in fields.get(body, ()):
            if getattr(part, field):
                yield from _changed(body, field, changes, error)
    for other in faults.other_bodies(body):
        error = OPENINGS.get(other, "OutOfOrder") if body in OPENINGS and first else "OutOfOrder"
        yield f"{other} instead", Vector(lambda sent, other=other: of_body(other), error)
    yield "no body", Vector(lambda sent: pb.Round(), "InvalidMessage")
    for field, value, error in SPECIAL.get(body, ()):
        shown = value.hex() if isinstance(value, bytes) else value
        if field == "import_id" and not first:
            error = "PeerMismatch"
        yield f"{field} {str(shown)[:40]!r}", Vector(_assign(body, field, value), error)
    if body in ("bind", "open_import", "open_items"):
        yield "binding with a flipped bit", _flip(body, "binding")
        yield "binding without its last byte", Vector(_cut(body, "binding"), "PeerMismatch")
    if body == "bind":
        yield "the other answer is wanted", Vector(_assign_flag, "PeerMismatch")
    if body == "item_offer":
        yield from _offers(part)
    if body == "spend":
        yield from _spends()
    if body in faults.REPLIES:
        error = "PeerMismatch" if body == "item_inputs" or (body == "shared_turn" and first) else "OutOfOrder"
        yield "withheld without a reason", Vector(lambda sent: of_body("withheld"), error)


def _offers(part: Message) -> Iterator[tuple[str, Vector]]:
    """Circuits: one missing, one more, and parts of a wrong size in each."""
    for name, change in (
        ("no circuit", lambda circuits: []),
        ("first circuit missing", lambda circuits: circuits[1:]),
        ("last circuit missing", lambda circuits: circuits[:-1]),
        ("a circuit more", lambda circuits: [*circuits, circuits[-1]]),
    ):
        yield name, Vector(_with_items("item_offer", "circuits", change), "InvalidMessage")
    for number, circuit in enumerate(part.circuits):  # type: ignore[attr-defined]
        for field in OFFERED:
            sizes = (
                faults.sizes(16)
                if getattr(circuit, field)
                else [("some where none are due", lambda _: b"some")]
            )
            for name, change in sizes:
                yield (
                    f"circuit {number}, {field}, {name}",
                    Vector(_with_circuit(number, field, change), "InvalidMessage"),
                )


def _with_circuit(number: int, field: str, change: faults.Change) -> Change:
    def changed(sent: pb.Round) -> pb.Round:
        made = pb.Round()
        made.CopyFrom(sent)
        circuit = made.item_offer.circuits[number]
        setattr(circuit, field, change(getattr(circuit, field)))
        return made

    return changed


def _with_items(body: str, field: str, change: Callable[[list[Any]], list[Any]]) -> Change:
    """A field that is a list."""

    def changed(sent: pb.Round) -> pb.Round:
        made = pb.Round()
        made.CopyFrom(sent)
        items = change(list(getattr(getattr(sent, body), field)))
        del getattr(getattr(made, body), field)[:]
        getattr(getattr(made, body), field).extend(items)
        return made

    return changed


def _spends() -> Iterator[tuple[str, Vector]]:
    """Items that S2 does not hold, and halves that are not the user's: these leave the items free."""

    def other(session: bytes = b"", add: int = 0) -> Callable[[list[Any]], list[Any]]:
        return lambda items: [
            pb.Spend.Item(session_id=session or each.session_id, number=each.number + add) for each in items
        ]

    for name, change in (
        ("no item", lambda items: []),
        ("an item twice", lambda items: items * 2),
        ("an item more", lambda items: [*items, pb.Spend.Item(session_id=bytes(16), number=0)]),
        ("items of another number", other(add=1000)),
        ("items of no session", other(session=bytes(16))),
        (
            "items of a session of no bytes",
            lambda items: [pb.Spend.Item(number=each.number) for each in items],
        ),
    ):
        yield name, Vector(_with_items("spend", "items", change), "AlreadyUsed")
    for field, value, error in SPECIAL["bind"]:
        yield f"bind, {field} {str(value)[:40]!r}", Vector(_bound(field, lambda _, value=value: value), error)
    yield (
        "bind, the other answer is wanted",
        Vector(_bound("label_only", lambda wanted: not wanted), "PeerMismatch"),
    )


def _bound(field: str, change: Callable[[Any], Any]) -> Change:
    def changed(sent: pb.Round) -> pb.Round:
        made = pb.Round()
        made.CopyFrom(sent)
        setattr(made.spend.bind, field, change(getattr(sent.spend.bind, field)))
        return made

    return changed


SPECIAL: dict[str, list[tuple[str, object, str]]] = {
    "open_query": [
        *(("protocol_version", version, "PeerMismatch") for version in OTHER_VERSIONS),
        *(("session_id", bytes(size), "InvalidMessage") for size in (0, 15, 17, 1025)),
        *(("import_id", unknown, "UnknownModel") for unknown in (b"", bytes(15), bytes(16), bytes(17))),
        *(("layout", other, "PeerMismatch") for other in (b"", bytes(31), bytes(32), bytes(33))),
    ],
    "open_items": [
        *(("protocol_version", version, "PeerMismatch") for version in OTHER_VERSIONS),
        *(("session_id", bytes(size), "InvalidMessage") for size in (0, 15, 17, 1025)),
        *(("import_id", unknown, "UnknownModel") for unknown in (b"", bytes(15), bytes(16), bytes(17))),
        *(("binding", other, "PeerMismatch") for other in (b"", bytes(32), bytes(33), bytes(1000))),
    ],
    "make_item": [*(("number", number, "OutOfOrder") for number in (0, 1, 2, UINT32))],
    "spend": [
        *(("protocol_version", version, "PeerMismatch") for version in OTHER_VERSIONS),
        *(("import_id", unknown, "UnknownModel") for unknown in (b"", bytes(15), bytes(16), bytes(17))),
    ],
    "open_import": [
        *(("protocol_version", version, "PeerMismatch") for version in OTHER_VERSIONS),
        *(("session_id", bytes(size), "InvalidMessage") for size in (0, 15, 17, 1025)),
        *(("import_id", unknown, "PeerUnavailable") for unknown in (b"", bytes(15), bytes(16), bytes(17))),
        *(("layout", other, "PeerMismatch") for other in (b"", bytes(31), bytes(32), bytes(33))),
        *(("engine", name, "PeerMismatch") for name in ("", "packed", "textbook", "PACKED", "packed ")),
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


def _assign(body: str, field: str, value: object) -> Change:
    def change(sent: pb.Round) -> pb.Round:
        changed = pb.Round()
        changed.CopyFrom(sent)
        setattr(getattr(changed, body), field, value)
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
