"""Malformed bytes by kind: what a field may hold that no honest party sends. Pure data, each under a name."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from nacl import bindings as sodium

from twinveil.crypto.secret_key import SecretKey
from twinveil.rpc import rounds_pb2 as pb

Change = Callable[[bytes], bytes]
"""An honest field -> a malformed one."""

POINT_BYTES = 32
FIELD_PRIME = 2**255 - 19

SMALL_ORDER = {
    "the identity": bytes([1]) + bytes(31),
    "order 2": ((FIELD_PRIME - 1) % 2**255).to_bytes(32, "little"),
    "order 4": bytes(32),
    "order 4, other sign": bytes(31) + b"\x80",
    "order 8": bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
    "order 8, other": bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),
}
"""Points of the curve that are not in the prime-order group."""

REQUESTS = (
    *("open_import", "commit", "open_query", "prepare", "bind"),
    *("masked_plaintexts", "garbled_batch", "masked_sums", "smp_operands"),
    *("masked_kernel", "open_items", "make_item", "item_offer", "spend", "labels"),
)
REPLIES = (
    *("import_opened", "done", "query_opened", "prepared", "import_factors"),
    *("corrections", "encrypted_shares", "answered", "smp_products", "record_bits"),
    *("shared_kernel", "items_opened", "item_inputs", "item_words", "shared_turn"),
)
"""What a Round can be, from S1 and from S2; S2 may also withhold."""


def sizes(unit: int = 1) -> Iterator[tuple[str, Change]]:
    """Fields of a wrong size; unit: bytes of one item."""
    yield "empty", lambda data: b""
    yield "one byte short", lambda data: data[:-1]
    yield "one byte long", lambda data: data + b"\0"
    yield "twice as long", lambda data: data + data
    if unit > 1:
        yield "first item missing", lambda data: data[unit:]
        yield "last item missing", lambda data: data[:-unit]
        yield "one item more", lambda data: data + data[:unit]
        yield "half an item", lambda data: data[: unit // 2]


def ciphertexts(key: SecretKey) -> Iterator[tuple[str, Change]]:
    """Ciphertexts that are no units below N^2, and runs of them of a wrong size.

    Some are multiples of p or q, as only somebody with the factors can make them.
    """
    n, p, q = int(key.public_key.n), int(key._p), int(key._q)
    width = key.public_key.ciphertext_bytes
    values = {
        "zero": 0,
        "N": n,
        "2 N": 2 * n,
        "N times a unit": n * (n - 2),
        "the largest multiple of N": n * (n - 1),
        "p": p,
        "q": q,
        "p times a unit": p * (p + 2),
        "q times 12345": q * 12345,
        "p squared": p * p,
        "N^2": n * n,
        "N^2 + 1": n * n + 1,
        "all ones": (1 << (8 * width)) - 1,
    }
    for name, value in values.items():
        data = value.to_bytes(width, "big")
        yield f"first is {name}", lambda sent, data=data: data + sent[len(data) :]
        yield f"last is {name}", lambda sent, data=data: sent[: -len(data)] + data
    yield from sizes(width)


def points() -> Iterator[tuple[str, Change]]:
    """Base-OT points outside the prime-order group, or not canonical, and a wrong number of them."""
    bad = {
        **SMALL_ORDER,
        "off the curve": bytes([2]) + bytes(31),
        "not canonical": (FIELD_PRIME + 1).to_bytes(32, "little"),
        "all ones": b"\xff" * 32,
    }
    for name, point in bad.items():
        yield f"first is {name}", lambda sent, point=point: point + sent[POINT_BYTES:]
        yield f"last is {name}", lambda sent, point=point: sent[:-POINT_BYTES] + point
    yield "last plus a point of order 8", _mixed
    yield from sizes(POINT_BYTES)


def _mixed(sent: bytes) -> bytes:
    small = SMALL_ORDER["order 8"]
    return sent[:-POINT_BYTES] + bytes(sodium.crypto_core_ed25519_add(sent[-POINT_BYTES:], small))


def residues(n: int, lowest: int) -> Iterator[tuple[str, Change]]:
    """Client halves that are no residues mod N of [lowest, N), and runs of them of a wrong size."""
    width = (n.bit_length() + 7) // 8
    values = {"N": n, "N + 1": n + 1, "all ones": (1 << (8 * width)) - 1} | ({"zero": 0} if lowest else {})
    for name, value in values.items():
        data = value.to_bytes(width, "big")
        yield f"first is {name}", lambda sent, data=data: data + sent[len(data) :]
        yield f"last is {name}", lambda sent, data=data: sent[: -len(data)] + data


def other_bodies(body: str) -> Iterator[str]:
    """Every other step of the same direction, and one of the other."""
    own, other = (REQUESTS, REPLIES) if body in REQUESTS else (REPLIES, REQUESTS)
    return (each for each in (*own, other[0]) if each != body)


def of_body(body: str) -> pb.Round:
    """An empty message of this step."""
    message = pb.Round()
    getattr(message, body).SetInParent()
    return message


def set_field(message: pb.Round, body: str, field: str, change: Change) -> pb.Round:
    """`message` with one field of its body changed."""
    changed = pb.Round()
    changed.CopyFrom(message)
    part = getattr(changed, body)
    setattr(part, field, change(getattr(part, field)))
    return changed
