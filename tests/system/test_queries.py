"""Pictures through four real processes: the oracle's class vector, bit for bit, whoever asks and however."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

import user
from tests.networks import random_model, small_icnn_model
from tests.system.town import Town, pictures, small_model, stored, town, wait_until
from twinveil.errors import NotAllowed
from twinveil.network import oracle
from twinveil.network.plan import QuantisedModel
from twinveil.pictures.files import Picture
from twinveil.rpc.gateway_pb2 import Picture as Asked
from twinveil.rpc.gateway_pb2_grpc import GatewayStub
from twinveil.start.local_cluster import LocalCluster
from twinveil.start.settings import KEPT_FREE
from twinveil.transport.channel import connect
from twinveil.verbs.serve_all import cluster_options
from user.client import Client

pytestmark = pytest.mark.system


def vectors(model: QuantisedModel, images: list[Picture]) -> list[tuple[int, ...]]:
    return [tuple(int(each) for each in oracle.run(model, image)) for image in images]


def many_classes(seed: int) -> QuantisedModel:
    return next(
        model
        for model in (random_model(100 * seed + attempt) for attempt in range(100))
        if model.plan.output.out_features >= 2
    )


@pytest.mark.parametrize("seed", range(4))
def test_packed_equals_the_oracle(shared: Town, seed: int) -> None:
    model = many_classes(seed)
    shared.outsource(stored(model), f"random{seed}")
    images = pictures(model, 6, seed)
    with shared.client() as client:
        made = client.classify(images, f"random{seed}", batch=4)
    assert [each.vector for each in made] == vectors(model, images)
    assert [each.label for each in made] == [oracle.argmax(oracle.run(model, image)) for image in images]
    assert made[0].class_name == f"class {made[0].label}"
    assert made[0].figures["cloud_s1"]
    assert made[0].figures["cloud_s2"]


@pytest.mark.parametrize("seed", range(2))
def test_textbook_equals_the_oracle(shared: Town, seed: int) -> None:
    model = small_model(seed)
    shared.outsource(stored(model), f"small{seed}", ["textbook", "packed"])
    images = pictures(model, 2, seed)
    with shared.client() as client:
        for engine in ("textbook", "packed"):
            made = client.classify(images, f"small{seed}", engine=engine)
            assert [each.vector for each in made] == vectors(model, images), engine
        [made_label] = client.classify(images[:1], f"small{seed}", engine="textbook", label_only=True)
    assert (made_label.label, made_label.vector) == (oracle.argmax(oracle.run(model, images[0])), ())


def test_the_default_key_length(tmp_path: Path) -> None:
    model = small_model(7, products=60)
    images = pictures(model, 6, 7)[5:]
    with town(tmp_path, 2048) as running:
        running.outsource(stored(model), "full", ["textbook", "packed"])
        with running.client() as client:
            assert client.key.bits == 2048
            for engine in ("packed", "textbook"):
                made = client.classify(images, "full", engine=engine)
                assert [each.vector for each in made] == vectors(model, images), engine


def test_users_side_by_side(shared: Town) -> None:
    model = small_icnn_model(2)
    shared.outsource(stored(model), "shared")
    images = pictures(model, 4, 2)

    def ask(image: Picture) -> tuple[int, ...]:
        with shared.client() as client:
            return client.classify([image], "shared")[0].vector

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(ask, images)) == vectors(model, images)
    assert shared.running() == {"cloud_s1": 0, "cloud_s2": 0}


@pytest.fixture(scope="module")
def slow(shared: Town, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A model whose textbook query takes long, and a picture for it."""
    model = small_model(3, products=6000, grey=True)
    shared.outsource(stored(model), "slow", ["textbook", "packed"])
    path = tmp_path_factory.mktemp("slow") / "picture.png"
    Image.fromarray(pictures(model, 6)[5][0]).save(path)
    return "slow", path


def test_a_user_who_goes_away_frees_what_it_held(shared: Town, slow: tuple[str, Path]) -> None:
    name, picture = slow
    before = len(shared.cluster.log("cloud_s1").read_text())
    command = shared.command("classify", str(picture), "--model", name, "--engine", "textbook")
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as asking:
        assert wait_until(lambda: set(shared.running().values()) == {1}, 60)
        asking.kill()
    assert wait_until(lambda: set(shared.running().values()) == {0}, 90)
    assert "Traceback" not in shared.cluster.log("cloud_s1").read_text()[before:]
    with shared.client() as client:
        assert len(client.classify([picture], name)) == 1


def test_label_only_is_the_owners_word(shared: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    model = small_model(4)
    shared.outsource(stored(model), "secretive", label_only=True)
    image = pictures(model, 6)[5]
    with shared.client() as client:
        [made] = client.classify([image], "secretive")
        assert (made.label, made.vector, made.scores) == (oracle.argmax(oracle.run(model, image)), (), ())
        found = client.model("secretive")
        monkeypatch.setattr(Client, "model", lambda *_: replace(found, label_only=False))
        with pytest.raises(NotAllowed, match="only the label"):
            client.classify([image], "secretive")


def test_the_newest_version_is_asked(shared: Town) -> None:
    models = {version: small_model(index + 10) for index, version in enumerate(("1.9", "1.10"))}
    for version, model in models.items():
        shared.outsource(stored(model), "versioned", version=version)
    with shared.client() as client:
        assert client.model("versioned").version == "1.10"
        for version, model in models.items():
            image = pictures(model, 6)[5]
            [made] = client.classify([image], "versioned", version)
            assert [made.vector] == vectors(model, [image])


def test_python_call_and_gateway(shared: Town, slow: tuple[str, Path]) -> None:
    name, picture = slow
    [made] = user.classify([picture], name, contact=shared.user())
    with connect(shared.cluster.me("user"), "user", shared.cluster.addresses["user"]) as link:
        asked = Asked(file=picture.read_bytes(), model=name)
        *progress, last = GatewayStub(link.channel).Classify(asked, timeout=30)
    assert tuple(last.result.vector) == made.vector
    assert last.result.class_name == made.class_name
    assert "cloud_s2" in json.loads(last.result.figures_json)
    assert progress[0].progress.label == "asking both clouds"
    assert shared.status("user").running_queries == 0


def test_the_call_loads_nothing_before_it_is_used() -> None:
    program = "import sys, user; print('grpc' in sys.modules); user.classify; print('grpc' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert shown.stdout.split() == ["False", "True"]


def test_prepared_queries_give_way_where_s2_has_no_place(tmp_path: Path) -> None:
    """S2 has two places for S1's conversations: items of one model hold one, a picture takes the other."""
    model, options = small_model(4, grey=True), cluster_options(512, True)
    options = {
        **options,
        "cloud_s1": [*options["cloud_s1"], "--prepare=1"],
        "cloud_s2": [*options["cloud_s2"], f"--max-calls={KEPT_FREE + 2}"],
    }
    images = pictures(model, 1)
    with LocalCluster(tmp_path, options) as cluster:
        running = Town(cluster, 512)
        for name in ("first", "second", "first"):
            if name not in {model for model, _ in running.models()}:
                running.outsource(stored(model), name)
            with running.client() as client:
                assert [each.vector for each in client.classify(images, name)] == vectors(model, images)
            assert wait_until(lambda: running.status("cloud_s1").ready_items == 1)
