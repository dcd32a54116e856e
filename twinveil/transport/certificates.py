"""Makes a certificate authority and the roles' certificates: ECDSA P-256, for mutual TLS between the roles.

A role's certificate says who it is in its SAN: the URI twinveil://role/NAME is what servers authorise by,
and the DNS name ROLE.twinveil is what clients verify: a user's certificate cannot stand in for a cloud's.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from twinveil.errors import BadConfiguration
from twinveil.files import PUBLIC, creating_folder, open_to_others, replace
from twinveil.transport.credentials import TlsFiles, server_name
from twinveil.transport.identity import MALFORMED, role_uri

AUTHORITY_DAYS = 3650
ROLE_DAYS = 365
CLOCK_SKEW = timedelta(minutes=5)
MAX_COMMON_NAME = 64


@dataclass(frozen=True, slots=True)
class Authority:
    """Signs the roles' certificates. Its key stays where it was made."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)


def make_authority(name: str = "Twinveil authority", days: float = AUTHORITY_DAYS) -> Authority:
    """A new self-signed authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _name(name)
    builder = (
        _builder(subject, subject, key, _in(days))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(sign_certificates=True), critical=True)
    )
    return Authority(builder.sign(key, hashes.SHA256()), key)


def issue(
    authority: Authority,
    role: str,
    name: str,
    folder: Path,
    days: float = ROLE_DAYS,
    hosts: Sequence[str] = (),
) -> TlsFiles:
    """Writes a new key (mode 0600), certificate and the authority's certificate into a folder.

    Each file is replaced in one step, the key first: a server that reloads never reads half a file.
    hosts: names and addresses for the SAN as well, for programs that check those; Twinveil's roles do not.
    It ends with its authority, if that ends before `days`.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    names: list[x509.GeneralName] = [
        x509.UniformResourceIdentifier(role_uri(role, name)),
        x509.DNSName(server_name(role)),
        *(_host(each) for each in dict.fromkeys(hosts)),
    ]
    issuer = authority.certificate.subject
    end = min(_in(days), authority.certificate.not_valid_after_utc)
    builder = (
        _builder(_name(f"{role}/{name}"), issuer, key, end)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(sign_certificates=False), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
            critical=False,
        )
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()), critical=False
        )
    )
    certificate = builder.sign(authority.key, hashes.SHA256())
    files = TlsFiles(folder / "authority.pem", folder / "certificate.pem", folder / "key.pem")
    folder.mkdir(parents=True, exist_ok=True)
    replace(files.key, _private(key))
    replace(files.certificate, certificate.public_bytes(Encoding.PEM), PUBLIC)
    replace(files.authority, authority.pem(), PUBLIC)
    return files


def save_authority(authority: Authority, folder: Path) -> None:
    """For later certificates: key.pem (mode 0600) and authority.pem in a folder of mode 0700."""
    with creating_folder(folder) as part:
        replace(part / "key.pem", _private(authority.key))
        replace(part / "authority.pem", authority.pem(), PUBLIC)


def load_authority(folder: Path) -> Authority:
    """Raises BadConfiguration if it is not there, open to others, damaged, not whole, or has ended."""
    path = folder / "key.pem"
    try:
        if path.stat().st_mode & 0o077:
            raise BadConfiguration(open_to_others(path))
        key = load_pem_private_key(path.read_bytes(), None)
        certificate = x509.load_pem_x509_certificate((folder / "authority.pem").read_bytes())
        certified = certificate.public_key()
    except OSError as error:
        raise BadConfiguration(
            f"{error.filename}: {error.strerror}: without the authority's key no certificate can be issued"
        ) from None
    except MALFORMED:
        raise BadConfiguration(f"{folder}: the authority's key or certificate is no PEM file") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certified:
        raise BadConfiguration(f"{path}: this is not the key of {folder / 'authority.pem'}")
    if certificate.not_valid_after_utc <= datetime.now(UTC):
        raise BadConfiguration(
            f"{folder}: this authority ended {certificate.not_valid_after_utc:%Y-%m-%d}: all kits have to be "
            "made anew, in another folder"
        )
    return Authority(certificate, key)


def _private(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _host(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name.strip("[]")))
    except ValueError:
        return x509.DNSName(name)


def _name(common: str) -> x509.Name:
    """For people: cut to what X.509 allows, since the SAN says who it is."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common[:MAX_COMMON_NAME])])


def _in(days: float) -> datetime:
    """Negative days make a certificate that has expired, for tests."""
    return datetime.now(UTC) + timedelta(days=days)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, end: datetime
) -> x509.CertificateBuilder:
    """What all certificates have."""
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(min(datetime.now(UTC), end) - CLOCK_SKEW)
        .not_valid_after(end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _usage(sign_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not sign_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=sign_certificates,
        crl_sign=sign_certificates,
        encipher_only=False,
        decipher_only=False,
    )
