"""Circuits of stages: every piece of any network equals the oracle's, in as many gates as by formula."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.garbling.garbled import session
from tests.garbling.pools import max_windows
from tests.networks import edge_images, random_image, random_model, small_icnn_model, tiny_models
from twinveil.garbling import ideal
from twinveil.garbling.ahead import Circuit
from twinveil.garbling.bits import from_bits, to_bits
from twinveil.garbling.circuit import run_plain
from twinveil.garbling.gates import Counter, blank
from twinveil.garbling.products import Pixels
from twinveil.network import oracle
from twinveil.network.plan import IMAGE, Dense, MaxPool, Plan, QuantisedModel
from twinveil.network.schedule import Schedule, Stage, schedule
from twinveil.protocol.packed.stages import LABEL, activation, label, stage_parts
from twinveil.ring import modulo

Tensors = Mapping[str, np.ndarray]


def pieces(stage: Stage, tensors: Tensors) -> dict[str, np.ndarray]:
    """What leaves a stage, from the oracle's tensors and the ideal pools."""
    made = dict(tensors)
    for pool in stage.pools:
        made[pool.name] = ideal.max_windows(made[pool.source], pool.size, pool.stride, pool.padding)
    return {name: made[name] for name in stage.outputs}


def inputs(described: Circuit | Pixels, tensors: Tensors) -> dict[str, tuple[int, np.ndarray]]:
    """Bits and values of what enters."""
    shapes = {described.name: described.shape} if isinstance(described, Pixels) else described.inputs
    return {
        name: (bits, modulo(tensors[name].astype(np.int64).view(np.uint64), bits).reshape(batch))
        for name, (bits, *batch) in shapes.items()
    }


def whole(stages: Schedule, stage: Stage) -> Circuit:
    return activation(stages, stage, {relu.name: stages.pieces[relu.name].shape for relu in stage.relus})


def through(described: list[Circuit | Pixels], tensors: Tensors) -> list[dict[str, np.ndarray]]:
    """All circuits of one picture garbled ahead, then opened in turn: the sums of both clouds' shares."""
    receiver, sender = session(sum(each.transfers for each in described))
    made = [each.garble(sender) for each in described]
    held = [each.hold(half.offer(), receiver) for each, half in zip(described, made, strict=True)]
    results = []
    for each, given_, taken in zip(described, made, held, strict=True):
        masked = {
            name: value ^ taken.drawn[name] if name == IMAGE else modulo(value - taken.drawn[name], bits)
            for name, (bits, value) in inputs(each, tensors).items()
        }
        opened = taken.open(given_.answer(masked))
        widths = {each.name: each.width} if isinstance(each, Pixels) else each.widths
        results.append(
            {
                name: modulo(share + given_.masks[name], widths[name])
                if name in widths
                else share ^ given_.masks[name]
                for name, share in opened.items()
            }
        )
    return results


def check(model: QuantisedModel, image: np.ndarray) -> None:
    plan, stages = model.plan, schedule(model.plan)
    tensors = oracle.trace(model, image)
    described = [part.circuit for part in stage_parts(stages)]
    assert len(described) == len(stages.stages)
    results = through(described, tensors)
    for stage, result in zip(stages.stages, results, strict=False):
        expected = pieces(stage, tensors) or {
            LABEL: np.array(oracle.argmax(tensors[plan.output.name].reshape(-1)))
        }
        assert set(result) == set(expected)
        for name, value in expected.items():
            np.testing.assert_array_equal(result[name], value, err_msg=name)


@settings(max_examples=25, deadline=None)
@given(tiny_models(), st.integers(0, 2**31))
def test_any_network(model: QuantisedModel, seed: int) -> None:
    check(model, random_image(model.plan, seed))


@pytest.mark.parametrize("seed", range(3))
def test_edge_pictures_of_a_small_icnn(seed: int) -> None:
    model = small_icnn_model(seed)
    for image in edge_images(model.plan):
        check(model, image)


def test_pools_on_the_picture_itself() -> None:
    plan = Plan((2, 5, 6), 4, (MaxPool("pool", IMAGE, 3, 2, 1), Dense("dense", "pool", 3, 3, 14)), 0)
    first, last = (part.circuit for part in stage_parts(schedule(plan)))
    assert isinstance(first, Circuit)
    image = np.random.default_rng(0).integers(0, 16, plan.image_shape)
    scores = np.array([5, -3, 5])
    results = through([first, last], {IMAGE: image, "dense": scores})
    np.testing.assert_array_equal(results[0]["pool"], ideal.max_windows(image, 3, 2, 1))
    assert results[1][LABEL] == 0


def some_sums(plan: Plan, stage: Stage, seed: int) -> dict[str, np.ndarray]:
    """Sums of all sizes, the ends of their ranges among them."""
    rng = np.random.default_rng(seed)
    made = {}
    for relu in stage.relus:
        bits, shape = plan.bits[relu.source], plan.shapes[relu.source]
        top = 1 << bits - 1
        small = rng.integers(-(1 << relu.shift + 2) - 1, (1 << relu.shift + 2) + 2, shape).clip(-top, top - 1)
        ends = rng.choice([-top, top - 1, 0, -1, 1], shape)
        made[relu.source] = np.where(rng.random(shape) < 0.5, small, ends)
    return made


@pytest.mark.parametrize("seed", range(20))
def test_saturation_and_negative_sums(seed: int) -> None:
    """Also against the ideal twin: the same program on bits, with rho and without."""
    plan = (small_icnn_model(seed) if seed % 2 else random_model(seed)).plan
    stages = schedule(plan)
    for stage in stages.stages[1:-1]:
        sums = some_sums(plan, stage, seed)
        relus = {r.name: ideal.relu_requantise(sums[r.source], r.shift, r.bits) for r in stage.relus}
        expected = pieces(stage, relus)
        described = whole(stages, stage)
        bits = {name: to_bits(value, size) for name, (size, value) in inputs(described, sums).items()}
        none = {name: np.zeros_like(each) for name, each in bits.items()}
        for masked, drawn in ((bits, none), (none, bits)):
            plain = run_plain(described.program, masked, drawn)
            assert {name: from_bits(each).tolist() for name, each in plain.items()} == {
                name: value.tolist() for name, value in expected.items()
            }
        (result,) = through([described], sums)
        for name, value in expected.items():
            np.testing.assert_array_equal(result[name], value, err_msg=name)


@pytest.mark.parametrize("classes", [2, 3, 10, 16])
def test_labels_of_ties_and_extremes(classes: int) -> None:
    plan = Plan((1, 1, 1), 8, (Dense("dense", IMAGE, classes, 3, 12),), 0)
    described = label(schedule(plan))
    rng = np.random.default_rng(classes)
    for scores in (
        rng.integers(-2048, 2048, classes),
        np.full(classes, -2048),
        np.full(classes, 2047),
        rng.choice([-2048, 2047], classes),
    ):
        (result,) = through([described], {"dense": scores})
        assert result[LABEL] == np.argmax(scores)
    assert described.answer_bytes == 16 * 12 * classes


def formula(plan: Plan, stage: Stage) -> int:
    """AND gates of an activation, without running anything: see packed/stages.py."""
    gates, shapes, bits = 0, {}, {}
    for source in {relu.source for relu in stage.relus}:
        gates += (plan.bits[source] - 1) * int(np.prod(plan.shapes[source]))
    for relu in stage.relus:
        shapes[relu.name], bits[relu.name] = plan.shapes[relu.source], relu.bits
        left = plan.bits[relu.source] - 1 - relu.shift
        high = max(left - relu.bits, 0)
        gates += int(np.prod(plan.shapes[relu.source])) * (max(min(left, relu.bits), 0) + high)
    for pool in stage.pools:
        counter = Counter()
        made = max_windows(counter, blank((1, *shapes[pool.source])), pool.size, pool.stride, pool.padding)
        shapes[pool.name], bits[pool.name] = made.shape[1:], bits[pool.source]
        gates += counter.and_gates * bits[pool.name]
    return gates


@settings(max_examples=40, deadline=None)
@given(tiny_models())
def test_gates_are_those_of_the_formula(model: QuantisedModel) -> None:
    stages = schedule(model.plan)
    for stage in stages.stages[1:-1]:
        assert whole(stages, stage).counts.and_gates == formula(model.plan, stage)


def test_branches_of_one_stage_cost_less_depth() -> None:
    """Three ReLUs and their pools side by side, as deep as the deepest pool over two kinds of sums."""
    plan = small_icnn_model(0).plan
    stages = schedule(plan)
    for stage in stages.stages[1:-1]:
        described = whole(stages, stage)
        kinds = {(plan.bits[relu.source], relu.shift, relu.bits) for relu in stage.relus}
        adders = sum(bits - 1 for bits in {plan.bits[relu.source] for relu in stage.relus})
        assert described.counts.gates <= adders + 7 * len(kinds) + 9 * 12
