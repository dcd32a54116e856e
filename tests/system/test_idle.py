"""Roles that close idle connections soon: whoever held one is served after a pause, by items, too."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.networks import random_model
from tests.system.town import Town, pictures, stored, wait_until
from twinveil.network import oracle
from twinveil.start.local_cluster import LocalCluster
from twinveil.start.settings import PREPARED
from twinveil.verbs.serve_all import cluster_options

pytestmark = pytest.mark.system

IDLE = 0.3


@pytest.fixture
def few_files() -> Iterator[None]:
    """What processes begin with from here on."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(1000, before[1] - 1), before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.usefixtures("few_files")
def test_a_client_that_pauses(tmp_path: Path) -> None:
    model = random_model(3)
    options = {
        role: [*given, f"--idle-connection={IDLE:g}s"] for role, given in cluster_options(512, True).items()
    }
    with LocalCluster(tmp_path, options) as cluster:
        running = Town(cluster, 512)
        running.outsource(stored(model), "m")
        with running.client() as client:
            for image in pictures(model, 3):
                [made] = client.classify([image], "m")
                assert made.vector == tuple(int(each) for each in oracle.run(model, image))
                assert wait_until(lambda: running.status("cloud_s1").ready_items == PREPARED)
                time.sleep(4 * IDLE)
        files = [psutil.Process(pid).rlimit(psutil.RLIMIT_NOFILE) for pid in cluster.pids.values()]
        assert all(soft == hard for soft, hard in files)
