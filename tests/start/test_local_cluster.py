"""The launcher with real processes: ready over mutual TLS, and nothing left behind on any way out."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from twinveil.errors import BadInput, PeerUnavailable
from twinveil.start.local_cluster import LocalCluster
from twinveil.transport.channel import connect
from twinveil.transport.identity import ROLES

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    with LocalCluster(tmp_path_factory.mktemp("cluster")) as running:
        yield running


def test_four_processes_answer_each_other(cluster: LocalCluster) -> None:
    assert len({*cluster.pids.values(), os.getpid()}) == 5
    for caller in ROLES:
        for role in ROLES:
            with connect(cluster.me(caller), role, cluster.addresses[role]) as link:
                assert link.status.role == role
                assert link.status.pid == cluster.pids[role]


def test_roles_listen_on_loopback_only(cluster: LocalCluster) -> None:
    for pid in cluster.pids.values():
        sockets = psutil.Process(pid).net_connections()
        hosts = {each.laddr.ip.removeprefix("::ffff:") for each in sockets if each.status == "LISTEN"}
        assert hosts == {"127.0.0.1"}


def test_roles_compute_as_they_are_told_and_take_no_settings_from_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TWINVEIL_NATIVE", "off")
    monkeypatch.setenv("TWINVEIL_MAX_CALLS", "3")
    with LocalCluster(tmp_path, roles=["owner"]) as running:
        given = psutil.Process(running.pids["owner"]).environ()
    assert given["TWINVEIL_NATIVE"] == "off"
    assert "TWINVEIL_MAX_CALLS" not in given


def test_one_cluster_a_folder(cluster: LocalCluster) -> None:
    with pytest.raises(BadInput, match="another cluster is running there"):
        LocalCluster(cluster.folder).start()
    cluster.check()


def test_status_reads_the_cluster_folder(cluster: LocalCluster) -> None:
    asked = twinveil("status", "--cluster", str(cluster.folder), "--json")
    assert asked.returncode == 0, asked.stderr
    assert {each["role"]: each["pid"] for each in json.loads(asked.stdout)} == cluster.pids
    shown = twinveil("status", "--cluster", str(cluster.folder))
    assert all(address in shown.stdout for address in cluster.addresses.values())


def twinveil(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "twinveil.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


def gone(pids: list[int], seconds: float = 8) -> bool:
    return wait_until(lambda: not any(psutil.pid_exists(pid) for pid in pids), seconds)


def wait_until(happened: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not happened():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def test_leaving_ends_and_reaps_all(tmp_path: Path) -> None:
    with LocalCluster(tmp_path, roles=["cloud_s1", "cloud_s2"]) as cluster:
        pids = list(cluster.pids.values())
        assert len(pids) == 2
    assert gone(pids, 0.5)
    assert "has stopped" in cluster.log("cloud_s1").read_text()
    cluster.stop()


def test_an_exception_ends_all(tmp_path: Path) -> None:
    pids: list[int] = []
    with pytest.raises(ZeroDivisionError), LocalCluster(tmp_path, roles=["cloud_s2"]) as cluster:
        pids.extend(cluster.pids.values())
        raise ZeroDivisionError
    assert gone(pids, 0.5)


def test_a_stubborn_role_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("twinveil.start.local_cluster.STOP_SECONDS", 0.5)
    with LocalCluster(tmp_path, roles=["cloud_s2"]) as cluster:
        pids = list(cluster.pids.values())
        os.kill(pids[0], signal.SIGSTOP)
    assert gone(pids, 0.5)


def ready_pids(folder: Path) -> list[int]:
    return [json.loads(path.read_text())["pid"] for path in (folder / "run").glob("*.json")]


def test_a_role_that_fails_is_named_with_its_last_words(tmp_path: Path) -> None:
    cluster = LocalCluster(tmp_path, options={"cloud_s2": ["--max-calls=none"]})
    begin = time.monotonic()
    with pytest.raises(
        PeerUnavailable, match=r"cloud_s2 ended by itself, exit code 2: .*max-calls.*whole number"
    ):
        cluster.start()
    assert time.monotonic() - begin < 20
    assert cluster.pids == {}
    assert not list((tmp_path / "run").iterdir()) or gone(ready_pids(tmp_path), 1)


def test_a_role_that_is_never_ready_meets_the_deadline(tmp_path: Path) -> None:
    silent = tmp_path / "elsewhere.json"
    cluster = LocalCluster(tmp_path, {"cloud_s2": [f"--ready-file={silent}"]}, ["cloud_s2"], deadline=2)
    with pytest.raises(PeerUnavailable, match="cloud_s2 is not ready within 2 s"):
        cluster.start()
    assert gone([json.loads(silent.read_text())["pid"]] if silent.exists() else [], 1)


def test_a_role_that_dies_later_is_noticed(tmp_path: Path) -> None:
    with LocalCluster(tmp_path, roles=["cloud_s2"]) as cluster:
        cluster.check()
        os.kill(cluster.pids["cloud_s2"], signal.SIGKILL)
        with pytest.raises(PeerUnavailable, match="cloud_s2 ended by itself, exit code -9"):
            assert wait_until(lambda: cluster.check() is not None, 5)


LAUNCHER = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job starts with SIGINT ignored
from pathlib import Path
from twinveil.start.local_cluster import LocalCluster
with LocalCluster(Path(sys.argv[1])) as cluster:
    print(*cluster.pids.values(), flush=True)
    for _ in range(600):
        time.sleep(0.1)
"""


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGTERM, 143), (signal.SIGINT, -signal.SIGINT)],
)
def test_a_launcher_that_is_ended_leaves_no_orphan(tmp_path: Path, number: signal.Signals, code: int) -> None:
    command = [sys.executable, "-c", LAUNCHER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as launcher:
        assert launcher.stdout is not None
        pids = [int(pid) for pid in launcher.stdout.readline().split()]
        assert len(pids) == 4
        launcher.send_signal(number)
        assert launcher.wait(20) == code
    assert gone(pids)
