"""Models at the clouds: there whole or not at all, whoever dies in the middle."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from owner.clouds import reach
from owner.outsource import Offer, outsource
from tests.networks import small_icnn_model
from tests.system.town import Town, pictures, small_model, stored, town, wait_until
from twinveil.cloud.store import ModelStore
from twinveil.errors import (
    ModelExists,
    NotAllowed,
    PeerMismatch,
    PeerUnavailable,
    TwinveilError,
    UnknownModel,
)
from twinveil.network import oracle
from twinveil.services.keys import PIN
from twinveil.transport.certificates import issue
from twinveil.transport.channel import Me

pytestmark = pytest.mark.system


def test_the_owners_commands(shared: Town, tmp_path: Path) -> None:
    model = small_model(30, grey=True)
    stored(model, tmp_path / "model")
    made = shared.twinveil(
        "outsource", str(tmp_path / "model"), "--name", "listed", "--label-only", "--engine", "textbook",
        "--engine", "packed", "--json",
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    assert json.loads(made.stdout)["plan_hash"] == model.plan.hash.hex()
    rows = {row["model"]: row for row in json.loads(shared.twinveil("models", "--json").stdout)}
    assert rows["listed"]["engines"] == ["packed", "textbook"]
    assert [rows["listed"][what] for what in ("label_only", "whole", "offered")] == [True, True, True]
    shown = shared.twinveil("models").stdout
    assert "listed" in shown
    assert "listed 1" in [f"{each.model} {each.version}" for each in shared.status("owner").models]
    assert shared.twinveil("remove", "listed", "1").returncode == 0
    assert ("listed", "1") not in shared.models()
    with shared.client() as client, pytest.raises(UnknownModel, match="the owner offers no model listed"):
        client.model("listed")


def test_another_owner_removes_nothing(shared: Town, tmp_path: Path) -> None:
    model = small_model(33)
    shared.outsource(stored(model), "mine")
    tls = issue(shared.cluster.authority, "owner", "second", tmp_path)
    second = replace(shared.owner(), me=Me("owner", "second", tls))
    with reach(second) as clouds:
        with pytest.raises(NotAllowed, match="belongs to owner/local"):
            clouds.remove("mine", "1")
        outsource(model, Offer("theirs", "1"), clouds)
    with reach(shared.owner()) as clouds, pytest.raises(NotAllowed, match="belongs to owner/second"):
        clouds.remove("theirs", "1")
    assert all(shared.models()[name, "1"].whole for name in ("mine", "theirs"))
    with reach(second) as clouds:
        clouds.remove("theirs", "1")
    assert shared.twinveil("remove", "mine", "1").returncode == 0


def test_a_model_that_one_cloud_lost_is_marked_and_can_be_removed(shared: Town) -> None:
    model = small_model(31)
    shared.outsource(stored(model), "torn")
    shutil.rmtree(shared.cluster.state("cloud_s1") / "models" / "torn@1")
    placed = shared.models()["torn", "1"]
    assert (placed.at_s1, placed.at_s2, placed.whole) == (False, True, False)
    shown = shared.twinveil("models").stdout
    assert "torn 1 is at one cloud only" in shown
    with shared.client() as client, pytest.raises(UnknownModel):
        client.classify(pictures(model, 1), "torn")
    assert shared.twinveil("remove", "torn", "1").returncode == 0
    shared.outsource(stored(model), "torn")
    with shared.client() as client:
        [made] = client.classify(pictures(model, 1), "torn")
    assert list(made.vector) == oracle.run(model, pictures(model, 1)[0]).tolist()


@pytest.mark.parametrize("role", ["cloud_s1", "cloud_s2"])
def test_a_model_of_another_layout_is_named_refused_and_outsourced_again_by_one_command(
    shared: Town, tmp_path: Path, role: str
) -> None:
    """Engines and policy stay; its users' halves name the new import."""
    model, name = small_model(32), f"older-{role[-1]}"
    shared.outsource(stored(model, tmp_path / "model"), name, ["packed", "textbook"], label_only=True)
    record = shared.cluster.state(role) / "models" / f"{name}@1" / "record.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"layout_sha256": "00" * 32}))
    assert not shared.models()[name, "1"].whole
    shown = " ".join(shared.twinveil("models").stdout.split())
    assert (
        f"laid this model out in another way: outsource it again by twinveil outsource {name}@1 --again"
        in shown
    )
    with shared.client() as client, pytest.raises(TwinveilError, match=r"outsource"):
        client.classify(pictures(model, 1), name)
    with pytest.raises(ModelExists):
        shared.outsource(stored(model), name)
    assert shared.models()[name, "1"].trouble, "nothing was removed unasked"
    pinned = (shared.cluster.state("owner") / PIN).read_text()
    with shared.client() as client:
        outdated = client.model(name)
        again = shared.twinveil("outsource", str(tmp_path / "model"), "--name", name, "--again", "--json")
        assert json.loads(again.stdout)["engines"] == ["packed", "textbook"], again.stderr
        assert client.model(name) is outdated
        with pytest.raises(PeerMismatch, match="the model was replaced"):
            client.classify(pictures(model, 1), name)
        [made] = client.classify(pictures(model, 1), name)
    assert made.label == oracle.argmax(oracle.run(model, pictures(model, 1)[0]))
    assert not made.vector
    assert (shared.cluster.state("owner") / PIN).read_text() == pinned


def test_nothing_is_outsourced_again_that_no_user_was_told_of(shared: Town, tmp_path: Path) -> None:
    """Whether its users may ask for more than the label is known of none."""
    stored(small_model(34), tmp_path / "model")
    refused = shared.twinveil("outsource", str(tmp_path / "model"), "--name", "nameless", "--again")
    assert refused.returncode == UnknownModel.exit_code
    assert "the owner offers no model nameless" in refused.stderr
    assert ("nameless", "1") not in shared.models()


def leftovers(running: Town) -> list[str]:
    """What lies at the clouds that is no model."""
    roots = [running.cluster.state(role) / "models" for role in ("cloud_s1", "cloud_s2")]
    return [path.name for root in roots for path in root.iterdir() if "@" not in path.name]


SUICIDE = """
import os, signal, sys
from pathlib import Path
from owner.clouds import CloudAddresses, reach
from owner.outsource import Offer
from owner.publish import publish
from twinveil.start.config import settle
from twinveil.start.local_folder import cluster_flags
from twinveil.network.folder import load_model
from twinveil.start.settings import OwnerSettings

def report(done, layers, layer):
    if done == 3:
        os.kill(os.getpid(), signal.SIGKILL)

flags = cluster_flags(Path(sys.argv[1]), "owner") | {"insecure_small_key": True}
flags = {name: value for name, value in flags.items() if name != "user"}
settings = settle(OwnerSettings, "owner", flags, {})
with reach(CloudAddresses.of(settings)) as clouds:
    publish(load_model(sys.argv[2]), Offer("halfway", "1"), clouds, settings.state, report)
"""


def test_an_owner_killed_in_the_middle_leaves_nothing(shared: Town, tmp_path: Path) -> None:
    model = small_icnn_model(5)
    stored(model, tmp_path / "model")
    command = [sys.executable, "-c", SUICIDE, str(shared.cluster.folder), str(tmp_path / "model")]
    assert subprocess.run(command, check=False, timeout=60).returncode == -signal.SIGKILL
    with shared.client() as client, pytest.raises(UnknownModel):
        client.model("halfway")
    assert wait_until(lambda: not leftovers(shared))
    assert ("halfway", "1") not in shared.models()
    shared.outsource(stored(model), "halfway")
    with shared.client() as client:
        [made] = client.classify(pictures(model, 1), "halfway")
    assert list(made.vector) == oracle.run(model, pictures(model, 1)[0]).tolist()


@pytest.mark.parametrize("victim", ["cloud_s1", "cloud_s2"])
def test_a_cloud_killed_in_the_middle_leaves_nothing(tmp_path: Path, victim: str) -> None:
    model = small_icnn_model(6)
    begun: list[str] = []
    with town(tmp_path) as running:
        pid = running.cluster.pids[victim]

        def kill(done: int, layers: int, layer: str) -> None:
            begun.append(layer)
            if done == 2:
                os.kill(pid, signal.SIGKILL)

        with reach(running.owner()) as clouds, pytest.raises(PeerUnavailable, match=r"outsource|answer"):
            outsource(model, Offer("halfway", "1"), clouds, kill)
        assert len(begun) >= 3
        impatient = replace(running.owner(), wait=0.5)
        with pytest.raises(PeerUnavailable, match=f"{victim} at .* does not answer"), reach(impatient):
            pass
    with town(tmp_path) as running:
        assert not running.models()
        assert not leftovers(running)
        running.outsource(stored(model), "halfway")
        with running.client() as client:
            [made] = client.classify(pictures(model, 1), "halfway")
        assert list(made.vector) == oracle.run(model, pictures(model, 1)[0]).tolist()


def test_a_store_sweeps_what_a_crash_left(tmp_path: Path) -> None:
    (tmp_path / ".incoming-1234").mkdir()
    (tmp_path / "torn@1").mkdir()
    store = ModelStore(tmp_path)
    assert not (tmp_path / ".incoming-1234").exists()
    assert store.records() == []
    with pytest.raises(TwinveilError):
        store.find("torn", "1")
