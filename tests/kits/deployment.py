"""Three roles that answer preflight, and the kit of a user who is about to join them."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path

from twinveil.kits.project import Project
from twinveil.preflight.finding import Finding
from twinveil.preflight.here import look_around
from twinveil.preflight.kit import open_kit
from twinveil.preflight.peers import ask_around
from twinveil.rpc.status_pb2 import GetStatusReply, GetStatusRequest
from twinveil.services.status import StatusServicer
from twinveil.transport.server import ServerSettings, start
from twinveil.version import PROTOCOL_VERSION, VERSION

KEY = bytes.fromhex("ab" * 32)
OTHER_KEY = bytes.fromhex("cd" * 32)
PEERS = ("owner", "cloud_s1", "cloud_s2")


class Peer(StatusServicer):
    """Says what it is told to say."""

    def __init__(self, role: str, **said: object) -> None:
        super().__init__(role)
        self.said: dict[str, object] = {
            "role": role,
            "protocol_version": PROTOCOL_VERSION,
            "twinveil_version": VERSION,
            "key_fingerprint": KEY,
        } | said
        self.clock_off = 0.0

    def GetStatus(self, request: GetStatusRequest, context: object) -> GetStatusReply:
        return GetStatusReply(clock_seconds=time.time() + self.clock_off, **self.said)  # type: ignore[arg-type]


class Deployment:
    """Three peers that run, and the kit of a user who is about to join."""

    def __init__(self, project: Project, kits: Path) -> None:
        self.project = project
        self.kits = kits
        self.kit = kits / "user-alice"
        self.peers = {role: Peer(role) for role in PEERS}
        self.tls = {role: open_kit(kits / role).settings.credentials() for role in PEERS}
        self.running = ExitStack()

    def serve(self, *roles: str, insecure: bool = False) -> None:
        for role in roles:
            tls = None if insecure else self.tls[role]
            address = self.project.members[role].address
            server = start(ServerSettings(role, address, tls, insecure), [self.peers[role]])
            self.running.callback(server.stop, 0)

    def look(self) -> dict[str, Finding]:
        kit = open_kit(self.kit)
        return {each.check: each for each in (*look_around(kit), *ask_around(kit, 2.0))}

    def address(self, role: str) -> str:
        return f"{role}: {self.project.members[role].address}"

    def edit(self, old: str, new: str) -> None:
        config = self.kit / "config.toml"
        assert old in config.read_text()
        config.write_text(config.read_text().replace(old, new))
