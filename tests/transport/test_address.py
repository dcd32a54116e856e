"""Addresses: every way to write one, and that a role listens there and nowhere else."""

from __future__ import annotations

import socket

import pytest

from twinveil.errors import BadConfiguration, TwinveilError
from twinveil.kits.project import EVERYWHERE
from twinveil.transport.address import check, from_here, is_loopback, split, usual
from twinveil.transport.server import ServerSettings, start

WRITTEN = {
    "127.0.0.1:7001": ("127.0.0.1", 7001),
    "S1.Example.ORG.:7001": ("s1.example.org", 7001),
    "cloud_s1:0": ("cloud_s1", 0),
    "[::1]:7001": ("[::1]", 7001),
    "[2001:DB8:0::7]:7001": ("[2001:db8::7]", 7001),
    "[::ffff:10.0.0.7]:7001": ("10.0.0.7", 7001),
}
NO_ADDRESS = (
    "", ":7001", ".:7001", "::1:7001", "[::1]", "[]:1", "[::1:7001", "[1.2.3.4]:7001", "[::1%lo]:7001",
    "[fe80::1%25eth0]:7001",
    "fe80::1%eth0:7001", "127.1:7001", "999.1.1.1:7001", "a:65536", "a b:7001", "a:١",
)  # fmt: skip


@pytest.mark.parametrize("address", WRITTEN)
def test_an_address_is_read_in_every_usual_way(address: str) -> None:
    host, port = WRITTEN[address]
    assert split(address) == (host, port)
    assert check(address) == check(check(address)) == f"{host}:{port}"


@pytest.mark.parametrize("address", NO_ADDRESS)
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(BadConfiguration, match=r"is no address: write HOST:PORT, such as .* or \[::1\]:7001"):
        check(address)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "[::ffff:127.0.0.1]", "[0::1]", "LocalHost."])
def test_loopback_is_known_however_it_is_written(host: str) -> None:
    assert is_loopback(usual(host) or "")
    assert from_here(check(f"{host}:1")) == f"{usual(host)}:1"


@pytest.mark.parametrize("everywhere", [EVERYWHERE, "[::]", "[0::0]", f"[::ffff:{EVERYWHERE}]"])
def test_what_listens_everywhere_is_reached_on_loopback(everywhere: str) -> None:
    assert from_here(f"{everywhere}:7001") == "127.0.0.1:7001"


def is_reached(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), 2).close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.5", "::1"])
@pytest.mark.parametrize("asked", ["127.0.0.1", "127.0.0.5", "[::ffff:127.0.0.1]", "[::1]", "[0::1]"])
def test_a_role_listens_where_it_was_asked_to_and_nowhere_else(asked: str, host: str) -> None:
    wanted = (usual(asked) or "").strip("[]")
    try:
        server = start(ServerSettings("user", f"{asked}:0", insecure_plaintext=True), [])
    except TwinveilError as error:  # a machine without IPv6
        assert f"cannot listen on {asked}:0" in str(error)  # noqa: PT017
        return
    try:
        assert is_reached(host, server.port) == (host == wanted)
    finally:
        server.stop(0)
