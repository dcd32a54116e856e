"""Keys of the two ends. The server opens with X25519, alone or with ML-KEM-768; a device signs with Ed25519.

Secret keys are files of mode 0600 below the state folder, made at the first start; printing shows none.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import MLKEM768X25519PrivateKey, MLKEM768X25519PublicKey

from twinveil.errors import BadInput, InvalidKey
from twinveil.files import private_folder, replace

_X25519_BYTES, _MLKEM_BYTES = 32, 1184
KEY_ID_BYTES = 16
_SECRETS = "sealing.keys"


@dataclass(frozen=True)
class PublicKeys:
    """What devices seal to: raw X25519 (32 bytes) and ML-KEM-768 (1,184 bytes) public keys."""

    data: bytes

    def __post_init__(self) -> None:
        if len(self.data) != _X25519_BYTES + _MLKEM_BYTES:
            raise InvalidKey("the server's sealing keys have another length")
        try:
            _ = self.x25519, self.hybrid
        except ValueError:
            raise InvalidKey("the server's sealing keys are malformed") from None

    @cached_property
    def x25519(self) -> X25519PublicKey:
        return X25519PublicKey.from_public_bytes(self.data[:_X25519_BYTES])

    @cached_property
    def hybrid(self) -> MLKEM768X25519PublicKey:
        return MLKEM768X25519PublicKey(
            MLKEM768PublicKey.from_public_bytes(self.data[_X25519_BYTES:]), self.x25519
        )

    @cached_property
    def key_id(self) -> bytes:
        """Says in an envelope which keys it is for; no secret."""
        return hashlib.sha256(b"twinveil sealing keys\0" + self.data).digest()[:KEY_ID_BYTES]

    @cached_property
    def fingerprint(self) -> str:
        """What a person compares."""
        return hashlib.sha256(b"twinveil sealing keys\0" + self.data).hexdigest()


@dataclass(frozen=True)
class ServerKeys:
    """Opens envelopes. storage: encrypts what is kept of accounts."""

    x25519: X25519PrivateKey = field(repr=False)
    mlkem: MLKEM768PrivateKey = field(repr=False)
    storage: bytes = field(repr=False)

    @staticmethod
    def make() -> ServerKeys:
        return ServerKeys(X25519PrivateKey.generate(), MLKEM768PrivateKey.generate(), secrets.token_bytes(32))

    @cached_property
    def hybrid(self) -> MLKEM768X25519PrivateKey:
        return MLKEM768X25519PrivateKey(self.mlkem, self.x25519)

    @cached_property
    def public(self) -> PublicKeys:
        return PublicKeys(
            self.x25519.public_key().public_bytes_raw() + self.mlkem.public_key().public_bytes_raw()
        )

    def __reduce__(self) -> Any:
        raise TypeError("secret keys are never pickled")


def server_keys(folder: Path) -> ServerKeys:
    """The keys in a state folder, made there at the first call. Raises InvalidKey for a damaged file."""
    path = folder / _SECRETS
    if not path.exists():
        keys = ServerKeys.make()
        _write(path, keys.x25519.private_bytes_raw() + keys.mlkem.private_bytes_raw() + keys.storage)
        return keys
    data = _read(path)
    if len(data) != 32 + 64 + 32:
        raise InvalidKey(f"{path} is damaged: it holds no sealing keys")
    return ServerKeys(
        X25519PrivateKey.from_private_bytes(data[:32]),
        MLKEM768PrivateKey.from_seed_bytes(data[32:96]),
        data[96:],
    )


def device_key(path: Path) -> Ed25519PrivateKey:
    """A device's signing key, made at the first call. Raises InvalidKey for a damaged file."""
    if not path.exists():
        key = Ed25519PrivateKey.generate()
        _write(path, key.private_bytes_raw())
        return key
    data = _read(path)
    if len(data) != 32:
        raise InvalidKey(f"{path} is damaged: it holds no device's key")
    return Ed25519PrivateKey.from_private_bytes(data)


def public_device_key(data: bytes) -> Ed25519PublicKey:
    """Raises InvalidKey."""
    try:
        return Ed25519PublicKey.from_public_bytes(data)
    except ValueError:
        raise InvalidKey("a device's public key has 32 bytes") from None


def _write(path: Path, data: bytes) -> None:
    try:
        private_folder(path.parent)
        replace(path, data)
    except OSError as error:
        raise BadInput(f"{path} cannot be written: {error.strerror}") from None


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}") from None
