"""A cloud's work on two Dask workers over TLS: the same answers, and a worker may die."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.crypto_keys import secret_key
from tests.net.tls import accept
from tests.networks import random_model, small_icnn_model
from tests.protocol.clouds import Clouds
from tests.protocol.test_engines import images
from twinveil import oracle
from twinveil.bench.networks import write
from twinveil.bench.session import session
from twinveil.cluster_workers import cluster_workers
from twinveil.crypto.multiexp import Job, multi_exponentiate_all
from twinveil.crypto.nonces import Rerandomiser
from twinveil.crypto.tally import Tally
from twinveil.errors import BadConfiguration, PeerUnavailable
from twinveil.model_files import load_model
from twinveil.net.certificates import issue, make_authority
from twinveil.net.credentials import TlsFiles
from twinveil.parallel import Workers

distributed = pytest.importorskip("distributed")
pytestmark = [pytest.mark.system, pytest.mark.heavy]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("cluster")
    issue(make_authority("a cloud's own cluster"), "cloud_s1", "cluster", made)
    return made


@pytest.fixture(scope="module")
def dask(folder: Path) -> Iterator[Any]:
    security = distributed.Security(
        **{
            f"tls_{who}_{what}": str(folder / file)
            for who in ("client", "scheduler", "worker")
            for what, file in (("cert", "certificate.pem"), ("key", "key.pem"))
        },
        tls_ca_file=str(folder / "authority.pem"),
        tls_min_version=ssl.TLSVersion.TLSv1_3,
        require_encryption=True,
    )
    options = {"n_workers": 2, "threads_per_worker": 1, "processes": True, "dashboard_address": None}
    with distributed.LocalCluster(security=security, protocol="tls", **options) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def workers(dask: Any, folder: Path) -> Iterator[Workers]:
    with cluster_workers(dask.scheduler_address, folder) as made:
        yield made


def slow_square(value: int) -> int:
    time.sleep(0.3)
    return value * value


def kill_one_soon(dask: Any) -> threading.Timer:
    """SIGKILL for one worker process in a second."""
    victim = next(iter(dask.workers.values())).pid
    timer = threading.Timer(1.0, os.kill, (victim, signal.SIGKILL))
    timer.start()
    return timer


def test_the_same_powers(workers: Workers) -> None:
    assert workers.count == 2
    key = secret_key(512).public_key
    source = np.random.default_rng(0)
    bases = Rerandomiser(key, Tally()).nonces(9).take(9)
    jobs = [Job(bases, source.integers(0, 1 << 20, (5, 9), np.uint64), 20) for _ in range(3)]
    wanted = multi_exponentiate_all(jobs, key.n_squared, Tally())
    assert multi_exponentiate_all(jobs, key.n_squared, Tally(), workers) == wanted


def test_equal_orders_draw_different_nonces(workers: Workers) -> None:
    """Dask would give equal calls one answer, and both halves of a draw the same nonces."""
    source = Rerandomiser(secret_key(512).public_key, Tally())
    drawn = [nonce for _ in range(2) for nonce in source.nonces(4, workers).take(4)]
    assert len(set(drawn)) == 8


def test_a_query_equals_the_oracle(workers: Workers) -> None:
    model = small_icnn_model(7)
    batch = images(model, 1, 7)
    got, _ = Clouds(model, workers=workers).classify(batch)
    assert (got[0] == oracle.run(model, batch[0])).all()


def test_a_killed_worker_costs_a_retry(dask: Any, workers: Workers) -> None:
    timer = kill_one_soon(dask)
    assert workers.map(slow_square, range(20)) == [value * value for value in range(20)]
    timer.join()


def test_without_tls_or_certificates_or_cluster(folder: Path, dask: Any, tmp_path: Path) -> None:
    with pytest.raises(BadConfiguration, match="TLS only"):
        cluster_workers("tcp://127.0.0.1:8786", folder)
    issue(make_authority("another"), "cloud_s1", "cluster", tmp_path)
    with pytest.raises(PeerUnavailable):
        cluster_workers(dask.scheduler_address, tmp_path)


def test_a_cluster_that_speaks_an_older_tls_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("twinveil.cluster_workers.CONNECT_SECONDS", 2.0)
    with socket.create_server(("127.0.0.1", 0)) as listening, ThreadPoolExecutor() as pool:
        seen = pool.submit(accept, listening, TlsFiles.in_folder(folder), ssl.TLSVersion.TLSv1_2)
        with pytest.raises(PeerUnavailable):
            cluster_workers(f"tls://127.0.0.1:{listening.getsockname()[1]}", folder)
        assert "UNSUPPORTED_PROTOCOL" in seen.result(10)


def test_a_cloud_on_a_cluster_survives_a_killed_worker(dask: Any, folder: Path, tmp_path: Path) -> None:
    """Four processes; S1 computes on the cluster, one of its workers dies in the middle of a query."""
    stored = load_model(write(tmp_path / "model", random_model(4, max_layers=2).plan, "tiny"))
    options = {"cloud_s1": [f"--cluster={dask.scheduler_address}", f"--cluster-tls={folder}"]}
    picture = images(stored.model, 1, 0)[0]
    wanted = tuple(int(each) for each in oracle.run(stored.model, picture))
    with session(
        tmp_path / "town",
        tmp_path / "model",
        "tiny",
        512,
        prepare=0,
        insecure_small_key=True,
        options=options,
    ) as running:
        assert running.classify([picture]).vectors == (wanted,)
        timer = kill_one_soon(dask)
        while timer.is_alive():
            assert running.classify([picture]).vectors == (wanted,)
        assert running.classify([picture]).vectors == (wanted,)
