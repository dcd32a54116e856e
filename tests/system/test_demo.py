"""The demo on a small network and a small key: what it makes, checks, writes and finds again."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from together.demo_report import FORMULAS

pytestmark = pytest.mark.system


def twinveil(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "twinveil.cli", *arguments]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model as the demo would have trained it, only smaller."""
    made = tmp_path_factory.mktemp("demo")
    command = twinveil(
        "train", "digits", "--name", "mnist", "--epochs", "2", "--width", "0.25",
        "--out", str(made / "mnist"), "--held-out", str(made / "held-out"), "--json",
    )  # fmt: skip
    trained = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert trained.returncode == 0, trained.stderr
    assert json.loads(trained.stdout)["card"]["held_out_pictures"] == len(list(made.rglob("*.png")))
    return made


def demo(folder: Path, *arguments: str) -> list[str]:
    small = ["--key-bits", "512", "--insecure-small-key"]
    return twinveil("demo", "--folder", str(folder), *small, *arguments)


def test_demo_twice(folder: Path, tmp_path: Path) -> None:
    for images in (3, 1):
        path = tmp_path / f"{images}.json"
        shown = subprocess.run(
            demo(folder, "--images", str(images), "--json", str(path)),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert shown.returncode == 0, shown.stderr
        assert ("the clouds hold the model already" in shown.stdout) == (images == 1)
        made = json.loads(path.read_text())
        assert set(made) == {
            "engine", "key_bits", "arithmetic", "pictures", "all_agree", "accuracy", "processes", "functions",
        }  # fmt: skip
        assert (made["engine"], made["key_bits"], made["all_agree"]) == ("packed", 512, True)
        assert len(made["pictures"]) == images
        for picture in made["pictures"]:
            assert set(picture) == {"truth", "label", "agrees", "seconds", "bytes", "messages"}
            assert min(picture["seconds"], picture["bytes"], picture["messages"]) > 0
        assert set(made["accuracy"]) == {"float", "fixed"}
        assert len(set(made["processes"].values())) == 4
        assert {"SCVL", "SCT"} <= made["functions"].keys()
        for part in ("before a picture, at its item", "at a picture"):
            assert re.search(rf"│ {part} +│ [0-9.]+ s; .* MB and [1-9][0-9]* messages ", shown.stdout)
        assert not any(psutil.pid_exists(pid) for pid in made["processes"].values())


def test_the_published_way(folder: Path, tmp_path: Path) -> None:
    """Every function by its formula, with its products in the figures, and progress while they run."""
    shutil.copytree(folder / "mnist", folder / "digits")
    shutil.copytree(folder / "held-out", folder / "digits-held-out")
    path = tmp_path / "figures.json"
    asked = demo(folder, "--engine", "textbook", "--images", "1", "--json", str(path))
    wide = {**os.environ, "COLUMNS": "200"}
    shown = subprocess.run(asked, capture_output=True, text=True, timeout=120, check=False, env=wide)
    assert shown.returncode == 0, shown.stderr
    assert "under a key of 512 bits" in shown.stdout
    for name, formula in FORMULAS.items():
        assert re.search(rf"│ {name} +│ {re.escape(formula)} ", shown.stdout)
    made = json.loads(path.read_text())
    assert (made["engine"], made["key_bits"], made["all_agree"]) == ("textbook", 512, True)
    products = {name: each["products"] for name, each in made["functions"].items() if "products" in each}
    assert products.keys() == FORMULAS.keys() - {"SMP"}
    seen = [(int(done), int(total)) for done, total in re.findall(r" (\d+)/(\d+) S[A-Z]+ ", shown.stderr)]
    assert {total for _, total in seen} == {sum(products.values())}
    assert len(set(seen)) > 1
    assert seen == sorted(seen)


def test_demo_ends_at_once_and_leaves_no_orphan(folder: Path) -> None:
    command = demo(folder, "--images", "100")
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    ) as running:
        assert running.stdout is not None
        for line in running.stdout:
            if line.startswith("picture 1"):
                break
        children = psutil.Process(running.pid).children(recursive=True)
        assert len(children) >= 4
        os.killpg(running.pid, signal.SIGINT)
        running.communicate(timeout=30)
        assert running.returncode == 130
    _, alive = psutil.wait_procs(children, 5)
    assert alive == []


def test_demo_says_what_is_wrong(folder: Path) -> None:
    asked = demo(folder, "--images", "999")
    shown = subprocess.run(asked, capture_output=True, text=True, timeout=60, check=False)
    assert shown.returncode == 2
    assert "pictures, not 999" in shown.stderr
    weak = twinveil("demo", "--folder", str(folder), "--key-bits", "512")
    shown = subprocess.run(weak, capture_output=True, text=True, timeout=60, check=False)
    assert shown.returncode == 2
    assert "a 512-bit key is refused" in " ".join(shown.stderr.split())
