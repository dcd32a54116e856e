"""Who may call what: every certificate, and every way to have none, against every RPC that any role serves.

The RPCs are read from the protos and the servers are the real ones: a new RPC without a row in the table
fails here, and so does one that a role serves unseen.
"""

from __future__ import annotations

import importlib
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from twinveil.cli.serve_all import cluster_options
from twinveil.net.authorisation import EVERYONE, TABLE
from twinveil.net.certificates import issue, make_authority
from twinveil.net.channel import Me, open_channel
from twinveil.net.cluster import NAME, LocalCluster
from twinveil.net.credentials import TlsFiles, read, server_name
from twinveil.net.identity import INSECURE_ROLE_KEY, ROLES
from twinveil.net.status import from_rpc_error

pytestmark = pytest.mark.system

PROTOS = sorted((Path(__file__).parents[2] / "protos" / "twinveil" / "rpc").glob("*.proto"))
HEALTH = "/grpc.health.v1.Health/Check"
UNLISTED = ("/twinveil.rpc.Secret/NotThere", "/grpc.health.v1.Health/Watch", "/grpc.reflection.v1.Reflect/X")

SERVED = {
    "owner": {"Catalogue"},
    "cloud_s1": {"Provision", "Inference"},
    "cloud_s2": {"Provision", "Inference", "Keys", "Rounds"},
    "user": {"Gateway"},
}
"""Services by role, beside Status and Health, which all have."""


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


def is_served(role: str, method: str) -> bool:
    service = method.split("/")[1].removeprefix("twinveil.rpc.")
    return service in SERVED[role] | {"Status", "grpc.health.v1.Health"}


def test_every_rpc_has_a_row_and_a_server() -> None:
    assert set(RPCS) == set(TABLE)
    assert all(roles and roles <= EVERYONE for roles in TABLE.values())
    assert TABLE["/twinveil.rpc.Rounds/Converse"] == {"cloud_s1"}
    assert all(any(is_served(role, method) for role in ROLES) for method in RPCS)


@pytest.mark.parametrize("server", ROLES)
@pytest.mark.parametrize("caller", ROLES)
def test_each_certificate_against_every_rpc(cluster: LocalCluster, caller: str, server: str) -> None:
    with open_channel(cluster.me(caller), server, cluster.addresses[server]) as channel:
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


@pytest.mark.parametrize("server", ROLES)
def test_a_name_in_metadata_counts_nothing_over_tls(cluster: LocalCluster, server: str) -> None:
    """What is believed on insecure loopback is not even read here."""
    for caller in ROLES:
        with open_channel(cluster.me(caller), server, cluster.addresses[server]) as channel:
            for method in RPCS:
                if is_served(server, method) and caller not in TABLE[method]:
                    claim = ((INSECURE_ROLE_KEY, f"twinveil://{min(TABLE[method])}/x"),)
                    assert answer(channel, method, claim) == "NotAllowed", method


def files(cluster: LocalCluster) -> TlsFiles:
    made = cluster.me("cloud_s1").tls
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


@pytest.mark.parametrize("server", ROLES)
@pytest.mark.parametrize("stranger", STRANGERS)
def test_without_a_good_certificate_no_rpc_is_reached(
    cluster: LocalCluster, tmp_path: Path, stranger: object, server: str
) -> None:
    credentials = stranger(cluster, tmp_path)  # type: ignore[operator]
    options = [("grpc.ssl_target_name_override", server_name(server))]
    with grpc.secure_channel(cluster.addresses[server], credentials, options) as channel:
        assert {answer(channel, method) for method in RPCS} == {"PeerUnavailable"}
    cluster.check()


@pytest.mark.parametrize("server", ROLES)
def test_plaintext_reaches_no_rpc(cluster: LocalCluster, server: str) -> None:
    claim = ((INSECURE_ROLE_KEY, "twinveil://cloud_s1/x"),)
    with grpc.insecure_channel(cluster.addresses[server]) as channel:
        assert {answer(channel, method, claim) for method in RPCS} == {"PeerUnavailable"}


def rogue(cluster: LocalCluster, folder: Path, names: list[str]) -> TlsFiles:
    """A certificate of the right authority with other URIs in its SAN."""
    made = issue(cluster.authority, "user", NAME, folder)
    honest = x509.load_pem_x509_certificate(made.certificate.read_bytes())
    key = load_pem_private_key(made.key.read_bytes(), None)
    uris = [x509.UniformResourceIdentifier(name) for name in names]
    builder = (
        x509.CertificateBuilder(honest.issuer, honest.subject, key.public_key(), 7)  # type: ignore[arg-type]
        .not_valid_before(honest.not_valid_before_utc)
        .not_valid_after(honest.not_valid_after_utc)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("twinveil://cloud_s1/x"), *uris]), False)
    )
    signed = builder.sign(cluster.authority.key, hashes.SHA256())
    made.certificate.write_bytes(signed.public_bytes(Encoding.PEM))
    return made


WRONG_NAMES = [
    [],
    ["twinveil://cloud_s3/x"],
    ["https://cloud_s1/x"],
    ["twinveil://cloud_s1/x/y"],
    ["twinveil://user/x", "twinveil://cloud_s1/x"],
]


@pytest.mark.parametrize("server", ROLES)
@pytest.mark.parametrize("names", WRONG_NAMES, ids=lambda names: "+".join(names) or "none")
def test_a_certificate_with_a_wrong_name_opens_nothing(
    cluster: LocalCluster, tmp_path: Path, names: list[str], server: str
) -> None:
    me = Me("user", NAME, rogue(cluster, tmp_path, names))
    with open_channel(me, server, cluster.addresses[server]) as channel:
        served = [method for method in RPCS if is_served(server, method)]
        assert {answer(channel, method) for method in served} == {"NotAllowed"}


@pytest.mark.parametrize("server", ROLES)
def test_an_older_tls_is_refused_by_every_server(cluster: LocalCluster, server: str) -> None:
    assert handshake(cluster, server, ssl.TLSVersion.TLSv1_3) == "TLSv1.3"
    with pytest.raises(OSError, match=r"EOF|ALERT|reset|alert"):
        handshake(cluster, server, ssl.TLSVersion.TLSv1_2)


def handshake(cluster: LocalCluster, server: str, highest: ssl.TLSVersion) -> str | None:
    made = files(cluster)
    context = ssl.create_default_context(cafile=str(made.authority))
    context.load_cert_chain(str(made.certificate), str(made.key))
    context.maximum_version = highest
    context.set_alpn_protocols(["h2"])
    host, port = cluster.addresses[server].split(":")
    with (
        socket.create_connection((host, int(port)), timeout=5) as plain,
        context.wrap_socket(plain, server_hostname=server_name(server)) as secured,
    ):
        return secured.version()


@pytest.mark.parametrize("server", ROLES)
def test_a_client_takes_no_other_role_for_the_one_it_asked(cluster: LocalCluster, server: str) -> None:
    for other in ROLES:
        if other != server:
            with open_channel(cluster.me("user"), other, cluster.addresses[server]) as channel:
                assert answer(channel, "/twinveil.rpc.Status/GetStatus") == "PeerUnavailable"
