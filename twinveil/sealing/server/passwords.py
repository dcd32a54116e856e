"""Passwords as scrypt hashes, and a comparison that takes as long for no account as for a wrong password."""

from __future__ import annotations

import secrets

from cryptography.exceptions import InvalidKey
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from twinveil.errors import BadInput
from twinveil.sealing.content import MOST_PASSWORD_BYTES

_SALT_BYTES = 16
LEAST_LETTERS = 8


def hashed(password: str) -> bytes:
    """Salt and hash; empty for no password. Raises BadInput for one that is too short or too long."""
    if not password:
        return b""
    if len(password) < LEAST_LETTERS or len(password.encode()) > MOST_PASSWORD_BYTES:
        raise BadInput(
            f"a password has at least {LEAST_LETTERS} letters and {MOST_PASSWORD_BYTES} bytes at most"
        )
    salt = secrets.token_bytes(_SALT_BYTES)
    return salt + _scrypt(salt).derive(password.encode())


def is_password(given: bytes, kept: bytes) -> bool:
    """kept: what `hashed` gave, or empty, which no password matches."""
    salt = kept[:_SALT_BYTES] or bytes(_SALT_BYTES)
    try:
        _scrypt(salt).verify(given, kept[_SALT_BYTES:] or bytes(32))
    except InvalidKey:
        return False
    return bool(kept)


def _scrypt(salt: bytes) -> Scrypt:
    return Scrypt(salt=salt, length=32, n=1 << 15, r=8, p=1)
