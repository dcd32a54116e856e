"""A device and a server in one process, for measuring, fuzzing and tests; the store is real SQLite."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from twinveil.sealing import synthetic
from twinveil.sealing.content import Order
from twinveil.sealing.device import Device, Terms
from twinveil.sealing.enrolment import Enrolment
from twinveil.sealing.envelope import X25519_AES
from twinveil.sealing.factors import FirstFactor, factor_model
from twinveil.sealing.features import Recogniser
from twinveil.sealing.keys import ServerKeys
from twinveil.sealing.server.enrol import Registry
from twinveil.sealing.server.store import Store
from twinveil.sealing.server.verify import Policy, Verifier

ACCOUNT, PASSWORD, PAYMENT = "alice", "correct horse", "card ending in 4242"
FACE, STRANGER = "a face", "another face"


@dataclass(frozen=True)
class Rig:
    """clock: seconds of both ends."""

    keys: ServerKeys
    model: FirstFactor
    recogniser: Recogniser
    store: Store
    registry: Registry
    verifier: Verifier
    device: Device
    clock: Callable[[], float]

    @staticmethod
    def make(
        folder: Path,
        model: FirstFactor | None = None,
        recogniser: Recogniser | None = None,
        clock: Callable[[], float] = time.time,
        policy: Policy | None = None,
    ) -> Rig:
        """With synthetic networks unless others are given, and one registered device."""
        keys = ServerKeys.make()
        model = model or factor_model(synthetic.variational())
        recogniser = recogniser or Recogniser(synthetic.recogniser())
        store = Store(folder / "sealing.sqlite", keys.storage)
        rig = Rig(
            keys,
            model,
            recogniser,
            store,
            Registry(keys, recogniser, store),
            Verifier(keys, model, recogniser, store, policy, clock),
            new_device("device-1", clock),
            clock,
        )
        rig.registry.register_device(rig.device.name, rig.device.public_key)
        return rig

    def terms(self, sign_version: int = X25519_AES) -> Terms:
        return Terms(self.keys.public, self.model, sign_version)

    def enrol(self, pictures: Sequence[bytes] = (), password: str = PASSWORD) -> None:
        """ACCOUNT, with FACE unless other pictures are given."""
        shots = tuple(pictures) or tuple(face(FACE, shot) for shot in range(3))
        enrolment = Enrolment(ACCOUNT, PAYMENT, password, shots)
        self.registry.enrol(enrolment.sealed(self.keys.public), replace=True)

    def seal(
        self, who: str = FACE, order: Order | None = None, sign_version: int = X25519_AES, shot: int = 9
    ) -> bytes:
        order = order or Order("bakery", 350)
        return self.device.seal(face(who, shot), ACCOUNT, order, self.terms(sign_version))


def new_device(name: str, clock: Callable[[], float] = time.time) -> Device:
    """In memory; its counter begins at 1."""
    numbers = itertools.count(1)
    return Device(name, Ed25519PrivateKey.generate(), lambda: next(numbers), clock)


def face(who: str, shot: int) -> bytes:
    """A synthetic picture as PNG."""
    return synthetic.png(synthetic.picture(who, shot))
