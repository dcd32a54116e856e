"""A running system to measure: four real processes over mutual TLS, a model at the clouds, a user's client.

Roles are started and called as anybody would: by command line, by verb, by the user's Python call.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from together.bench.processes import processor_seconds
from twinveil.crypto.tally import Tally
from twinveil.errors import PeerUnavailable, TwinveilError
from twinveil.network.folder import load_plan
from twinveil.start.local_cluster import LocalCluster, Options
from twinveil.start.process import command
from twinveil.transport.channel import connect
from twinveil.verbs.serve_all import cluster_options
from user.client import Client
from user.contact import Contact

READY_SECONDS = 1800.0
POLL_SECONDS = 0.5

Figures = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""cloud -> function -> what it cost"""


@dataclass(frozen=True)
class Query:
    """One measured query. seconds: from the client's call to the vector. cpu: processor seconds by cloud."""

    pictures: int
    seconds: float
    cpu: Mapping[str, float]
    figures: Figures
    labels: tuple[int, ...] = ()
    vectors: tuple[tuple[int, ...], ...] = field(default=(), repr=False)

    def sum(self, what: str, cloud: str = "cloud_s1", functions: Sequence[str] | None = None) -> float:
        """Of one figure, over functions."""
        return sum(
            float(each.get(what, 0))
            for name, each in self.figures[cloud].items()
            if functions is None or name in functions
        )

    def operations(self) -> Tally:
        """Of both clouds, all functions."""
        made = Tally()
        for cloud in self.figures.values():
            for each in cloud.values():
                made += each["operations"]
        return made


class Session:
    """Queries against a cluster that runs."""

    def __init__(self, cluster: LocalCluster, client: Any, model: str) -> None:
        self.cluster = cluster
        self._client = client
        self._model = model

    def classify(self, pictures: Sequence[npt.NDArray[np.uint8]]) -> Query:
        """All pictures in one query."""
        before, start = processor_seconds(self.cluster.pids), time.perf_counter()
        made = self._client.classify(list(pictures), self._model, batch=len(pictures))
        seconds, after = time.perf_counter() - start, processor_seconds(self.cluster.pids)
        return Query(
            len(pictures),
            seconds,
            {role: after[role] - before[role] for role in after},
            made[0].figures,
            tuple(each.label for each in made),
            tuple(each.vector for each in made),
        )

    def wait_ready(self, items: int) -> int:
        """Until so many items wait for a picture; how many there are then. Raises PeerUnavailable."""
        end = time.monotonic() + READY_SECONDS
        while (ready := self._ready()) < items:
            self.cluster.check()
            if time.monotonic() > end:
                raise PeerUnavailable(f"cloud_s1 made no {items} items within {READY_SECONDS:g} s")
            time.sleep(POLL_SECONDS)
        return ready

    def _ready(self) -> int:
        me, address = self.cluster.me("user"), self.cluster.addresses["cloud_s1"]
        with connect(me, "cloud_s1", address) as link:
            return int(link.status.ready_items)


@contextmanager
def session(
    folder: Path,
    model_folder: Path,
    name: str,
    key_bits: int,
    *,
    prepare: int,
    workers: int = 0,
    insecure_small_key: bool = False,
    options: Mapping[str, Sequence[str]] | None = None,
    start: Callable[[Path, Options], LocalCluster] = LocalCluster,
) -> Iterator[Session]:
    """Starts the roles in `folder` and outsources the model unless the clouds have this very plan already.

    prepare: items that S1 keeps ready. workers: threads (gmpy2: processes) of each cloud, 0 is one a core.
    options: more command line options by role. start: the cluster, where it is not on loopback.
    The processes end with the block.
    """
    common = cluster_options(key_bits, insecure_small_key)
    own = {"cloud_s1": [f"--prepare={prepare}", f"--workers={workers}"], "cloud_s2": [f"--workers={workers}"]}
    more = options or {}
    flags = {role: [*common[role], *own.get(role, []), *more.get(role, [])] for role in common}
    with start(folder, flags) as cluster:
        _outsource(cluster, model_folder, name, insecure_small_key)
        contact = Contact.configured(cluster.folder, insecure_small_key=insecure_small_key)
        with Client(contact) as client:
            yield Session(cluster, client, name)


def _outsource(cluster: LocalCluster, model_folder: Path, name: str, insecure_small_key: bool) -> None:
    reach = ["--cluster", str(cluster.folder)] + (["--insecure-small-key"] if insecure_small_key else [])
    wanted = load_plan(model_folder).hash.hex()
    for row in verb("models", *reach):
        if row["model"] != name:
            continue
        if row["whole"] and row["offered"] and row["plan_hash"] == wanted:
            return
        verb("remove", name, row["version"], *reach)
    verb("outsource", str(model_folder), "--name", name, "--version", "1", *reach)


def verb(*arguments: str) -> Any:
    """What `twinveil ARGUMENTS --json` prints. Raises TwinveilError with its last line."""
    words = command("twinveil.cli", *arguments, "--json")
    done = subprocess.run(words, capture_output=True, encoding="utf-8", errors="replace", check=False)
    if done.returncode:
        reason = done.stderr.strip().splitlines() or ["it ended without a word"]  # as where memory ran out
        raise TwinveilError(f"twinveil {arguments[0]}: {reason[-1]}")
    return json.loads(done.stdout)
