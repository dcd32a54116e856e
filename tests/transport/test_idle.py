"""Connections without a call are closed; who held one goes on as if nothing had been."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloud_s1.way_to_s2 import CloudS2, S2Address
from tests.crypto.crypto_keys import secret_key
from tests.rounds.conversations import Scripted, done
from tests.transport.tls import secured
from twinveil.rpc.status_pb2 import GetStatusRequest
from twinveil.rpc.status_pb2_grpc import StatusStub
from twinveil.services.keys import KeysServicer, KnownKey
from twinveil.services.rounds import RoundsServicer
from twinveil.services.status import StatusServicer
from twinveil.transport.certificates import issue, make_authority
from twinveil.transport.channel import Me, connect
from twinveil.transport.credentials import TlsFiles
from twinveil.transport.identity import ROLES
from twinveil.transport.server import Server, ServerSettings, start

IDLE = 0.3
PAUSE = 4 * IDLE
BEGIN = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
"""HTTP/2's first bytes, with empty settings."""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, TlsFiles]:
    authority, folder = make_authority(), tmp_path_factory.mktemp("tls")
    return {role: issue(authority, role, "test", folder / role) for role in ROLES}


@pytest.fixture
def s2(files: dict[str, TlsFiles]) -> Iterator[Server]:
    public = secret_key(512).public_key
    services = [
        StatusServicer("cloud_s2"),
        KeysServicer(json.dumps(public.to_jwk()), bytes.fromhex(public.fingerprint)),
        RoundsServicer(lambda _: Scripted()),
    ]
    server = start(
        ServerSettings("cloud_s2", "127.0.0.1:0", files["cloud_s2"], idle_connection=IDLE), services
    )
    yield server
    server.stop(0)


def test_a_connection_without_a_call_is_closed(s2: Server, files: dict[str, TlsFiles]) -> None:
    with secured(f"127.0.0.1:{s2.port}", "cloud_s2", files["user"]) as connection:
        connection.settimeout(10)
        connection.sendall(BEGIN)
        while connection.recv(4096):
            pass


def test_a_client_calls_again_after_a_pause(s2: Server, files: dict[str, TlsFiles]) -> None:
    with connect(Me("user", "test", files["user"]), "cloud_s2", f"127.0.0.1:{s2.port}") as link:
        for _ in range(3):
            time.sleep(PAUSE)
            assert StatusStub(link.channel).GetStatus(GetStatusRequest(), timeout=10).role == "cloud_s2"


def test_s1_converses_after_a_pause_and_an_open_conversation_is_no_pause(
    s2: Server, files: dict[str, TlsFiles], tmp_path: Path
) -> None:
    me = Me("cloud_s1", "test", files["cloud_s1"])
    known = KnownKey(tmp_path / "pin", insecure_small_key=True)
    way = CloudS2(S2Address(me, f"127.0.0.1:{s2.port}", 10.0, 10.0, known))
    for _ in range(2):
        peer = way.peer()
        peer.ask(done())
        time.sleep(PAUSE)
        assert not peer.left
        assert peer.ask(done()).HasField("masked_plaintexts")
        peer.close()
        time.sleep(PAUSE)
