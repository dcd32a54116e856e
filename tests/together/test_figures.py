"""From what was measured to the bars' figures, tables and plots; the queries here are made up."""

from __future__ import annotations

import json
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tests.networks import random_model
from together.bench import verbs as command
from together.bench.networks import write
from together.bench.picture import (
    PictureRuns,
    Wanted,
    circuit_seconds,
    is_flat,
    rounds_of,
    spread,
    summarise,
)
from together.bench.plots import draw
from together.bench.report import NAMES, by_name, tables
from together.bench.session import Query
from together.bench.textbook import predicted_product
from twinveil.crypto.tally import KINDS, MUL_N
from twinveil.errors import BadConfiguration, TwinveilError
from twinveil.estimate.machine import Machine
from twinveil.params import Params

PICTURE_SECONDS = 9.0


def query() -> Query:
    common = {"seconds": 2.0, "waiting_seconds": 1.0, "bytes": 7}
    s1 = {
        "ahead": {"cpu_seconds": 4.0, "messages": 4, "operations": {"mul_n": 1}},
        "garbling": {"cpu_seconds": 0.5, "messages": 0, "operations": {}},
        "SACT": {"cpu_seconds": 0.25, "messages": 6, "operations": {"mul_n": 2}},
    }
    s2 = {"SACT": {"cpu_seconds": 1.0, "operations": {"mul_n": 4}}}
    s1 = {name: common | each for name, each in s1.items()}
    return Query(1, PICTURE_SECONDS, {"cloud_s1": 6.0, "cloud_s2": 4.0}, {"cloud_s1": s1, "cloud_s2": s2})


def machine(cost: float) -> Machine:
    return Machine(2, dict.fromkeys(KINDS, cost), 1e-7, 5e-8, 1e-7, 1e-7, 0.01, 1e-9)


def wanted(bits: int, workers: int = 2) -> Wanted:
    return Wanted(Path(), Path(), "tiny", random_model(3).plan, Params(bits), 3, 3, workers)


def detail(bits: int = 2048, cost: float = 0.5, product: float = 0.125, workers: int = 2) -> dict[str, Any]:
    """Seven operations a picture of ten processor seconds."""
    peaks = [{"cloud_s1": 100.0, "cloud_s2": 50.0}] * 3
    machines = [machine(each) for each in (3 * cost, cost, cost / 2)]
    queries = [query()] * 3
    made = summarise(
        PictureRuns(queries, peaks[0], queries, peaks, [0.5], machines, [product, product / 2, 3 * product]),
        wanted(bits, workers),
    )
    smp = {"products": 1, "seconds": 1.0, "operations": 1, "textbook_products": 1, "textbook_seconds": 1.0}
    return made | {"smp": smp}


def test_what_is_summed() -> None:
    assert circuit_seconds(query()) == 1.75
    assert rounds_of(query()) == 2 + 6
    assert rounds_of(query(), ahead=()) == 2 + 6 + 4
    assert query().operations().as_dict() == {MUL_N: 7}
    assert spread([3.0, 1.0, 2.0]) == {"median": 2.0, "least": 1.0, "largest": 3.0, "runs": 3}


@pytest.mark.parametrize(("last", "flat"), [(104.0, True), (120.0, False)])
def test_memory_is_flat_from_the_second_picture(last: float, flat: bool) -> None:
    assert is_flat([{"cloud_s1": 50.0}, {"cloud_s1": 100.0}, {"cloud_s1": last}]) is flat


def test_rounds_with_and_without_what_is_ahead() -> None:
    made = detail()
    assert (made["rounds"], made["rounds_unprepared"]) == (8, 12)
    assert made["predicted"]["rounds_unprepared"] == made["predicted"]["rounds"] + 4


def test_calibrations_are_shown_with_their_spread() -> None:
    made = detail(cost=0.5)
    assert made["calibrated_seconds"][MUL_N] == {"median": 0.5, "least": 0.25, "largest": 1.5, "runs": 3}
    assert made["calibrated_seconds"]["garble"]["median"] == 1e-7
    assert made["bigint_share"] == pytest.approx(7 * 0.5 / 10)
    shares = made["bigint_share_by_calibration"]
    assert (shares["least"], shares["largest"]) == pytest.approx((7 * 0.25 / 10, 7 * 1.5 / 10))


def test_the_textbook_forecast_is_held_against_the_products() -> None:
    made = detail(cost=1e-3, product=0.125)
    predicted = predicted_product(Params(2048), dict.fromkeys(KINDS, 1e-3))
    assert made["textbook_predicted_over_measured"] == pytest.approx(predicted / 0.125)
    assert made["seconds"]["textbook_product"]["median"] == 0.125
    assert made["textbook_ratio"] == made["seconds"]["textbook_picture"] / PICTURE_SECONDS


def test_a_core_without_a_worker_is_not_counted_on() -> None:
    one, two, three = (detail(workers=workers)["predicted"]["sustained_seconds"] for workers in (1, 2, 3))
    assert one > 1.2 * two
    assert three == pytest.approx(two, rel=0.1)  # of two cores


def shown(details: dict[str, Any]) -> str:
    console = Console(record=True, width=100, file=StringIO())
    for table in tables({"details": details, "steps": [], "link": {"latency": 0.01, "bandwidth": 1e9}}):
        console.print(table)
    return console.export_text()


def test_a_second_key_size_has_its_suffix(tmp_path: Path) -> None:
    details = {"2048": detail(2048), "3072": detail(3072, product=0.5)}
    figures = by_name(details)
    assert set(figures) == set(NAMES) | {f"{name}_3072" for name in NAMES}
    for name in NAMES:
        assert figures[name] == details["2048"][name]
        assert figures[f"{name}_3072"] == details["3072"][name]
    text = shown(details)
    assert "2048 bits, seconds" in text
    assert "3072 bits, seconds" in text
    drawn = {path.name: path.read_text() for path in draw({"details": details}, tmp_path)}
    assert set(drawn) == {"one-picture.svg", "key-sizes.svg"}
    assert "<!-- 3072 bits -->" in drawn["key-sizes.svg"]


def test_the_table_has_forecasts_and_both_counts_of_rounds() -> None:
    made = detail()
    made["predicted_over_measured"] = {"latency": 0.12, "sustained": 1.23, "processor": 0.98}
    made["textbook_predicted_over_measured"] = 0.87
    rows = {line.split("│")[1].strip(): line for line in shown({"2048": made}).splitlines() if "│" in line}
    for name, ratio in (("prepared ahead", "0.12"), ("nothing ahead", "1.23"), ("textbook SMP", "0.87")):
        assert ratio in rows[f"predicted over measured, {name}"]
    assert " 8 " in rows["rounds"]
    assert " 12 " in rows["rounds with nothing ahead"]


@pytest.mark.parametrize(("cost", "said"), [(1.0, False), (1.25, True)])
def test_more_than_everything_is_said(cost: float, said: bool) -> None:
    made = detail(cost=cost)  # circuits are 17.5 %
    assert made["bigint_share"] < 1
    assert ("pass 100 %" in shown({"2048": made})) is said


class MeasuredTooEarly(Exception):
    pass


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The command on made-up measurements; `measuring` may raise."""
    model = write(tmp_path / "model", random_model(3).plan, "tiny")
    monkeypatch.setattr(command, "all_steps", lambda *_: [])

    def start(measuring: Any = lambda *_: detail(), **options: Any) -> None:
        monkeypatch.setattr(command, "_key_size", measuring)
        settings: dict[str, Any] = {"key_bits": "2048", "json_file": None, "plots": None, "growth": False}
        settings |= {"repeats": 1, "stream": 2, "security": False, "quick": False, "workers": 0}
        settings |= {"latency_ms": 10.0, "bandwidth": 1000.0, "folder": tmp_path / "bench"}
        command.bench(str(model), **settings | options)

    return start


def too_early(*_: object) -> None:
    raise MeasuredTooEarly


def test_places_for_results_are_tried_first(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(MeasuredTooEarly):
        run(too_early, json_file=tmp_path / "figures.json", plots=tmp_path / "plots")
    (tmp_path / "file").touch()
    for options in (
        {"json_file": tmp_path / "nowhere" / "figures.json"},
        {"json_file": tmp_path},
        {"plots": tmp_path / "file"},
        {"key_bits": "2048,100"},
    ):
        with pytest.raises(TwinveilError):
            run(too_early, **options)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(BadConfiguration, match="matplotlib"):
        run(too_early, plots=tmp_path / "plots")


def test_figures_are_written_before_plots_are_drawn(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "figures.json"
    monkeypatch.setattr(command, "draw", too_early)
    monkeypatch.setattr(command, "generate", lambda *_: None)
    monkeypatch.setattr(command, "measure", lambda *_: machine(0.5))
    grown = {"image_shape": [1, 28, 28], "pictures": 1, "error": "made up"}
    monkeypatch.setattr(command, "grow", lambda *_: [grown])
    with pytest.raises(MeasuredTooEarly):
        run(json_file=file, plots=tmp_path / "plots", growth=True)
    written = json.loads(file.read_text())
    assert written["rounds_unprepared"] == 12
    assert written["growth"] == [grown]


def test_a_failure_keeps_what_was_measured_before(run: Any, tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    sizes = iter([detail()])

    def once(*_: object) -> dict[str, Any]:
        try:
            return next(sizes)
        except StopIteration:
            raise MeasuredTooEarly from None

    with pytest.raises(MeasuredTooEarly):
        run(once, json_file=file, key_bits="2048,3072")
    assert json.loads(file.read_text())["rounds"] == 8
