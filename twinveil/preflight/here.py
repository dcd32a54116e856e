"""What can be seen on this machine alone: certificate, key, folder, port, memory, disk."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import stat
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from twinveil.container import memory_free
from twinveil.crypto.native.level import GMPY2, describe, level
from twinveil.errors import BadConfiguration, NotAllowed, TwinveilError
from twinveil.garbling import primitives
from twinveil.garbling.portable import Portable
from twinveil.native import VARIABLE
from twinveil.preflight.finding import Finding, failure, note, ok
from twinveil.preflight.kit import Kit
from twinveil.services.keys import read_pin
from twinveil.transport.address import from_here, split
from twinveil.transport.channel import connect
from twinveil.transport.credentials import TlsFiles, read, server_name
from twinveil.transport.identity import MALFORMED, parse_uri
from twinveil.wording import typed

SOON = timedelta(days=30)
MIB = 1 << 20
GIB = 1 << 30
NEEDS = {
    "owner": (2 * GIB, GIB),
    "cloud_s1": (2 * GIB, 4 * GIB),
    "cloud_s2": (2 * GIB, GIB),
    "user": (512 * MIB, 64 * MIB),
}
"""Free memory and free disk that a role wants; what a model really takes, twinveil estimate tells."""

CLOUDS = ("cloud_s1", "cloud_s2")
"""Roles that compute with big integers."""

OWN_SECONDS = 2.0
BAD_PIN = "remove that file: the next contact pins again"
RENEW = "twinveil kits --renew, and carry the new tls/ here"


def look_around(kit: Kit) -> Iterator[Finding]:
    """Every check that needs no peer."""
    tls = kit.settings.credentials()
    if tls is None:
        yield note("certificate", "insecure plaintext", "for experiments on one machine only: use kits")
    else:
        yield from certificates(kit, tls)
        yield permissions(tls.key)
    yield pin(kit)
    yield port(kit)
    yield memory(kit.role)
    if kit.role in CLOUDS:
        yield computing()
        yield garbling()
    yield from state(kit)


def certificates(kit: Kit, tls: TlsFiles) -> Iterator[Finding]:
    """Files that belong together, from the authority, for this role and name, in date."""
    try:
        content = read(tls)
    except BadConfiguration as error:
        yield failure("certificate", str(error), f"take the folder tls/ of the kit again, or {RENEW}")
        return
    authority = x509.load_pem_x509_certificate(content.authority)
    certificate = x509.load_pem_x509_certificate(content.certificate)
    yield ok("certificate", "key and certificate belong together")
    try:
        certificate.verify_directly_issued_by(authority)
        yield ok("authority", authority.subject.rfc4514_string())
    except (InvalidSignature, *MALFORMED):
        yield failure("authority", "the certificate comes from another authority", f"{RENEW}, for all roles")
    yield identity(kit, certificate)
    yield in_date("certificate's dates", certificate, RENEW)
    yield in_date("authority's dates", authority, "make all kits anew: the authority has ended")


def identity(kit: Kit, certificate: x509.Certificate) -> Finding:
    """The certificate is this role's and this name's."""
    wanted = f"{kit.role}/{kit.settings.name}"
    remedy = f"this folder needs the certificate of {wanted}: take it from the right kit"
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        [uri] = names.get_values_for_type(x509.UniformResourceIdentifier)
        found = "/".join(parse_uri(uri))
    except (NotAllowed, *MALFORMED):
        return failure("role", "the certificate names no role of Twinveil", remedy)
    if found != wanted or server_name(kit.role) not in names.get_values_for_type(x509.DNSName):
        return failure("role", f"the certificate is {found}'s, the configuration is {wanted}'s", remedy)
    return ok("role", found)


def in_date(check: str, certificate: x509.Certificate, remedy: str) -> Finding:
    """Begun, and not near its end."""
    now, end = datetime.now(UTC), certificate.not_valid_after_utc
    if now < certificate.not_valid_before_utc:
        return failure(check, f"begins {certificate.not_valid_before_utc:%Y-%m-%d %H:%M}", "set the clock")
    if now > end:
        return failure(check, f"ended {end:%Y-%m-%d %H:%M}", remedy)
    if end - now < SOON:
        return note(check, f"ends {end:%Y-%m-%d}, in {(end - now).days} days", remedy)
    return ok(check, f"until {end:%Y-%m-%d}")


def permissions(key: Path) -> Finding:
    """Only this user reads the key."""
    try:
        found = stat.S_IMODE(key.stat().st_mode)
    except OSError:
        return failure("key file", "missing", f"take the folder {key.parent} of the kit again")
    if found & 0o077:
        return failure("key file", f"mode {found:04o}: others may read it", typed("chmod", 600, key))
    return ok("key file", f"mode {found:04o}")


def pin(kit: Kit) -> Finding:
    """How far S2's key is known."""
    if kit.role == "cloud_s2":
        made = os.path.exists(kit.settings.state / "secret_key.json")  # False where nobody may look
        return ok("key", "there" if made else "made at the first start")
    path, wanted = kit.s2_key.pin, kit.s2_key.fingerprint
    try:
        found = read_pin(path)
    except TwinveilError as error:
        return failure("pinned key", str(error), BAD_PIN)
    if wanted and found and wanted != found:
        return failure(
            "pinned key",
            f"the configuration says {wanted[:16]}..., pinned is {found[:16]}...",
            f"ask cloud_s2's operator which is right; then remove {path}, or the line in the configuration",
        )
    known = wanted or found
    if known is None:
        remedy = "fine on a network you trust; otherwise twinveil kits --fingerprint HEX"
        return note("pinned key", "none: the first contact decides", remedy)
    return ok("pinned key", f"{known[:16]}...")


def port(kit: Kit) -> Finding:
    """Free to listen on, or held by this very role."""
    host, number = split(kit.settings.listen)
    check = f"port {number}"
    address = host.strip("[]")
    try:
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((address, number))
        return ok(check, "free")
    except PermissionError:
        return failure(check, "not allowed to this user", "choose a port of 1024 or more in listen")
    except OSError as error:
        found, is_foreign = error.strerror or str(error), error.errno != errno.EADDRINUSE
    if not is_foreign and _is_running(kit):
        return ok(check, f"{kit.role} runs here already")
    remedy = "end the other program, or choose another port (and tell the others)"
    if is_foreign:
        remedy = f"listen = '{host}' is no address of this machine: put one of its own, or 0.0.0.0"
    return failure(check, found, remedy)


def _is_running(kit: Kit) -> bool:
    try:
        with connect(kit.settings.me(), kit.role, from_here(kit.settings.listen), OWN_SECONDS):
            return True
    except TwinveilError:
        return False


def memory(role: str) -> Finding:
    wanted, free = NEEDS[role][0], memory_free()
    if free < wanted:
        remedy = f"{role} wants {wanted // MIB} MiB: end other programs or take a larger machine"
        return failure("free memory", f"{free // MIB} MiB", remedy)
    return ok("free memory", f"{free // MIB} MiB")


def computing() -> Finding:
    """The level of arithmetic that is in use."""
    try:
        found = describe()
    except BadConfiguration as error:
        return failure("arithmetic", str(error), f"unset {VARIABLE}, or say auto")
    if level() == GMPY2:
        return note("arithmetic", found, "items take five to ten times as long")
    return ok("arithmetic", found)


def garbling() -> Finding:
    """What garbles and opens circuits."""
    try:
        found = primitives.describe()
    except BadConfiguration as error:
        return failure("garbling", str(error), f"unset {VARIABLE}, or say auto")
    if primitives.implementation() is Portable:
        return note("garbling", found, "circuits take four times as long")
    return ok("garbling", found)


def state(kit: Kit) -> Iterator[Finding]:
    """Where keys, models and pins go: the right to write, and room."""
    folder = kit.settings.state
    try:
        there = next(each for each in (folder, *folder.parents) if each.exists())
        with tempfile.TemporaryFile(dir=there):
            pass
        free = shutil.disk_usage(there).free
    except OSError as error:
        remedy = "let it be a folder that this user may write, or set state to another"
        yield failure("state", f"{folder} cannot be written: {error.strerror}", remedy)
        return
    yield ok("state", f"{folder} can be written")
    wanted = NEEDS[kit.role][1]
    if free < wanted:
        remedy = f"{kit.role} wants {wanted // MIB} MiB in {folder}: make room, or set state"
        yield failure("free disk", f"{free // MIB} MiB", remedy)
    else:
        yield ok("free disk", f"{free // MIB} MiB")
