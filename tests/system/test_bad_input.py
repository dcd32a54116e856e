"""What people and accidents feed the commands: one clear line, an exit code, and services that go on."""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.system.town import Town, pictures, small_model, stored
from twinveil.network import oracle
from twinveil.network.plan import QuantisedModel

pytestmark = pytest.mark.system

MODEL = "victim"


@dataclass(frozen=True)
class Place:
    """A cluster with one model, a good picture, and a folder for bad ones."""

    town: Town
    model: QuantisedModel
    folder: Path

    @property
    def good(self) -> str:
        return str(self.folder / "good.png")

    def file(self, name: str, content: bytes) -> str:
        path = self.folder / name
        path.write_bytes(content)
        return str(path)


@pytest.fixture(scope="module")
def place(shared: Town, tmp_path_factory: pytest.TempPathFactory) -> Place:
    model = small_model(20, grey=True)
    made = Place(shared, model, tmp_path_factory.mktemp("pictures"))
    shared.outsource(stored(model, made.folder / "model"), MODEL)
    Image.fromarray(pictures(model, 6)[5][0]).save(made.good)
    return made


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def asking(place: Place, *options: str) -> list[str]:
    return [place.good, "--model", MODEL, *options]


def other_pin(place: Place) -> list[str]:
    state = place.folder / "state"
    state.mkdir(exist_ok=True)
    (state / "cloud_s2.fingerprint").write_text("ab" * 32 + "\n")
    return [place.good, "--model", MODEL, "--state", str(state)]


def wrong_key_in_toml(place: Place) -> list[str]:
    path = place.file("wrong.toml", b'cloud_s3 = "127.0.0.1:1"\n')
    return [place.good, "--model", MODEL, "--config", path]


def damaged(place: Place) -> list[str]:
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (40, 40), np.uint8)).save(
        place.folder / "x.png"
    )
    half = (place.folder / "x.png").read_bytes()
    return [place.file("half.png", half[: len(half) // 2]), "--model", MODEL]


def empty_folder(place: Place) -> list[str]:
    (place.folder / "nothing").mkdir(exist_ok=True)
    return [str(place.folder / "nothing"), "--model", MODEL]


Make = Callable[[Place], list[str]]

CLASSIFY: dict[str, tuple[Make, int, str]] = {
    "missing file": (lambda p: [p.good, "/no/such.png", "--model", MODEL], 2, "/no/such.png is not there"),
    "empty file": (lambda p: [p.file("empty.png", b""), "--model", MODEL], 2, "empty.png is empty"),
    "no image": (lambda p: [p.file("text.png", b"hello"), "--model", MODEL], 2, "text.png is not a picture"),
    "damaged image": (damaged, 2, "half.png is damaged"),
    "empty folder": (empty_folder, 2, "holds no pictures"),
    "unknown model": (
        lambda p: [p.good, "--model", "nobody"],
        4,
        "offers no model nobody (models: ",
    ),
    "unknown version": (lambda p: [p.good, "--model", MODEL, "--version", "9"], 4, f"no model {MODEL} 9"),
    "unknown engine": (lambda p: [p.good, "--model", MODEL, "--engine", "magic"], 2, "'magic' is not one of"),
    "too many in a query": (lambda p: asking(p, "--batch", "17"), 2, "Invalid value for '--batch'"),
    "engine not imported": (
        lambda p: [p.good, "--model", MODEL, "--engine", "textbook"],
        2,
        "this model was outsourced for packed, not 'textbook'",
    ),
    "cloud not running": (
        lambda p: [
            p.good,
            "--model",
            MODEL,
            "--cloud-s1",
            f"127.0.0.1:{free_port()}",
            "--connect-wait",
            "1s",
        ],
        5,
        "does not answer: is it running?",
    ),
    "cloud at the wrong address": (
        lambda p: asking(p, "--cloud-s1", p.town.cluster.addresses["cloud_s2"], "--connect-wait", "1s"),
        5,
        "has the certificate of another role",
    ),
    "cloud of another key": (other_pin, 5, "is pinned"),
    "wrong key in TOML": (wrong_key_in_toml, 2, "the key 'cloud_s3' is no setting: did you mean 'cloud_s2'?"),
    "missing TOML": (
        lambda p: [p.good, "--model", MODEL, "--config", "/no/such.toml"],
        2,
        "/no/such.toml: No such file",
    ),
    "no address": (lambda p: [p.good, "--model", MODEL, "--cloud-s1", "here"], 2, "'here' is no address"),
}


@pytest.mark.parametrize("case", CLASSIFY)
def test_classify_refuses(place: Place, case: str) -> None:
    make, code, words = CLASSIFY[case]
    refused(place.town, ["classify", *make(place)], code, words)


OWNER: dict[str, tuple[Make, int, str]] = {
    "no such model": (lambda p: ["outsource", "nothing"], 2, "nothing is neither a model's folder nor"),
    "no such folder": (
        lambda p: ["outsource", "/no/such"],
        2,
        "holds no model: plan.json is missing",
    ),
    "already there": (
        lambda p: ["outsource", str(p.folder / "model"), "--name", MODEL],
        4,
        f"model {MODEL} 1 is already there",
    ),
    "bad name": (lambda p: ["outsource", str(p.folder / "model"), "--name", "A B"], 2, "a model's name is"),
    "unknown engine": (
        lambda p: ["outsource", str(p.folder / "model"), "--engine", "magic"],
        2,
        "'magic' is not one of",
    ),
    "nothing to remove": (lambda p: ["remove", "nobody", "1"], 4, "neither cloud has a model nobody 1"),
    "unknown fingerprint": (lambda p: ["models", "--fingerprint", "cd" * 32], 5, "is pinned"),
    "damaged weights": (
        lambda p: ["outsource", damaged_model(p, "quantised.safetensors")],
        2,
        "damaged or no safetensors file",
    ),
    "damaged plan": (lambda p: ["outsource", damaged_model(p, "plan.json")], 2, "plan.json"),
}


def damaged_model(place: Place, name: str) -> str:
    folder = place.folder / f"damaged {name}"
    stored(place.model, folder)
    (folder / name).write_bytes((folder / name).read_bytes()[:-20])
    return str(folder)


@pytest.mark.parametrize("case", OWNER)
def test_the_owner_is_refused(place: Place, case: str) -> None:
    make, code, words = OWNER[case]
    refused(place.town, make(place), code, words)


def test_a_plan_for_another_shape(place: Place) -> None:
    """The owner tells users of another plan than the clouds hold."""
    record = place.town.cluster.state("owner") / "released" / f"{MODEL}@1.json"
    good = record.read_text()
    other = stored(small_model(21, grey=True))
    told = json.loads(good) | {"plan": other.model.plan.to_json(), "card": other.card.to_json()}
    record.write_text(json.dumps(told))
    try:
        refused(place.town, ["classify", place.good, "--model", MODEL], 5, "was made for another plan")
    finally:
        record.write_text(good)


def test_not_a_cluster(place: Place) -> None:
    shown = place.town.twinveil("classify", place.good, "--model", MODEL, "--cluster", str(place.folder))
    assert shown.returncode == 2
    assert "is no local cluster's folder" in shown.stderr


def test_services_still_serve(place: Place) -> None:
    """Last: after all of the above, the same processes answer rightly."""
    shown = place.town.twinveil("classify", place.good, "--model", MODEL, "--json")
    assert shown.returncode == 0, shown.stderr
    [made] = json.loads(shown.stdout)
    assert made["vector"] == oracle.run(place.model, pictures(place.model, 6)[5]).tolist()
    place.town.cluster.check()
    for role in ("cloud_s1", "cloud_s2", "owner", "user"):
        assert "Traceback" not in place.town.cluster.log(role).read_text(), role
    assert place.town.running() == {"cloud_s1": 0, "cloud_s2": 0}


def refused(town: Town, arguments: list[str], code: int, words: str) -> None:
    verb, *rest = arguments
    shown = town.twinveil(verb, *rest, env=None)
    lines = shown.stderr.splitlines()
    assert shown.returncode == code, shown.stderr
    assert "Traceback" not in shown.stderr
    assert words in " ".join(shown.stderr.split()), shown.stderr
    assert shown.stdout == ""
    if lines[-1].startswith("error: "):
        assert [line for line in lines if line.startswith("error")] == lines[-1:]


def test_a_picture_of_any_name_is_classified(place: Place) -> None:
    odd = place.folder / os.fsdecode(b"gr\xfcn [x]\x1b[31m.png")
    shown_as = "gr\\udcfcn [x]\\x1b[31m.png"
    shutil.copy(place.good, odd)
    asked = ("classify", str(odd), "--model", MODEL)
    in_ascii = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    in_ascii["PYTHONIOENCODING"] = "ascii"
    answered = place.town.twinveil(*asked, env=in_ascii)
    assert answered.returncode == 0, answered.stderr
    assert shown_as in answered.stdout
    [row] = json.loads(place.town.twinveil(*asked, "--json", env=in_ascii).stdout)
    assert row["picture"] == str(odd)
    assert row["class_name"] in answered.stdout
    odd.unlink()
    missed = place.town.twinveil(*asked, env=in_ascii)
    assert missed.returncode == 2
    assert missed.stderr.splitlines()[-1] == f"error: {odd.parent}/{shown_as} is not there"
