"""Fixed point: the public rules for widths and scales, and the proof that nothing overflows.

A real number v is held as the integer v * 2^f. Every width and every f follows from the topology alone:
bounds taken from trained weights would publish their norms (docs: fixed point, widths).

    pixels        unsigned 8 bits, f = 8    (0 .. 1)
    activations   unsigned 8 bits, f = 6    (0 .. 4, saturating)    `Precision`
    weights       signed 8 bits,   f from the fan-in: `weight_fraction_bits`
    accumulators  signed L bits,   L from the fan-in: `accumulator_bits`, f = that of input + weights

The saturation belongs to requantisation, not to SACT, which is x * t: it bounds what a layer can hand to the
next one, so that each layer can be proven by itself.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from twinveil.errors import BadPlan, Overflow
from twinveil.network.plan import (
    IMAGE,
    Concat,
    Conv,
    Dense,
    IntArray,
    Linear,
    MaxPool,
    Plan,
    QuantisedModel,
    Relu,
)

PIXEL_BITS = 8
PIXEL_FRACTION_BITS = 8


@dataclass(frozen=True, slots=True)
class Precision:
    """How finely a network is held. The default loses nothing measurable on handwritten digits.

    weight_bits: signed, 2 to 12. activation_bits: unsigned, 1 to 8, of which activation_fraction_bits are
    behind the point. Raises BadPlan for anything else.
    """

    weight_bits: int = 8
    activation_bits: int = 8
    activation_fraction_bits: int = 6

    def __post_init__(self) -> None:
        if not 2 <= self.weight_bits <= 12:
            raise BadPlan(f"weights have 2 to 12 bits, not {self.weight_bits}")
        if (
            not 1 <= self.activation_bits <= 8
            or not 0 <= self.activation_fraction_bits <= PIXEL_FRACTION_BITS
        ):
            raise BadPlan("activations have 1 to 8 bits and 0 to 8 behind the point")


def accumulator_bits(taps: int, input_bits: int = 8, weight_bits: int = 8) -> int:
    """Width L of a sum of `taps` products: one product, plus half of log2(taps).

    Sums of zero-mean weights grow like the square root of their number; training keeps every filter within
    the width, and `prove` shows it. 49 taps need 19 bits, 1,200 taps 22.
    """
    return input_bits + weight_bits + math.ceil(math.ceil(math.log2(taps)) / 2)


def weight_fraction_bits(taps: int, weight_bits: int = 8) -> int:
    """Fractional bits of a layer's weights: room for four standard deviations of He initialisation.

    He et al. 2015: unit-variance activations want weights of standard deviation sqrt(2 / taps).
    """
    largest = (1 << (weight_bits - 1)) - 1
    return max(0, math.floor(math.log2(largest / (4 * math.sqrt(2 / taps)))))


def scales(plan: Plan) -> Mapping[str, int]:
    """Fractional bits of every tensor by name, under the rules above: integer = real * 2^bits."""
    bits = {IMAGE: PIXEL_FRACTION_BITS}
    for node in plan.nodes:
        match node:
            case Conv() | Dense():
                bits[node.name] = bits[node.source] + weight_fraction_bits(plan.taps(node), node.weight_bits)
            case Relu():
                bits[node.name] = bits[node.source] - node.shift
            case MaxPool():
                bits[node.name] = bits[node.source]
            case Concat():
                bits[node.name] = bits[node.sources[0]]
    return bits


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a tensor can hold for any image at all: `low` and `high` are (channels,) integers, both reached
    or wider than reached."""

    low: IntArray
    high: IntArray


def bounds(model: QuantisedModel) -> Mapping[str, Bounds]:
    """Interval bounds of every tensor by name, from pixels 0 .. 2^image_bits - 1 and the actual weights.

    Accumulators are taken as unbounded integers here, as in the oracle.
    """
    plan = model.plan
    channels = plan.image_shape[0]
    full = np.full(channels, (1 << plan.image_bits) - 1, dtype=np.int64)
    found = {IMAGE: Bounds(np.zeros(channels, dtype=np.int64), full)}
    for node in plan.nodes:
        match node:
            case Conv() | Dense():
                found[node.name] = _linear_bounds(model, node, found[node.source])
            case Relu():
                source, largest = found[node.source], (1 << node.bits) - 1
                found[node.name] = Bounds(
                    np.minimum(np.maximum(source.low, 0) >> node.shift, largest),
                    np.minimum(np.maximum(source.high, 0) >> node.shift, largest),
                )
            case MaxPool():
                found[node.name] = found[node.source]
            case Concat():
                found[node.name] = Bounds(
                    np.concatenate([found[source].low for source in node.sources]),
                    np.concatenate([found[source].high for source in node.sources]),
                )
    return found


def _linear_bounds(model: QuantisedModel, node: Linear, source: Bounds) -> Bounds:
    weights = model.weights[node.name].astype(np.int64)
    weights = weights.reshape(weights.shape[0], len(source.high), -1)
    positive = np.maximum(weights, 0).sum(axis=2)
    negative = np.minimum(weights, 0).sum(axis=2)
    low = source.low
    if isinstance(node, Conv) and node.padding:
        low = np.minimum(low, 0)  # a tap on padding is exactly 0
    biases = model.biases[node.name].astype(np.int64)
    return Bounds(
        biases + positive @ low + negative @ source.high,
        biases + positive @ source.high + negative @ low,
    )


def prove(model: QuantisedModel) -> Mapping[str, Bounds]:
    """Show that no image leaves a declared accumulator width; returns the bounds.

    Raises Overflow naming every layer that can: then the encrypted result could differ from the oracle's.
    """
    found = bounds(model)
    faults = []
    for node in model.plan.linear_nodes:
        limit = 1 << (node.accumulator_bits - 1)
        low, high = int(found[node.name].low.min()), int(found[node.name].high.max())
        if low < -limit or high >= limit:
            faults.append(f"layer {node.name!r} can reach {low} .. {high}")
            faults[-1] += f", outside signed {node.accumulator_bits} bits"
    if faults:
        raise Overflow("the network can overflow: " + "; ".join(faults))
    return found
