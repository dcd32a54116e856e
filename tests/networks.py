"""Small random networks and pictures for tests: every kind of layer, proven not to overflow.

One builder serves seeded tests (`random_model`) and hypothesis (`tiny_models`, `tiny_plans`): it asks a
`Pick` for integers and does not care who answers, so hypothesis can shrink a failing network.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import strategies as st

from twinveil.network import fixed_point
from twinveil.network.plan import (
    IMAGE,
    Concat,
    Conv,
    Dense,
    IntArray,
    MaxPool,
    Node,
    Plan,
    QuantisedModel,
    Relu,
    Shape,
)

Pick = Callable[[int, int], int]
"""An integer from `low` to `high`, both included."""

Image = npt.NDArray[np.uint8]

_ROOMY = 31
"""Accumulator width while the real one is not known yet."""


def few_of(count: int, few: int) -> list[Any]:
    """Seeds: so many, of which all but the first few are for the heavier tests."""
    return [pytest.param(seed, marks=() if seed < few else pytest.mark.heavy) for seed in range(count)]


def random_model(
    seed: int, *, max_side: int = 9, max_channels: int = 3, max_layers: int = 4, image_bits: int = 8
) -> QuantisedModel:
    """A proven network of up to `max_layers` layers or modules and a dense one; the seed decides all."""
    source = random.Random(seed)
    return build_model(source.randint, max_side, max_channels, max_layers, image_bits)


def tiny_models(
    max_side: int = 7, max_channels: int = 3, max_layers: int = 3
) -> st.SearchStrategy[QuantisedModel]:
    """Proven networks: strides, paddings, odd kernels, pools, inception modules, weights of every style."""

    @st.composite
    def models(draw: st.DrawFn) -> QuantisedModel:
        return build_model(
            lambda low, high: draw(st.integers(low, high)), max_side, max_channels, max_layers, 8
        )

    return models()


def tiny_plans(max_side: int = 7, max_channels: int = 3, max_layers: int = 3) -> st.SearchStrategy[Plan]:
    return tiny_models(max_side, max_channels, max_layers).map(lambda model: model.plan)


def random_image(plan: Plan, seed: int) -> Image:
    """Uniform pixels of the plan's shape."""
    source = np.random.default_rng(seed)
    return source.integers(0, 1 << plan.image_bits, plan.image_shape, dtype=np.uint8)


def edge_images(plan: Plan) -> list[Image]:
    """All zero, all at the maximum, few levels (ties in every pool), a checkerboard, one lit pixel."""
    top = (1 << plan.image_bits) - 1
    zero = np.zeros(plan.image_shape, dtype=np.uint8)
    lit = zero.copy()
    lit[0, plan.image_shape[1] // 2, plan.image_shape[2] // 2] = top
    checkers = (np.indices(plan.image_shape).sum(axis=0) % 2 * top).astype(np.uint8)
    levels = (random_image(plan, 0) // (top // 2 + 1) * (top // 2)).astype(np.uint8)
    return [zero, np.full_like(zero, top), levels, checkers, lit]


def small_icnn_model(seed: int, side: int = 12, channels: int = 1, classes: int = 4) -> QuantisedModel:
    """Random integers in a narrow ICNN: all eleven convolutions, four pools, two inception modules."""
    nodes: list[Node] = []
    stem = _conv_relu(nodes, "stem7", IMAGE, 2, (7, 7), 2, 3, 8)
    nodes.append(MaxPool("stem_pool", stem, 3, 2, 1))
    stem = _conv_relu(nodes, "stem1", "stem_pool", 2, (1, 1), 1, 0, 8)
    stem = _conv_relu(nodes, "stem3", stem, 3, (3, 3), 1, 1, 8)
    a = _inception(nodes, "a", stem, (2, 1, 2, 1), 8)
    b = _inception(nodes, "b", a, (1, 2, 1, 2), 8)
    nodes.append(MaxPool("pool", b, 2, 2, 0))
    nodes.append(Dense("dense", "pool", classes, 8, _ROOMY))
    return _fill((channels, side, side), 8, nodes, random.Random(seed).randint)


def build_model(
    pick: Pick, max_side: int, max_channels: int, max_layers: int, image_bits: int
) -> QuantisedModel:
    """A random network whose integers are proven; every choice is asked of `pick`."""
    shape = (pick(1, max_channels), pick(1, max_side), pick(1, max_side))
    nodes: list[Node] = []
    source, shapes = IMAGE, {IMAGE: shape}
    for index in range(pick(0, max_layers)):
        name = f"layer{index}"
        kind = pick(0, 3)
        bits = pick(1, 8) if pick(0, 3) == 0 else 8
        if kind == 0:
            size, stride, padding = _window(pick, shapes[source], 4)
            nodes.append(MaxPool(name, source, size, stride, min(padding, size // 2)))
            source = name
        elif kind == 1 and max_channels > 1:
            widths = (pick(1, 2), pick(1, 2), pick(1, 2), pick(1, 2))
            source = _inception(nodes, name, source, widths, bits)
        else:
            size, stride, padding = _window(pick, shapes[source], 7)
            side = min(pick(1, 7), shapes[source][2] + 2 * padding)
            kernel = (size, size) if pick(0, 2) or side <= padding else (size, side)
            source = _conv_relu(nodes, name, source, pick(1, max_channels), kernel, stride, padding, bits)
        shapes = dict(_roomy_plan(shape, image_bits, nodes, source).shapes)
    nodes.append(Dense("dense", source, pick(2, 4), pick(2, 8), _ROOMY))
    return _fill(shape, image_bits, nodes, pick)


def _window(pick: Pick, shape: Shape, largest: int) -> tuple[int, int, int]:
    """Window size, stride and padding that fit `shape`, larger than the picture only with padding."""
    size = pick(1, largest)
    padding = pick(0, size - 1)
    while size > min(shape[1:]) + 2 * padding:
        size, padding = size - 1, min(padding, size - 2)
    return size, pick(1, 3), padding


def _conv_relu(
    nodes: list[Node],
    name: str,
    source: str,
    out_channels: int,
    kernel: tuple[int, int],
    stride: int,
    padding: int,
    bits: int,
) -> str:
    nodes.append(Conv(f"{name}_conv", source, out_channels, kernel, stride, padding, 8, _ROOMY))
    nodes.append(Relu(name, f"{name}_conv", 0, bits))
    return name


def _inception(
    nodes: list[Node], name: str, source: str, widths: tuple[int, int, int, int], bits: int
) -> str:
    """Branches 1x1; 1x1 then 3x3; 5x5; 3x3 pool. `widths` are the channels of the four convolutions."""
    one = _conv_relu(nodes, f"{name}_one", source, widths[0], (1, 1), 1, 0, bits)
    reduced = _conv_relu(nodes, f"{name}_reduce", source, widths[1], (1, 1), 1, 0, bits)
    three = _conv_relu(nodes, f"{name}_three", reduced, widths[2], (3, 3), 1, 1, bits)
    five = _conv_relu(nodes, f"{name}_five", source, widths[3], (5, 5), 1, 2, bits)
    nodes.append(MaxPool(f"{name}_pool", source, 3, 1, 1))
    nodes.append(Concat(name, (one, three, five, f"{name}_pool")))
    return name


def _roomy_plan(shape: Shape, image_bits: int, nodes: list[Node], source: str) -> Plan:
    """The nodes so far as a plan, closed by a throw-away dense layer."""
    return Plan(shape, image_bits, (*nodes, Dense("roomy", source, 2, 2, _ROOMY)), 0)


def _fill(shape: Shape, image_bits: int, nodes: list[Node], pick: Pick) -> QuantisedModel:
    """Integers for `nodes`, then for each layer a width that the proof accepts, from tight to roomy, and a
    shift that keeps activations alive."""
    plan = Plan(shape, image_bits, tuple(nodes), 0)
    source = np.random.default_rng(pick(0, 1 << 30))
    weights: dict[str, IntArray] = {}
    biases: dict[str, IntArray] = {}
    for linear in plan.linear_nodes:
        weights[linear.name] = _weights(plan.weight_shape(linear), linear.weight_bits, pick(0, 4), source)
        half = 1 << (linear.weight_bits + 2)
        biases[linear.name] = source.integers(-half, half, plan.weight_shape(linear)[0], dtype=np.int64)
    done: list[Node] = []
    for node in nodes:
        done.append(_narrowed(plan, nodes, len(done), done, weights, biases, pick) or node)
    model = QuantisedModel(Plan(shape, image_bits, tuple(done), pick(0, 12)), weights, biases)
    fixed_point.prove(model)
    return model


def _narrowed(
    plan: Plan,
    nodes: list[Node],
    index: int,
    done: list[Node],
    weights: Mapping[str, IntArray],
    biases: Mapping[str, IntArray],
    pick: Pick,
) -> Node | None:
    """Node `index` with its width or shift fitted to the layers before it; None if it has neither."""
    node = nodes[index]
    if not isinstance(node, Conv | Dense | Relu):
        return None
    partial = Plan(plan.image_shape, plan.image_bits, (*done, *nodes[index:]), 0)
    found = fixed_point.bounds(QuantisedModel(partial, weights, biases))
    if isinstance(node, Relu):
        high = max(1, int(found[node.source].high.max()))
        shift = max(0, high.bit_length() - node.bits - pick(0, 3))
        return Relu(node.name, node.source, shift, node.bits)
    reach = max(int(found[node.name].high.max()), -int(found[node.name].low.min()) - 1, 1)
    bias = max(int(biases[node.name].max()), -int(biases[node.name].min()) - 1, 1)
    bits = max(reach.bit_length() + 1, bias.bit_length() + 1, node.weight_bits)
    bits = min(_ROOMY, bits + (pick(0, 4) if pick(0, 1) else 0))
    if isinstance(node, Conv):
        shape = (node.name, node.source, node.out_channels, node.kernel, node.stride, node.padding)
        return Conv(*shape, node.weight_bits, bits)
    return Dense(node.name, node.source, node.out_features, node.weight_bits, bits)


def _weights(shape: tuple[int, ...], bits: int, style: int, source: np.random.Generator) -> IntArray:
    """Styles: 0 small, 1 full range, 2 mostly zero, 3 only negative, 4 only the extremes."""
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    full = source.integers(low, high + 1, shape, dtype=np.int64)
    match style:
        case 0:
            return full // max(1, high // 3)
        case 2:
            return full * (source.random(shape) < 0.2)
        case 3:
            return np.minimum(full, -full - 1)
        case 4:
            return np.where(source.random(shape) < 0.5, low, high).astype(np.int64)
        case _:
            return full
