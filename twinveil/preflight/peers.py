"""What only the live peers can tell: name, port, TLS, role, certificate, version, clock, key."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator

from cryptography import x509

from twinveil.errors import PeerMismatch, TwinveilError
from twinveil.preflight.finding import Finding, failure, note, ok
from twinveil.preflight.here import BAD_PIN, in_date
from twinveil.preflight.kit import Kit
from twinveil.rpc.status_pb2 import GetStatusReply
from twinveil.transport.address import split
from twinveil.transport.channel import connect
from twinveil.transport.credentials import TlsFiles, server_name
from twinveil.version import VERSION

MAX_CLOCK_SECONDS = 60.0
TCP_SECONDS = 3.0
REMEDIES = {
    9: "set the clock: here or at {role}",
    10: "twinveil kits --renew {role}, and carry the new tls/ to it",
    62: "another role answers there: correct the address of {role}",
}
"""By OpenSSL's code of what is wrong: not yet valid, expired, another name."""


def ask_around(kit: Kit, wait: float) -> Iterator[Finding]:
    """Every check of every peer; one that fails makes the later ones of that peer pointless."""
    seen: dict[str, str] = {}
    for role, address in kit.peers.items():
        yield from ask(kit, role, address, wait, seen)
    if len(set(seen.values())) > 1:
        shown = ", ".join(f"{role} {key[:16]}..." for role, key in seen.items())
        yield failure("same key", shown, "who is wrong removes its pin and outsources or asks again")


def ask(kit: Kit, role: str, address: str, wait: float, seen: dict[str, str]) -> Iterator[Finding]:
    """One peer. seen: the key fingerprints by role so far."""
    if not address.startswith("file:"):
        reached = reach(role, address)
        yield reached
        if reached.state == "failure":
            return
    tls = kit.settings.credentials()
    if tls is not None and not address.startswith("file:"):
        shown = their_certificate(role, address, tls)
        yield shown
        if shown.state == "failure":
            return
    try:
        before = time.time()
        with connect(kit.settings.me(), role, address, wait) as link:
            status = link.status
            after = time.time()
    except PeerMismatch as error:
        yield failure(f"{role}: who", str(error), "bring both sides to one release, or correct the address")
        return
    except TwinveilError as error:
        yield failure(
            f"{role}: TLS",
            str(error),
            f"{role} does not take this kit's certificate: both must come from one authority and be in date",
        )
        return
    yield ok(f"{role}: TLS", "mutual TLS, the right role" if tls else "insecure plaintext")
    yield version(role, status)
    yield clock(role, status.clock_seconds, before, after)
    yield from key(kit, role, status)
    if status.key_fingerprint:
        seen[role] = status.key_fingerprint.hex()


def reach(role: str, address: str) -> Finding:
    """The name is known and somebody listens there."""
    host, number = split(address)
    check = f"{role}: {address}"
    try:
        socket.getaddrinfo(host.strip("[]"), number)
    except (OSError, UnicodeError):  # an empty label, or one of more than 63 letters
        remedy = f"correct {role} in the configuration, or have the name added to DNS"
        return failure(check, f"the name {host} is not known here", remedy)
    try:
        with socket.create_connection((host.strip("[]"), number), TCP_SECONDS):
            return ok(check, "reached")
    except ConnectionRefusedError:
        return failure(check, "nobody listens", f"start it: twinveil serve {role} --config config.toml")
    except OSError as error:
        found = error.strerror or "no answer in time"
        return failure(check, found, f"is the machine on, and does a firewall let port {number} through?")


def their_certificate(role: str, address: str, tls: TlsFiles) -> Finding:
    """The certificate that the peer shows: of the same authority, for that role, in date."""
    check = f"{role}: certificate"
    try:
        context = ssl.create_default_context(cafile=str(tls.authority))
        context.load_cert_chain(tls.certificate, tls.key, password="")  # or OpenSSL asks at the terminal
    except OSError:
        remedy = f"first what is wrong here: take the folder {tls.key.parent} of the kit again"
        return failure(check, "not seen: this kit's own certificate, key or authority is no use", remedy)
    context.set_alpn_protocols(["h2"])
    host, number = split(address)
    try:
        with (
            socket.create_connection((host.strip("[]"), number), TCP_SECONDS) as plain,
            context.wrap_socket(plain, server_hostname=server_name(role)) as secured,
        ):
            shown = secured.getpeercert(binary_form=True) or b""
    except ssl.SSLCertVerificationError as error:
        remedy = REMEDIES.get(error.verify_code, f"are this kit and {role}'s from the same authority?")
        return failure(check, error.verify_message, remedy.format(role=role))
    except OSError as error:
        return failure(check, f"no TLS: {error}", f"is {role} set to TLS, and is it a role of Twinveil?")
    return in_date(check, x509.load_der_x509_certificate(shown), f"twinveil kits --renew, for {role}")


def version(role: str, status: GetStatusReply) -> Finding:
    """Roles of other protocol versions do not get this far."""
    check = f"{role}: version"
    if status.twinveil_version != VERSION:
        return note(check, f"{status.twinveil_version}, here {VERSION}", "works; bring both to one release")
    return ok(check, status.twinveil_version)


def clock(role: str, theirs: float, before: float, after: float) -> Finding:
    """Certificates have dates: clocks must agree. Between `before` and `after` the peer said `theirs`."""
    check = f"{role}: clock"
    off = theirs - min(max(theirs, before), after)
    if abs(off) > MAX_CLOCK_SECONDS:
        remedy = "set the clocks of both machines, by NTP; look which one is wrong"
        return failure(check, f"{abs(off):.0f} s {'ahead' if off > 0 else 'behind'}", remedy)
    return ok(check, f"{off:+.1f} s")


def key(kit: Kit, role: str, status: GetStatusReply) -> Iterator[Finding]:
    """The peer means the same key of S2 as this kit."""
    if role != "cloud_s2" and not status.key_fingerprint:
        return
    check, theirs = f"{role}: key", status.key_fingerprint.hex()
    try:
        mine = kit.s2_key.known()
    except TwinveilError as error:
        yield failure(check, str(error), BAD_PIN)
        return
    if mine and mine != theirs:
        yield failure(
            check,
            f"{theirs[:16]}..., but {mine[:16]}... is known here",
            "ask cloud_s2's operator which is right: if the key was replaced on purpose, remove the old "
            "fingerprint from config.toml and state/, and outsource the models again",
        )
    else:
        yield ok(check, f"{theirs[:16]}...")
