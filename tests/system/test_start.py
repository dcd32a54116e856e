"""A role that is started: as whom, and once for one folder."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from tests.private import open_to_others
from tests.system.town import wait_until
from twinveil.start.local_cluster import LocalCluster
from twinveil.start.process import command
from twinveil.transport.certificates import issue, make_authority
from twinveil.transport.credentials import TlsFiles
from twinveil.transport.identity import ROLES
from twinveil.verbs.serve_all import cluster_options

pytestmark = pytest.mark.system

AUTHORITY = make_authority("test authority")
Serve = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Starts a role; `tls`: another's certificate; `by`: the command line for it; `cwd`: where."""
    started = ExitStack()

    def start(
        role: str, tls: TlsFiles | None = None, by: Sequence[str] = (), cwd: Path | None = None
    ) -> subprocess.Popen[str]:
        files = tls or issue(AUTHORITY, role, "test", tmp_path / "tls" / role)
        words = [*(by or command(role)), "--listen=127.0.0.1:0", f"--state={tmp_path / 'state'}"]
        words += [f"--tls={files.key.parent}", "--until-stdin-closes", "--insecure-small-key"]
        words += ["--key-bits=512"] if role == "cloud_s2" else []
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        process = subprocess.Popen(words, text=True, cwd=cwd, **pipes)
        started.enter_context(process)
        started.callback(process.kill)
        return process

    with closing(started):
        yield start


def ready(process: subprocess.Popen[str]) -> bool:
    assert process.stdout is not None
    return '"port"' in process.stdout.readline()


def refused(process: subprocess.Popen[str]) -> str:
    """The one line that a start ends with."""
    shown, said = process.communicate(timeout=60)
    assert (process.returncode, shown) == (2, "")
    assert said.count("\n") == 1
    return said


@pytest.mark.parametrize("role", ["cloud_s1", "cloud_s2"])
def test_a_second_start_leaves_the_first_one_alone(serve: Serve, tmp_path: Path, role: str) -> None:
    """A cloud takes away what a dead one left of imports; what is on its way into a living one stays."""
    first = serve(role)
    assert ready(first)
    arriving = tmp_path / "state" / "models" / ".incoming-0"
    arriving.mkdir()
    assert f"{role} is running with {tmp_path / 'state'} already" in refused(serve(role))
    assert arriving.is_dir()
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert ready(serve(role))
    assert wait_until(lambda: not arriving.exists(), 1)


def test_nothing_is_made_for_a_start_in_another_name(serve: Serve, tmp_path: Path) -> None:
    for shown in ("user", "cloud_s1"):
        files = issue(AUTHORITY, shown, "test", tmp_path / "tls" / shown)
        said = refused(serve("cloud_s2", files))
        assert f"certificate.pem is {shown}/test's: cloud_s2 needs the certificate of its own kit" in said
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize("role", ROLES)
def test_each_role_starts_with_its_own(serve: Serve, role: str) -> None:
    assert ready(serve(role))


@pytest.fixture
def traps(tmp_path: Path) -> Path:
    """A folder of Python files that have the names of modules which the roles import, or are."""
    folder = tmp_path / "traps"
    folder.mkdir()
    for name in ("phe", "gmpy2", "grpc", "numpy", "typing", "multiprocessing", "sqlite3", "twinveil", *ROLES):
        (folder / f"{name}.py").write_text("raise SystemExit('code of the current folder ran')")
    return folder


@pytest.mark.parametrize("role", ROLES)
def test_a_role_runs_no_file_of_the_current_folder(serve: Serve, traps: Path, role: str) -> None:
    assert ready(serve(role, by=[*command("twinveil.cli"), "serve", role], cwd=traps))


def test_a_role_started_by_hand_runs_none_that_has_anothers_name(serve: Serve, traps: Path) -> None:
    """Before it begins again, Python itself has looked for `twinveil` and for the role there."""
    for name in ("twinveil", "cloud_s2", "typing"):
        (traps / f"{name}.py").unlink()
    assert ready(serve("cloud_s2", by=[sys.executable, "-m", "cloud_s2"], cwd=traps))


def test_a_cluster_runs_no_file_of_the_current_folder_and_shows_nobody_its_own(
    traps: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(traps)
    with LocalCluster(tmp_path / "cluster", cluster_options(512, insecure_small_key=True)) as cluster:
        assert set(cluster.pids) == set(ROLES)
        assert not [found for role in ROLES for found in open_to_others(cluster.state(role))]
        assert cluster.folder.stat().st_mode & 0o777 == 0o700
