"""A rig with a clock that tests set, and a server behind real TLS."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from owner.sealing.rig import Rig
from twinveil.sealing.server.service import SealingService
from twinveil.sealing.server.verify import Policy
from twinveil.services.sealing import SealingServicer
from twinveil.services.status import StatusServicer
from twinveil.transport.certificates import issue, make_authority
from twinveil.transport.channel import Me
from twinveil.transport.credentials import TlsFiles
from twinveil.transport.identity import ROLES
from twinveil.transport.server import Server, ServerSettings, start


class Clock:
    """Seconds that only tests move."""

    def __init__(self) -> None:
        self.now = 1_790_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def rig(tmp_path: Path, clock: Clock) -> Iterator[Rig]:
    """A server that knows one device and one account, which has no password yet."""
    made = Rig.make(tmp_path, clock=clock)
    made.enrol(password="")
    yield made
    made.store.close()


@dataclass(frozen=True)
class Live:
    """A sealing server on loopback. folder: has tls/ROLE."""

    server: Server
    service: SealingService
    rig: Rig
    folder: Path

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server.port}"

    def tls(self, role: str) -> Path:
        return self.folder / "tls" / role

    def me(self, role: str) -> Me:
        return Me(role, "test", TlsFiles.in_folder(self.tls(role)))


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Live]:
    """With real time."""
    rig = Rig.make(tmp_path / "store")
    service = SealingService(rig.keys, rig.model, rig.recogniser, rig.store, Policy())
    authority = make_authority("test authority")
    files = {role: issue(authority, role, "test", tmp_path / "tls" / role) for role in ROLES}
    server = start(
        ServerSettings("owner", "127.0.0.1:0", files["owner"]),
        [StatusServicer("owner"), SealingServicer(service)],
    )
    yield Live(server, service, rig, tmp_path)
    server.stop(0)
    rig.store.close()
