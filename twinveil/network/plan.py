"""The plan: a compiled network's public face. Topology, shapes, widths and scales; no weights.

Both clouds, the owner and the user hold the same plan and refer to it by its hash. Everything that
security needs (mask widths, slot widths, operation budgets) is computed from it, never from what a
client claims beside it. Tensors are (channels, height, width).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from twinveil.errors import BadPlan
from twinveil.network.faults import faults_of
from twinveil.network.nodes import (
    IMAGE,
    Concat,
    Conv,
    Dense,
    Linear,
    MaxPool,
    Node,
    Relu,
    Shape,
    output_shape,
)
from twinveil.values import read_json

IntArray = npt.NDArray[np.int64]

__all__ = [
    "IMAGE",
    "Concat",
    "Conv",
    "Dense",
    "IntArray",
    "Linear",
    "MaxPool",
    "Node",
    "Plan",
    "QuantisedModel",
    "Relu",
    "Shape",
    "output_shape",
]

_KINDS: dict[str, type[Node]] = {cls.kind: cls for cls in (Conv, Relu, MaxPool, Concat, Dense)}


@dataclass(frozen=True)
class Plan:
    """A checked network. Raises BadPlan, listing every fault, if it cannot be run.

    image_shape: (channels, height, width) of the input, unsigned `image_bits` each.
    nodes: in an order in which each node's sources come before it; the last is the Dense one.
    fraction_bits: the class vector in real units is the integer vector / 2^fraction_bits.
    """

    image_shape: Shape
    image_bits: int
    nodes: tuple[Node, ...]
    fraction_bits: int

    def __post_init__(self) -> None:
        faults = faults_of(self)
        if faults:
            raise BadPlan("the network cannot be run: " + "; ".join(faults))

    @cached_property
    def by_name(self) -> Mapping[str, Node]:
        return {node.name: node for node in self.nodes}

    @cached_property
    def shapes(self) -> Mapping[str, Shape]:
        """Shape of every tensor by name; the Dense output is (out_features, 1, 1)."""
        shapes: dict[str, Shape] = {IMAGE: self.image_shape}
        for node in self.nodes:
            shapes[node.name] = output_shape(node, shapes)
        return shapes

    @cached_property
    def bits(self) -> Mapping[str, int]:
        """Width of every unsigned activation tensor, and the signed width of every accumulator, by name."""
        bits = {IMAGE: self.image_bits}
        for node in self.nodes:
            match node:
                case Conv() | Dense():
                    bits[node.name] = node.accumulator_bits
                case Relu():
                    bits[node.name] = node.bits
                case MaxPool():
                    bits[node.name] = bits[node.source]
                case Concat():
                    bits[node.name] = max(bits[source] for source in node.sources)
        return bits

    @property
    def linear_nodes(self) -> tuple[Linear, ...]:
        return tuple(node for node in self.nodes if isinstance(node, Conv | Dense))

    @property
    def output(self) -> Dense:
        last = self.nodes[-1]
        if not isinstance(last, Dense):
            raise BadPlan("the last layer must be dense")
        return last

    def taps(self, node: Linear) -> int:
        """Number of products summed into one accumulator of `node`."""
        channels, height, width = self.shapes[node.source]
        match node:
            case Conv():
                return channels * node.kernel[0] * node.kernel[1]
            case Dense():
                return channels * height * width

    def weight_shape(self, node: Linear) -> tuple[int, ...]:
        match node:
            case Conv():
                return (node.out_channels, self.shapes[node.source][0], *node.kernel)
            case Dense():
                return (node.out_features, self.taps(node))

    def products(self, node: Linear) -> int:
        """Multiplications of the plain layer, padding counted like any other tap."""
        channels, height, width = self.shapes[node.name]
        return channels * height * width * self.taps(node)

    def to_dict(self) -> dict[str, Any]:
        return {
            "image_shape": list(self.image_shape),
            "image_bits": self.image_bits,
            "nodes": [{"kind": node.kind, **asdict(node)} for node in self.nodes],
            "fraction_bits": self.fraction_bits,
        }

    def to_json(self) -> str:
        """Canonical form: equal plans give equal text."""
        return json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"))

    @cached_property
    def hash(self) -> bytes:
        """SHA-256 of the canonical form, 32 bytes."""
        return hashlib.sha256(self.to_json().encode()).digest()

    @classmethod
    def from_json(cls, text: str | bytes) -> Plan:
        """Raises BadPlan for anything that is not exactly a plan."""
        try:
            data = read_json(text)
            nodes = tuple(_node_from_dict(item) for item in data.pop("nodes"))
            shape = tuple(data.pop("image_shape"))
            if len(shape) != 3:
                raise BadPlan("image_shape must be channels, height, width")
            return cls(image_shape=shape, nodes=nodes, **data)
        except BadPlan:
            raise
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
            raise BadPlan(f"not a plan: {type(error).__name__}") from None


@dataclass(frozen=True)
class QuantisedModel:
    """A plan with its integers: what the owner holds and the oracle runs.

    weights, biases: by linear node name; int64 arrays of plan.weight_shape(node) and (out,).
    """

    plan: Plan
    weights: Mapping[str, IntArray]
    biases: Mapping[str, IntArray]

    def __post_init__(self) -> None:
        names = [node.name for node in self.plan.linear_nodes]
        if sorted(self.weights) != sorted(names) or sorted(self.biases) != sorted(names):
            raise BadPlan(f"weights and biases must be given for exactly these layers: {', '.join(names)}")
        for node in self.plan.linear_nodes:
            shape = self.plan.weight_shape(node)
            weights, biases = self.weights[node.name], self.biases[node.name]
            if weights.shape != shape or biases.shape != shape[:1]:
                raise BadPlan(f"layer {node.name} needs weights of shape {shape} and {shape[0]} biases")
            for what, values, bits in (
                ("weights", weights, node.weight_bits),
                ("biases", biases, node.accumulator_bits),
            ):
                if values.min() < -(1 << (bits - 1)) or values.max() >= 1 << (bits - 1):
                    raise BadPlan(f"layer {node.name} has {what} outside signed {bits} bits")


def _node_from_dict(item: dict[str, Any]) -> Node:
    fields = dict(item)
    cls = _KINDS[fields.pop("kind")]
    for key in ("kernel", "sources"):
        if key in fields:
            fields[key] = tuple(fields[key])
    return cls(**fields)
