"""Who may call what: every certificate, and every way to have none, against every RPC that any role serves.

The RPCs are read from the protos and the servers are the real ones: a new RPC without a row in the table
fails here, and so does one that a role serves unseen.
"""

from __future__ import annotations

import importlib
import ssl
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from owner.sealing.services import build
from tests.transport.tls import secured, with_names
from twinveil.sealing import synthetic
from twinveil.sealing.network_files import save_network
from twinveil.start.local_cluster import NAME, LocalCluster
from twinveil.start.settings import SealingSettings
from twinveil.transport.authorisation import EVERYONE, TABLE
from twinveil.transport.certificates import issue, make_authority
from twinveil.transport.channel import Me, open_channel
from twinveil.transport.credentials import TlsFiles, read, server_name
from twinveil.transport.identity import INSECURE_ROLE_KEY, ROLES
from twinveil.transport.server import start
from twinveil.transport.status import from_rpc_error
from twinveil.verbs.serve_all import cluster_options

pytestmark = pytest.mark.system

PROTOS = sorted((Path(__file__).parents[2] / "protos" / "twinveil" / "rpc").glob("*.proto"))
HEALTH = "/grpc.health.v1.Health/Check"
UNLISTED = ("/twinveil.rpc.Secret/NotThere", "/grpc.health.v1.Health/Watch", "/grpc.reflection.v1.Reflect/X")

SERVED = {
    "owner": {"Catalogue"},
    "cloud_s1": {"Provision", "Inference"},
    "cloud_s2": {"Provision", "Inference", "Keys", "Rounds"},
    "user": {"Gateway"},
    "sealing": {"Sealing"},
}
"""Services by server, beside Status and Health, which all have."""

SERVERS = tuple(SERVED)


def role_of(server: str) -> str:
    """The sealing server is the owner's second process."""
    return "owner" if server == "sealing" else server


def every_rpc() -> list[str]:
    found = [HEALTH]
    for proto in PROTOS:
        module = importlib.import_module(f"twinveil.rpc.{proto.stem}_pb2")
        for service in module.DESCRIPTOR.services_by_name.values():
            found += [f"/{service.full_name}/{method.name}" for method in service.methods]
    return found


RPCS = every_rpc()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    with LocalCluster(tmp_path_factory.mktemp("cluster"), cluster_options(512, True)) as running:
        yield running


@pytest.fixture(scope="module")
def addresses(cluster: LocalCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Of the four roles' processes, and of a sealing server, which runs in this one."""
    folder = tmp_path_factory.mktemp("sealing")
    save_network(folder / "networks" / "variational", synthetic.variational())
    save_network(folder / "networks" / "recogniser", synthetic.recogniser())
    settings = SealingSettings(
        listen="127.0.0.1:0",
        state=folder,
        networks=folder / "networks",
        name=NAME,
        tls=files(cluster, "owner").key.parent,
    )
    server = start(settings.server(), build(settings))
    yield {**cluster.addresses, "sealing": f"127.0.0.1:{server.port}"}
    server.stop(0)


def answer(channel: grpc.Channel, method: str, metadata: tuple[tuple[str, str], ...] = ()) -> str:
    """Name of the error that a call with one empty message ends with, or "served"."""
    try:
        call = channel.stream_stream(method)
        list(call(iter([b""]), timeout=20, metadata=metadata))
    except grpc.RpcError as error:
        failed = from_rpc_error(error, "the server")
        if "does not offer this service" in str(failed):
            return "not there"
        return type(failed).__name__
    return "served"


def is_served(server: str, method: str) -> bool:
    service = method.split("/")[1].removeprefix("twinveil.rpc.")
    return service in SERVED[server] | {"Status", "grpc.health.v1.Health"}


def test_every_rpc_has_a_row_and_a_server() -> None:
    assert set(RPCS) == set(TABLE)
    assert all(roles and roles <= EVERYONE for roles in TABLE.values())
    assert TABLE["/twinveil.rpc.Rounds/Converse"] == {"cloud_s1"}
    for method in RPCS:
        assert any(is_served(server, method) for server in SERVERS), method


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("caller", ROLES)
def test_each_certificate_against_every_rpc(
    cluster: LocalCluster, addresses: dict[str, str], caller: str, server: str
) -> None:
    with open_channel(cluster.me(caller), role_of(server), addresses[server]) as channel:
        seen = {method: answer(channel, method) for method in RPCS}
        for method, result in seen.items():
            if not is_served(server, method):
                assert result == "not there", method
            elif caller in TABLE[method]:
                assert result not in ("NotAllowed", "not there", "PeerUnavailable"), method
            else:
                assert result == "NotAllowed", method
        for method in UNLISTED:
            assert answer(channel, method) in ("not there", "NotAllowed")


@pytest.mark.parametrize("server", SERVERS)
def test_a_name_in_metadata_counts_nothing_over_tls(
    cluster: LocalCluster, addresses: dict[str, str], server: str
) -> None:
    """What is believed on insecure loopback is not even read here."""
    for caller in ROLES:
        with open_channel(cluster.me(caller), role_of(server), addresses[server]) as channel:
            for method in RPCS:
                if is_served(server, method) and caller not in TABLE[method]:
                    claim = ((INSECURE_ROLE_KEY, f"twinveil://{min(TABLE[method])}/x"),)
                    assert answer(channel, method, claim) == "NotAllowed", method


def files(cluster: LocalCluster, role: str = "cloud_s1") -> TlsFiles:
    made = cluster.me(role).tls
    assert made is not None
    return made


def no_certificate(cluster: LocalCluster, folder: Path) -> grpc.ChannelCredentials:
    return grpc.ssl_channel_credentials(files(cluster).authority.read_bytes())


def expired(cluster: LocalCluster, folder: Path) -> grpc.ChannelCredentials:
    return of(issue(cluster.authority, "cloud_s1", NAME, folder, days=-1))


def another_authority(cluster: LocalCluster, folder: Path) -> grpc.ChannelCredentials:
    foreign = issue(make_authority("Twinveil local cluster"), "cloud_s1", NAME, folder)
    return of(TlsFiles(files(cluster).authority, foreign.certificate, foreign.key))


def self_signed(cluster: LocalCluster, folder: Path) -> grpc.ChannelCredentials:
    own = make_authority("cloud_s1")
    folder.mkdir(exist_ok=True)
    rogue = issue(own, "cloud_s1", NAME, folder)
    return of(TlsFiles(files(cluster).authority, rogue.certificate, rogue.key))


def of(made: TlsFiles) -> grpc.ChannelCredentials:
    content = read(made)
    return grpc.ssl_channel_credentials(content.authority, content.key, content.certificate)


STRANGERS = [no_certificate, expired, another_authority, self_signed]


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("stranger", STRANGERS)
def test_without_a_good_certificate_no_rpc_is_reached(
    cluster: LocalCluster, addresses: dict[str, str], tmp_path: Path, stranger: object, server: str
) -> None:
    credentials = stranger(cluster, tmp_path)  # type: ignore[operator]
    options = [("grpc.ssl_target_name_override", server_name(role_of(server)))]
    with grpc.secure_channel(addresses[server], credentials, options) as channel:
        assert {answer(channel, method) for method in RPCS} == {"PeerUnavailable"}
    cluster.check()


@pytest.mark.parametrize("server", SERVERS)
def test_plaintext_reaches_no_rpc(addresses: dict[str, str], server: str) -> None:
    claim = ((INSECURE_ROLE_KEY, "twinveil://cloud_s1/x"),)
    with grpc.insecure_channel(addresses[server]) as channel:
        assert {answer(channel, method, claim) for method in RPCS} == {"PeerUnavailable"}


WRONG_NAMES = [
    [],
    ["twinveil://cloud_s3/x"],
    ["https://cloud_s1/x"],
    ["twinveil://cloud_s1/x/y"],
    ["twinveil://user/x", "twinveil://cloud_s1/x"],
]


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("names", WRONG_NAMES, ids=lambda names: "+".join(names) or "none")
def test_a_certificate_with_a_wrong_name_opens_nothing(
    cluster: LocalCluster, addresses: dict[str, str], tmp_path: Path, names: list[str], server: str
) -> None:
    made = issue(cluster.authority, "user", NAME, tmp_path)
    me = Me("user", NAME, with_names(cluster.authority, made, names))
    with open_channel(me, role_of(server), addresses[server]) as channel:
        served = [method for method in RPCS if is_served(server, method)]
        assert {answer(channel, method) for method in served} == {"NotAllowed"}


@pytest.mark.parametrize("server", SERVERS)
def test_an_older_tls_is_refused_by_every_server(
    cluster: LocalCluster, addresses: dict[str, str], server: str
) -> None:
    at = addresses[server], role_of(server), files(cluster)
    with secured(*at) as newest:
        assert newest.version() == "TLSv1.3"
    with pytest.raises(OSError, match=r"EOF|ALERT|reset|alert"), secured(*at, ssl.TLSVersion.TLSv1_2):
        pass


@pytest.mark.parametrize("server", SERVERS)
def test_a_client_takes_no_other_role_for_the_one_it_asked(
    cluster: LocalCluster, addresses: dict[str, str], server: str
) -> None:
    for other in ROLES:
        if other != role_of(server):
            with open_channel(cluster.me("user"), other, addresses[server]) as channel:
                assert answer(channel, "/twinveil.rpc.Status/GetStatus") == "PeerUnavailable"
