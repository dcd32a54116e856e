"""Certificates as Twinveil makes none, and handshakes by another TLS library than gRPC's."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from twinveil.transport.certificates import Authority
from twinveil.transport.credentials import TlsFiles, server_name


def with_names(authority: Authority, made: TlsFiles, names: Sequence[str]) -> TlsFiles:
    """The certificate with other URIs in its SAN, and a DNS name that looks like one."""
    uris = [x509.UniformResourceIdentifier(name) for name in names]
    certificate = x509.load_pem_x509_certificate(made.certificate.read_bytes())
    found = x509.SubjectAlternativeName([x509.DNSName("twinveil://cloud_s1/x"), *uris])
    _sign(authority, made, certificate.public_key(), [x509.Extension(found.oid, False, found)])
    return made


def with_rsa(authority: Authority, made: TlsFiles) -> TlsFiles:
    """The certificate with an RSA key."""
    key = rsa.generate_private_key(65537, 2048)
    certificate = x509.load_pem_x509_certificate(made.certificate.read_bytes())
    _sign(authority, made, key.public_key(), list(certificate.extensions))
    made.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return made


def dated(authority: Authority, made: TlsFiles, begin: float, end: float) -> TlsFiles:
    """The certificate with other dates, in days from now."""
    certificate = x509.load_pem_x509_certificate(made.certificate.read_bytes())
    dates = [datetime.now(UTC) + timedelta(days) for days in (begin, end)]
    _sign(authority, made, certificate.public_key(), list(certificate.extensions), dates)
    return made


def _sign(
    authority: Authority,
    made: TlsFiles,
    key: CertificatePublicKeyTypes,
    extensions: list[x509.Extension[x509.ExtensionType]],
    dates: Sequence[datetime] = (),
) -> None:
    old = x509.load_pem_x509_certificate(made.certificate.read_bytes())
    new = x509.CertificateBuilder(
        old.issuer,
        old.subject,
        key,
        x509.random_serial_number(),
        *(dates or (old.not_valid_before_utc, old.not_valid_after_utc)),
        extensions,
    )
    made.certificate.write_bytes(new.sign(authority.key, hashes.SHA256()).public_bytes(Encoding.PEM))


@contextmanager
def secured(
    address: str, role: str, files: TlsFiles, highest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
) -> Iterator[ssl.SSLSocket]:
    """A connection that offers every cipher there is, up to this version of TLS."""
    context = ssl.create_default_context(cafile=str(files.authority))
    _prepare(context, files, highest)
    host, port = address.split(":")
    with (
        socket.create_connection((host, int(port)), timeout=5) as plain,
        context.wrap_socket(plain, server_hostname=server_name(role)) as made,
    ):
        yield made


def accept(listening: socket.socket, files: TlsFiles, highest: ssl.TLSVersion) -> str:
    """The version of TLS that the next caller of a server takes, or why it takes none."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    _prepare(context, files, highest)
    plain, _ = listening.accept()
    plain.settimeout(5)
    try:
        with context.wrap_socket(plain, server_side=True) as made:
            return made.version() or ""
    except OSError as error:
        return str(error)


def _prepare(context: ssl.SSLContext, files: TlsFiles, highest: ssl.TLSVersion) -> None:
    context.load_cert_chain(str(files.certificate), str(files.key))
    context.maximum_version = highest
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.set_alpn_protocols(["h2"])
