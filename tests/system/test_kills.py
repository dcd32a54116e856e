"""kill -9 of a role at an exact place, then a restart: the next answer is right, nothing one-time returns.

Models are there whole or not at all, or named as held by one cloud only.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from tests.system import mortal
from tests.system.town import Town, by_way_of, pictures, small_model, stored, wait_until
from twinveil.errors import TwinveilError
from twinveil.network import oracle
from twinveil.network.plan import QuantisedModel
from twinveil.start.local_cluster import START_SECONDS, LocalCluster
from twinveil.verbs.serve_all import cluster_options

pytestmark = pytest.mark.system

MODEL = small_model(40)
PICTURE = pictures(MODEL, 6)[5]
NAME = "whole"


class MortalCluster(LocalCluster):
    """Its clouds end where they are told to, and can be started again one by one.

    ahead: items kept ready; one that is passes the place "making an item" before it is asked for.
    """

    def __init__(self, folder: Path, ahead: int) -> None:
        options = {role: list(given) for role, given in cluster_options(512, True).items()}
        options["cloud_s1"].append(f"--prepare={ahead}")
        super().__init__(folder, options)
        self.mortal = self.folder / "mortal"
        self.mortal.mkdir(parents=True)

    def command(self, role: str) -> list[str]:
        command = super().command(role)
        if role in ("cloud_s1", "cloud_s2"):
            command = by_way_of("tests.system.mortal", command)
            command.insert(command.index(role), str(self.mortal))
        return command

    def doom(self, role: str, place: str) -> None:
        """From now on the role ends when it comes to this place."""
        mortal.flag(self.mortal, role, place).touch()

    def kill(self, role: str) -> None:
        self._processes[role].kill()

    def revive(self, role: str) -> None:
        """A role that was killed runs again, with what is on its disk."""
        assert self._processes[role].wait(START_SECONDS) == -signal.SIGKILL
        self._launch(role)
        self._await_ready(role, time.monotonic() + START_SECONDS)

    def told(self) -> list[str]:
        """Digests of everything one-time so far, by all processes."""
        return (self.mortal / mortal.TOLD).read_text().split()


@contextmanager
def started(folder: Path, ahead: int = 0) -> Iterator[Town]:
    with MortalCluster(folder, ahead) as cluster:
        yield Town(cluster, 512)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    with started(tmp_path_factory.mktemp("town")) as made:
        made.outsource(stored(MODEL), NAME)
        yield made


@pytest.fixture
def cluster(running: Town) -> MortalCluster:
    assert isinstance(running.cluster, MortalCluster)
    return running.cluster


def ask(running: Town, name: str = NAME, model: QuantisedModel = MODEL) -> None:
    """A query is answered, bit for bit."""
    with running.client() as client:
        [made] = client.classify([PICTURE], name)
    assert list(made.vector) == oracle.run(model, PICTURE).tolist()


def nothing_comes_again(cluster: MortalCluster) -> None:
    told = cluster.told()
    assert len(told) > 100
    assert len(set(told)) == len(told)


def some(role: str, *light: str) -> list[object]:
    """Places of a query; those that are not named are heavy."""
    found = [place for place in mortal.PLACES[role] if "commit" not in place and place != "importing"]
    return [
        pytest.param(role, each, marks=() if each in light else pytest.mark.heavy, id=f"{role}, {each}")
        for each in found
    ]


@pytest.mark.parametrize(
    ("role", "place"), [*some("cloud_s1", "online"), *some("cloud_s2", "before the answer")]
)
def test_a_cloud_is_killed_in_a_query(running: Town, cluster: MortalCluster, role: str, place: str) -> None:
    before = len(cluster.told())
    cluster.doom(role, place)
    with pytest.raises(TwinveilError):
        ask(running)
    cluster.revive(role)
    ask(running)
    assert len(cluster.told()) > before
    nothing_comes_again(cluster)
    assert wait_until(lambda: set(running.running().values()) == {0})


@pytest.mark.heavy
@pytest.mark.parametrize("role", ["cloud_s1", "cloud_s2"])
def test_an_item_that_lies_ready_is_lost_with_a_cloud(tmp_path: Path, role: str) -> None:
    with started(tmp_path, ahead=1) as running:
        cluster = running.cluster
        assert isinstance(cluster, MortalCluster)
        running.outsource(stored(MODEL), NAME)
        for _ in range(2):
            ask(running)
            assert wait_until(lambda: running.status("cloud_s1").ready_items == 1)
            cluster.kill(role)
            cluster.revive(role)
            assert wait_until(lambda: running.status("cloud_s1").ready_items == 0)
        ask(running)
        nothing_comes_again(cluster)


@pytest.mark.parametrize(("role", "place"), some("user", "online"))
def test_a_user_is_killed_in_its_query(
    running: Town, cluster: MortalCluster, tmp_path: Path, role: str, place: str
) -> None:
    np.save(tmp_path / "picture.npy", PICTURE)
    cluster.doom(role, place)
    program = [sys.executable, "-m", "tests.system.mortal", str(cluster.mortal), role]
    command = [*program, str(cluster.folder), NAME, str(tmp_path / "picture.npy")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert wait_until(lambda: set(running.running().values()) == {0})
    ask(running)
    nothing_comes_again(cluster)


IMPORTS = [
    ("cloud_s1", "importing", None),
    ("cloud_s1", "before its commit", (False, True)),
    ("cloud_s2", "importing", None),
    ("cloud_s2", "before its commit", None),
    ("cloud_s2", "after its commit", (False, True)),
]
"""Who dies where, and which of S1 and S2 has the model then; None: it is nowhere."""
LIGHT = ("cloud_s1", "before its commit")


@pytest.mark.parametrize(
    ("role", "place", "held"),
    [
        pytest.param(*each, marks=() if each[:2] == LIGHT else pytest.mark.heavy, id=", ".join(each[:2]))
        for each in IMPORTS
    ],
)
def test_a_cloud_is_killed_in_an_import(
    running: Town, cluster: MortalCluster, role: str, place: str, held: tuple[bool, bool] | None
) -> None:
    name = f"{role}-{place}".replace(" ", "-")
    cluster.doom(role, place)
    with pytest.raises(TwinveilError):
        running.outsource(stored(MODEL), name)
    cluster.revive(role)
    placed = running.models().get((name, "1"))
    assert held == (placed and (placed.at_s1, placed.at_s2))
    shown = running.twinveil("models").stdout
    assert (f"{name} 1 is at one cloud only" in shown) == (held is not None)
    if held is not None:
        with running.client() as client, pytest.raises(TwinveilError):
            client.classify([PICTURE], name)
        removed = running.twinveil("remove", name, "1")
        assert removed.returncode == 0, removed.stderr
    running.outsource(stored(MODEL), name)
    ask(running, name)
    nothing_comes_again(cluster)
    assert not [path for path in cluster.folder.glob("cloud_s*/models/*") if "@" not in path.name]


@pytest.mark.heavy
def test_the_check_sees_a_generator_that_begins_anew(tmp_path: Path) -> None:
    with started(tmp_path) as running:
        cluster = running.cluster
        assert isinstance(cluster, MortalCluster)
        running.outsource(stored(MODEL), NAME)
        cluster.kill("cloud_s1")
        cluster.doom("cloud_s1", mortal.REPEATING)
        for _ in range(2):
            cluster.revive("cloud_s1")
            ask(running)
            cluster.kill("cloud_s1")
        told = cluster.told()
        assert len(set(told)) < len(told)
