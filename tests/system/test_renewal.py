"""Certificates renewed while a query runs: it ends well, new connections use the new ones, old ones end."""

from __future__ import annotations

import hashlib
import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.networks import random_model
from tests.system.town import Town, pictures, small_model, stored, town, wait_until
from tests.transport.tls import secured
from twinveil.errors import BadConfiguration, PeerUnavailable
from twinveil.network import oracle
from twinveil.start.local_cluster import NAME
from twinveil.transport.certificates import issue
from twinveil.transport.channel import connect
from twinveil.transport.credentials import TlsFiles, server_name
from twinveil.transport.identity import ROLES

LONG = 203
"""Seed of a random network of 2747 products: seconds by the textbook engine."""

pytestmark = pytest.mark.system


def tls(running: Town, role: str) -> TlsFiles:
    made = running.cluster.me(role).tls
    assert made is not None
    return made


def shown(running: Town, role: str) -> bytes:
    """The certificate that a new connection gets to see."""
    mine = tls(running, "user")
    context = ssl.create_default_context(cafile=str(mine.authority))
    context.load_cert_chain(str(mine.certificate), str(mine.key))
    context.set_alpn_protocols(["h2"])
    host, port = running.cluster.addresses[role].split(":")
    with (
        socket.create_connection((host, int(port)), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname=server_name(role)) as secured,
    ):
        return hashlib.sha256(secured.getpeercert(binary_form=True) or b"").digest()


def greeted(running: Town, role: str, files: TlsFiles) -> bool:
    """Whether a role goes on after the handshake: HTTP/2's first word is the server's."""
    with secured(running.cluster.addresses[role], role, files) as opened:
        opened.settimeout(10)
        try:
            return bool(opened.recv(1))
        except ConnectionError:
            return False


def on_disk(running: Town, role: str) -> bytes:
    pem = tls(running, role).certificate.read_text()
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).digest()


def test_renewal_under_a_running_query(tmp_path: Path) -> None:
    long, short = random_model(LONG), small_model(4, grey=True)
    with town(tmp_path) as running, ThreadPoolExecutor(1) as pool:
        running.outsource(stored(long), "long", ["textbook"])
        running.outsource(stored(short), "short")
        before = {role: shown(running, role) for role in ROLES}
        picture, other = pictures(long, 6)[5], pictures(short, 6)[5]

        def ask() -> tuple[int, ...]:
            with running.client() as client:
                return client.classify([picture], "long", engine="textbook")[0].vector

        query = pool.submit(ask)
        assert wait_until(lambda: set(running.running().values()) == {1})
        running.cluster.issue_certificates()
        for role in ROLES:
            assert shown(running, role) == on_disk(running, role) != before[role]
        assert not query.done(), "the query was to run across the renewal"
        with running.client() as client:
            [made] = client.classify([other], "short")
        assert list(made.vector) == oracle.run(short, other).tolist()
        assert list(query.result(120)) == oracle.run(long, picture).tolist()
        assert "certificate renewed" in running.cluster.log("cloud_s2").read_text()
        assert "Traceback" not in running.cluster.log("cloud_s1").read_text()


def test_expired_certificates_are_refused_and_a_renewal_brings_them_back(tmp_path: Path) -> None:
    """S1 keeps a connection to S2 from before; it is not reused once there are other certificates."""
    model = small_model(4, grey=True)
    picture = pictures(model, 6)[5]
    with town(tmp_path) as running:
        running.outsource(stored(model), "model")
        cluster = running.cluster
        with running.client() as client:
            assert len(client.classify([picture], "model")) == 1
        old = tls(running, "cloud_s1")
        issue(cluster.authority, "cloud_s1", NAME, old.certificate.parent, days=-1)
        with (
            pytest.raises(PeerUnavailable),
            connect(cluster.me("user"), "cloud_s1", cluster.addresses["cloud_s1"], 0.7),
        ):
            pass
        for target in ("owner", "cloud_s2"):
            with (
                pytest.raises(BadConfiguration, match=r"certificate\.pem ended 20"),
                connect(cluster.me("cloud_s1"), target, cluster.addresses[target], 0.7),
            ):
                pass
            assert not greeted(running, target, old)
            assert greeted(running, target, tls(running, "user"))
        cluster.issue_certificates()
        with running.client() as client:
            [made] = client.classify([picture], "model")
        assert list(made.vector) == oracle.run(model, picture).tolist()
