"""A link for real: pictures between four network namespaces. Skipped where there are none."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import psutil
import pytest

from together.bench.link import measure_link, no_link, parse_link
from together.bench.networks import default_plan, write
from twinveil.errors import BadInput, TwinveilError
from twinveil.estimate.cost import total
from twinveil.estimate.query import estimate, online
from twinveil.estimate.seconds import USER_MESSAGES, Link
from twinveil.params import Params
from twinveil.start.process import command

LINK = Link(latency=0.02, bandwidth=100e6)
KEY_BITS = 512


@pytest.fixture
def system(tmp_path: Path) -> dict[str, Any]:
    """What is measured; a test that takes it is skipped where no link can be had."""
    reason = no_link()
    if reason is not None:
        pytest.skip(f"no link here: {reason}")
    model = write(tmp_path / "model", default_plan(small=True), "small")
    system = {"folder": tmp_path / "town", "model_folder": model, "name": "small", "key_bits": KEY_BITS}
    return system | {"workers": 1, "insecure_small_key": True}


@pytest.mark.parametrize(
    ("text", "link"),
    [("40ms,100mbit", LINK), ("0.5ms,2.5mbit", Link(0.00025, 2.5e6)), ("0ms,1mbit", Link(0, 1e6))],
)
def test_a_link_is_its_round_trip_and_its_rate(text: str, link: Link) -> None:
    assert parse_link(text) == link


@pytest.mark.parametrize(
    "text", ["", "40", "40ms", "40ms,0mbit", "-1ms,1mbit", "40ms, 100mbit", "100mbit,40ms"]
)
def test_what_is_no_link(text: str) -> None:
    with pytest.raises(BadInput, match="such as 40ms,100mbit"):
        parse_link(text)


@pytest.mark.system
def test_no_picture_is_faster_than_its_round_trips(system: dict[str, Any]) -> None:
    """Every answer is compared with the oracle's on the way."""
    told: list[str] = []
    seconds = measure_link(LINK, 2, told.append, **system)
    cost = total(
        online(estimate(default_plan(small=True), Params(KEY_BITS, insecure_small_key=True)), "packed")
    )
    floor = LINK.seconds(cost.messages + USER_MESSAGES, cost.bytes)
    assert len(seconds) == len(told) == 2
    assert all(floor <= each < 10 * floor for each in seconds)


@pytest.mark.system
def test_a_model_that_is_not_there_is_said_in_a_line(system: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(TwinveilError, match=r"over a link: .*nowhere"):
        measure_link(LINK, 1, print, **system | {"model_folder": tmp_path / "nowhere"})


@pytest.mark.system
@pytest.mark.parametrize("kill", [False, True])
def test_nothing_is_left_over_however_it_ends(system: dict[str, Any], kill: bool) -> None:
    wanted = json.dumps({"link": [LINK.latency, LINK.bandwidth], "runs": 1000} | system, default=str)
    words = command("together.bench.apart", wanted)
    with subprocess.Popen(words, stdout=subprocess.PIPE, encoding="utf-8", start_new_session=True) as process:
        assert process.stdout is not None
        assert float(process.stdout.readline()) > 0
        started = psutil.Process(process.pid).children(recursive=True)
        assert len(started) >= 5  # four roles and the switch
        process.kill() if kill else process.terminate()
    _, alive = psutil.wait_procs(started, timeout=20)
    assert not alive
