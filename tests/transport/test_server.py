"""A server over real TLS: certificates renewed, plaintext only by name, peers that are somebody else."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from types import SimpleNamespace

import grpc
import pytest

from tests.transport.tls import accept, secured, with_rsa
from twinveil.errors import BadConfiguration, NotAllowed, PeerMismatch, PeerUnavailable, TooMuch
from twinveil.rpc import status_pb2
from twinveil.services.status import Facts, StatusServicer
from twinveil.transport.certificates import ROLE_DAYS, Authority, issue, make_authority
from twinveil.transport.channel import Me, connect, open_channel
from twinveil.transport.credentials import TlsFiles, check_own
from twinveil.transport.identity import ROLES
from twinveil.transport.server import Server, ServerSettings, start
from twinveil.transport.status import from_rpc_error

STATUS = "/twinveil.rpc.Status/GetStatus"
AUTHORITY = make_authority("test authority")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, TlsFiles]:
    folder = tmp_path_factory.mktemp("tls")
    return {role: issue(AUTHORITY, role, "test", folder / role) for role in ROLES}


@pytest.fixture
def s2(files: dict[str, TlsFiles]) -> Iterator[Server]:
    server = start(ServerSettings("cloud_s2", "127.0.0.1:0", files["cloud_s2"]), [StatusServicer("cloud_s2")])
    yield server
    server.stop(0)


def call(channel: grpc.Channel, method: str) -> bytes:
    try:
        return channel.unary_unary(method)(b"", timeout=5)
    except grpc.RpcError as error:
        raise from_rpc_error(error, "the server") from None


def target(server: Server) -> str:
    return f"127.0.0.1:{server.port}"


def refused(server: Server, me: Me, role: str = "cloud_s2") -> None:
    with pytest.raises(PeerUnavailable), connect(me, role, target(server), wait=1.5):
        pass


def test_a_user_cannot_stand_in_for_a_cloud(files: dict[str, TlsFiles]) -> None:
    server = start(ServerSettings("cloud_s2", "127.0.0.1:0", files["user"]), [StatusServicer("cloud_s2")])
    try:
        with (
            pytest.raises(PeerMismatch, match="has the certificate of another role"),
            connect(Me("cloud_s1", "test", files["cloud_s1"]), "cloud_s2", target(server), wait=1.5),
        ):
            pass
    finally:
        server.stop(0)


def test_a_renewed_certificate_counts_from_the_next_connection(tmp_path: Path) -> None:
    authority = make_authority()
    mine = issue(authority, "user", "test", tmp_path / "user")
    files = issue(authority, "cloud_s2", "test", tmp_path / "s2", days=1)
    server = start(ServerSettings("cloud_s2", "127.0.0.1:0", files), [StatusServicer("cloud_s2")])
    try:
        me = Me("user", "test", mine)
        with connect(me, "cloud_s2", target(server)) as running:
            before = serial(server, mine)
            old_key = files.key.read_bytes()
            issue(authority, "cloud_s2", "test", tmp_path / "s2")
            assert serial(server, mine) != before
            call(running.channel, STATUS)  # the old connection goes on
            files.key.write_bytes(old_key)  # half a renewal: key and certificate do not belong together
            assert serial(server, mine) != before
            with connect(me, "cloud_s2", target(server)):
                pass
    finally:
        server.stop(0)


def test_a_certificate_ends_on_an_open_connection_too(
    s2: Server, files: dict[str, TlsFiles], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Later(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return datetime.now(tz) + timedelta(days=ROLE_DAYS, seconds=1)

    with connect(Me("user", "test", files["user"]), "cloud_s2", target(s2)) as link:
        call(link.channel, STATUS)
        monkeypatch.setattr("twinveil.transport.identity.datetime", Later)
        with pytest.raises(NotAllowed, match="certificate has ended"):
            call(link.channel, STATUS)


def test_a_new_authority_shuts_out_old_certificates(tmp_path: Path) -> None:
    old, new = make_authority(), make_authority()
    stolen = issue(old, "user", "test", tmp_path / "stolen")
    files = issue(old, "cloud_s2", "test", tmp_path / "s2")
    server = start(ServerSettings("cloud_s2", "127.0.0.1:0", files), [StatusServicer("cloud_s2")])
    try:
        with connect(Me("user", "test", stolen), "cloud_s2", target(server)):
            pass
        issue(new, "cloud_s2", "test", tmp_path / "s2")
        stolen.authority.write_bytes(new.pem())  # a thief takes any server
        refused(server, Me("user", "test", stolen))
        with connect(Me("user", "test", issue(new, "user", "test", tmp_path)), "cloud_s2", target(server)):
            pass
    finally:
        server.stop(0)


def serial(server: Server, files: TlsFiles) -> bytes | None:
    with secured(target(server), "cloud_s2", files) as connection:
        return connection.getpeercert(binary_form=True)


@pytest.fixture(params=["ECDSA", "RSA"])
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, TlsFiles]:
    """Certificates of a cloud and a user; those of another origin than the kits may be RSA."""
    made = {role: issue(AUTHORITY, role, "test", tmp_path / role) for role in ("cloud_s2", "user")}
    if request.param == "RSA":
        made = {role: with_rsa(AUTHORITY, each) for role, each in made.items()}
    return made


def test_a_server_speaks_tls_1_3_only(pair: dict[str, TlsFiles]) -> None:
    server = start(ServerSettings("cloud_s2", "127.0.0.1:0", pair["cloud_s2"]), [StatusServicer("cloud_s2")])
    at = target(server), "cloud_s2", pair["user"]
    try:
        with connect(Me("user", "test", pair["user"]), "cloud_s2", target(server)), secured(*at) as newest:
            assert newest.version() == "TLSv1.3"
        with pytest.raises(OSError, match=r"EOF|ALERT|reset"), secured(*at, ssl.TLSVersion.TLSv1_2):
            pass
    finally:
        server.stop(0)


@pytest.mark.parametrize(
    ("highest", "taken"), [(ssl.TLSVersion.TLSv1_3, "TLSv1.3"), (ssl.TLSVersion.TLSv1_2, "NO_SHARED_CIPHER")]
)
def test_a_client_speaks_tls_1_3_only(pair: dict[str, TlsFiles], highest: ssl.TLSVersion, taken: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening, ThreadPoolExecutor() as pool:
        seen = pool.submit(accept, listening, pair["cloud_s2"], highest)
        me = Me("user", "test", pair["user"])
        with open_channel(me, "cloud_s2", f"127.0.0.1:{listening.getsockname()[1]}") as channel:
            with pytest.raises(PeerUnavailable):
                call(channel, STATUS)
            assert taken in seen.result(10)


def test_without_the_setting_nothing_is_served_or_asked(files: dict[str, TlsFiles]) -> None:
    """gRPC reads it when it is imported: another library's import of gRPC may have come first."""
    program = """
import grpc, sys
from pathlib import Path
from twinveil.errors import BadConfiguration
from twinveil.transport.credentials import TlsFiles, client_credentials, server_credentials
for make in (client_credentials, server_credentials):
    try:
        make(TlsFiles.in_folder(Path(sys.argv[1])))
    except BadConfiguration as error:
        print(error)
"""
    environment = {name: value for name, value in os.environ.items() if name != "GRPC_SSL_CIPHER_SUITES"}
    command = [sys.executable, "-c", program, str(files["user"].key.parent)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.count("import twinveil first") == 2


def test_keys_are_private_files(files: dict[str, TlsFiles]) -> None:
    for each in files.values():
        assert each.key.stat().st_mode & 0o777 == 0o600


def test_what_a_role_may_serve_with(tmp_path: Path) -> None:
    made = issue(AUTHORITY, "cloud_s1", "test", tmp_path)
    check_own(made, "cloud_s1")
    with pytest.raises(BadConfiguration, match="is cloud_s1/test's: cloud_s2 needs the certificate of its"):
        check_own(made, "cloud_s2")
    for mode in (0o640, 0o604, 0o666):
        made.key.chmod(mode)
        with pytest.raises(BadConfiguration, match=r"key\.pem is open to others: chmod 600"):
            check_own(made, "cloud_s1")
    ended = issue(AUTHORITY, "cloud_s1", "test", tmp_path, days=-1)
    with pytest.raises(BadConfiguration, match=r"certificate\.pem ended 20.* has to be renewed"):
        check_own(ended, "cloud_s1")


def test_dates_are_seen_before_serving(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = issue(AUTHORITY, "cloud_s1", "test", tmp_path)
    for years, words in ((-1, "certificate.pem begins"), (1, "certificate.pem ended"), (11, "ended")):
        clock = SimpleNamespace(now=lambda _, days=400 * years: datetime.now(UTC) + timedelta(days))
        monkeypatch.setattr("twinveil.transport.credentials.datetime", clock)
        with pytest.raises(BadConfiguration, match=words):
            check_own(made, "cloud_s1")


def test_a_key_of_another_certificate_is_named(tmp_path: Path, files: dict[str, TlsFiles]) -> None:
    mixed = TlsFiles(files["user"].authority, files["user"].certificate, files["owner"].key)
    with pytest.raises(BadConfiguration, match="is not the key of"):
        start(ServerSettings("user", "127.0.0.1:0", mixed), [])
    gone = TlsFiles(files["user"].authority, files["user"].certificate, tmp_path / "none.pem")
    with pytest.raises(BadConfiguration, match=r"none\.pem: the key cannot be read"):
        start(ServerSettings("user", "127.0.0.1:0", gone), [])


@pytest.mark.parametrize(
    ("listen", "insecure"), [("127.0.0.1:0", False), ("0.0.0.0:0", True), ("[::]:0", True)]
)
def test_plaintext_needs_its_flag_and_loopback(listen: str, insecure: bool) -> None:
    with pytest.raises(BadConfiguration, match="insecure-plaintext"):
        start(ServerSettings("cloud_s2", listen, None, insecure_plaintext=insecure), [])


def test_a_plaintext_client_keeps_to_loopback() -> None:
    with pytest.raises(BadConfiguration, match="loopback only"):
        open_channel(Me("user", "x", None), "cloud_s2", "192.0.2.1:7002")


def test_insecure_loopback_serves_by_word() -> None:
    server = start(
        ServerSettings("cloud_s2", "127.0.0.1:0", None, insecure_plaintext=True), [StatusServicer("cloud_s2")]
    )
    try:
        with connect(Me("user", "x", None), "cloud_s2", target(server)) as link:
            assert link.status.role == "cloud_s2"
            with pytest.raises(NotAllowed):
                call(link.channel, "/grpc.health.v1.Health/Watch")
        with (
            grpc.insecure_channel(target(server)) as nameless,
            pytest.raises(NotAllowed, match="names no role"),
        ):
            call(nameless, STATUS)
    finally:
        server.stop(0)


def test_a_taken_port_is_named(s2: Server, files: dict[str, TlsFiles]) -> None:
    with pytest.raises(PeerUnavailable, match=f"cannot listen on {target(s2)}"):
        start(ServerSettings("cloud_s2", target(s2), files["cloud_s2"]), [])


def test_nobody_there_is_said_within_the_wait(files: dict[str, TlsFiles]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        begin = time.monotonic()
        with (
            pytest.raises(PeerUnavailable, match=f"cloud_s1 at {address} does not answer: is it running"),
            connect(Me("user", "x", files["user"]), "cloud_s1", address, wait=0.5),
        ):
            pass
        assert time.monotonic() - begin < 3


def test_tls_trouble_is_told_apart_from_silence(s2: Server, tmp_path: Path) -> None:
    stranger = Me("user", "x", issue(make_authority(), "user", "x", tmp_path))
    with (
        pytest.raises(PeerUnavailable, match="mutual TLS fails"),
        connect(stranger, "cloud_s2", target(s2), 1),
    ):
        pass


class Other(StatusServicer):
    """Says that it is of another protocol version."""

    def GetStatus(self, request, context):
        return status_pb2.GetStatusReply(role="cloud_s2", protocol_version=99, twinveil_version="9.0")


@pytest.mark.parametrize(
    ("service", "match"),
    [(Other("x"), "protocol version 99"), (StatusServicer("cloud_s1"), "says that it is cloud_s1")],
)
def test_somebody_else_is_noticed(files: dict[str, TlsFiles], service: StatusServicer, match: str) -> None:
    server = start(ServerSettings("cloud_s2", "127.0.0.1:0", files["cloud_s2"]), [service])
    try:
        with (
            pytest.raises(PeerMismatch, match=match),
            connect(Me("user", "x", files["user"]), "cloud_s2", target(server)),
        ):
            pass
    finally:
        server.stop(0)


def test_status_tells_the_facts(files: dict[str, TlsFiles]) -> None:
    facts = Facts(key_fingerprint=b"f" * 32, running_queries=3)
    server = start(
        ServerSettings("owner", "127.0.0.1:0", files["owner"]), [StatusServicer("owner", lambda: facts)]
    )
    try:
        with connect(Me("user", "x", files["user"]), "owner", target(server)) as link:
            assert link.status.key_fingerprint == b"f" * 32
            assert link.status.running_queries == 3
            assert link.status.memory_bytes > 1 << 20
    finally:
        server.stop(0)


def test_a_message_past_the_cap_is_refused(s2: Server, files: dict[str, TlsFiles]) -> None:
    with (
        open_channel(Me("user", "x", files["user"]), "cloud_s2", target(s2)) as channel,
        pytest.raises(TooMuch),
    ):
        channel_call = channel.unary_unary(STATUS)
        try:
            channel_call(bytes(3 << 20), timeout=5)
        except grpc.RpcError as error:
            raise from_rpc_error(error, "s2") from None


def test_authority_is_frozen() -> None:
    with pytest.raises(AttributeError):
        AUTHORITY.key = None  # type: ignore[misc, assignment]
    assert isinstance(AUTHORITY, Authority)
