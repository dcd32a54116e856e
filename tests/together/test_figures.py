"""From what was measured to the bars' figures, tables and plots; the queries here are made up."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tests.networks import random_model
from together.bench import verbs as command
from together.bench.networks import write
from together.bench.picture import Filled, PictureRuns, Wanted, growing, spread, summarise
from together.bench.plots import draw
from together.bench.report import NAMES, by_name, tables
from together.bench.session import Query
from twinveil.crypto.tally import KINDS, MUL_N
from twinveil.errors import BadConfiguration, TwinveilError
from twinveil.estimate.cost import total
from twinveil.estimate.machine import Machine
from twinveil.estimate.query import estimate, online
from twinveil.estimate.seconds import USER_MESSAGES, Link
from twinveil.params import Params

PICTURE_SECONDS = 0.5
SECONDS = {"garble": 1e-8, "evaluate": 5e-9, "prepare": 1e-7, "transfer": 1e-7, "base": 0.01, "product": 1e-9}


def query() -> Query:
    common = {"seconds": 2.0, "waiting_seconds": 1.0, "operations": {}}
    s1 = {
        "ahead": {"cpu_seconds": 0.25, "bytes": 5000, "messages": 4},
        "SMP": {"cpu_seconds": 2.0, "bytes": 0, "messages": 0, "operations": {MUL_N: 3}},
        "garbling": {"cpu_seconds": 0.5, "bytes": 0, "messages": 0},
        "picture": {"cpu_seconds": 0.25, "bytes": 70, "messages": 4},
        "SACT": {"cpu_seconds": 0.25, "bytes": 30, "messages": 2},
    }
    s2 = {"SMP": {"cpu_seconds": 1.0, "operations": {MUL_N: 4}}}
    return Query(
        1,
        PICTURE_SECONDS,
        {"cloud_s1": 0.5, "cloud_s2": 0.25},
        {"cloud_s1": {name: {**common, **each} for name, each in s1.items()}, "cloud_s2": s2},
    )


def machine(cost: float) -> Machine:
    return Machine(2, dict.fromkeys(KINDS, cost), **SECONDS, byte=1e-9, message=2e-4)


LINK = Link(latency=0.02, bandwidth=100e6)


def wanted(bits: int, workers: int = 2, link: Link | None = None) -> Wanted:
    return Wanted(Path(), Path(), "tiny", random_model(3).plan, Params(bits), 3, 3, workers, link)


def detail(
    bits: int = 2048,
    cost: float = 1e-6,
    product: float = 0.125,
    workers: int = 2,
    link: Link | None = None,
    linked: Sequence[float] = (),
) -> dict[str, Any]:
    """Ten items of four processor seconds."""
    peaks = [{"cloud_s1": 100.0, "cloud_s2": 50.0}] * 3
    filled = Filled(10, 25.0, {"cloud_s1": 30.0, "cloud_s2": 10.0}, {"cloud_s1": 2.0, "cloud_s2": 15.0})
    queries, products = [query()] * 3, [product, product / 2, 3 * product]
    machines = [machine(each) for each in (3 * cost, cost, cost / 2)]
    seen = PictureRuns(filled, queries, linked, queries, peaks, products, machines)
    made = summarise(seen, wanted(bits, workers, link))
    ratios = {"ifma": 9.5, "avx2": None}
    native = dict.fromkeys(("native_decrypt", "native_half", "native_threads"), ratios)
    smp = {"products": 1, "seconds": 1.0, "operations": 1, "textbook_products": 1, "textbook_seconds": 1.0}
    return made | native | {"smp": smp}


def test_what_is_summed() -> None:
    made = detail()
    assert (made["online_s"], made["online_messages"], made["online_bytes"]) == (PICTURE_SECONDS, 6, 100)
    assert (made["item_cpu_s"], made["item_bytes"], made["item_messages"]) == (4.0, 5000, 4)
    assert made["item_mib"] == {"cloud_s1": 2.0, "cloud_s2": 15.0}
    assert query().operations().as_dict() == {MUL_N: 7}
    assert spread([3.0, 1.0, 2.0]) == {"median": 2.0, "least": 1.0, "largest": 3.0, "runs": 3}
    assert made["textbook_ratio"] == made["seconds"]["textbook_picture"] / PICTURE_SECONDS
    assert made["functions"]["SMP"]["ahead"]
    assert made["functions"]["SMP"]["operations"] == {"cloud_s1": {MUL_N: 3}, "cloud_s2": {MUL_N: 4}}
    assert not made["functions"]["SACT"]["ahead"]


@pytest.mark.parametrize(("last", "grows"), [(104.0, False), (120.0, True)])
def test_memory_grows_or_does_not(last: float, grows: bool) -> None:
    assert growing([{"cloud_s1": 50.0}] * 2 + [{"cloud_s1": 100.0}] * 4 + [{"cloud_s1": last}] * 2) is grows


def test_the_forecast_is_held_against_what_was_seen() -> None:
    ratios = detail()["predicted_over_measured"]
    costs = estimate(random_model(3).plan, Params(2048))
    later = [cost for name, cost in costs.items() if name in ("picture", "SCVL", "SACT", "SACT+SMAP", "SCT")]
    assert ratios["bytes online"] == sum(cost.bytes for cost in later) / 100
    assert (
        detail(cost=1e-3)["predicted_over_measured"]["online"] == ratios["online"]
    )  # no big integer is online
    slow = detail(cost=1e-3)["predicted_over_measured"]["processor time of an item"]
    assert slow > 10 * ratios["processor time of an item"]


def test_a_core_without_a_worker_is_not_counted_on() -> None:
    one, two, three = (
        detail(cost=1e-4, workers=workers)["predicted_over_measured"]["nothing ahead"]
        for workers in (1, 2, 3)
    )
    assert one > 1.2 * two
    assert three == pytest.approx(two, rel=0.1)  # of two cores


def shown(details: dict[str, Any]) -> str:
    console = Console(record=True, width=100, file=StringIO())
    figures = {"details": details, "steps": [], "link": {"latency": 0.01, "bandwidth": 1e9}}
    for table in tables(figures | {"native_level": "ifma"}):
        console.print(table)
    return console.export_text()


def test_over_a_link() -> None:
    made = detail(link=LINK, linked=[0.75, 0.5, 1.5])
    assert made["online_link_s"] == 0.75
    costs = online(estimate(random_model(3).plan, Params(2048)), "packed")
    floor = LINK.seconds(total(costs).messages + USER_MESSAGES, total(costs).bytes)
    assert made["predicted_over_measured"]["online, over the link"] == pytest.approx(floor / 0.75, rel=0.1)
    assert "<= 1.000" in rows({"2048": made})["the same over the link, s"]
    far = detail(link=Link(0.1, 1e6), linked=[3.0])
    assert "<=" not in rows({"2048": far})["the same over the link, s"]


@pytest.mark.parametrize("link", [None, LINK])
def test_without_a_link_there_is_no_figure(link: Link | None) -> None:
    made = detail(link=link)
    assert made["online_link_s"] is None
    assert "online, over the link" not in made["predicted_over_measured"]
    assert "the same over the link, s" not in rows({"2048": made})


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


def rows(details: dict[str, Any]) -> dict[str, str]:
    return {line.split("│")[1].strip(): line for line in shown(details).splitlines() if "│" in line}


def test_bars_follow_the_level_and_the_key() -> None:
    found = rows({"2048": detail()})
    assert "<= 1.00" in found["processor time of an item, both clouds, s"]
    assert "<= 0.100" in found["one picture, an item ready, s"]
    assert "ifma 9.5" in found["times gmpy2's speed, decryption"]
    assert "<= 1.40" in shown({"3072": detail(3072)})


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
        settings |= {
            "latency_ms": 10.0,
            "bandwidth": 1000.0,
            "link": None,
            "folder": tmp_path / "bench",
            "config": None,
        }
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


def test_why_there_is_no_link_is_said(
    run: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    links: list[Link | None] = []

    def measuring(asked: Wanted, *_: object) -> None:
        links.append(asked.link)
        raise MeasuredTooEarly

    for reason in (None, "unshare: Operation not permitted"):
        monkeypatch.setattr(command, "no_link", lambda reason=reason: reason)
        with pytest.raises(MeasuredTooEarly):
            run(measuring, link="40ms,100mbit")
    assert links == [LINK, None]
    assert "over a link: unshare: Operation not permitted" in capsys.readouterr().out
    with pytest.raises(TwinveilError, match="no link"):
        run(too_early, link="40")


def test_figures_are_written_before_plots_are_drawn(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "figures.json"
    monkeypatch.setattr(command, "draw", too_early)
    monkeypatch.setattr(command, "generate", lambda *_: None)
    grown = {"image_shape": [1, 28, 28], "pictures": 1, "error": "made up"}
    monkeypatch.setattr(command, "grow", lambda *_: [grown])
    with pytest.raises(MeasuredTooEarly):
        run(json_file=file, plots=tmp_path / "plots", growth=True)
    written = json.loads(file.read_text())
    assert written["item_cpu_s"] == 4.0
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
    assert json.loads(file.read_text())["online_messages"] == 6
