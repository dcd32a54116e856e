"""An envelope: a public header, a ciphertext that is bound to it, and the device's signature over both.

    magic  second factor  network  key id  commitment | ciphertext        | signature
    TVE1   (context.py)   32       16      32         | length 4, content | 64

The header is HPKE's `info` byte for byte, so a ciphertext opens under exactly its second factor, network, key
and commitment; the signature covers everything before it. Confidentiality and integrity are HPKE's (RFC 9180)
and Ed25519's alone; the factors add none.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from twinveil.errors import InvalidMessage
from twinveil.sealing.context import SecondFactor, read_second_factor
from twinveil.sealing.factors import image_safety_factor
from twinveil.sealing.keys import KEY_ID_BYTES, PublicKeys, ServerKeys
from twinveil.sealing.wire import Reader, sized

MAGIC = b"TVE1"
DIGEST_BYTES = 32
SIGNATURE_BYTES = 64
MOST_ENVELOPE_BYTES = 3 << 19
"""1.5 MiB: a picture of a MiB, its factor, and room."""
_SIGNED = b"twinveil sealing envelope signature\0"

X25519_AES, X25519_CHACHA, HYBRID_AES = 1, 2, 3
SIGN_VERSIONS: Mapping[int, str] = {
    X25519_AES: "X25519, HKDF-SHA256, AES-256-GCM; Ed25519",
    X25519_CHACHA: "X25519, HKDF-SHA256, ChaCha20-Poly1305; Ed25519",
    HYBRID_AES: "ML-KEM-768 with X25519, HKDF-SHA256, AES-256-GCM; Ed25519",
}
_SUITES = {
    X25519_AES: Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM),
    X25519_CHACHA: Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305),
    HYBRID_AES: Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM),
}


@dataclass(frozen=True, slots=True)
class Header:
    """What everyone on the way can read. network: digest of the factor's; key_id: of the server's keys."""

    second: SecondFactor
    network: bytes
    key_id: bytes
    commitment: bytes

    def encode(self) -> bytes:
        return MAGIC + self.second.encode() + self.network + self.key_id + self.commitment


@dataclass(frozen=True, slots=True)
class Envelope:
    """signed: every byte that the signature covers."""

    header: Header
    ciphertext: bytes = field(repr=False)
    signed: bytes = field(repr=False)
    signature: bytes = field(repr=False)

    def is_signed_by(self, device: Ed25519PublicKey) -> bool:
        try:
            device.verify(self.signature, _SIGNED + self.signed)
        except InvalidSignature:
            return False
        return True


def read_envelope(data: bytes) -> Envelope:
    """Raises InvalidMessage for anything that `sign` does not write."""
    if len(data) > MOST_ENVELOPE_BYTES:
        raise InvalidMessage(f"an envelope has at most {MOST_ENVELOPE_BYTES} bytes")
    reader = Reader(data, "an envelope")
    if reader.take(len(MAGIC)) != MAGIC:
        raise InvalidMessage("this is no envelope")
    second = read_second_factor(reader)
    header = Header(second, reader.take(DIGEST_BYTES), reader.take(KEY_ID_BYTES), reader.take(DIGEST_BYTES))
    ciphertext = reader.sized(4, 1, MOST_ENVELOPE_BYTES)
    signed = data[: reader.at]
    signature = reader.take(SIGNATURE_BYTES)
    reader.end()
    return Envelope(header, ciphertext, signed, signature)


def sign(header: Header, ciphertext: bytes, device: Ed25519PrivateKey) -> bytes:
    """The envelope's bytes."""
    return sign_bytes(header.encode() + sized(ciphertext, 4), device)


def sign_bytes(signed: bytes, device: Ed25519PrivateKey) -> bytes:
    """Any bytes with a device's signature behind them."""
    return signed + device.sign(_SIGNED + signed)


def commit(salt: bytes, first: bytes, second: bytes) -> bytes:
    """Salted SHA-256 of the image safety factor: binds the first factor, says nothing about it."""
    joined = image_safety_factor(first, second)
    return hashlib.sha256(b"twinveil sealing commitment\0" + salt + joined).digest()


def encrypt(header: Header, content: bytes, keys: PublicKeys) -> bytes:
    """HPKE, base mode, one message. Raises InvalidMessage for a sign_version that has no suite."""
    suite = _suite(header.second.sign_version)
    key = keys.hybrid if header.second.sign_version == HYBRID_AES else keys.x25519
    return suite.encrypt(content, key, header.encode())


def decrypt(header: Header, ciphertext: bytes, keys: ServerKeys) -> bytes:
    """Raises InvalidMessage if the ciphertext is not of this header and these keys."""
    suite = _suite(header.second.sign_version)
    key = keys.hybrid if header.second.sign_version == HYBRID_AES else keys.x25519
    try:
        return suite.decrypt(ciphertext, key, header.encode())
    except (InvalidTag, ValueError):
        raise InvalidMessage("the envelope does not open under its header") from None


def _suite(sign_version: int) -> Suite:
    if sign_version not in _SUITES:
        raise InvalidMessage(f"sign_version {sign_version} is not known here")
    return _SUITES[sign_version]
