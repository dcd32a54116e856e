"""Steps by themselves: what the table says of them was counted on the way, and results are checked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import pytest

from tests.crypto.crypto_keys import secret_key, toy
from together.bench import steps
from together.bench.dialogue import play
from together.bench.packed_smp import PackedSmp
from together.bench.report import tables
from together.bench.steps import all_steps, garbled, pool_layer, transfers
from together.bench.textbook import PRODUCTS, TextbookSmp, predicted_product
from twinveil.cli.terminal import Terminal
from twinveil.crypto.secret_key import SecretKey
from twinveil.crypto.tally import KINDS
from twinveil.errors import TwinveilError
from twinveil.estimate.cost import corrections, garbled_batch
from twinveil.estimate.seconds import Link
from twinveil.estimate.wire import round_bytes
from twinveil.garbling.circuit import run_plain
from twinveil.garbling.labels import Bools
from twinveil.protocol.textbook.engine import Ask
from twinveil.protocol.packed.s2 import PackedS2
from twinveil.rounds.scripted import Script
from twinveil.rpc import rounds_pb2 as pb

pytestmark = pytest.mark.slow

EMPTY = round_bytes("masked_sums") + round_bytes("answered")
"""The request before a step that S2 begins, and the answer after it."""


def test_every_step_runs_by_itself() -> None:
    made = list(all_steps(secret_key(512), toy(512), repeats=3, quick=True))
    assert [each.name for each in made] == [
        "SMP, textbook",
        "SMP, packed",
        "ReLU layer",
        "pool layer, 3x3",
        "OT",
    ]
    for each in made:
        shown = each.as_dict(Link())
        for part in ("ahead", "s1", "s2", "seconds"):
            assert shown[part]["runs"] == 3
            assert 0 < shown[part]["least"] <= shown[part]["median"] <= shown[part]["largest"]
        assert shown["link_seconds"] == shown["seconds"]["median"]
        for run in each.runs:
            assert (run.traffic.bytes, run.traffic.round_trips) == (shown["bytes"], shown["round_trips"])
    assert [each.as_dict(Link())["ahead_round_trips"] for each in made] == [0, 1, 2, 2, 2]


def test_round_trips_are_counted() -> None:
    smp = TextbookSmp(secret_key(512), toy(512))
    assert [smp.run(products).traffic.round_trips for products in (1, 128, 129)] == [1, 1, 2]

    def s1(ask: Ask) -> Iterator[None]:
        ask(pb.Round(commit=pb.Commit()))
        yield
        for size in range(3):
            ask(pb.Round(corrections=pb.Corrections(bits=bytes(size))))

    def s2(_: pb.Round) -> Script:
        while True:
            yield pb.Round(done=pb.Done())

    run = play(s1, s2)
    assert (run.traffic_ahead.round_trips, run.traffic.round_trips) == (1, 3)
    assert run.traffic.bytes == 3 * round_bytes("done") + sum(
        round_bytes("corrections", bits=size) for size in range(3)
    )


def test_the_textbook_forecast_is_what_both_sides_count() -> None:
    key, each = secret_key(512), dict.fromkeys(KINDS, 1.0)
    smp = TextbookSmp(key, toy(512))
    smp.run(PRODUCTS)  # makes the table of nonces
    before = smp.tally.total + key.tally.total
    smp.run(PRODUCTS)
    checking = sum(SecretKey.decrypt_counts(PRODUCTS).values())
    counted = smp.tally.total + key.tally.total - before - checking
    biases = PRODUCTS
    assert PRODUCTS * predicted_product(toy(512), each) == pytest.approx(counted + biases)


def test_bytes_are_those_of_the_estimate() -> None:
    step = pool_layer(4, 2, 5)
    run = garbled(step)
    assert run.traffic.bytes == EMPTY + corrections(step) + garbled_batch(step)
    assert (run.traffic_ahead.round_trips, run.traffic.round_trips) == (2, 2)
    bits = transfers(24).traffic
    assert bits.bytes == EMPTY + round_bytes("corrections", bits=3) + round_bytes(
        "garbled_batch", masked_labels=24 * 32
    )


def test_the_table_has_trips_and_the_time_over_a_link(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    smp = TextbookSmp(secret_key(512), toy(512))
    measured = steps.StepRuns("SMP, textbook", 129, [smp.run(129)])
    link = Link(12.5)
    [table] = tables({"details": {}, "steps": [measured.as_dict(link)], "link": asdict(link)})
    Terminal().show(table)
    text = capsys.readouterr().out
    assert "over a link of 12500 ms" in text
    (row,) = [line.split() for line in text.splitlines() if "SMP, textbook" in line]
    assert row[2] == "129"
    assert row[-2] == "2"
    assert int(row[-1].replace(",", "")) == round(4 * 12500 + 1e3 * measured.runs[0].seconds)


def test_a_link_costs_its_latency_for_every_message_and_its_bandwidth() -> None:
    each = next(iter(all_steps(secret_key(512), toy(512), repeats=1, quick=True)))
    here, there = each.on(Link()), each.on(Link(0.5, 1e6))
    assert each.values == 140  # two messages of SMP and their answers
    assert there - here == pytest.approx(4 * 0.5 + 8 * each.runs[0].traffic.bytes / 1e6)


def test_wrong_results_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    smp = PackedSmp(secret_key(512), toy(512), 1, 2)
    kept = PackedS2.keep

    def inverted(self: PackedS2, outputs: dict[str, Bools]) -> None:
        kept(self, {name: ~bits for name, bits in outputs.items()})

    smp.run()
    monkeypatch.setattr(PackedS2, "keep", inverted)
    with pytest.raises(TwinveilError, match="wrong sum"):
        smp.run()

    def another(*arguments: Any) -> dict[str, Bools]:
        return {name: ~bits for name, bits in run_plain(*arguments).items()}

    monkeypatch.setattr(steps, "run_plain", another)
    with pytest.raises(TwinveilError, match="wrong output"):
        garbled(pool_layer(2, 1, 3))
