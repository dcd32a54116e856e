"""A cloud's work on two Dask workers over TLS: the same answers, and a worker may die."""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from tests.crypto.crypto_keys import secret_key
from tests.networks import random_model, small_icnn_model
from tests.protocol.test_engines import images
from tests.system.test_bad_input import free_port
from tests.transport.tls import accept
from together.bench.networks import write
from together.bench.session import session
from twinveil.cloud.dask_workers import dask_workers
from twinveil.crypto.nonces import Encryptor
from twinveil.crypto.shared import FixedBases, Job, multi_exponentiate_all
from twinveil.crypto.tally import Tally
from twinveil.errors import PeerUnavailable
from twinveil.kits.dask import make_certificates
from twinveil.network import oracle
from twinveil.network.folder import load_model
from twinveil.parallel import INLINE, Workers
from twinveil.rehearsal.clouds import Clouds
from twinveil.transport.certificates import issue, make_authority
from twinveil.transport.credentials import TlsFiles

distributed = pytest.importorskip("distributed")
pytestmark = [pytest.mark.system, pytest.mark.heavy]


SECONDS = 60.0
"""After which what a test waits for will not come."""
PAGE = Path(__file__).parents[2] / "docs" / "dask.md"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("dask") / "dask"
    make_certificates(made)
    return made


@pytest.fixture(scope="module")
def security(folder: Path) -> Any:
    return distributed.Security(
        **{
            f"tls_{who}_{what}": str(folder / file)
            for who in ("client", "scheduler", "worker")
            for what, file in (("cert", "certificate.pem"), ("key", "key.pem"))
        },
        tls_ca_file=str(folder / "authority.pem"),
        tls_min_version=ssl.TLSVersion.TLSv1_3,
        require_encryption=True,
    )


@pytest.fixture(scope="module")
def dask(security: Any) -> Iterator[Any]:
    options = {"n_workers": 2, "threads_per_worker": 1, "processes": True, "dashboard_address": None}
    with distributed.LocalCluster(security=security, protocol="tls", **options) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def workers(dask: Any, folder: Path) -> Iterator[Workers]:
    with dask_workers(dask.scheduler_address, folder) as made:
        yield made


class Machines:
    """Scheduler and two workers as processes of their own, by the very commands of docs/dask.md."""

    def __init__(self, folder: Path, log: Path) -> None:
        self._folder = folder
        self._log = log
        self._port = str(free_port())
        self._running: list[subprocess.Popen[bytes]] = []
        self.address = f"tls://127.0.0.1:{self._port}"

    def start(self) -> None:
        for what in ("scheduler", "worker"):
            found = re.search(rf"^ +(dask {what} (?:.*\\\n)*.*)$", PAGE.read_text(), re.MULTILINE)
            assert found is not None
            words = found[1].replace("\\\n", " ").replace("HOST", "127.0.0.1").replace("8786", self._port)
            words = words.replace(":8787", ":0").replace("dask/", f"{self._folder}/")
            command = [sys.executable, "-m", *shlex.split(words)]
            variables = re.findall(r"^ +export (\w+)=(\S+)$", PAGE.read_text(), re.MULTILINE)
            environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])} | dict(variables)
            with self._log.open("ab") as log:
                self._running.append(subprocess.Popen(command, stdout=log, stderr=log, env=environment))

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """The scheduler; its workers end with it."""
        if self._running:
            self._running[0].send_signal(how)
        for each in self._running:
            each.wait(SECONDS)
        self._running.clear()

    def workers(self) -> Workers:
        """Once there are two."""
        deadline = time.monotonic() + SECONDS
        while True:
            try:
                made = dask_workers(self.address, self._folder)
            except PeerUnavailable:
                assert time.monotonic() < deadline, self._log.read_text()
                time.sleep(0.5)
                continue
            if made.count == 2:
                return made
            made.close()


@pytest.fixture(scope="module")
def machines(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    made = Machines(folder, tmp_path_factory.mktemp("machines") / "dask.log")
    made.start()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def far_workers(machines: Machines) -> Iterator[Workers]:
    with machines.workers() as made:
        yield made


def slow_square(value: int) -> int:
    time.sleep(0.3)
    return value * value


@contextmanager
def a_busy_worker_killed(dask: Any, security: Any) -> Iterator[None]:
    """While the block runs, a worker process is killed that has one of its tasks in hand.

    It is stopped before: what the scheduler gives it, it cannot give back.
    """
    over = threading.Event()
    with (
        distributed.Client(dask.scheduler_address, security=security, set_as_default=False) as client,
        ThreadPoolExecutor(1) as pool,
    ):
        client.wait_for_workers(2, SECONDS)
        address, pid = next(iter(client.run(os.getpid).items()))
        victim = psutil.Process(pid)
        os.kill(pid, signal.SIGSTOP)

        def kill() -> bool:
            """Whether it had work in hand and is gone."""
            try:
                while not client.processing()[address]:
                    if over.wait(0.01):
                        return False
                os.kill(pid, signal.SIGKILL)
                return gone(victim)
            finally:
                if victim.is_running():
                    os.kill(pid, signal.SIGCONT)

        killed = pool.submit(kill)
        try:
            yield
        finally:
            over.set()
        assert killed.result()


def gone(victim: psutil.Process) -> bool:
    deadline = time.monotonic() + 10
    while victim.is_running() and victim.status() != psutil.STATUS_ZOMBIE:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def test_the_same_powers(workers: Workers) -> None:
    assert workers.count == 2
    key = secret_key(512).public_key
    source = np.random.default_rng(0)
    bases = key.parse_array(Encryptor(key, Tally()).encrypt(range(9)).to_bytes(), 9, Tally())
    jobs = [Job(bases, source.integers(0, 1 << 20, (5, 9), np.uint64), 20) for _ in range(3)]
    wanted, made = (multi_exponentiate_all(jobs, Tally(), each) for each in (INLINE, workers))
    assert [each.to_ints() for each in made] == [each.to_ints() for each in wanted]
    fixed = FixedBases(bases, Tally()).products(jobs[0].exponents, 20, Tally(), workers)
    assert fixed.to_ints() == wanted[0].to_ints()


def test_equal_orders_draw_different_nonces(workers: Workers) -> None:
    """Dask would give equal calls one answer, and both halves of a draw the same nonces."""
    key = secret_key(512).public_key
    sent = [Encryptor(key, Tally()).encrypt([0] * 4, workers).to_bytes() for _ in range(2)]
    assert len(set(key.parse(b"".join(sent), 8))) == 8


def test_a_query_equals_the_oracle(workers: Workers) -> None:
    model = small_icnn_model(7)
    batch = images(model, 7)[:1]
    got = Clouds(model, secret_key(512), workers_s1=workers).classify(batch)
    assert (got.values[0] == oracle.run(model, batch[0])).all()


def test_a_killed_worker_costs_a_retry(dask: Any, security: Any, workers: Workers) -> None:
    with a_busy_worker_killed(dask, security):
        assert workers.map(slow_square, range(20)) == [value * value for value in range(20)]


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slowly a machine starts processes."""
    for limit in ("CONNECT_SECONDS", "NO_WORKERS_SECONDS"):
        monkeypatch.setattr(f"twinveil.cloud.dask_workers.{limit}", SECONDS)


def test_a_client_that_gave_up_is_replaced(dask: Any, folder: Path) -> None:
    """As Dask's own does when its scheduler was away for CONNECT_SECONDS."""
    with dask_workers(dask.scheduler_address, folder) as made:
        assert made._executor is not None
        made._executor.shutdown()
        assert made.map(slow_square, range(3)) == [0, 1, 4]


@pytest.mark.usefixtures("patience")
def test_a_scheduler_that_starts_again_costs_a_retry(machines: Machines, far_workers: Workers) -> None:
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(far_workers.map, slow_square, range(20))
        time.sleep(0.5)
        machines.stop(signal.SIGKILL)
        assert not answer.done()
        machines.start()
        assert answer.result() == [value * value for value in range(20)]


@pytest.mark.usefixtures("patience")
def test_a_scheduler_that_was_away_is_found_again(
    machines: Machines, far_workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert far_workers.map(slow_square, range(3)) == [0, 1, 4]
    machines.stop()
    with monkeypatch.context() as impatient:
        impatient.setattr("twinveil.cloud.dask_workers.CONNECT_SECONDS", 2.0)
        for _ in range(2):
            with pytest.raises(PeerUnavailable, match="does not answer"):
                far_workers.map(slow_square, range(3))
    machines.start()
    assert far_workers.map(slow_square, range(3)) == [0, 1, 4]


@pytest.mark.usefixtures("patience")
def test_a_scheduler_without_workers_says_so(
    dask: Any, workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    dask.scale(0)
    while dask.scheduler.workers:
        time.sleep(0.05)
    with monkeypatch.context() as impatient:
        impatient.setattr("twinveil.cloud.dask_workers.LOOK_SECONDS", 0.1)
        impatient.setattr("twinveil.cloud.dask_workers.NO_WORKERS_SECONDS", 1.0)
        with pytest.raises(PeerUnavailable, match=f"{dask.scheduler_address} has no workers: start some"):
            workers.map(slow_square, range(3))
    dask.scale(2)
    assert workers.map(slow_square, range(3)) == [0, 1, 4]


def test_with_certificates_of_another_authority(dask: Any, tmp_path: Path) -> None:
    issue(make_authority("another"), "cloud_s1", "dask", tmp_path)
    with pytest.raises(PeerUnavailable):
        dask_workers(dask.scheduler_address, tmp_path)


def test_a_scheduler_that_speaks_an_older_tls_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("twinveil.cloud.dask_workers.CONNECT_SECONDS", 2.0)
    with socket.create_server(("127.0.0.1", 0)) as listening, ThreadPoolExecutor() as pool:
        seen = pool.submit(accept, listening, TlsFiles.in_folder(folder), ssl.TLSVersion.TLSv1_2)
        with pytest.raises(PeerUnavailable):
            dask_workers(f"tls://127.0.0.1:{listening.getsockname()[1]}", folder)
        assert "UNSUPPORTED_PROTOCOL" in seen.result(10)


def test_a_cloud_on_dask_survives_a_killed_worker(
    dask: Any, security: Any, folder: Path, tmp_path: Path
) -> None:
    """Four processes; S1 computes on Dask, one of its workers dies in the middle of a query."""
    stored = load_model(write(tmp_path / "model", random_model(4, max_layers=2).plan, "tiny"))
    options = {"cloud_s1": [f"--dask={dask.scheduler_address}", f"--dask-tls={folder}"]}
    picture = images(stored.model, 0)[0]
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
        with a_busy_worker_killed(dask, security):
            assert running.classify([picture]).vectors == (wanted,)
        assert running.classify([picture]).vectors == (wanted,)
