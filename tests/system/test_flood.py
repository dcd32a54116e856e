"""A client that floods, a cloud that hangs: memory stays bounded, others are served, nobody waits long."""

from __future__ import annotations

import os
import secrets
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest

from tests.networks import random_model
from tests.system.town import Town, pictures, small_model, stored, town, wait_until
from together.bench.processes import resident
from twinveil.errors import PeerUnavailable
from twinveil.halves.ring import share_pictures
from twinveil.network import oracle
from twinveil.rpc.inference_pb2 import QueryHalf
from twinveil.rpc.inference_pb2_grpc import InferenceStub
from twinveil.start.local_cluster import LocalCluster
from twinveil.transport.channel import connect
from twinveil.transport.credentials import client_credentials, server_name
from twinveil.transport.status import from_rpc_error
from twinveil.verbs.serve_all import cluster_options
from twinveil.version import PROTOCOL_VERSION
from user.client import Client

pytestmark = pytest.mark.system

MIB = 1 << 20
MESSAGES = 300
MESSAGE_BYTES = 3_900_000
ALLOWED = 300 * MIB
CONNECTIONS = 8
CLASSIFY = "/twinveil.rpc.Inference/Classify"

FLOODS = [
    pytest.param("user", CLASSIFY, MESSAGE_BYTES, id="too large a query"),
    pytest.param("user", CLASSIFY, 2_000_000, id="a query of the largest size"),
    pytest.param("user", "/twinveil.rpc.Rounds/Converse", MESSAGE_BYTES, id="what a user may not call"),
    pytest.param("owner", "/twinveil.rpc.Provision/Outsource", MESSAGE_BYTES, id="too large a piece"),
    pytest.param("cloud_s1", "/twinveil.rpc.Rounds/Converse", 2_000_000, id="the other cloud"),
    pytest.param("user", "/twinveil.rpc.Status/GetStatus", MESSAGE_BYTES, id="what everyone may call"),
]


class Peak:
    """Largest memory of a process and its workers over its first."""

    def __init__(self, pid: int) -> None:
        self.base = resident(pid)
        self.most = 0
        self._pid = pid

    @contextmanager
    def watching(self) -> Iterator[None]:
        over = threading.Event()

        def sample() -> None:
            while not over.wait(0.02):
                self.most = max(self.most, resident(self._pid) - self.base)

        thread = threading.Thread(target=sample)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


def flood(running: Town, role: str, target: str, method: str, size: int) -> Counter[str]:
    """All at once over several connections; how the calls ended."""
    tls = running.cluster.me(role).tls
    assert tls is not None
    options = (
        ("grpc.ssl_target_name_override", server_name(target)),
        ("grpc.max_send_message_length", -1),
        ("grpc.use_local_subchannel_pool", 1),
    )
    address = running.cluster.addresses[target]
    made = [grpc.secure_channel(address, client_credentials(tls), options) for _ in range(CONNECTIONS)]
    data = bytes(size)
    try:
        calls = [
            made[number % CONNECTIONS].stream_stream(method)(iter([data]), timeout=60)
            for number in range(MESSAGES)
        ]
        with ThreadPoolExecutor(32) as pool:
            return Counter(pool.map(outcome, calls))
    finally:
        for each in made:
            each.close()


def outcome(call: Iterator[object]) -> str:
    try:
        for _ in call:
            pass
    except grpc.RpcError as error:
        return type(from_rpc_error(error, "it")).__name__
    return "served"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    with town(tmp_path_factory.mktemp("flood")) as running:
        running.outsource(stored(small_model(4, grey=True)), "model")
        with running.client() as client:
            client.classify(pictures(small_model(4, grey=True), 6)[5:], "model")
        yield running


@pytest.mark.heavy
@pytest.mark.parametrize("target", ["cloud_s1", "cloud_s2"])
@pytest.mark.parametrize(("role", "method", "size"), FLOODS)
def test_a_flood_leaves_memory_bounded_and_others_served(
    place: Town, role: str, method: str, size: int, target: str
) -> None:
    model = small_model(4, grey=True)
    picture = pictures(model, 6)[5]
    right = oracle.run(model, picture).tolist()
    other = place.another_user()
    peak = Peak(place.cluster.pids[target])
    over = threading.Event()

    def others() -> int:
        served = 0
        with Client(other) as client:
            while not over.is_set() or not served:
                assert list(client.classify([picture], "model")[0].vector) == right
                served += 1
        return served

    with peak.watching(), ThreadPoolExecutor(1) as pool:
        served = pool.submit(others)
        try:
            ends = flood(place, role, target, method, size)
        finally:
            over.set()
        assert served.result(120) >= 1
    print(f"{target} {method} {size}: {peak.most / MIB:.0f} MiB over {peak.base / MIB:.0f}, {dict(ends)}")
    assert peak.most < ALLOWED
    assert sum(ends.values()) == MESSAGES
    place.cluster.check()
    assert wait_until(lambda: place.running() == {"cloud_s1": 0, "cloud_s2": 0})


@pytest.mark.heavy
def test_a_cloud_that_hangs_is_given_up_within_the_round_deadline(tmp_path: Path) -> None:
    model = small_model(4, grey=True)
    picture = pictures(model, 6)[5]
    options = cluster_options(512, True)
    options = {**options, "cloud_s1": [*options["cloud_s1"], "--round-deadline=2s", "--prepare=0"]}
    with LocalCluster(tmp_path, options) as cluster:
        running = Town(cluster, 512)
        running.outsource(stored(model), "model")
        with running.client() as client:
            assert len(client.classify([picture], "model")) == 1
            os.kill(cluster.pids["cloud_s2"], signal.SIGSTOP)
            try:
                begin = time.monotonic()
                with pytest.raises(PeerUnavailable, match="cloud_s2"):
                    client.classify([picture], "model")
                assert time.monotonic() - begin < 15
            finally:
                os.kill(cluster.pids["cloud_s2"], signal.SIGCONT)
        assert wait_until(lambda: running.running()["cloud_s1"] == 0, 20)
        with running.client() as client:
            [made] = client.classify([picture], "model")
        assert list(made.vector) == oracle.run(model, picture).tolist()


@pytest.mark.heavy
def test_half_a_query_breaks_nobody_elses(shared: Town) -> None:
    """A user who sends only S1's half ends its own query, not those that share S1's connection to S2."""
    model = random_model(107)
    shared.outsource(stored(model), "half", ["textbook", "packed"])
    picture = pictures(model, 6)[5]
    with shared.client() as client:
        import_id = client.model("half").import_id
    query = QueryHalf(
        protocol_version=PROTOCOL_VERSION,
        query_id=secrets.token_bytes(16),
        model="half",
        version="1",
        plan_hash=model.plan.hash,
        engine="packed",
        pictures=1,
        half=share_pictures(picture[None], model.plan)[0],
        import_id=import_id,
    )

    def ask() -> list[int]:
        with shared.client() as client:
            return list(client.classify([picture], "half", engine="textbook")[0].vector)

    right = oracle.run(model, picture).tolist()
    with ThreadPoolExecutor(1) as pool:
        with connect(shared.cluster.me("user"), "cloud_s1", shared.cluster.addresses["cloud_s1"]) as link:
            call = InferenceStub(link.channel).Classify(query, timeout=60)
            lonely = pool.submit(outcome, call)
            others = []
            with ThreadPoolExecutor(1) as second:
                while not lonely.done():
                    others.append(second.submit(ask).result(60))
            assert lonely.result() == "PeerUnavailable"
        assert len(others) >= 1
        assert others == [right] * len(others)
