"""The oracle: a plan run on plain integers. The encrypted result equals this one bit for bit.

Truncation is floor (`>>`), padding of a convolution is 0, padding of a pool is left out of its window, ties
go to the lowest index. Accumulators are exact and never wrapped: `fixed_point.prove` has shown that they
fit. Sums are made by floating-point matrix products, which are exact here: a plan's limits (31-bit
accumulators aside) keep every partial sum an integer below 2^53.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from twinveil.errors import BadImage
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
)

AnyIntArray = npt.NDArray[np.integer]

_BATCH = 32
"""Pictures at a time: keeps the unrolled windows of the widest layer in some 20 MB."""


def run(model: QuantisedModel, image: AnyIntArray) -> IntArray:
    """Class vector (out,) int64 of one image (channels, height, width) of unsigned `image_bits` integers.

    Raises BadImage if the image is not of the plan's shape and range.
    """
    vector: IntArray = run_batch(model, image[np.newaxis])[0]
    return vector


def run_batch(model: QuantisedModel, images: AnyIntArray) -> IntArray:
    """Class vectors (count, out) int64 of images (count, channels, height, width). Raises BadImage."""
    output = model.plan.output
    vectors = [tensors[output.name] for tensors in _run_tensors(model, images)]
    return np.concatenate(
        [np.zeros((0, output.out_features), dtype=np.int64), *(v[:, :, 0, 0] for v in vectors)]
    )


def trace(model: QuantisedModel, image: AnyIntArray) -> dict[str, IntArray]:
    """Every tensor of one image by name, the image included, each int64 of shape plan.shapes[name].

    Convolutions and the dense layer give accumulators, ReLUs what is left after requantisation.
    """
    (tensors,) = _run_tensors(model, image[np.newaxis])
    return {name: tensor[0] for name, tensor in tensors.items()}


def argmax(vector: AnyIntArray) -> int:
    """Index of the largest entry of a class vector (out,); ties go to the lowest index."""
    return int(np.argmax(vector))


def classify_batch(model: QuantisedModel, images: AnyIntArray) -> IntArray:
    """Classes (count,) int64 of images (count, channels, height, width). Raises BadImage."""
    classes: IntArray = np.argmax(run_batch(model, images), axis=1).astype(np.int64)
    return classes


def _run_tensors(model: QuantisedModel, images: AnyIntArray) -> Iterator[dict[str, IntArray]]:
    _check(model.plan, images)
    for start in range(0, len(images), _BATCH):
        tensors: dict[str, IntArray] = {IMAGE: images[start : start + _BATCH].astype(np.int64)}
        for node in model.plan.nodes:
            tensors[node.name] = _run_node(model, node, tensors)
        yield tensors


def _check(plan: Plan, images: AnyIntArray) -> None:
    if images.ndim != 4 or images.shape[1:] != plan.image_shape:
        raise BadImage(f"the model wants pictures of shape {plan.image_shape}, not {images.shape[1:]}")
    if not np.issubdtype(images.dtype, np.integer):
        raise BadImage("pixels must be integers")
    if images.size and (images.min() < 0 or images.max() >= 1 << plan.image_bits):
        raise BadImage(f"pixels must be 0 to {(1 << plan.image_bits) - 1}")


def _run_node(model: QuantisedModel, node: Node, tensors: dict[str, IntArray]) -> IntArray:
    match node:
        case Conv():
            return _conv(node, tensors[node.source], model.weights[node.name], model.biases[node.name])
        case Relu():
            rectified = np.maximum(tensors[node.source], 0) >> node.shift
            saturated: IntArray = np.minimum(rectified, (1 << node.bits) - 1)
            return saturated
        case MaxPool():
            return _max_pool(node, tensors[node.source])
        case Concat():
            return np.concatenate([tensors[source] for source in node.sources], axis=1)
        case Dense():
            flat = tensors[node.source].reshape(len(tensors[node.source]), -1)
            vectors = _matmul(flat, model.weights[node.name], model.biases[node.name])
            return vectors.reshape(*vectors.shape, 1, 1)


def _conv(node: Conv, inputs: IntArray, weights: IntArray, biases: IntArray) -> IntArray:
    windows = _windows(inputs, node.kernel, node.stride, node.padding, 0)
    count, _, height, width = windows.shape[:4]
    taps = windows.transpose(0, 2, 3, 1, 4, 5).reshape(count * height * width, -1)
    sums = _matmul(taps, weights.reshape(len(weights), -1), biases)
    return np.ascontiguousarray(sums.reshape(count, height, width, -1).transpose(0, 3, 1, 2))


def _max_pool(node: MaxPool, inputs: IntArray) -> IntArray:
    # Activations are never negative, so -1 never wins; every window holds at least one real value.
    windows = _windows(inputs, (node.size, node.size), node.stride, node.padding, -1)
    largest: IntArray = windows.max(axis=(4, 5))
    return largest


def _windows(inputs: IntArray, kernel: tuple[int, int], stride: int, padding: int, fill: int) -> IntArray:
    """(count, channels, rows, columns, kernel height, kernel width), a view where possible."""
    edge = (padding, padding)
    padded = np.pad(inputs, ((0, 0), (0, 0), edge, edge), constant_values=fill)
    return sliding_window_view(padded, kernel, axis=(2, 3))[:, :, ::stride, ::stride]


def _matmul(rows: IntArray, weights: IntArray, biases: IntArray) -> IntArray:
    """rows (n, taps) times weights (out, taps), plus biases (out,): exact, see the top of the file."""
    sums: IntArray = (rows.astype(np.float64) @ weights.T.astype(np.float64)).astype(np.int64)
    return sums + biases
