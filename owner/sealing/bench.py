"""Where the time of sealing and verifying goes: medians in milliseconds, with the trained networks."""

from __future__ import annotations

import secrets
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from owner.sealing.rig import ACCOUNT, Rig
from twinveil.sealing import synthetic
from twinveil.sealing.content import SALT_BYTES, Content, Order
from twinveil.sealing.context import RANDOM_BYTES, SecondFactor
from twinveil.sealing.envelope import X25519_AES, Header, commit, encrypt, sign
from twinveil.sealing.factors import factor_model, first_factor
from twinveil.sealing.features import Recogniser
from twinveil.sealing.network_files import load_network
from twinveil.sealing.pixels import to_png
from twinveil.sealing.randomness import stream
from twinveil.sealing.server.verify import STAGES

_SIDES = (112, 92)

Result = TypeVar("Result")


def measure(networks: Path, factor: str, repeats: int) -> dict[str, Any]:
    """{"seal": {...}, "verify": {...}} of a grey picture of ORL's size, and sizes in bytes."""
    model = factor_model(load_network(networks / factor))
    recogniser = Recogniser(load_network(networks / "recogniser"))
    with tempfile.TemporaryDirectory() as folder:
        rig = Rig.make(Path(folder), model, recogniser)
        picture = to_png(synthetic.png(_picture()))
        rig.enrol((picture,))
        seal: dict[str, list[float]] = {}
        verify: dict[str, list[float]] = {}
        size = 0
        for number in range(repeats + 1):
            took, envelope = _sealed(rig, picture)
            begin = time.perf_counter()
            verdict = rig.verifier.verify(envelope)
            whole = time.perf_counter() - begin
            size = len(envelope)
            if number:  # the first one fills caches
                for into, found in ((seal, took), (verify, {**verdict.seconds, "all": whole})):
                    for stage, seconds in found.items():
                        into.setdefault(stage, []).append(seconds)
        rig.store.close()
    return {
        "envelopes": repeats,
        "picture_bytes": len(picture),
        "envelope_bytes": size,
        "seal_ms": _medians(seal),
        "verify_ms": _medians({stage: verify[stage] for stage in (*STAGES, "all")}),
    }


def _sealed(rig: Rig, picture: bytes) -> tuple[dict[str, float], bytes]:
    """What Device.seal does, a stage at a time."""
    took: dict[str, float] = {}

    def timed(stage: str, work: Callable[[], Result]) -> Result:
        begin = time.perf_counter()
        result = work()
        took[stage] = time.perf_counter() - begin
        return result

    device, keys = rig.device, rig.keys.public
    second = SecondFactor(
        device.name,
        X25519_AES,
        int(rig.clock() * 1000),
        device.counter(),
        secrets.token_bytes(RANDOM_BYTES),
    )
    factor = timed("factor", lambda: first_factor(rig.model, second.encode(), picture))
    salt = bytes(SALT_BYTES)
    header = Header(second, rig.model.network.digest, keys.key_id, commit(salt, factor, second.encode()))
    content = Content("picture", ACCOUNT, Order("bakery", 350), salt, factor, picture).encode()
    ciphertext = timed("encrypt", lambda: encrypt(header, content, keys))
    envelope = timed("sign", lambda: sign(header, ciphertext, device.key))
    took["all"] = sum(took.values())
    return took, envelope


def _medians(found: dict[str, list[float]]) -> dict[str, float]:
    return {stage: round(statistics.median(values) * 1000, 3) for stage, values in found.items()}


def _picture() -> Any:
    """Smooth as a photograph, so that its PNG has a photograph's size."""
    height, width = _SIDES
    drawn = np.frombuffer(stream(b"bench", "picture", height * width), np.uint8).reshape(height, width)
    smooth = drawn.astype(np.int64)
    for _ in range(3):
        smooth = (
            smooth + np.roll(smooth, 1, 0) + np.roll(smooth, 1, 1) + np.roll(smooth, (1, 1), (0, 1))
        ) // 4
    return np.clip((smooth - 128) * 3 + 128, 0, 255).astype(np.uint8)
