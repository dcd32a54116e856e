"""A cloud whose disk is full: the owner reads which one and why, and removing a model makes room."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.system.town import Town, pictures, small_model, stored, town
from twinveil.network import oracle

pytestmark = pytest.mark.system

CLOUDS = ("cloud_s1", "cloud_s2")
DISK = "4m"
LEFT = 4 << 10
"""Bytes for a model of two files: one page."""
MODEL = small_model(34, grey=True)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    """Both clouds keep their state on a disk of their own."""
    folder = tmp_path_factory.mktemp("small")
    with ExitStack() as stack:
        for role in CLOUDS:
            disk = folder / role
            disk.mkdir()
            mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(disk)]
            if shutil.which("mount") is None or subprocess.run(mount, check=False).returncode:
                pytest.skip("this user may mount no disk")
            stack.callback(subprocess.run, ["umount", str(disk)], check=True)
        running = stack.enter_context(town(folder))
        running.outsource(stored(MODEL), "first")  # so that pins are there
        yield running


def free(running: Town, role: str) -> int:
    return shutil.disk_usage(running.cluster.state(role)).free


def fill(running: Town, role: str, left: int) -> Path:
    ballast = running.cluster.state(role) / "ballast"
    ballast.write_bytes(bytes(free(running, role) - left))
    return ballast


@pytest.mark.parametrize("role", CLOUDS)
def test_a_model_that_does_not_fit(small: Town, tmp_path: Path, role: str) -> None:
    stored(MODEL, tmp_path / "model")
    outsource = ("outsource", str(tmp_path / "model"), "--name", "wide")
    ballast = fill(small, role, LEFT)
    left = free(small, role)
    done = small.twinveil(*outsource)
    assert (done.returncode, done.stderr.splitlines()[-1]) == (
        1,
        f"error: {role} cannot go on: its disk is full; tell its operator, then try again",
    )
    assert free(small, role) == left
    assert set(small.models()) == {("first", "1")}
    ballast.unlink()
    done = small.twinveil(*outsource)
    assert done.returncode == 0, done.stderr
    fill(small, role, 0)
    assert free(small, role) == 0
    done = small.twinveil("remove", "wide", "1")
    assert done.returncode == 0, done.stderr
    assert free(small, role) > LEFT
    ballast.unlink()
    small.outsource(stored(MODEL), "wide")
    with small.client() as client:
        [made] = client.classify(pictures(MODEL, 1), "wide")
    assert list(made.vector) == oracle.run(MODEL, pictures(MODEL, 1)[0]).tolist()
    assert small.twinveil("remove", "wide", "1").returncode == 0
