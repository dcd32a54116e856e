"""twinveil bench and estimate as commands: every promised key is there, forecasts of bytes are exact."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.networks import random_model
from together.bench.networks import write
from together.bench.report import NAMES
from together.bench.session import verb
from twinveil.errors import TwinveilError


def twinveil(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "twinveil.cli", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.system
@pytest.mark.heavy
def test_bench_quick(tmp_path: Path) -> None:
    file, plots = tmp_path / "figures.json", tmp_path / "plots"
    shown = twinveil(
        *("bench", "--quick", "--growth", "--json", str(file), "--plots", str(plots)),
        *("--folder", str(tmp_path / "bench")),
    )
    figures = json.loads(file.read_text())
    assert set(NAMES) <= set(figures)
    assert set(figures["item_mib"]) == {"cloud_s1", "cloud_s2"}
    assert figures["online_messages"] <= 22
    # The estimate's items are their conversation's first, and a number that is not 0 takes a byte or two.
    assert figures["predicted_over_measured"]["bytes online"] == pytest.approx(1, abs=1e-3)
    for row in figures["growth"]:
        # The estimate's items are their conversation's first, which bring base transfers.
        assert 0 <= row["predicted_bytes"] - row["bytes"] <= 8192 * row["pictures"]
    assert {row["pictures"] for row in figures["growth"]} == {1, 2}
    for name in ("one-picture.svg", "growth.svg"):
        assert "<svg" in (plots / name).read_text()
    assert "SMP, a product" in shown


def test_estimate_as_json(tmp_path: Path) -> None:
    plan = random_model(3).plan
    folder = write(tmp_path / "model", plan, "tiny")
    made: list[dict[str, Any]] = json.loads(
        twinveil("estimate", str(folder), "--key-bits", "2048", "--latency", "10", "--json")
    )
    assert [each["engine"] for each in made] == ["packed", "textbook"]
    for each in made:
        for part in (each["ahead"], each["online"]):
            assert part["bytes"] == sum(cost["bytes"] for cost in part["functions"].values())
        assert each["latency_seconds"] > each["online"]["rounds"] * 0.010
        assert (each["latency_seconds"] < each["sustained_seconds"]) == (each["engine"] == "packed")


def test_a_command_that_was_killed_is_said_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    killed = subprocess.CompletedProcess([], -9, "", "")
    monkeypatch.setattr("together.bench.session.subprocess.run", lambda *_, **__: killed)
    with pytest.raises(TwinveilError, match="twinveil models: it ended without a word"):
        verb("models")
