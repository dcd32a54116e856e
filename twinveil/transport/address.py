"""Where a role listens: HOST:PORT, or file:PATH, the ready file that a role writes once it listens.

Ready files are how roles of one machine on port 0 find each other without a race for a free port.
"""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

from twinveil.errors import BadConfiguration, PeerUnavailable
from twinveil.files import PUBLIC, replace
from twinveil.values import read_json

_HOST_PORT = re.compile(r"(\[[^\]]*\]|[A-Za-z0-9._-]+):([0-9]{1,5})")
_NUMBERS = re.compile(r"(.*\.)?[0-9]+")  # no name ends with a number (RFC 1123, 2.1): an IPv4 address
POLL_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Ready:
    """What a role announces once it listens."""

    role: str
    host: str
    port: int
    pid: int

    def line(self) -> str:
        return json.dumps({"role": self.role, "host": self.host, "port": self.port, "pid": self.pid})

    def write(self, path: Path) -> None:
        replace(path, (self.line() + "\n").encode(), PUBLIC)

    @staticmethod
    def read(path: Path) -> Ready | None:
        """What is announced in a ready file, or None while there is none."""
        try:
            content = read_json(path.read_text(encoding="utf-8"))
            return Ready(**content)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, RecursionError):
            raise BadConfiguration(f"{path}: this is no ready file of a role") from None


def split(address: str) -> tuple[str, int]:
    """Host, as `usual` writes it, and port of HOST:PORT or [IPV6]:PORT.

    Raises BadConfiguration for anything else.
    """
    match = _HOST_PORT.fullmatch(address)
    host = usual(match[1]) if match else None
    if match is None or host is None or int(match[2]) > 65535:
        raise BadConfiguration(
            f"'{address}' is no address: write HOST:PORT, such as 127.0.0.1:7001 or [::1]:7001"
        )
    return host, int(match[2])


def usual(host: str) -> str | None:
    """A host in the one way in which it is written, or None for what is no host.

    Names in small letters without a last dot, IPv6 in brackets, IPv4 also where it came mapped into IPv6.
    An address with a zone, which means something on one machine only, is none.
    """
    try:
        if ":" in host or host.startswith("["):
            address = IPv6Address(host[1:-1] if host.startswith("[") and host.endswith("]") else host)
            return None if address.scope_id else str(address.ipv4_mapped or f"[{address}]")
        if _NUMBERS.fullmatch(host):
            return str(IPv4Address(host))
    except ValueError:
        return None
    return host.lower().removesuffix(".") or None


def check(address: object) -> str:
    """The address, its host as `usual` writes it. Raises BadConfiguration if it is not well formed."""
    if not isinstance(address, str):
        raise BadConfiguration("must be a text")
    if address.startswith("file:"):
        return address
    host, port = split(address)
    return f"{host}:{port}"


def resolve(address: str, role: str, wait: float) -> str:
    """HOST:PORT of an address; waits up to `wait` seconds for a ready file. Raises PeerUnavailable."""
    if not address.startswith("file:"):
        return check(address)
    path = Path(address.removeprefix("file:"))
    end = time.monotonic() + wait
    while (ready := Ready.read(path)) is None or ready.role != role:
        if time.monotonic() >= end:
            raise PeerUnavailable(f"{role} has not announced itself in {path}: is it running?")
        time.sleep(POLL_SECONDS)
    return f"{ready.host}:{ready.port}"


def from_here(listen: str) -> str:
    """Where this machine reaches what listens there: what listens everywhere is on loopback, too."""
    host, number = split(listen)
    return f"127.0.0.1:{number}" if host in ("0.0.0.0", "[::]") else listen  # noqa: S104


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a host, written as `usual` does."""
    if host == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
