"""twinveil estimate's options change the figures that they should, and its title says for what they hold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from tests.estimate.test_seconds import MACHINE
from tests.networks import small_icnn_model
from together import estimating as command
from together.bench.networks import write
from twinveil.params import MAX_PICTURES


@pytest.fixture
def estimate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs the verb on a small inception network and a machine of two cores that is not measured."""
    folder = write(tmp_path / "model", small_icnn_model(3).plan, "tiny")
    monkeypatch.setattr(command, "measure", lambda bits: MACHINE)
    app = typer.Typer()
    app.command()(command.estimate)

    def run(*options: str) -> str:
        shown = CliRunner().invoke(app, [str(folder), "--key-bits=2048", *options], env={"COLUMNS": "200"})
        assert shown.exit_code == 0, shown.output
        return shown.stdout

    return run


def packed(shown: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(shown)[0]
    return found


def test_label_only(estimate: Any) -> None:
    vector, label = packed(estimate("--json")), packed(estimate("--json", "--label-only"))
    assert (vector["label_only"], label["label_only"]) == (False, True)
    assert vector["functions"]["label"]["and_gates"] == 0 < label["functions"]["label"]["and_gates"]
    assert label["messages"] == vector["messages"] + 2


def test_workers(estimate: Any) -> None:
    default, one, nine = (
        packed(estimate("--json", *given)) for given in ([], ["--workers=1"], ["--workers=9"])
    )
    assert [made["workers"] for made in (default, one, nine)] == [MACHINE.cores, 1, 9]
    assert default["operations"]["cloud_s1"] != nine["operations"]["cloud_s1"]
    assert one["memory_bytes"]["cloud_s1"] < default["memory_bytes"]["cloud_s1"]
    assert one["sustained_seconds"] > default["sustained_seconds"]


def test_no_more_pictures_than_a_query_has() -> None:
    app = typer.Typer()
    app.command()(command.estimate)
    shown = CliRunner().invoke(app, [f"--pictures={MAX_PICTURES + 1}"], env={"COLUMNS": "200"})
    assert shown.exit_code == 2
    assert "Invalid value for '--pictures'" in shown.output


@pytest.mark.parametrize(
    ("options", "title"),
    [
        ([], "a query on this machine's 2 cores"),
        (["--latency=20"], "a query on this machine's 2 cores; a link of 20 ms one way"),
        (["--bandwidth=0.5"], "a query on this machine's 2 cores; a link of 0.5 Mbit/s"),
        (
            ["--latency=1.5", "--bandwidth=100", "--workers=1", "--label-only"],
            "a query on this machine's 2 cores; 1 worker at each cloud; "
            "a link of 1.5 ms one way and 100 Mbit/s; the label only",
        ),
    ],
)
def test_the_title_names_the_link(estimate: Any, options: list[str], title: str) -> None:
    words = " ".join(estimate("--engine=textbook", *options).split())
    assert f" {title} ┏" in words
