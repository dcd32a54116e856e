"""Networks whose stages and items do not fit in a message: cut, and exact all the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import prod
from typing import Any

import numpy as np
import pytest

from tests.networks import random_image, random_model, small_icnn_model
from tests.protocol.packed.clouds import Opened
from tests.protocol.packed.default import default_plan
from tests.protocol.packed.rules.test_order import early
from tests.protocol.packed.test_cost import difference
from tests.protocol.packed.test_engine import layers_agree
from together.bench.networks import any_model
from twinveil.errors import AlreadyUsed, InvalidCiphertext, InvalidMessage, OutOfOrder, TwinveilError
from twinveil.garbling.ahead import Circuit, GarblerHalf
from twinveil.network import oracle
from twinveil.network.plan import IMAGE, Conv, Dense, MaxPool, Plan, QuantisedModel, Relu
from twinveil.protocol.packed import parts
from twinveil.protocol.packed.cost import operations_s1, operations_s2
from twinveil.protocol.packed.layout import ItemLayout
from twinveil.protocol.packed.parts import runs
from twinveil.protocol.packed.plan import ItemPlan
from twinveil.protocol.packed.powers import TABLE_BUDGET, table_group
from twinveil.protocol.packed.turns import item_turns, query_turns
from twinveil.rpc import rounds_pb2 as pb

pytestmark = pytest.mark.slow

POOLED_PICTURE = Plan(
    (3, 6, 6),
    5,
    (
        MaxPool("pool", IMAGE, 2, 2, 0),
        Conv("conv", "pool", 4, (2, 2), 1, 0, 4, 16),
        Relu("relu", "conv", 3, 6),
        Dense("dense", "relu", 3, 4, 18),
    ),
    0,
)
MODELS = {
    **{f"random {seed}": random_model(seed) for seed in range(4)},
    "icnn": small_icnn_model(4),
    "pooled picture": any_model(POOLED_PICTURE),
}


@pytest.mark.parametrize(
    ("name", "most"), [("random 3", 1), *((name, most) for name in MODELS for most in (1500, 8000))]
)
def test_any_network_is_exact_in_parts(name: str, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """most: bytes of a message. With one every unit and every ciphertext is a part or a step of its own."""
    monkeypatch.setattr(parts, "MESSAGE_BYTES", most)
    model = MODELS[name]
    clouds = Opened(model)
    plan, images = clouds.plan, np.stack([random_image(model.plan, seed) for seed in range(2)])
    assert len(plan.steps) > 1 or len(plan.stages) == 2
    assert (clouds.classify(images).values == oracle.run_batch(model, images)).all()
    layers_agree(clouds, images)
    labels = [oracle.argmax(vector) for vector in oracle.run_batch(model, images)]
    assert clouds.classify(images, label_only=True).values.tolist() == labels


@pytest.mark.parametrize("name", ["random 3", "icnn"])
def test_formulas_are_what_is_sent_and_done(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "MESSAGE_BYTES", 2000)
    clouds = Opened(MODELS[name])
    plan, group = clouds.plan, table_group(clouds.plan.layout, TABLE_BUDGET)
    clouds.make_items(1)
    before = clouds.machine.tally.as_dict(), clouds.secret.tally.as_dict()
    clouds.messages.clear()
    clouds.make_items(1)
    turns = item_turns(plan, 1)
    assert [message.ByteSize() for message in clouds.messages] == [
        size for turn in turns for size in (turn.sent, turn.received)
    ]
    assert difference(clouds.machine.tally, before[0]) == operations_s1(plan, group)
    assert difference(clouds.secret.tally, before[1]) == operations_s2(plan)
    for numbers, label_only in (([0], False), ([1], True)):
        clouds.make_items(len(numbers) - len(clouds.items_s1))
        clouds.messages.clear()
        clouds.classify(random_image(clouds.model.plan, 0)[None], label_only=label_only)
        turns = query_turns(plan, numbers, label_only)
        assert len(turns) > len(plan.stages)
        assert [message.ByteSize() for message in clouds.messages] == [
            size for turn in turns for size in (turn.sent, turn.received)
        ]


def covered(plan: ItemPlan) -> Iterator[tuple[str, int, np.ndarray]]:
    """Of each tensor how often each value is in a part: as an input, as an output."""
    pieces, shapes = plan.layout.schedule.pieces, plan.layout.plan.shapes
    for kind in ("inputs", "outputs"):
        seen: dict[str, np.ndarray] = {}
        for part in plan.parts[:-1]:
            for name, at in getattr(part, kind).items():
                size = prod(shapes[name] if kind == "inputs" else pieces[name].shape)
                seen.setdefault(name, np.zeros(size, int))[at] += 1
        for name, times in seen.items():
            yield name, len(times), times


@pytest.mark.parametrize("bytes_", [1, 5000, 100_000])
@pytest.mark.parametrize("plan", [default_plan(), POOLED_PICTURE, MODELS["random 1"].plan])
def test_every_value_is_in_one_part(plan: Plan, bytes_: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "MESSAGE_BYTES", bytes_)
    items = ItemPlan(ItemLayout(plan, 2048))
    names = []
    for name, _, times in covered(items):
        assert (times == 1).all(), name
        names.append(name)
    outputs = {name for name, piece in items.layout.schedule.pieces.items() if piece.share_bits}
    assert outputs <= set(names)
    uncut = ItemPlan(ItemLayout(plan, 2048))
    monkeypatch.undo()
    gates = [
        sum(part.circuit.counts.and_gates for part in each.parts if isinstance(part.circuit, Circuit))
        for each in (items, uncut)
    ]
    assert len(uncut.parts) == len(uncut.stages)
    assert gates[0] == gates[1]


def test_the_default_network_is_not_cut() -> None:
    for key_bits in (2048, 3072):
        items = ItemPlan(ItemLayout(default_plan(), key_bits))
        assert len(items.steps) == 1
        assert len(items.parts) == len(items.stages)
        assert all(len(items.labels(index, 30)) == 1 for index in range(len(items.stages)))


def test_runs_fill_messages() -> None:
    half = parts.MESSAGE_BYTES // 2
    assert runs([(half, 0), (half, 1), (1, half), (0, half), (3 * half, 0), (0, 0)]) == [
        range(2),
        range(2, 4),
        range(4, 5),
        range(5, 6),
    ]


# The rules hold of parts as they do of whole stages.


@pytest.fixture
def cut(monkeypatch: pytest.MonkeyPatch) -> Opened:
    monkeypatch.setattr(parts, "MESSAGE_BYTES", 20_000)
    return Opened(MODELS["icnn"])


def test_every_part_has_an_offset_and_a_start_point_of_its_own(cut: Opened) -> None:
    cut.make_items(1)
    tables = [
        circuit.tables[:16]
        for message in cut.messages
        for circuit in message.item_offer.circuits
        if circuit.tables
    ]
    circuits, _ = cut.items_s1[0].spend()
    offsets = [half._delta.tobytes() for half in circuits if isinstance(half, GarblerHalf)]
    assert len(offsets) == len(tables) > len(cut.plan.stages)
    assert len(set(offsets)) == len(set(tables)) == len(tables)


def test_labels_of_a_stage_leave_when_its_turn_is_whole(cut: Opened) -> None:
    """S2 sends its turn in one message, then nothing until it has the labels of all parts."""
    cut.make_items(1)
    cut.steps()
    cut.classify(random_image(cut.model.plan, 0)[None])
    steps = cut.steps()
    order = [step for step in steps if step in ("shared_turn", "labels_taken")]
    expected = []
    for index in range(len(cut.plan.stages) - 1):
        expected += ["shared_turn", *["labels_taken"] * (len(cut.plan.labels(index, 1)) - 1)]
    assert order == [*expected, "shared_turn"]
    assert "labels_taken" in order


def test_no_label_of_a_part_leaves_early(cut: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    assert early(cut, monkeypatch) == set()


Change = Callable[[pb.Round], Any]


def meddling(body: str, number: int, change: Change) -> Callable[[pb.Round], pb.Round]:
    """Changes the number-th such message."""
    seen = 0

    def meddle(message: pb.Round) -> pb.Round:
        nonlocal seen
        if message.WhichOneof("body") != body:
            return message
        seen += 1
        if seen != number + 1:
            return message
        changed = pb.Round.FromString(message.SerializeToString())
        change(changed)
        return changed

    return meddle


WRONG: dict[str, tuple[str, int, Change, type[TwinveilError]]] = {
    "a step left out": ("item_offer", 1, lambda m: setattr(m.item_offer, "step", 2), OutOfOrder),
    "a step again": ("item_offer", 1, lambda m: setattr(m.item_offer, "step", 0), OutOfOrder),
    "a part less": ("item_offer", 1, lambda m: m.item_offer.circuits.pop() and None, InvalidMessage),
    "sums too early": (
        "item_offer",
        0,
        lambda m: setattr(m.item_offer, "ciphertexts", b"0"),
        InvalidCiphertext,
    ),
    "choices too early": (
        "item_offer",
        0,
        lambda m: setattr(m.item_offer, "extension", b"0"),
        InvalidMessage,
    ),
    "words too early": ("item_inputs", 0, lambda m: setattr(m.item_inputs, "words", b"0"), InvalidMessage),
    "E(u) too early": (
        "item_inputs",
        0,
        lambda m: setattr(m.item_inputs, "ciphertexts", b"0"),
        InvalidCiphertext,
    ),
    "no transfers": ("item_inputs", 1, lambda m: m.item_inputs.ClearField("extension"), InvalidMessage),
    "more labels": (
        "labels",
        1,
        lambda m: setattr(m.labels, "labels", m.labels.labels + b"0"),
        InvalidMessage,
    ),
    "no more labels due": ("labels_taken", 0, lambda m: m.shared_turn.SetInParent(), OutOfOrder),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_comes_wrong_is_refused(cut: Opened, name: str) -> None:
    body, number, change, error = WRONG[name]
    cut.meddle = meddling(body, number, change)
    with pytest.raises(error):
        cut.classify(random_image(cut.model.plan, 0)[None])


def test_labels_are_not_taken_again(cut: Opened) -> None:
    """A part's labels in place of the next part's: the last of a stage, or another message's, come once."""
    cut.classify(random_image(cut.model.plan, 0)[None])
    for pictures in cut.pictures_s2:
        with pytest.raises(OutOfOrder):
            pictures.answer(b"")
    circuits, _ = cut.pictures_s1[0]._items[0]
    with pytest.raises(AlreadyUsed):
        circuits[1].answer({})


def large() -> Plan:
    """51,200 ReLUs in one layer."""
    return Plan(
        (1, 80, 80),
        8,
        (
            Conv("many", IMAGE, 8, (3, 3), 1, 1, 4, 18),
            Relu("relu", "many", 6, 8),
            Conv("few", "relu", 1, (8, 8), 8, 0, 4, 20),
            Relu("left", "few", 6, 8),
            Dense("dense", "left", 3, 4, 20),
        ),
        0,
    )


@pytest.mark.heavy
def test_a_layer_of_more_than_45_000_activations() -> None:
    model: QuantisedModel = any_model(large())
    clouds = Opened(model, 768)
    image = random_image(model.plan, 5)
    assert (clouds.classify(image[None]).values[0] == oracle.run(model, image)).all()
    assert len(clouds.plan.places(1)) > 1
    assert max(message.ByteSize() for message in clouds.messages) <= 33 << 20
