"""Width rules and the overflow proof."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.networks import edge_images, random_image, small_icnn_model, tiny_models
from twinveil.errors import Overflow
from twinveil.network import oracle
from twinveil.network.fixed_point import accumulator_bits, bounds, prove, weight_fraction_bits
from twinveil.network.plan import IMAGE, Conv, Dense, Plan, QuantisedModel, Relu


@pytest.mark.parametrize(
    ("taps", "bits"), [(1, 16), (2, 17), (8, 18), (49, 19), (72, 20), (400, 21), (792, 21), (1200, 22)]
)
def test_accumulator_width_follows_the_fan_in(taps: int, bits: int) -> None:
    assert accumulator_bits(taps) == bits


def test_weight_fraction_leaves_room_for_four_standard_deviations() -> None:
    for taps in range(1, 5000):
        step = 2.0 ** -weight_fraction_bits(taps)
        assert 127 * step >= 4 * (2 / taps) ** 0.5 > 127 * step / 2


@settings(max_examples=60, deadline=None)
@given(tiny_models(), st.integers(0, 2**32))
def test_no_image_leaves_the_bounds(model: QuantisedModel, seed: int) -> None:
    found = prove(model)
    for image in (random_image(model.plan, seed), *edge_images(model.plan)):
        for name, tensor in oracle.trace(model, image).items():
            flat = tensor.reshape(len(tensor), -1)
            assert (flat.min(axis=1) >= found[name].low).all()
            assert (flat.max(axis=1) <= found[name].high).all()


def one_layer(weights: list[int], bias: int, bits: int) -> QuantisedModel:
    plan = Plan((len(weights), 1, 1), 8, (Dense("top", IMAGE, 2, 8, bits),), 0)
    both = np.array([weights, [0] * len(weights)])
    return QuantisedModel(plan, {"top": both}, {"top": np.array([bias, 0])})


@pytest.mark.parametrize(
    ("weights", "bias", "fits"),
    [
        ([127], 127, True),  # 255 * 127 + 127 = 2^15 - 256
        ([127], 382, True),  # 2^15 - 1, the largest
        ([127], 383, False),
        ([-128], -128, True),  # -2^15, the smallest
        ([-128], -129, False),
        ([127, -128], 0, True),  # opposite signs do not add up
        ([127, 2], 0, False),
    ],
)
def test_the_proof_is_exact_for_one_layer(weights: list[int], bias: int, fits: bool) -> None:
    model = one_layer(weights, bias, 16)
    if fits:
        prove(model)
    else:
        with pytest.raises(Overflow, match="'top'"):
            prove(model)


def test_the_proof_names_every_layer_that_overflows() -> None:
    model = small_icnn_model(0)
    narrow = []
    for node in model.plan.nodes:
        if isinstance(node, Conv) and node.name in ("stem7_conv", "a_five_conv"):
            shape = (node.name, node.source, node.out_channels, node.kernel, node.stride, node.padding)
            narrow.append(Conv(*shape, node.weight_bits, 12))
        else:
            narrow.append(node)
    plan = Plan(model.plan.image_shape, 8, tuple(narrow), 0)
    with pytest.raises(Overflow) as caught:
        prove(QuantisedModel(plan, model.weights, model.biases))
    assert "stem7_conv" in str(caught.value)
    assert "a_five_conv" in str(caught.value)
    assert "dense" not in str(caught.value)


def test_bounds_pass_through_requantisation_and_padding() -> None:
    nodes = (Conv("c", IMAGE, 1, (3, 3), 1, 1, 8, 20), Relu("r", "c", 4, 8), Dense("d", "r", 2, 8, 20))
    plan = Plan((1, 3, 3), 8, nodes, 0)
    weights = {"c": np.ones((1, 1, 3, 3), dtype=np.int64), "d": np.zeros((2, 9), dtype=np.int64)}
    found = bounds(QuantisedModel(plan, weights, {"c": np.array([64]), "d": np.array([0, 5])}))
    assert (found["c"].low.tolist(), found["c"].high.tolist()) == ([64], [64 + 9 * 255])
    assert (found["r"].low.tolist(), found["r"].high.tolist()) == ([4], [(64 + 9 * 255) >> 4])
    assert (found["d"].low.tolist(), found["d"].high.tolist()) == ([0, 5], [0, 5])
