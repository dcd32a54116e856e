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
from tests.protocol.test_size import pooled, sparse
from together import estimating as command
from together.bench.networks import write
from twinveil.errors import BadInput, BadPlan
from twinveil.network.plan import Plan
from twinveil.params import MAX_PICTURES
from twinveil.start.settings import PREPARED


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
    assert "label" not in vector["online"]["functions"]
    assert label["online"]["functions"]["label"]["and_gates"] > 0
    assert label["online"]["messages"] == vector["online"]["messages"] + 2
    assert label["ahead"] == vector["ahead"]  # items serve either


def test_import_items_and_the_picture_apart(estimate: Any) -> None:
    one, three = packed(estimate("--json")), packed(estimate("--json", "--pictures=3"))
    assert set(one["ahead"]["functions"]) == {"ahead", "garbling", "SMP"}
    assert {"picture", "SCVL", "SCT"} < set(one["online"]["functions"])
    assert one["bytes"] == one["ahead"]["bytes"] + one["online"]["bytes"]
    assert one["sustained_seconds"] == pytest.approx(one["latency_seconds"] + one["ahead"]["seconds"])
    assert three["import"] == one["import"]
    assert three["ahead"]["messages"] == 3 * one["ahead"]["messages"]
    assert three["online"]["messages"] == one["online"]["messages"]
    assert three["ahead"]["pace_seconds"] == pytest.approx(one["ahead"]["pace_seconds"], rel=0.01)
    textbook = json.loads(estimate("--json"))[1]
    assert textbook["ahead"]["functions"] == {}
    assert textbook["online"]["functions"]["SCVL"]["products"] > 0


def test_a_burst(estimate: Any) -> None:
    default, fast, slow = (
        packed(estimate("--json", *given))["store"]
        for given in ([], ["--burst=50"], ["--burst=50", "--pace=1e6"])
    )
    assert (fast["ready"], slow["ready"]) == (50, 1)
    assert fast["memory_bytes"]["cloud_s2"] == 50 * slow["memory_bytes"]["cloud_s2"]
    assert default["ready"] == PREPARED
    assert "store" not in json.loads(estimate("--json"))[1]
    assert "50 pictures, one after the other, want 50 items ready" in " ".join(estimate("--burst=50").split())


def test_a_pace_is_a_burst_s() -> None:
    with pytest.raises(BadInput, match="give --burst"):
        command.estimate(model=None, every=2.0, burst=None)


def test_workers(estimate: Any) -> None:
    default, one, nine = (
        packed(estimate("--json", *given)) for given in ([], ["--workers=1"], ["--workers=9"])
    )
    assert [made["workers"] for made in (default, one, nine)] == [MACHINE.cores, 1, 9]
    assert default["operations"] == one["operations"] == nine["operations"]
    assert one["sustained_seconds"] > default["sustained_seconds"] == nine["sustained_seconds"]


def refused(plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *options: str) -> Any:
    monkeypatch.setattr(command, "measure", lambda bits: MACHINE)
    app = typer.Typer()
    app.command()(command.estimate)
    given = [str(write(tmp_path / "model", plan, "refused")), "--key-bits=2048", *options]
    return CliRunner().invoke(app, given, env={"COLUMNS": "200"})


def test_what_one_engine_refuses_is_told_with_the_reason(estimate: Any) -> None:
    packed_says, textbook = json.loads(estimate("--json"))
    assert packed_says["refused"] is None
    assert "products: the textbook engine runs up to 8,192" in textbook["refused"]
    assert "textbook, 2048 bits: a picture takes" in " ".join(estimate().split())


def test_a_network_that_no_cloud_runs_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = refused(pooled(300), tmp_path, monkeypatch, "--engine=packed")
    assert isinstance(shown.exception, BadPlan)
    assert "what is made ahead of a picture has a message of" in str(shown.exception)
    assert "an item" in shown.stdout  # its figures are told all the same


def test_without_a_layout_the_reason_is_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = refused(sparse(), tmp_path, monkeypatch, "--json", "--engine=packed")
    assert isinstance(shown.exception, BadPlan)
    (made,) = json.loads(shown.stdout)
    assert "slots" in made["refused"]
    assert "online" not in made


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
    words = " ".join(estimate("--engine=packed", *options).split())
    assert f" {title} ┏" in words
