"""Mutual TLS between the roles, from files that may be renewed while queries run.

Servers ask for a client certificate and look at their files again at every handshake; clients read theirs for
every new channel. TLS 1.3 only: see twinveil/__init__.py.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import grpc
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from twinveil import TLS_1_3_ONLY
from twinveil.errors import BadConfiguration, NotAllowed
from twinveil.files import open_to_others
from twinveil.transport.identity import MALFORMED, from_certificate

RENEWAL_TRIES, RENEWAL_SECONDS = 5, 0.05
"""Three files are replaced one after the other: key and certificate may differ for a moment."""

SUFFIX = ".twinveil"
"""Of the roles' DNS names: a host's name may not end so."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files of one role: the authority it trusts, its certificate, its private key."""

    authority: Path
    certificate: Path
    key: Path

    @staticmethod
    def in_folder(folder: Path) -> TlsFiles:
        """The usual names."""
        return TlsFiles(folder / "authority.pem", folder / "certificate.pem", folder / "key.pem")

    def stamp(self) -> tuple[int, ...]:
        """Another one after a renewal; empty while a file is missing."""
        try:
            found = [path.stat() for path in (self.authority, self.certificate, self.key)]
        except OSError:
            return ()
        return tuple(number for each in found for number in (each.st_mtime_ns, each.st_ino))


@dataclass(frozen=True, slots=True)
class _Content:
    authority: bytes
    certificate: bytes
    key: bytes


def server_name(role: str) -> str:
    """The DNS name in a role's certificate, which clients verify."""
    return role.replace("_", "-") + SUFFIX


def read(files: TlsFiles) -> _Content:
    """The files' content, checked to belong together. Raises BadConfiguration naming the file at fault."""
    content = {}
    for part in ("authority", "certificate", "key"):
        path: Path = getattr(files, part)
        try:
            content[part] = path.read_bytes()
        except OSError as error:
            raise BadConfiguration(f"{path}: the {part} cannot be read: {error.strerror}") from None
    try:
        x509.load_pem_x509_certificate(content["authority"])
        certificate = x509.load_pem_x509_certificate(content["certificate"])
        certified = certificate.public_key()
        key = load_pem_private_key(content["key"], None)
    except TypeError:  # the library's word for it
        raise BadConfiguration(f"{files.key}: the key has a passphrase: a role's key has none") from None
    except MALFORMED:
        raise BadConfiguration(f"{files.certificate.parent}: a certificate or key is no PEM file") from None
    if certified != key.public_key():
        raise BadConfiguration(f"{files.key}: this is not the key of {files.certificate}")
    return _Content(**content)


def check_own(files: TlsFiles, role: str) -> None:
    """What a role that serves shows: its own certificate, in date, whose key nobody else reads.

    Raises BadConfiguration, or NotAllowed for a certificate that names no role.
    """
    content = read(files)
    if files.key.stat().st_mode & 0o077:
        raise BadConfiguration(open_to_others(files.key))
    shown = from_certificate(content.certificate)
    if shown.role != role:
        raise BadConfiguration(
            f"{files.certificate} is {shown}'s: {role} needs the certificate of its own kit"
        )
    _check_dates(files, content)


def check_dates(files: TlsFiles) -> None:
    """Raises BadConfiguration unless certificate and authority are in date, by this machine's clock."""
    _check_dates(files, read(files))


def _check_dates(files: TlsFiles, content: _Content) -> None:
    authority = x509.load_pem_x509_certificate(content.authority)
    certificate = x509.load_pem_x509_certificate(content.certificate)
    now, here = datetime.now(UTC), f"and here it is {utc_now()}"
    if now > authority.not_valid_after_utc:
        end = _time(authority.not_valid_after_utc)
        raise BadConfiguration(
            f"{files.authority} ended {end}, {here}: if this machine's clock is right, all kits have to be "
            "made anew, by twinveil kits project.toml -o NEW_KITS"
        )
    if now > certificate.not_valid_after_utc:
        end = _time(certificate.not_valid_after_utc)
        raise BadConfiguration(
            f"{files.certificate} ended {end}, {here}: if this machine's clock is right, it has to be "
            f"renewed, by {renewal(_kit(content.certificate))}"
        )
    if now < certificate.not_valid_before_utc:
        begin = _time(certificate.not_valid_before_utc)
        raise BadConfiguration(f"{files.certificate} begins {begin}, {here}: set this machine's clock")


def renewal(kit: str) -> str:
    """The command that renews a kit's certificate. kit: its name, or "user" for those of all users."""
    return f"twinveil kits project.toml -o kits --renew {kit}"


def utc_now() -> str:
    """By this machine's clock, for a person who compares it with a certificate's dates."""
    return _time(datetime.now(UTC))


def _time(when: datetime) -> str:
    return f"{when:%Y-%m-%d %H:%M} UTC"


def _kit(certificate: bytes) -> str:
    try:
        shown = from_certificate(certificate)
    except NotAllowed:
        return "KIT"
    return f"user-{shown.name}" if shown.role == "user" else shown.role


def client_credentials(files: TlsFiles) -> grpc.ChannelCredentials:
    """For a new channel, from the files as they are now; a renewal at work is waited for.

    Raises BadConfiguration for files that are no use, and for a certificate that is out of date: the other
    side would only close the connection.
    """
    _refuse_older_tls()
    for _ in range(RENEWAL_TRIES):
        try:
            content = read(files)
            break
        except BadConfiguration:
            time.sleep(RENEWAL_SECONDS)
    else:
        content = read(files)
    _check_dates(files, content)
    return grpc.ssl_channel_credentials(content.authority, content.key, content.certificate)


def server_credentials(files: TlsFiles) -> grpc.ServerCredentials:
    """For a server: every client shows a certificate; renewed files count from the next handshake on."""
    _refuse_older_tls()
    current = _Reloading(files)
    return grpc.dynamic_ssl_server_credentials(
        current.configuration(),
        current.renewed,  # type: ignore[arg-type]  # None is allowed: nothing new
        require_client_authentication=True,
    )


def _refuse_older_tls() -> None:
    if not TLS_1_3_ONLY:
        raise BadConfiguration(
            "grpc was imported before twinveil and would speak TLS 1.2 too: import twinveil first"
        )


class _Reloading:
    """The server's side of a renewal: gRPC asks at every handshake whether there is something new."""

    def __init__(self, files: TlsFiles) -> None:
        self._files = files
        self._lock = threading.Lock()
        self._stamp = files.stamp()
        self._content = read(files)

    def configuration(self) -> grpc.ServerCertificateConfiguration:
        content = self._content
        return grpc.ssl_server_certificate_configuration(
            [(content.key, content.certificate)], content.authority
        )

    def renewed(self) -> grpc.ServerCertificateConfiguration | None:
        with self._lock:
            stamp = self._files.stamp()
            if stamp == self._stamp:
                return None
            try:
                self._content = read(self._files)
            except BadConfiguration as error:
                log.warning("renewed certificate not taken yet: %s", error)
                return None
            self._stamp = stamp
            log.info("certificate renewed from %s", self._files.certificate)
            return self.configuration()
