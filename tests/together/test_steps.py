"""Functions by themselves: what the table says of them was counted on the way, and results are checked."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import numpy.typing as npt
import pytest

from tests.crypto.crypto_keys import secret_key, toy
from together.bench import steps
from together.bench.dialogue import play
from together.bench.report import tables
from together.bench.steps import CHANNELS, SIDES, TEXTBOOK_SIDE, Side, StepRuns, all_steps, network
from together.bench.textbook import PRODUCTS, TextbookSmp
from twinveil.cli.terminal import Terminal
from twinveil.crypto.secret_key import SecretKey
from twinveil.errors import TwinveilError
from twinveil.estimate.query import ahead, estimate
from twinveil.estimate.seconds import Link
from twinveil.network.plan import IMAGE, Conv, Dense, Plan, QuantisedModel, Relu
from twinveil.params import Params
from twinveil.protocol.size import refuse_unrunnable
from twinveil.rounds.peer import Ask
from twinveil.rounds.scripted import Script
from twinveil.rounds.wire import round_bytes
from twinveil.rpc import rounds_pb2 as pb

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def made() -> list[StepRuns]:
    return list(all_steps(secret_key(512), toy(512), repeats=2, quick=True))


def test_every_function_runs_by_itself_in_both_engines(made: list[StepRuns]) -> None:
    functions = [
        (name, engine) for name in ("SCVL", "SACT", "SMAP", "SCT") for engine in ("packed", "textbook")
    ]
    assert [(each.name, each.engine) for each in made] == [("SMP", "textbook"), *functions]
    for each in made:
        shown = each.as_dict(Link())
        assert shown["online"]["s1"]["runs"] == shown["online"]["s2"]["runs"] == 2
        assert (shown["ahead"]["bytes"] > 0) == (each.engine == "packed")
        assert shown["link_seconds"] > 0


def test_bytes_of_what_is_ahead_are_those_of_the_estimate(made: list[StepRuns]) -> None:
    for each in made[1:]:
        if each.engine == "packed":
            plan = network(each.name, steps.TEXTBOOK_SIDE, 1)
            whole = ahead(estimate(plan, toy(512)), "packed")
            later = sum(cost.bytes for cost in whole.values())
            assert 0 <= later - each.ahead[0].bytes <= 8192  # the first item brings base transfers


def test_round_trips_are_counted() -> None:
    smp = TextbookSmp(secret_key(512), toy(512))
    assert [smp.run(products).traffic.round_trips for products in (1, 128, 129)] == [1, 1, 2]

    def s1(ask: Ask) -> None:
        for size in range(3):
            ask(pb.Round(corrections=pb.Corrections(bits=bytes(size))))

    def s2(_: pb.Round) -> Script:
        while True:
            yield pb.Round(done=pb.Done())

    run = play(s1, s2)
    assert run.traffic.round_trips == 3
    assert run.traffic.bytes == 3 * round_bytes("done") + sum(
        round_bytes("corrections", bits=size) for size in range(3)
    )


@pytest.mark.parametrize("name", ["SCVL", "SACT", "SMAP", "SCT"])
@pytest.mark.parametrize("side", [TEXTBOOK_SIDE, *SIDES])
def test_every_size_has_a_network(name: str, side: int) -> None:
    refuse_unrunnable(network(name, side, CHANNELS), Params(), ("packed",))


def test_the_textbook_forecast_is_what_both_sides_count() -> None:
    """Of a layer of PRODUCTS products, which adds a bias to each besides, one multiplication."""
    layer = Conv("conv", IMAGE, 1, (1, 1), 1, 0, 8, 20)
    plan = Plan((1, 1, PRODUCTS), 8, (layer, Relu("relu", "conv", 0, 8), Dense("dense", "relu", 2, 8, 20)), 0)
    cost = estimate(plan, toy(512), "textbook")["SCVL"]
    key, biases = secret_key(512), PRODUCTS
    smp = TextbookSmp(key, toy(512))
    smp.run(PRODUCTS)  # makes the table of nonces
    before = smp.tally.total + key.tally.total
    smp.run(PRODUCTS)
    checking = sum(SecretKey.decrypt_counts(PRODUCTS).values())
    counted = smp.tally.total + key.tally.total - before - checking
    assert cost.s1.total + cost.s2.total == counted + biases


def test_a_link_costs_its_latency_for_every_message_and_its_bandwidth(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    online = Side({"cloud_s1": 0.25, "cloud_s2": 0.5}, 1000, 2)
    step = StepRuns("SCVL", "packed", 129, [Side({"cloud_s1": 1.0, "cloud_s2": 2.0}, 50, 1)], [online])
    link = Link(12.5, 8000.0)
    assert step.on(link) == pytest.approx(0.75 + 4 * 12.5 + 1.0)
    [table] = tables({"details": {}, "steps": [step.as_dict(link)], "link": asdict(link)})
    Terminal().show(table)
    text = capsys.readouterr().out
    assert "over a link of 12500 ms" in text
    (row,) = [line.split() for line in text.splitlines() if "SCVL" in line]
    assert row[2:5] == ["129", "3,000", "50"]
    assert int(row[-1].replace(",", "")) == 51_750


def test_wrong_results_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def another(model: QuantisedModel, picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
        return np.full(model.plan.output.out_features, 12345)

    monkeypatch.setattr(steps.oracle, "run", another)
    with pytest.raises(TwinveilError, match="gave a wrong value"):
        list(all_steps(secret_key(512), toy(512), repeats=1, quick=True))
