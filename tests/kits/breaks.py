"""Ways to break a deployment, each of which gives the row of the report that has to say so."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Callable
from types import SimpleNamespace

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from tests.kits.deployment import KEY, OTHER_KEY, Deployment
from twinveil.kits.making import make_kits
from twinveil.preflight import here
from twinveil.transport.certificates import issue, load_authority, make_authority

Break = Callable[[Deployment], str]


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
"""What the row says is seen, and what to do."""
