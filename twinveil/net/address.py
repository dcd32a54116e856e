"""Where a role listens: HOST:PORT, or file:PATH, the ready file that a role writes once it listens.

Ready files are how roles of one machine on port 0 find each other without a race for a free port.
"""

from __future__ import annotations

import ipaddress
import json
import re
import time
from dataclasses import dataclass
from pathlib import Path

from twinveil.errors import BadConfiguration, PeerUnavailable
from twinveil.net.files import PUBLIC, replace
from twinveil.numbers import read_json

_HOST_PORT = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):([0-9]{1,5})")
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
            content = read_json(path.read_text())
            return Ready(**content)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, RecursionError):
            raise BadConfiguration(f"{path}: this is no ready file of a role") from None


def split(address: str) -> tuple[str, int]:
    """Host and port of HOST:PORT or [IPV6]:PORT. Raises BadConfiguration for anything else."""
    match = _HOST_PORT.fullmatch(address)
    if match is None or int(match[2]) > 65535:
        raise BadConfiguration(f"'{address}' is no address: write HOST:PORT, such as 127.0.0.1:7001")
    return match[1], int(match[2])


def check(address: object) -> str:
    """The address itself if it is well formed. Raises BadConfiguration otherwise."""
    if not isinstance(address, str):
        raise BadConfiguration("must be a text")
    if not address.startswith("file:"):
        split(address)
    return address


def resolve(address: str, role: str, wait: float) -> str:
    """HOST:PORT of an address; waits up to `wait` seconds for a ready file. Raises PeerUnavailable."""
    if not address.startswith("file:"):
        split(address)
        return address
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
    """Whether only this machine can reach a host of that name."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
