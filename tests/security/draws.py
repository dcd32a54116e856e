"""One draw of everything one-time, as bytes by kind: what no two processes may have in common."""

from __future__ import annotations

import numpy as np

from twinveil.crypto import slots
from twinveil.crypto.nonces import Encryptor, Rerandomiser, draw
from twinveil.crypto.public_key import PublicKey
from twinveil.crypto.tally import Tally
from twinveil.garbling.base_ot import BaseReceiver, BaseSender, random_choices
from twinveil.garbling.garbler import garble
from twinveil.garbling.gates import Gates, Wires
from twinveil.garbling.labels import random_labels
from twinveil.halves.blinding import Blinding, blind
from twinveil.protocol.textbook.wide import random_bits
from twinveil.ring import uniform


def _and(g: Gates, own: dict[str, Wires], other: dict[str, Wires]) -> dict[str, Wires]:
    return {"out": g.and_(own["a"], other["b"])}


def draw_all(key: PublicKey) -> dict[str, bytes]:
    """Masks, shares, blindings, nonces, labels, start points, oblivious transfers."""
    shape = {"a": (1, 64)}
    garbling = garble(_and, shape, {"b": (1, 64)})  # type: ignore[arg-type]
    sender = BaseSender(b"session")
    first = sender.first()
    receiver = BaseReceiver(b"session", first, random_choices())
    blinded, factors = blind([key.n - 2], Blinding.MULTIPLICATIVE, key.n)
    width = key.ciphertext_bytes
    return {
        "labels": random_labels(4).tobytes(),
        "slot masks": b"".join(int(mask).to_bytes(64, "big") for mask in slots.draw(2, 500)),
        "wide masks": np.packbits(random_bits(200, 4)).tobytes(),
        "shares": uniform((40,), 20).tobytes(),
        "blindings": b"".join(int(each).to_bytes(width, "big") for each in (*blinded, *factors)),
        "full nonces": draw(key, "full", 2, Tally()).to_bytes(),
        "short nonces": Encryptor(key, Tally()).encrypt([1]).to_bytes(),
        "published nonces": Rerandomiser(key, Tally()).freshen_fully([key.raw(1)]).to_bytes(),
        "start point": garbling.tables[:16],
        "garbler's labels": garbling.garbler_labels({"a": np.zeros((1, 64), np.bool_)}),
        "base OT": first,
        "base OT reply": receiver.reply,
    }
