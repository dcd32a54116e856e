"""Who is at the other end of an RPC: a role and a name, proven by a certificate's SAN URI twinveil://role/NAME."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from weakref import WeakKeyDictionary

import grpc
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding

from twinveil.errors import NotAllowed

ROLES = ("owner", "cloud_s1", "cloud_s2", "user")
INSECURE_ROLE_KEY = "twinveil-role"
"""Metadata that names the caller where there are no certificates: on insecure loopback, simply believed."""

_callers: WeakKeyDictionary[grpc.ServicerContext, PeerIdentity] = WeakKeyDictionary()

MALFORMED = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.ExtensionNotFound,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
"""What reading a certificate that comes from anywhere may raise."""

_URI = re.compile(r"twinveil://(owner|cloud_s1|cloud_s2|user)/([A-Za-z0-9][A-Za-z0-9._-]{0,63})")


@dataclass(frozen=True, slots=True)
class PeerIdentity:
    """The caller of an RPC.

    fingerprint: 32 bytes that both clouds compute alike for the same caller: SHA-256 of its certificate.
    secure: proven by a certificate; False only in the insecure plaintext mode. until: the certificate's end.
    """

    role: str
    name: str
    fingerprint: bytes
    secure: bool
    until: datetime | None = None

    def __str__(self) -> str:
        return f"{self.role}/{self.name}"


def role_uri(role: str, name: str) -> str:
    """The SAN URI of a role's certificate."""
    uri = f"twinveil://{role}/{name}"
    parse_uri(uri)
    return uri


def parse_uri(uri: str) -> tuple[str, str]:
    """Role and name of a SAN URI. Raises NotAllowed for anything else."""
    match = _URI.fullmatch(uri)
    if match is None:
        raise NotAllowed("the certificate names no Twinveil role (SAN URI twinveil://role/NAME)")
    return match[1], match[2]


@lru_cache(maxsize=1024)
def from_certificate(pem: bytes) -> PeerIdentity:
    """The identity in a certificate that TLS has verified: it has exactly one SAN URI, a role's."""
    try:
        certificate = x509.load_pem_x509_certificate(pem)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except MALFORMED:
        raise NotAllowed("the certificate names no Twinveil role (SAN URI twinveil://role/NAME)") from None
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    if len(uris) != 1:
        raise NotAllowed(f"the certificate must name exactly one Twinveil role, not {len(uris)}")
    role, name = parse_uri(uris[0])
    fingerprint = hashlib.sha256(certificate.public_bytes(Encoding.DER)).digest()
    return PeerIdentity(role, name, fingerprint, secure=True, until=certificate.not_valid_after_utc)


def of_caller(context: grpc.ServicerContext, insecure: bool) -> PeerIdentity:
    """The caller's identity: from its certificate, or in the insecure mode from its own word.

    insecure: this server listens in plaintext; only then is metadata believed.
    """
    if insecure:
        for key, value in context.invocation_metadata():
            if key == INSECURE_ROLE_KEY and isinstance(value, str):
                role, name = parse_uri(value)
                return PeerIdentity(role, name, hashlib.sha256(value.encode()).digest(), secure=False)
        raise NotAllowed(f"the caller names no role (metadata {INSECURE_ROLE_KEY})")
    certificates = context.auth_context().get("x509_pem_cert", ())
    for pem in certificates:
        identity = from_certificate(bytes(pem))
        # TLS looked at the date when the connection was opened, which may be long ago.
        if identity.until is not None and identity.until < datetime.now(UTC):
            raise NotAllowed("the caller's certificate has ended: it needs a new one")
        return identity
    raise NotAllowed("the caller shows no certificate")


def set_caller(context: grpc.ServicerContext, identity: PeerIdentity) -> None:
    """For the interceptor: this RPC comes from this caller, who may make it."""
    _callers[context] = identity


def caller(context: grpc.ServicerContext) -> PeerIdentity:
    """Inside a servicer: who is calling, as the interceptor found it."""
    identity = _callers.get(context)
    if identity is None:
        raise NotAllowed("the caller is not known")
    return identity
