"""Fuzzing: envelopes changed at every depth. None may pass, none may do worse than be refused.

bytes      bits flipped, bytes replaced, cut, inserted, spliced from another envelope, or drawn at random
signed     the same changes before the device signs, so that they get past the signature
content    the same changes before HPKE seals, so that they get past the decryption
"""

from __future__ import annotations

import logging
import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from owner.sealing.rig import ACCOUNT, FACE, Rig, face, new_device
from twinveil.sealing.content import SALT_BYTES, Content, Order
from twinveil.sealing.context import RANDOM_BYTES, SecondFactor
from twinveil.sealing.device import Device
from twinveil.sealing.envelope import (
    SIGN_VERSIONS,
    SIGNATURE_BYTES,
    Header,
    commit,
    encrypt,
    sign,
    sign_bytes,
)
from twinveil.sealing.factors import first_factor
from twinveil.sealing.server.verify import Policy, Verifier

_DEVICE_LIFE = 200
"""Envelopes of one device: a changed counter may leave it none."""
_HONEST = 8
_REPORT_EVERY = 500


@dataclass
class Fuzzer:
    """One rig, one source of randomness: the same seed makes the same changes to envelopes of fresh keys."""

    rig: Rig
    source: random.Random
    device: Device
    pictures: tuple[bytes, ...] = tuple(face(FACE, shot) for shot in range(4))
    used: int = 0
    honest: list[bytes] = field(default_factory=list)
    """Some of this device's envelopes, which are changed over and over and never sent as they are."""

    def envelope(self) -> tuple[str, bytes]:
        """The kind of change, and an envelope that has at least one byte changed."""
        if self.used >= _DEVICE_LIFE:
            self.device, self.used = new_device(f"fuzz-{self.source.getrandbits(64):x}"), 0
            self.honest.clear()
            self.rig.registry.register_device(self.device.name, self.device.public_key)
        self.used += 1
        kind = self.source.choices(("bytes", "signed", "content"), (6, 3, 1))[0]
        if kind == "bytes":
            if len(self.honest) < _HONEST:
                self.honest.append(self.sealed())
            return kind, self.changed(self.source.choice(self.honest))
        if kind == "content":
            return kind, self.sealed(change=True)
        changed = self.changed(self.sealed()[:-SIGNATURE_BYTES])
        return kind, sign_bytes(changed, self.device.key)

    def sealed(self, change: bool = False) -> bytes:
        """An honest envelope, or one with a changed content."""
        rig, source = self.rig, self.source
        version = source.choice(list(SIGN_VERSIONS))
        second = SecondFactor(
            self.device.name,
            version,
            int(rig.clock() * 1000),
            self.device.counter(),
            source.randbytes(RANDOM_BYTES),
        )
        picture = self.pictures[source.randrange(len(self.pictures))]
        factor = first_factor(rig.model, second.encode(), picture)
        salt = source.randbytes(SALT_BYTES)
        header = Header(
            second, rig.model.network.digest, rig.keys.public.key_id, commit(salt, factor, second.encode())
        )
        content = Content("picture", ACCOUNT, Order("bakery", 350), salt, factor, picture).encode()
        if change:
            content = self._harmful(content, len(content) - len(picture) - 4)
        return sign(header, encrypt(header, content, rig.keys.public), self.device.key)

    def changed(self, data: bytes) -> bytes:
        """At least one byte is another one, more, or gone."""
        source = self.source
        while True:
            made = bytearray(data)
            for _ in range(source.choice((1, 1, 1, 2, 8))):
                at = source.randrange(len(made) + 1)
                match source.randrange(7):
                    case 0 | 1 if at < len(made):
                        made[at] ^= 1 << source.randrange(8)
                    case 2 if at < len(made):
                        made[at] = source.choice((0, 255, source.randrange(256)))
                    case 3:
                        del made[at : at + source.choice((1, 4, 16, 1000))]
                    case 4:
                        made[at:at] = source.randbytes(source.choice((1, 4, 16)))
                    case 5:
                        end = min(len(made), at + source.choice((1, 8, 64)))
                        made[at:end] = source.randbytes(end - at)
                    case 6 if source.random() < 0.1:
                        made = bytearray(source.randbytes(source.choice((0, 1, 100, 3000))))
            if bytes(made) != data:
                return bytes(made)

    def _harmful(self, content: bytes, context: int) -> bytes:
        """Changes a content where it matters: an order's text may be any, but factor, salt, picture may not.

        context: where the picture begins. What comes before salt and after it is found by its place.
        """
        order = 1 + SALT_BYTES
        end = order + 1 + len(ACCOUNT) + 1 + len("bakery") + 8 + 3 + 16
        head, middle, tail = content[:order], content[order:end], content[end:]
        match self.source.randrange(3):
            case 0:
                return self.changed(head) + middle + tail
            case 1:
                return head + middle + self.changed(tail[: context - end]) + tail[context - end :]
            case _:
                return head + middle + tail[: context - end] + self.changed(tail[context - end :])


def run_fuzz(count: int, seed: int, on_progress: Callable[[int], None] = lambda done: None) -> dict[str, Any]:
    """Verifies `count` changed envelopes: how many passed, how many raised, why the others were refused."""
    log = logging.getLogger(Verifier.__module__)
    level = log.level
    log.setLevel(logging.CRITICAL)
    reasons: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    accepted, crashes = 0, []
    begin = time.perf_counter()
    try:
        with tempfile.TemporaryDirectory() as folder:
            rig = Rig.make(Path(folder), policy=Policy(most_misses=count + 1))
            rig.enrol()
            fuzzer = Fuzzer(rig, random.Random(seed), rig.device)  # noqa: S311
            for done in range(count):
                kind, envelope = fuzzer.envelope()
                kinds[kind] += 1
                try:
                    verdict = rig.verifier.verify(envelope)
                except Exception as error:
                    crashes.append(f"{kind}: {type(error).__name__}")
                    continue
                accepted += verdict.receipt is not None
                reasons[verdict.reason.value] += 1
                if done % _REPORT_EVERY == 0:
                    on_progress(done)
            rig.store.close()
    finally:
        log.setLevel(level)
    return {
        "envelopes": count,
        "seed": seed,
        "accepted": accepted,
        "crashes": len(crashes),
        "crash_kinds": sorted(set(crashes)),
        "kinds": dict(kinds),
        "reasons": dict(reasons.most_common()),
        "seconds": round(time.perf_counter() - begin, 1),
    }
