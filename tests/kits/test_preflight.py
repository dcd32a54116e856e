"""Preflight: every kind of failure is seen against live peers, and says what to do."""

from __future__ import annotations

import json
import os
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from types import SimpleNamespace

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from twinveil.errors import BadConfiguration
from twinveil.kits.making import make_kits
from twinveil.kits.project import Project
from twinveil.net.certificates import issue, load_authority, make_authority
from twinveil.net.server import ServerSettings, start
from twinveil.net.servicers import StatusServicer
from twinveil.preflight import here
from twinveil.preflight.finding import Finding
from twinveil.preflight.here import look_around
from twinveil.preflight.kit import open_kit
from twinveil.preflight.peers import ask_around
from twinveil.rpc.status_pb2 import GetStatusReply, GetStatusRequest
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


@pytest.fixture
def deployment(project: Project, kits: Path) -> Iterator[Deployment]:
    made = Deployment(project, kits)
    with closing(made.running):
        yield made


def test_all_is_well(deployment: Deployment) -> None:
    make_kits(deployment.project, deployment.kits, KEY.hex())
    deployment.serve(*PEERS)
    found = deployment.look()
    assert [each for each in found.values() if each.state != "ok"] == []
    for part in (
        "port ",
        "certificate",
        "key file",
        "pinned key",
        "free memory",
        "free disk",
        "cloud_s2: clock",
    ):
        assert any(check.startswith(part) for check in found), part


def nobody_at(d: Deployment) -> str:
    d.serve("owner", "cloud_s2")
    return d.address("cloud_s1")


def silent(d: Deployment) -> str:
    held = socket.create_server(("127.0.0.1", d.project.members["cloud_s1"].port))
    d.running.callback(held.close)
    return "cloud_s1: certificate"


def unknown_name(d: Deployment) -> str:
    d.edit(
        f'cloud_s1 = "127.0.0.1:{d.project.members["cloud_s1"].port}"', 'cloud_s1 = "nowhere.invalid:7001"'
    )
    return "cloud_s1: nowhere.invalid:7001"


def plaintext(d: Deployment) -> str:
    d.serve("cloud_s1", insecure=True)
    return "cloud_s1: certificate"


def another_role(d: Deployment) -> str:
    d.serve("cloud_s2")
    s1, s2 = (d.project.members[role].address for role in ("cloud_s1", "cloud_s2"))
    d.edit(f'cloud_s1 = "{s1}"', f'cloud_s1 = "{s2}"')
    return "cloud_s1: certificate"


def expired_peer(d: Deployment) -> str:
    authority = load_authority(d.kits / "authority")
    d.tls["cloud_s1"] = issue(authority, "cloud_s1", "clinic", d.kits / "old", days=-1)
    d.serve("cloud_s1")
    return "cloud_s1: certificate"


def peer_of_another_authority(d: Deployment) -> str:
    d.tls["cloud_s1"] = issue(make_authority("Twinveil clinic"), "cloud_s1", "clinic", d.kits / "foreign")
    d.serve("cloud_s1")
    return "cloud_s1: certificate"


def not_taken(d: Deployment) -> str:
    d.serve("cloud_s1")
    issue(make_authority("Twinveil clinic"), "user", "alice", d.kits / "foreign")
    for name in ("certificate.pem", "key.pem"):
        shutil.copy(d.kits / "foreign" / name, d.kit / "tls" / name)
    return "cloud_s1: TLS"


def other_protocol(d: Deployment) -> str:
    d.peers["cloud_s1"].said |= {"protocol_version": 99, "twinveil_version": "9.0"}
    d.serve("cloud_s1")
    return "cloud_s1: who"


def other_clock(d: Deployment) -> str:
    d.peers["cloud_s1"].clock_off = -600
    d.serve("cloud_s1")
    return "cloud_s1: clock"


def other_pin_at_peer(d: Deployment) -> str:
    make_kits(d.project, d.kits, KEY.hex())
    d.peers["owner"].said["key_fingerprint"] = OTHER_KEY
    d.serve("owner")
    return "owner: key"


def s2_has_another_key(d: Deployment) -> str:
    (d.kit / "state").mkdir()
    (d.kit / "state" / "cloud_s2.fingerprint").write_text(OTHER_KEY.hex() + "\n")
    d.serve("cloud_s2")
    return "cloud_s2: key"


def peers_disagree(d: Deployment) -> str:
    d.peers["owner"].said["key_fingerprint"] = OTHER_KEY
    d.serve("owner", "cloud_s2")
    return "same key"


def expired(d: Deployment) -> str:
    issue(load_authority(d.kits / "authority"), "user", "alice", d.kit / "tls", days=-1)
    return "certificate's dates"


def not_yet(d: Deployment) -> str:
    d.running.enter_context(pytest.MonkeyPatch.context()).setattr(
        here, "datetime", SimpleNamespace(now=lambda _: here_now().replace(year=2001))
    )
    return "certificate's dates"


def here_now() -> object:
    from datetime import UTC, datetime

    return datetime.now(UTC).replace(day=1)


def wrong_role(d: Deployment) -> str:
    shutil.copytree(d.kits / "owner" / "tls", d.kit / "tls", dirs_exist_ok=True)
    return "role"


def wrong_name(d: Deployment) -> str:
    shutil.copytree(d.kits / "user-bob" / "tls", d.kit / "tls", dirs_exist_ok=True)
    return "role"


def wrong_authority(d: Deployment) -> str:
    d_other = make_authority("Twinveil clinic")
    (d.kit / "tls" / "authority.pem").write_bytes(d_other.pem())
    return "authority"


def wrong_key(d: Deployment) -> str:
    shutil.copy(d.kits / "owner" / "tls" / "key.pem", d.kit / "tls" / "key.pem")
    return "certificate"


def missing_key(d: Deployment) -> str:
    (d.kit / "tls" / "key.pem").unlink()
    return "key file"


def damaged(d: Deployment) -> str:
    (d.kit / "tls" / "certificate.pem").write_text("hello")
    return "certificate"


def no_authority(d: Deployment) -> str:
    d.serve("cloud_s1")
    (d.kit / "tls" / "authority.pem").unlink()
    return "certificate"


def damaged_authority(d: Deployment) -> str:
    d.serve("cloud_s1")
    (d.kit / "tls" / "authority.pem").write_text("hello")
    return "certificate"


def key_with_a_passphrase(d: Deployment) -> str:
    d.serve("cloud_s1")
    file = d.kit / "tls" / "key.pem"
    key = load_pem_private_key(file.read_bytes(), None)
    file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"hush")))
    return "certificate"


def wrong_key_at_a_peer(d: Deployment) -> str:
    d.serve("cloud_s1")
    wrong_key(d)
    return "cloud_s1: certificate"


def passphrase_at_a_peer(d: Deployment) -> str:
    key_with_a_passphrase(d)
    return "cloud_s1: certificate"


def no_authority_at_a_peer(d: Deployment) -> str:
    no_authority(d)
    return "cloud_s1: certificate"


def damaged_pin_at_a_peer(d: Deployment) -> str:
    d.serve("cloud_s2")
    damaged_pin(d)
    return "cloud_s2: key"


def state_is_a_file(d: Deployment) -> str:
    d.serve("cloud_s2")
    (d.kit / "state").write_text("hello")
    return "state"


def state_cannot_be_written(d: Deployment) -> str:
    d.edit('state = "state"', 'state = "/proc/twinveil"')
    return "state"


def name_with_a_hole(d: Deployment) -> str:
    d.edit(f'cloud_s1 = "127.0.0.1:{d.project.members["cloud_s1"].port}"', 'cloud_s1 = "a..b:7001"')
    return "cloud_s1: a..b:7001"


def long_name(d: Deployment) -> str:
    name = "l" * 70 + ":7001"
    d.edit(f'cloud_s1 = "127.0.0.1:{d.project.members["cloud_s1"].port}"', f'cloud_s1 = "{name}"')
    return f"cloud_s1: {name}"


def own_name_with_a_hole(d: Deployment) -> str:
    port = d.project.members["user-alice"].port
    d.edit(f'listen = "127.0.0.1:{port}"', f'listen = "a..b:{port}"')
    return f"port {port}"


def open_key(d: Deployment) -> str:
    (d.kit / "tls" / "key.pem").chmod(0o640)
    return "key file"


def damaged_pin(d: Deployment) -> str:
    (d.kit / "state").mkdir()
    (d.kit / "state" / "cloud_s2.fingerprint").write_text("hello")
    return "pinned key"


def two_pins(d: Deployment) -> str:
    make_kits(d.project, d.kits, KEY.hex())
    (d.kit / "state").mkdir()
    (d.kit / "state" / "cloud_s2.fingerprint").write_text(OTHER_KEY.hex())
    return "pinned key"


def taken_port(d: Deployment) -> str:
    held = socket.create_server(("127.0.0.1", d.project.members["user-alice"].port))
    d.running.callback(held.close)
    return f"port {d.project.members['user-alice'].port}"


def foreign_address(d: Deployment) -> str:
    d.kit = d.kits / "owner"
    port = d.project.members["owner"].port
    d.edit(f"127.0.0.1:{port}", f"192.0.2.7:{port}")
    return f"port {port}"


def little_memory(d: Deployment) -> str:
    patch = d.running.enter_context(pytest.MonkeyPatch.context())
    patch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=10 << 20))
    return "free memory"


def little_disk(d: Deployment) -> str:
    patch = d.running.enter_context(pytest.MonkeyPatch.context())
    patch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=10 << 20))
    return "free disk"


Break = Callable[[Deployment], str]

FAILURES: dict[Break, tuple[str, str]] = {
    nobody_at: ("nobody listens", "start it: twinveil serve cloud_s1"),
    silent: ("no TLS", "is it a role of Twinveil"),
    unknown_name: ("nowhere.invalid is not known here", "correct cloud_s1 in the configuration"),
    plaintext: ("no TLS", "is cloud_s1 set to TLS"),
    another_role: ("ostname mismatch", "correct the address of cloud_s1"),
    expired_peer: ("certificate has expired", "--renew cloud_s1"),
    peer_of_another_authority: ("certificate", "are this kit and cloud_s1's from the same authority"),
    not_taken: ("mutual TLS fails", "must come from one authority"),
    other_protocol: ("protocol version 99", "bring both sides to one release"),
    other_clock: ("600 s behind", "by NTP"),
    other_pin_at_peer: ("cdcdcdcdcdcdcdcd..., but abababababababab...", "ask cloud_s2's operator"),
    s2_has_another_key: ("abababababababab..., but cdcdcdcdcdcdcdcd...", "ask cloud_s2's operator"),
    peers_disagree: ("owner cdcdcdcdcdcdcdcd..., cloud_s2 abababababababab...", "removes its pin"),
    expired: ("ended ", "--renew"),
    not_yet: ("begins ", "set the clock"),
    wrong_role: ("is owner/clinic's, the configuration is user/alice's", "take it from the right kit"),
    wrong_name: ("is user/bob's, the configuration is user/alice's", "take it from the right kit"),
    wrong_authority: ("from another authority", "for all roles"),
    wrong_key: ("is not the key of", "take the folder tls/"),
    missing_key: ("missing", "take the folder"),
    damaged: ("no PEM file", "take the folder tls/"),
    no_authority: ("authority.pem: the authority cannot be read: No such file", "take the folder tls/"),
    damaged_authority: ("no PEM file", "take the folder tls/"),
    key_with_a_passphrase: ("key.pem: the key has a passphrase", "take the folder tls/"),
    wrong_key_at_a_peer: ("this kit's own certificate, key or authority is no use", "take the folder "),
    passphrase_at_a_peer: ("this kit's own certificate, key or authority is no use", "take the folder "),
    no_authority_at_a_peer: ("this kit's own certificate, key or authority is no use", "take the folder "),
    damaged_pin_at_a_peer: ("cannot be read", "remove that file"),
    state_is_a_file: ("state cannot be written: Not a directory", "a folder that this user may write"),
    state_cannot_be_written: ("/proc/twinveil cannot be written", "or set state to another"),
    name_with_a_hole: ("a..b is not known here", "correct cloud_s1 in the configuration"),
    long_name: ("is not known here", "correct cloud_s1 in the configuration"),
    own_name_with_a_hole: ("not known", "is no address of this machine"),
    open_key: ("mode 0640", "chmod 600"),
    damaged_pin: ("cannot be read", "remove"),
    two_pins: ("the configuration says abababababababab..., pinned is cdcdcdcdcdcdcdcd...", "which is right"),
    taken_port: ("in use", "end the other program"),
    foreign_address: ("assign", "is no address of this machine"),
    little_memory: ("10 MiB", "wants 512 MiB"),
    little_disk: ("10 MiB", "make room"),
}


@pytest.mark.parametrize("case", FAILURES, ids=lambda case: case.__name__)
def test_a_failure_is_seen_and_says_what_to_do(
    deployment: Deployment, case: Break, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("twinveil.preflight.peers.TCP_SECONDS", 0.5)
    check = case(deployment)
    seen, remedy = FAILURES[case]
    report = deployment.look()
    found = report[check]
    assert found.state == "failure"
    assert seen in found.seen
    assert remedy in found.remedy
    for other in (
        "port",
        "certificate",
        "key file",
        "pinned key",
        "free memory",
        "state",
        *open_kit(deployment.kit).peers,
    ):
        assert any(check.startswith(other) for check in report), other


def test_near_the_end_is_a_note(deployment: Deployment) -> None:
    issue(load_authority(deployment.kits / "authority"), "user", "alice", deployment.kit / "tls", days=10)
    deployment.peers["owner"].said["twinveil_version"] = "0.0.9"
    deployment.serve("owner")
    found = deployment.look()
    for check in ("certificate's dates", "owner: version", "pinned key"):
        assert found[check].state == "note"
        assert found[check].remedy


def test_a_role_that_runs_holds_its_own_port(deployment: Deployment) -> None:
    deployment.serve("cloud_s1")
    deployment.kit = deployment.kits / "cloud_s1"
    member = deployment.project.members["cloud_s1"]
    assert deployment.look()[f"port {member.port}"].seen == "cloud_s1 runs here already"


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (None, "is no kit"),
        ("name =", "no TOML"),
        ('name = "x"', "one table must name the role"),
        ("[owner]\n[user]", "one table must name the role"),
        ("[owner]\nlisten = 'x'", "listen: 'x' is no address"),
        ("[owner]\nmax_query = 1", "is no setting"),
    ],
)
def test_what_is_no_kit(tmp_path: Path, config: str | None, words: str) -> None:
    if config is not None:
        (tmp_path / "config.toml").write_text(config)
    with pytest.raises(BadConfiguration, match=words):
        open_kit(tmp_path)


def test_as_typed(
    deployment: Deployment, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from twinveil.cli.main import main

    def typed(*more: str) -> tuple[int, str]:
        monkeypatch.setattr("sys.argv", ["twinveil", "preflight", str(deployment.kit), "--wait", "1", *more])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0), capsys.readouterr().out

    deployment.serve("cloud_s1", "cloud_s2")
    code, shown = typed()
    assert code == 1
    assert "not ready: 1 of" in shown
    assert "start it: twinveil serve owner" in shown.replace("\n", " ")
    deployment.serve("owner")
    code, shown = typed("--json")
    assert code == 0
    assert {each["state"] for each in json.loads(shown)} == {"ok", "note"}
    assert os.sep not in json.loads(shown)[0]["check"]
