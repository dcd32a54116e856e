"""Writes tests/vectors/sealing: python -m tests.sealing.make_vectors. Pictures and networks are synthetic.

Only a new version of a format may change these files; the keys in them are for tests and nothing else.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from twinveil.sealing import synthetic
from twinveil.sealing.content import Content, Order
from twinveil.sealing.context import SecondFactor
from twinveil.sealing.envelope import SIGN_VERSIONS, Header, commit, encrypt, sign
from twinveil.sealing.factors import FORMS, factor_model, factor_seed, first_factor
from twinveil.sealing.features import Recogniser
from twinveil.sealing.keys import ServerKeys

FOLDER = Path(__file__).parents[1] / "vectors" / "sealing"

SECONDS = [
    SecondFactor("d", 1, 0, 0, bytes(16)),
    SecondFactor("till-7.example_A", 1, 1_790_000_000_123, 42, bytes(range(16))),
    SecondFactor("x" * 64, 65535, (1 << 63) - 1, (1 << 63) - 1, b"\xff" * 16),
]
KEYS = ServerKeys(
    X25519PrivateKey.from_private_bytes(bytes(range(32))),
    MLKEM768PrivateKey.from_seed_bytes(bytes(range(64))),
    bytes(32),
)
DEVICE = Ed25519PrivateKey.from_private_bytes(bytes(range(32, 64)))


def second_factors() -> dict[str, Any]:
    good = [
        {
            "device": each.device,
            "sign_version": each.sign_version,
            "timestamp": each.timestamp,
            "counter": each.counter,
            "random": each.random.hex(),
            "encoded": each.encode().hex(),
        }
        for each in SECONDS
    ]
    plain = SECONDS[1].encode()
    bad = {
        "empty": b"",
        "another magic number": b"TVS2" + plain[4:],
        "no device": b"TVS1\x00" + plain[21:],
        "a device of 65 letters": b"TVS1\x41" + b"x" * 65 + plain[21:],
        "a device with a space": plain.replace(b"till-7", b"till 7"),
        "a device that begins with a point": plain.replace(b"till-7", b".ill-7"),
        "a device beyond ASCII": plain.replace(b"till-7", b"t\xc3\xa4l-7"),
        "one byte short": plain[:-1],
        "a counter beyond 63 bits": plain[:31] + b"\xff" * 8 + plain[39:],
        "a timestamp beyond 63 bits": plain[:23] + b"\xff" * 8 + plain[31:],
        "a length that is too long": plain[:4] + b"\x30" + plain[5:],
    }
    return {"good": good, "bad": {name: data.hex() for name, data in bad.items()}}


def first_factors() -> list[dict[str, Any]]:
    networks = [("variational", synthetic.variational(), "")]
    networks += [("adversarial", synthetic.adversarial(form=form), form) for form in FORMS]
    found = []
    for kind, network, form in networks:
        for who in ("a face", "another face"):
            picture = synthetic.picture(who)
            factor = factor_model(network).compute(picture, b"seed")
            found.append(
                {
                    "kind": kind,
                    "form": form,
                    "network": network.digest.hex(),
                    "picture": who,
                    "pixels_sha256": hashlib.sha256(picture.tobytes()).hexdigest(),
                    "seed": b"seed".hex(),
                    "bytes": len(factor),
                    "factor": factor.hex() if len(factor) <= 512 else "",
                    "factor_sha256": hashlib.sha256(factor).hexdigest(),
                }
            )
    return found


def features() -> dict[str, Any]:
    network = synthetic.recogniser()
    return {
        "network": network.digest.hex(),
        "features": {
            who: Recogniser(network).features(synthetic.picture(who)).tolist()
            for who in ("a face", "another face")
        },
    }


def envelopes() -> list[dict[str, Any]]:
    """HPKE draws a key for every envelope, so these are to be opened, not made again."""
    model = factor_model(synthetic.variational())
    picture = synthetic.png(synthetic.picture("a face"))
    found = []
    for version in SIGN_VERSIONS:
        second = SecondFactor("till-7", version, 1_790_000_000_000, version, bytes([version]) * 16)
        factor = first_factor(model, second.encode(), picture)
        salt = bytes([version]) * 32
        header = Header(
            second, model.network.digest, KEYS.public.key_id, commit(salt, factor, second.encode())
        )
        content = Content("picture", "alice", Order("bakery", 350, "EUR", bytes(16)), salt, factor, picture)
        data = sign(header, encrypt(header, content.encode(), KEYS.public), DEVICE)
        found.append(
            {
                "sign_version": version,
                "seed": factor_seed(second.encode(), picture).hex(),
                "commitment": header.commitment.hex(),
                "factor_sha256": hashlib.sha256(factor).hexdigest(),
                "content_sha256": hashlib.sha256(content.encode()).hexdigest(),
                "envelope": data.hex(),
            }
        )
    return found


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    for make in (second_factors, first_factors, features, envelopes):
        (FOLDER / f"{make.__name__}.json").write_text(json.dumps(make(), indent=1) + "\n")


if __name__ == "__main__":
    main()
