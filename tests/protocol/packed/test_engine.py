"""Pictures against the integer oracle, bit for bit, on every layer; and nothing but integers online."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings

from tests.networks import edge_images, random_image, random_model, small_icnn_model, tiny_models
from tests.protocol.packed.clouds import Opened
from tests.protocol.packed.default import default_plan
from tests.protocol.packed.layers import linear
from twinveil.errors import OutOfOrder
from twinveil.garbling.ot_extension import ExtensionReceiver, ExtensionSender
from twinveil.network import oracle
from twinveil.network.plan import QuantisedModel
from twinveil.parallel import Workers
from twinveil.protocol.packed.layout import ItemLayout
from twinveil.protocol.packed.online import s2 as online_s2
from twinveil.protocol.packed.plan import ItemPlan, joined
from twinveil.ring import Words, modulo

pytestmark = pytest.mark.slow


def layers_agree(clouds: Opened, images: npt.NDArray[np.uint8]) -> None:
    """The last query's shares put together are the oracle's sums, and its activations, of every layer."""
    model, plan = clouds.model, clouds.plan
    s1, s2 = clouds.pictures_s1[-1], clouds.pictures_s2[-1]
    for place, image in enumerate(images):
        trace = oracle.trace(model, image)
        (circuits, own1), (_, u, own2) = s1._items[place], s2._items[place]
        for node in model.plan.linear_nodes:
            want = trace[node.name].view(np.uint64).reshape(own1[node.name].shape)
            joined = modulo(own1[node.name] + own2[node.name], node.accumulator_bits)
            assert (joined == modulo(want, node.accumulator_bits)).all(), node.name
        r: dict[str, Words] = {}
        for index in range(len(plan.stages) - 1):
            r |= plan.outputs(index, [circuits[at].masks for at in plan.places(index)])
        assert set(s1._opened[place]) == set(u)
        for name, e in s1._opened[place].items():
            assert (e == s2._opened[place][name]).all()
            x = modulo(e + u[name] + r[name], plan.layout.schedule.pieces[name].share_bits)
            if name in trace:
                assert (x.astype(np.int64) == trace[name]).all(), name


def check(model: QuantisedModel, key_bits: int, images: npt.NDArray[np.uint8]) -> None:
    clouds = Opened(model, key_bits)
    assert (clouds.classify(images).values == oracle.run_batch(model, images)).all()
    layers_agree(clouds, images)


@pytest.mark.parametrize("seed", range(8))
def test_a_random_network(seed: int) -> None:
    model = random_model(seed, image_bits=8 if seed % 2 else 5)
    images = np.stack([random_image(model.plan, seed), *edge_images(model.plan)[1:3]])
    check(model, (320, 512, 768)[seed % 3], images)


@given(tiny_models())
@settings(max_examples=6, deadline=None)
def test_any_network(model: QuantisedModel) -> None:
    check(model, 400, np.stack([random_image(model.plan, 0)]))


def test_a_narrow_icnn_with_every_kind_of_picture_side_by_side() -> None:
    model = small_icnn_model(4)
    check(model, 512, np.stack(edge_images(model.plan)))


def test_branches_of_different_widths_read_one_tensor() -> None:
    """e, r and u are modulo the largest 2^L of a tensor's readers, and every reader takes its own part."""
    model = small_icnn_model(4)
    layout = ItemLayout(model.plan, 512)
    pieces = layout.schedule.pieces
    rings: dict[str, set[int]] = {}
    for step in layout.steps:
        for name in step.inputs:
            rings.setdefault(name, set()).add(step.node.accumulator_bits)
    assert any(len(found) > 1 for found in rings.values())
    assert all(pieces[name].share_bits >= max(found) for name, found in rings.items())


@pytest.mark.parametrize("side", ["lowest", "highest"])
def test_sums_that_wrap_wrap_alike(side: str) -> None:
    """Nobody proved this network: every layer is what its inputs make it, modulo 2^L."""
    model = small_icnn_model(6)
    plan, weights = model.plan, {}
    for node in plan.linear_nodes:
        low = -(1 << (node.weight_bits - 1))
        weights[node.name] = np.full(plan.weight_shape(node), low if side == "lowest" else -low - 1)
    clouds = Opened(QuantisedModel(plan, weights, model.biases))
    clouds.classify(np.stack(edge_images(plan)[1:2]))
    (s1,), (s2,) = clouds.pictures_s1, clouds.pictures_s2
    ((circuits, own1),), ((_, u, own2),) = s1._items, s2._items
    r = {name: mask for half in circuits for name, mask in half.masks.items()}
    x = {name: e + u[name] + r[name] for name, e in s1._opened[0].items()}
    for step in clouds.plan.layout.steps:
        node, ring = step.node, step.node.accumulator_bits
        kernel, bias = (each[node.name].view(np.uint64) for each in (weights, model.biases))
        want = linear(joined(step, x), kernel, node) + bias[:, None]
        found = own1[node.name] + own2[node.name]
        assert (modulo(found, ring) == modulo(want, ring)).all(), node.name


def test_on_workers() -> None:
    model = small_icnn_model(4, side=8)
    with Workers.processes(2) as workers:
        clouds = Opened(model, workers_s1=workers, workers_s2=workers)
        images = np.stack([random_image(model.plan, 0)])
        assert (clouds.classify(images).values == oracle.run_batch(model, images)).all()


# What is left online.

Counted = dict[str, int]


def counting(patch: pytest.MonkeyPatch, clouds: Opened) -> Callable[[], Counted]:
    """Big-integer operations at both clouds by kind, decryptions, and extensions of transfers, so far."""
    calls: Counted = {"prepare": 0, "accept": 0}

    def counted(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def counts(*arguments: Any, **options: Any) -> Any:
            calls[name] += 1
            return call(*arguments, **options)

        return counts

    patch.setattr(ExtensionReceiver, "prepare", counted("prepare", ExtensionReceiver.prepare))
    patch.setattr(ExtensionSender, "accept", counted("accept", ExtensionSender.accept))

    def found() -> Counted:
        operations = (clouds.machine.tally + clouds.secret.tally + clouds.of_s1.tables.tally).as_dict()
        return operations | calls | {"decryptions": clouds.secret.operations}

    return found


@pytest.mark.parametrize("label_only", [False, True])
def test_online_there_is_no_power_no_ciphertext_and_no_extension(
    monkeypatch: pytest.MonkeyPatch, label_only: bool
) -> None:
    model = small_icnn_model(4)
    clouds = Opened(model)
    found = counting(monkeypatch, clouds)
    before = found()
    clouds.make_items(2)
    ahead = found()
    assert {"decryptions", "prepare", "accept"} < {
        kind for kind in ahead if ahead[kind] > before.get(kind, 0)
    }
    clouds.classify(np.stack([random_image(model.plan, each) for each in range(2)]), label_only=label_only)
    assert found() == ahead


def test_broken_with_a_decryption_online(monkeypatch: pytest.MonkeyPatch) -> None:
    model = random_model(2)
    clouds = Opened(model)
    found = counting(monkeypatch, clouds)
    clouds.make_items(1)
    ahead, answer = found(), online_s2.PicturesS2.answer

    def decrypting(self: online_s2.PicturesS2, labels: bytes) -> bytes:
        clouds.secret.decrypt([clouds.public.raw(1)])
        return answer(self, labels)

    monkeypatch.setattr(online_s2.PicturesS2, "answer", decrypting)
    clouds.classify(np.stack([random_image(model.plan, 0)]))
    assert found() != ahead


def test_messages_are_one_round_trip_a_stage_whatever_the_pictures() -> None:
    model = small_icnn_model(4)
    clouds = Opened(model)
    images = np.stack([random_image(model.plan, each) for each in range(3)])
    counted = []
    for pictures in (images[:1], images):
        clouds.make_items(len(pictures))
        clouds.messages.clear()
        clouds.classify(pictures)
        counted.append(len(clouds.messages))
    assert counted == [2 * len(clouds.plan.stages)] * 2


def test_the_default_network_by_its_layout() -> None:
    """Round trips online, decryptions and encryptions an item: from the plan alone."""
    plan = default_plan()
    item = ItemPlan(ItemLayout(plan, 2048))
    assert 2 * len(item.stages) <= 22
    assert item.layout.sums <= 420
    assert item.layout.encryptions <= 4600
    assert ItemLayout(plan, 3072).sums <= 270


def test_turns_come_in_order_and_once() -> None:
    model = random_model(2)
    clouds = Opened(model)
    clouds.classify(np.stack([random_image(model.plan, 0)]))
    (s1,), (s2,) = clouds.pictures_s1, clouds.pictures_s2
    with pytest.raises(OutOfOrder):
        s1.answer(b"")
    with pytest.raises(OutOfOrder):
        s2.answer(b"")
