"""The device's end: a name, a signing key, a counter that never goes back, and sealing.

device = Device.open(folder, name)
data = device.seal(to_png("face.jpg"), account, order, terms)
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from twinveil.errors import BadInput, InvalidMessage
from twinveil.files import lock, private_folder, replace, sync_folder
from twinveil.sealing.content import SALT_BYTES, Content, Order, Proof
from twinveil.sealing.context import RANDOM_BYTES, SecondFactor
from twinveil.sealing.envelope import X25519_AES, Header, commit, encrypt, sign
from twinveil.sealing.factors import FirstFactor, first_factor
from twinveil.sealing.keys import PublicKeys, device_key
from twinveil.values import whole

_NAME, _KEY, _COUNTER, _LOCK = "name", "device.key", "counter", "lock"


@dataclass(frozen=True, slots=True)
class Terms:
    """What a device has to know to seal for a server."""

    keys: PublicKeys
    model: FirstFactor
    sign_version: int = X25519_AES


@dataclass(frozen=True)
class Device:
    """clock: seconds of Unix time. counter: gives a higher number each time, never one that was used."""

    name: str
    key: Ed25519PrivateKey = field(repr=False)
    counter: Callable[[], int] = field(repr=False)
    clock: Callable[[], float] = field(default=time.time, repr=False)

    @staticmethod
    def open(folder: Path, name: str | None = None) -> Device:
        """The device whose state is in a folder; made there if it is new, and then it needs a name.

        Raises BadInput for a folder of another device or a name that cannot be.
        """
        with _locked(folder):  # two first calls at once make one device
            path = folder / _NAME
            try:
                known = path.read_text(encoding="utf-8").strip() if path.exists() else None
            except (OSError, ValueError):
                raise BadInput(f"{path} cannot be read: it holds the device's name") from None
            if known is None and name is None:
                raise BadInput(f"{folder} holds no device yet: give it a name first")
            if known is not None and name is not None and known != name:
                raise BadInput(f"{folder} holds the device {known}, not {name}")
            chosen = known or name or ""
            try:
                SecondFactor(chosen, 0, 0, 0, bytes(RANDOM_BYTES))
            except InvalidMessage as error:
                raise BadInput(str(error)) from None
            key = device_key(folder / _KEY)
            if known is None:
                replace(path, chosen.encode() + b"\n")
            return Device(chosen, key, lambda: _advance(folder))

    @property
    def public_key(self) -> bytes:
        """32 bytes, for registration at the server."""
        return self.key.public_key().public_bytes_raw()

    def seal(self, picture: bytes, account: str, order: Order, terms: Terms) -> bytes:
        """An envelope with a picture (PNG of twinveil.sealing.pixels.to_png). Raises BadImage."""
        second = self._second(terms)
        factor = first_factor(terms.model, second.encode(), picture)
        return self._sealed("picture", second, factor, picture, account, order, terms)

    def seal_password(self, password: str, account: str, order: Order, terms: Terms) -> bytes:
        """An envelope with a password for a picture: as fresh and as bound, without a first factor."""
        second = self._second(terms)
        return self._sealed("password", second, b"", password.encode(), account, order, terms)

    def _second(self, terms: Terms) -> SecondFactor:
        return SecondFactor(
            self.name,
            terms.sign_version,
            int(self.clock() * 1000),
            self.counter(),
            secrets.token_bytes(RANDOM_BYTES),
        )

    def _sealed(
        self,
        proof: Proof,
        second: SecondFactor,
        factor: bytes,
        secret: bytes,
        account: str,
        order: Order,
        terms: Terms,
    ) -> bytes:
        salt = secrets.token_bytes(SALT_BYTES)
        commitment = commit(salt, factor, second.encode())
        header = Header(second, terms.model.network.digest, terms.keys.key_id, commitment)
        content = Content(proof, account, order, salt, factor, secret).encode()
        return sign(header, encrypt(header, content, terms.keys), self.key)

    def __reduce__(self) -> Any:
        raise TypeError("a device's key is never pickled")


def _advance(folder: Path) -> int:
    """The next number, on disk before it is used: a crash skips numbers and repeats none."""
    path = folder / _COUNTER
    with _locked(folder):
        try:
            last = whole(path.read_text(encoding="utf-8").removesuffix("\n")) if path.exists() else 0
        except ValueError:
            raise BadInput(f"{path} is damaged: the device has to be registered anew") from None
        replace(path, f"{last + 1}\n".encode())
        sync_folder(folder)
    return last + 1


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keeps other processes and threads away from a device's files; waits for them."""
    private_folder(folder)
    with lock(folder / _LOCK, wait=True):
        yield
