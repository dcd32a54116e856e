"""Parsers of texts and single files, as fuzzing targets; fuzz_disk.py has what lies in folders."""

from __future__ import annotations

import io
import json
import random
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import grpc
import numpy as np
from PIL import Image

from tests.crypto.crypto_keys import secret_key, toy
from tests.fuzz import mutate
from tests.security.stand_ins import Serving
from tests.security.world import tiny_plan
from twinveil.cloud.store import Record
from twinveil.crypto.public_key import PublicKey
from twinveil.crypto.secret_key import SecretKey
from twinveil.halves import answers
from twinveil.network.card import ModelCard
from twinveil.network.plan import Plan
from twinveil.params import Params
from twinveil.pictures.files import load_picture
from twinveil.protocol.model.layout import Layouts
from twinveil.services.keys import KnownKey
from twinveil.transport.certificates import issue, make_authority
from twinveil.transport.identity import from_certificate

Target = Callable[[random.Random], None]
"""Makes one input from the generator and hands it over."""


def _png() -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.arange(144, dtype=np.uint8).reshape(12, 12)).save(file, "PNG")
    return file.getvalue()


PICTURE = _png()

CARD = {
    "name": "tiny",
    "version": "1",
    "data_set": "digits",
    "image_shape": [1, 3, 3],
    "class_names": ["a", "b"],
    "polarity": "any",
    "crop": "none",
    "seed": 1,
    "epochs": 1,
    "training_pictures": 10,
    "held_out_pictures": 10,
    "accuracy_float": 0.5,
    "accuracy_fixed": 0.5,
    "plan_hash": tiny_plan().hash.hex(),
    "twinveil_version": "1",
}


def tiny_card() -> ModelCard:
    """Of the tiny model."""
    return ModelCard.from_json(json.dumps(CARD))


def _text(value: Any, source: random.Random) -> str:
    """JSON of a mutated value, now and then with mutated text."""
    for _ in range(source.randint(1, 3)):
        value = mutate.of_value(value, source)
    text = json.dumps(value)
    if source.random() < 0.05:
        return source.choice((text[: source.randrange(len(text))], "")) + source.choice(mutate.DEEP).decode()
    return mutate.of_bytes(text.encode(), source).decode(errors="replace") if source.random() < 0.2 else text


def parsers(folder: Path) -> Iterator[tuple[str, Target]]:
    """Texts from clients, peers and disks."""
    key, plan = secret_key(), tiny_plan()
    public, private = key.public_key.to_jwk(), key.to_jwk()
    record = json.loads(
        Record("m", "1", bytes(16), Layouts(plan, Params(), ("packed",)), False, "00", "alice").to_json("00")
    )
    issued = issue(make_authority(), "user", "alice", folder / "tls")
    certificate = ssl.PEM_cert_to_DER_cert(issued.certificate.read_text())
    pin = folder / "pin"
    pin.write_text(key.public_key.fingerprint)

    def jwk(source: random.Random) -> None:
        PublicKey.from_jwk(_object(public, source), toy())

    def secret(source: random.Random) -> None:
        SecretKey.from_jwk(_object(private, source), toy())

    def pinned(source: random.Random) -> None:
        channel = cast("grpc.Channel", Serving(_text(public, source)))
        KnownKey(pin, insecure_small_key=True).fetch(channel)

    def answer(source: random.Random) -> None:
        half = mutate.of_bytes(bytes(8), source)
        source.choice((answers.class_vectors, answers.labels))(half, bytes(8), plan, source.choice((1, 2)))

    yield "plans", lambda source: mutate.void(Plan.from_json(_text(plan.to_dict(), source)))
    yield "cards", lambda source: mutate.void(ModelCard.from_json(_text(CARD, source)))
    yield "records", lambda source: mutate.void(Record.from_json(_text(record, source)))
    yield "public-keys", jwk
    yield "secret-keys", secret
    yield "served-keys", pinned
    yield "answers", answer
    yield "pictures", pictures()
    yield "certificates", lambda source: mutate.void(from_certificate(_pem(certificate, source)))


def _object(value: Any, source: random.Random) -> Any:
    """A mutated value that is still an object: what is none is refused before."""
    changed = mutate.of_value(value, source)
    return changed if isinstance(changed, dict) else value


def _pem(der: bytes, source: random.Random) -> bytes:
    """A mutated certificate, mostly inside of its armour."""
    changed = mutate.of_bytes(der, source) if source.random() < 0.9 else der
    armoured = ssl.DER_cert_to_PEM_cert(changed).encode()
    return armoured if changed != der else mutate.of_bytes(armoured, source)


def pictures() -> Target:
    """Whatever a user may take for a picture."""
    files = []
    for kind in ("PNG", "JPEG", "BMP", "GIF", "PPM", "TIFF", "WEBP"):
        file = io.BytesIO()
        Image.open(io.BytesIO(PICTURE)).save(file, kind)
        files.append(file.getvalue())
    spec = tiny_card().picture
    return lambda source: mutate.void(load_picture(mutate.of_bytes(source.choice(files), source), spec))
