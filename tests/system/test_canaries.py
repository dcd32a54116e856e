"""Pixels, class vectors, weights and keys come into no log, stdout or stderr of any process."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
from collections import defaultdict
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from PIL import Image

from tests.security.canaries import PIXELS, WEIGHTS, holds, long_enough, of_key, spellings, with_canaries
from tests.system.town import Town, by_way_of, stored
from tests.views.small import PLAN, model
from twinveil.crypto.secret_key import SecretKey
from twinveil.network import oracle
from twinveil.rpc.gateway_pb2 import Picture
from twinveil.rpc.gateway_pb2_grpc import GatewayStub
from twinveil.rpc.inference_pb2 import QueryHalf
from twinveil.rpc.inference_pb2_grpc import InferenceStub
from twinveil.start.boundary import DEBUG
from twinveil.start.local_cluster import LocalCluster
from twinveil.transport.channel import connect
from twinveil.transport.identity import ROLES
from twinveil.verbs.serve_all import cluster_options
from twinveil.version import PROTOCOL_VERSION

pytestmark = pytest.mark.system

MODEL = with_canaries(model(PLAN))
PICTURE = np.resize(PIXELS, PLAN.image_shape)
VECTOR = oracle.run(MODEL, PICTURE)
NAME = "canary"
BEHIND_HEADERS = 41
"""Bytes of a PNG that are the same in all of one size."""


class Telling(LocalCluster):
    """Logs everything there is to log. leaky: and more, as tests.system.leaky does."""

    def __init__(self, folder: Path, leaky: bool) -> None:
        options = cluster_options(512, insecure_small_key=True)
        more = ["--log-level=debug", "--connect-wait=1s"]
        super().__init__(folder, {role: [*options[role], *more] for role in ROLES})
        self.leaky = leaky

    def command(self, role: str) -> list[str]:
        return leaking(super().command(role)) if self.leaky else super().command(role)


def leaking(command: list[str]) -> list[str]:
    return by_way_of("tests.system.leaky", command)


class Visit:
    """A model and a picture on their way. texts: what each process wrote, by its name.

    accidents: a model that is there already, a cloud that was killed.
    """

    def __init__(self, folder: Path, *, leaky: bool = False, accidents: bool = False) -> None:
        self.accidents = accidents
        self.texts: dict[str, str] = defaultdict(str)
        self.folder = folder
        self.file = folder / "picture.png"
        Image.fromarray(PICTURE[0]).save(self.file)
        stored(MODEL, folder / "model")
        with Telling(folder / "town", leaky) as cluster:
            self.town = Town(cluster, 512)
            self._run()
            path = cluster.state("cloud_s2") / "secret_key.json"
            self.key = SecretKey.load(path, insecure_small_key=True)
        for log in (folder / "town").rglob("*.log"):
            self.texts[log.stem] += log.read_text()

    def _run(self) -> None:
        asked = ["classify", str(self.file), "--model", NAME, "--invert", "never"]
        outsourced = ["outsource", str(self.folder / "model"), "--name", NAME]
        assert [self._command(*outsourced), self._command(*asked)] == [0, 0]
        assert self._gateway() == VECTOR.tolist()
        for role in ("cloud_s1", "cloud_s2"):
            assert self._bare(role) == grpc.StatusCode.INVALID_ARGUMENT
        if self.accidents:
            assert self._command(*outsourced) == 4
            os.kill(self.town.cluster.pids["cloud_s2"], signal.SIGKILL)
            assert self._command(*asked, "--connect-wait", "1s") == 5
            assert self._gateway() is None

    def _command(self, verb: str, *arguments: str) -> int:
        """Its exit code."""
        command = self.town.command(verb, *arguments)
        if self.town.cluster.leaky:
            command = leaking(command)
        ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        self.texts[verb] += ended.stdout + ended.stderr
        return ended.returncode

    def _gateway(self) -> list[int] | None:
        """What the user's process answers; None if it cannot."""
        asked = Picture(file=self.file.read_bytes(), model=NAME, invert="never")
        with self._link("user") as link:
            try:
                *_, last = GatewayStub(link.channel).Classify(asked, timeout=60)
            except grpc.RpcError as error:
                self.texts["gateway"] += str(error)
                return None
        return list(last.result.vector)

    def _bare(self, role: str) -> grpc.StatusCode:
        """What a cloud says to a client that sends its picture as it is, and a byte too many."""
        with self.town.client() as client:
            found = client.model(NAME)
        query = QueryHalf(
            protocol_version=PROTOCOL_VERSION,
            query_id=secrets.token_bytes(16),
            model=NAME,
            version=found.version,
            plan_hash=PLAN.hash,
            engine="packed",
            pictures=1,
            half=PICTURE.tobytes() + b"\0",
            import_id=found.import_id,
        )
        with self._link(role) as link, pytest.raises(grpc.RpcError) as told:
            list(InferenceStub(link.channel).Classify(query, timeout=60))
        self.texts["refused"] += str(told.value)
        code: grpc.StatusCode = told.value.code()
        return code

    def _link(self, role: str) -> Any:
        return connect(self.town.cluster.me("user"), role, self.town.cluster.addresses[role])

    def found(self) -> set[tuple[str, str]]:
        """Which kinds of secrets are in which texts."""
        file = np.frombuffer(self.file.read_bytes(), np.uint8)
        kinds = {
            "pixels": {*spellings(PIXELS), *spellings(file[BEHIND_HEADERS:])},
            "weights": spellings(WEIGHTS),
            "vector": spellings(VECTOR),
            "key": of_key(self.key),
        }
        wanted = {kind: long_enough(texts) for kind, texts in kinds.items()}
        return {
            (text, kind)
            for text, written in self.texts.items()
            for kind, canaries in wanted.items()
            if holds(written, canaries)
        }


@pytest.fixture
def debugged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tracebacks, too."""
    monkeypatch.setenv(DEBUG, "1")


@pytest.mark.usefixtures("debugged")
def test_no_canary_in_what_processes_write(tmp_path: Path) -> None:
    visit = Visit(tmp_path, accidents=True)
    assert set(visit.texts) == {*ROLES, "outsource", "classify", "gateway", "refused"}
    assert all(visit.texts.values())
    assert "Traceback" in visit.texts["classify"]
    assert visit.found() == set()


@pytest.mark.usefixtures("debugged")
def test_the_search_finds_canaries_that_processes_write(tmp_path: Path) -> None:
    assert Visit(tmp_path, leaky=True).found() == {
        ("cloud_s1", "pixels"),
        ("cloud_s2", "pixels"),
        ("cloud_s2", "key"),
        ("user", "pixels"),
        ("user", "vector"),
        ("classify", "pixels"),
        ("outsource", "weights"),
    }
