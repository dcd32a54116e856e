"""Base oblivious transfers: 128 pairs of random keys, of which the receiver learns one each.

Chou, Orlandi, "The Simplest Protocol for Oblivious Transfer" (ePrint 2015/267), as random OT in
the prime-order subgroup of edwards25519 with generator B of order l:

    sender                            receiver, choice bits c_i
    a uniform in Z_l, A = a B    A ->
                                 <-   R_i = b_i B + c_i A, b_i uniform in Z_l
    k_i0 = KDF(a R_i)                 k_i = KDF(b_i A)
    k_i1 = KDF(a (R_i - A))

Semi-honest security under CDH with KDF a random oracle: R_i is uniform whatever c_i, and the other key
wants a^2 B. KDF = SHA-256 over the session, A, R_i, i and the point. A point that is not the canonical
encoding of an element of the subgroup other than the identity is refused before any scalar touches it.
For the extension the roles turn round: S2, who evaluates, is the base sender, S1 the base receiver.
"""

from __future__ import annotations

import hashlib
import secrets
from typing import NoReturn

import numpy as np
from nacl import bindings as sodium

from twinveil.errors import AlreadyUsed, InvalidMessage
from twinveil.garbling.labels import LABEL_BYTES, Bools, Bytes

BASE_COUNT = 128
POINT_BYTES: int = sodium.crypto_core_ed25519_BYTES
SESSION_BYTES_MAX = 1024
_DOMAIN = b"twinveil base OT v1"


class BaseSender:
    """Side with both keys. `first()` goes out, the reply comes in with `keys()`, each once.

    session: bytes that both sides agree on and that name this run; never the same for two runs.
    """

    def __init__(self, session: bytes) -> None:
        self._session = _checked_session(session)
        self._secret: bytes | None = _scalar()
        self._point = _multiply_base(self._secret)
        self._sent = False

    def __repr__(self) -> str:
        return "BaseSender(...)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("base OT secrets are not pickled")

    def first(self) -> bytes:
        """A, 32 bytes."""
        if self._sent:
            raise AlreadyUsed("the first message of these base OTs is already out")
        self._sent = True
        return self._point

    def keys(self, reply: bytes) -> Bytes:
        """Both keys of each OT: uint8 (128, 2, 16). reply: 128 points.

        Raises InvalidMessage for any point that is not a proper one; the secret is then gone, too.
        """
        if self._secret is None:
            raise AlreadyUsed("these base OTs are already done")
        secret, self._secret = self._secret, None
        points = _checked_points(reply, BASE_COUNT)
        if self._point in points:
            raise InvalidMessage("a base OT reply repeats the first message")
        offset = _multiply(secret, self._point)
        keys: list[bytes] = []
        for index, point in enumerate(points):
            shared = _multiply(secret, point)
            candidates = (shared, sodium.crypto_core_ed25519_sub(shared, offset))
            keys += [_derive(self._session, self._point, point, index, each) for each in candidates]
        return np.frombuffer(b"".join(keys), np.uint8).reshape(BASE_COUNT, 2, LABEL_BYTES)


class BaseReceiver:
    """Side with choice bits: bool (128,). `reply` goes out, `keys` (uint8 (128, 16)) stay.

    Raises InvalidMessage if `first` is not a proper point.
    """

    def __init__(self, session: bytes, first: bytes, choices: Bools) -> None:
        session = _checked_session(session)
        if choices.shape != (BASE_COUNT,) or choices.dtype != np.bool_:
            raise InvalidMessage(f"base OTs want {BASE_COUNT} choice bits")
        (point,) = _checked_points(first, 1)
        replies, keys = [], []
        for index, choice in enumerate(choices):
            secret = _scalar()
            plain = _multiply_base(secret)
            # Both candidates are made, whatever the choice.
            candidates = (plain, sodium.crypto_core_ed25519_add(plain, point))
            replies.append(candidates[int(choice)])
            keys.append(_derive(session, point, replies[-1], index, _multiply(secret, point)))
        self.reply = b"".join(replies)
        self.keys: Bytes = np.frombuffer(b"".join(keys), np.uint8).reshape(BASE_COUNT, LABEL_BYTES)

    def __repr__(self) -> str:
        return "BaseReceiver(...)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("base OT secrets are not pickled")


def random_choices() -> Bools:
    """128 uniform choice bits."""
    packed = np.frombuffer(secrets.token_bytes(BASE_COUNT // 8), np.uint8)
    return np.unpackbits(packed, bitorder="little").view(np.bool_)


def _scalar() -> bytes:
    """Uniform in [1, l): 64 random bytes reduced modulo l."""
    while True:
        scalar: bytes = sodium.crypto_core_ed25519_scalar_reduce(secrets.token_bytes(64))
        if any(scalar):
            return scalar


def _multiply_base(scalar: bytes) -> bytes:
    return bytes(sodium.crypto_scalarmult_ed25519_base_noclamp(scalar))


def _multiply(scalar: bytes, point: bytes) -> bytes:
    """scalar in [1, l) times a checked point, so never the identity."""
    return bytes(sodium.crypto_scalarmult_ed25519_noclamp(scalar, point))


def _derive(session: bytes, first: bytes, reply: bytes, index: int, shared: bytes) -> bytes:
    """16 bytes of SHA-256 over everything that names this key; each part is of fixed or written length."""
    parts = (_DOMAIN, len(session).to_bytes(4, "little"), session, first, reply, index.to_bytes(4, "little"))
    return hashlib.sha256(b"".join((*parts, shared))).digest()[:LABEL_BYTES]


def _checked_session(session: bytes) -> bytes:
    if not 1 <= len(session) <= SESSION_BYTES_MAX:
        raise InvalidMessage(f"a session name has 1 to {SESSION_BYTES_MAX} bytes")
    return bytes(session)


def _checked_points(message: bytes, count: int) -> list[bytes]:
    if len(message) != count * POINT_BYTES:
        raise InvalidMessage(f"{count} base OT points have {count * POINT_BYTES} bytes, not {len(message)}")
    points = [bytes(message[at : at + POINT_BYTES]) for at in range(0, len(message), POINT_BYTES)]
    # Canonical, on the curve, in the prime-order subgroup, not of small order (so not the identity).
    if not all(sodium.crypto_core_ed25519_is_valid_point(point) for point in points):
        raise InvalidMessage("a base OT message holds a point outside the group")
    return points
