"""The oracle against two others: pure Python loops, and torch in double precision."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.networks import edge_images, random_image, random_model, small_icnn_model, tiny_models
from twinveil.errors import BadImage
from twinveil.network import oracle
from twinveil.network.plan import IMAGE, Concat, Conv, Dense, MaxPool, Plan, QuantisedModel, Relu

Tensor = list[list[list[int]]]


def naive(model: QuantisedModel, image: Tensor) -> dict[str, Tensor]:
    """The plan's definition, one Python integer at a time."""
    tensors = {IMAGE: image}
    for node in model.plan.nodes:
        channels, height, width = model.plan.shapes[node.name]
        match node:
            case Conv() | Dense():
                weights, biases = model.weights[node.name].tolist(), model.biases[node.name].tolist()
                value = naive_conv if isinstance(node, Conv) else naive_dense
                source = tensors[node.source]
                tensors[node.name] = [
                    [
                        [value(node, source, weights[c], biases[c], y, x) for x in range(width)]
                        for y in range(height)
                    ]
                    for c in range(channels)
                ]
            case Relu():
                tensors[node.name] = [
                    [[min(max(v, 0) >> node.shift, 2**node.bits - 1) for v in row] for row in plane]
                    for plane in tensors[node.source]
                ]
            case MaxPool():
                source = tensors[node.source]
                tensors[node.name] = [
                    [[max(naive_window(node, source[c], y, x)) for x in range(width)] for y in range(height)]
                    for c in range(channels)
                ]
            case Concat():
                tensors[node.name] = [plane for name in node.sources for plane in tensors[name]]
    return tensors


def naive_conv(node: Conv, source: Tensor, weights: Tensor, bias: int, y: int, x: int) -> int:
    total = bias
    for plane, kernel in zip(source, weights, strict=True):
        for dy in range(node.kernel[0]):
            for dx in range(node.kernel[1]):
                row, column = y * node.stride + dy - node.padding, x * node.stride + dx - node.padding
                if 0 <= row < len(plane) and 0 <= column < len(plane[0]):
                    total += plane[row][column] * kernel[dy][dx]
    return total


def naive_dense(node: Dense, source: Tensor, weights: list[int], bias: int, y: int, x: int) -> int:
    flat = [value for plane in source for row in plane for value in row]
    return bias + sum(value * weight for value, weight in zip(flat, weights, strict=True))


def naive_window(node: MaxPool, plane: list[list[int]], y: int, x: int) -> list[int]:
    rows = range(y * node.stride - node.padding, y * node.stride - node.padding + node.size)
    columns = range(x * node.stride - node.padding, x * node.stride - node.padding + node.size)
    return [
        plane[row][column]
        for row in rows
        for column in columns
        if 0 <= row < len(plane) and 0 <= column < len(plane[0])
    ]


torch.set_num_threads(1)  # its layers here are tiny; waiting threads only cost


def by_torch(model: QuantisedModel, images: np.ndarray) -> dict[str, torch.Tensor]:
    tensors = {IMAGE: torch.tensor(images, dtype=torch.float64)}
    for node in model.plan.nodes:
        match node:
            case Conv():
                weights, biases = (torch.tensor(v[node.name]).double() for v in (model.weights, model.biases))
                tensors[node.name] = torch.nn.functional.conv2d(
                    tensors[node.source], weights, biases, node.stride, node.padding
                )
            case Relu():
                v = tensors[node.source].clamp(min=0)
                tensors[node.name] = torch.floor(v / 2**node.shift).clamp(max=2**node.bits - 1)
            case MaxPool():
                tensors[node.name] = torch.nn.functional.max_pool2d(
                    tensors[node.source], node.size, node.stride, node.padding
                )
            case Concat():
                tensors[node.name] = torch.cat([tensors[name] for name in node.sources], dim=1)
            case Dense():
                weights, biases = (torch.tensor(v[node.name]).double() for v in (model.weights, model.biases))
                vector = tensors[node.source].flatten(1) @ weights.T + biases
                tensors[node.name] = vector[:, :, None, None]
    return tensors


@settings(max_examples=60, deadline=None)
@given(tiny_models(max_side=5), st.integers(0, 2**32))
def test_every_tensor_equals_the_naive_loops(model: QuantisedModel, seed: int) -> None:
    for image in (random_image(model.plan, seed), *edge_images(model.plan)[:3]):
        expected = naive(model, image.tolist())
        got = oracle.trace(model, image)
        assert got.keys() == expected.keys()
        for name, tensor in got.items():
            assert tensor.dtype == np.int64
            assert tensor.shape == model.plan.shapes[name]
            assert tensor.tolist() == expected[name], name


@settings(max_examples=80, deadline=None)
@given(tiny_models(max_side=12, max_layers=4), st.integers(0, 2**32))
def test_every_tensor_equals_torch_in_double_precision(model: QuantisedModel, seed: int) -> None:
    images = np.stack([random_image(model.plan, seed), *edge_images(model.plan)])
    expected = by_torch(model, images)
    for index, image in enumerate(images):
        for name, tensor in oracle.trace(model, image).items():
            assert (tensor == expected[name][index].numpy()).all(), name


def test_a_batch_is_the_same_as_one_by_one() -> None:
    model = small_icnn_model(3)
    images = np.stack([random_image(model.plan, seed) for seed in range(70)])
    vectors = oracle.run_batch(model, images)
    assert vectors.shape == (70, 4)
    assert vectors.dtype == np.int64
    assert all(
        (oracle.run(model, image) == vector).all() for image, vector in zip(images, vectors, strict=True)
    )
    assert oracle.classify_batch(model, images).tolist() == [oracle.argmax(vector) for vector in vectors]
    assert oracle.run_batch(model, images[:0]).shape == (0, 4)


def test_accumulators_are_not_wrapped() -> None:
    plan = Plan((1, 1, 1), 8, (Dense("dense", IMAGE, 2, 8, 8),), 0)
    weights, biases = np.array([[127], [-128]]), np.array([1, 1])
    model = QuantisedModel(plan, {"dense": weights}, {"dense": biases})
    assert oracle.run(model, np.array([[[255]]])).tolist() == [127 * 255 + 1, -128 * 255 + 1]


def test_ties_go_to_the_lowest_index() -> None:
    assert oracle.argmax(np.array([3, 7, 7, -1])) == 1


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((1, 3, 3), dtype=np.uint8),
        np.full((1, 12, 12), 256, dtype=np.int64),
        np.full((1, 12, 12), -1, dtype=np.int64),
        np.zeros((1, 12, 12), dtype=np.float64),
    ],
)
def test_a_picture_of_another_shape_or_range_is_refused(image: np.ndarray) -> None:
    with pytest.raises(BadImage):
        oracle.run(small_icnn_model(0), image)


def test_random_models_cover_every_kind_of_layer() -> None:
    models = [random_model(seed) for seed in range(200)]
    nodes = [node for model in models for node in model.plan.nodes]
    assert {type(node) for node in nodes} == {Conv, Relu, MaxPool, Concat, Dense}
    convolutions = [node for node in nodes if isinstance(node, Conv)]
    assert {node.stride for node in convolutions} == {1, 2, 3}
    assert {node.padding for node in convolutions} >= {0, 1, 2, 3}
    assert any(node.kernel[0] != node.kernel[1] for node in convolutions)
    assert any((model.weights[n.name] < 0).any() for model in models for n in model.plan.linear_nodes)
    assert random_model(5).plan == random_model(5).plan


def test_random_models_do_not_die_out() -> None:
    alive = 0
    for seed in range(100):
        model = random_model(seed)
        vectors = oracle.run_batch(model, np.stack([random_image(model.plan, s) for s in range(8)]))
        alive += len(np.unique(vectors, axis=0)) > 1
    assert alive > 60
