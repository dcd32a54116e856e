"""twinveil bench and estimate as commands: every promised key is there, forecasts of bytes are exact."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.crypto_keys import secret_key, toy
from tests.networks import random_model
from twinveil.bench.networks import write
from twinveil.bench.picture import circuit_seconds, is_flat, rounds_of, spread
from twinveil.bench.session import Query
from twinveil.bench.steps import all_steps
from twinveil.bench.textbook import TextbookSmp
from twinveil.cli.bench import NAMES

QUICK_BITS = "512"


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
    assert set(figures["peak_mib"]) == {"cloud_s1", "cloud_s2"}
    detail = figures["details"][QUICK_BITS]
    assert figures["bytes"] == detail["predicted"]["bytes"]
    assert figures["rounds"] == detail["predicted"]["rounds"] <= 40
    for row in figures["growth"]:
        assert row["bytes"] == row["predicted_bytes"]
    assert {row["pictures"] for row in figures["growth"]} == {1, 2}
    assert 0 < figures["bigint_share"] < 1
    assert 0 < figures["circuit_share"] < 1
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
        assert each["bytes"] == sum(part["bytes"] for part in each["functions"].values())
        assert each["latency_seconds"] > each["rounds"] * 0.010
        assert each["latency_seconds"] < each["sustained_seconds"]
        assert set(each["memory_bytes"]) == {"cloud_s1", "cloud_s2"}


def test_every_step_runs_by_itself() -> None:
    made = list(all_steps(secret_key(512), toy(512), quick=True))
    assert [each.name for each in made] == ["SMP, textbook", "ReLU layer", "pool layer, 3x3", "OT"]
    for each in made:
        assert each.round_trips == 1
        assert each.bytes > 0
        assert each.on(0.01, 1e6) > 0.02 + 8 * each.bytes / 1e6


def test_textbook_products_are_checked() -> None:
    seconds, peer = TextbookSmp(secret_key(512), toy(512)).run(3)
    assert seconds > 0
    assert peer.total().rounds == 1


def query() -> Query:
    s1 = {
        "ahead": {"cpu_seconds": 4.0, "rounds": 4, "operations": {"mul_n": 1}},
        "garbling": {"cpu_seconds": 0.5, "rounds": 0, "operations": {}},
        "SACT": {"cpu_seconds": 0.25, "rounds": 6, "operations": {"mul_n": 2}},
    }
    s2 = {"SACT": {"cpu_seconds": 1.0, "operations": {"mul_n": 4}}}
    return Query(1, 9.0, {}, {"cloud_s1": s1, "cloud_s2": s2})


def test_what_is_summed() -> None:
    assert circuit_seconds(query()) == 1.75
    assert rounds_of(query()) == 2 + 6
    assert query().operations().as_dict() == {"mul_n": 7}
    assert spread([3.0, 1.0, 2.0]) == {"median": 2.0, "least": 1.0, "largest": 3.0, "runs": 3}


@pytest.mark.parametrize(("last", "flat"), [(104.0, True), (120.0, False)])
def test_memory_is_flat_from_the_second_picture(last: float, flat: bool) -> None:
    assert is_flat([{"cloud_s1": 50.0}, {"cloud_s1": 100.0}, {"cloud_s1": last}]) is flat
