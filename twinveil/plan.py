"""The plan: a compiled network's public face. Topology, shapes, widths and scales; no weights.

Both clouds, the owner and the user hold the same plan and refer to it by its hash. Everything that
security needs (mask widths, slot widths, operation budgets) is computed from it, never from what a
client claims beside it. Tensors are (channels, height, width).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from math import prod
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from twinveil.errors import BadPlan

Shape = tuple[int, int, int]
IntArray = npt.NDArray[np.int64]

MAX_ACCUMULATOR_BITS = 31
MAX_VALUES = 1 << 20
"""Values of one tensor, and weights of one layer."""
MAX_PRODUCTS = 1 << 26
"""Multiplications of one layer."""
_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")


@dataclass(frozen=True, slots=True)
class Conv:
    """SCVL: accumulators of a convolution. Weights (out, in, kh, kw), signed, `weight_bits` each."""

    kind: ClassVar[str] = "conv"
    name: str
    source: str
    out_channels: int
    kernel: tuple[int, int]
    stride: int
    padding: int
    weight_bits: int
    accumulator_bits: int


@dataclass(frozen=True, slots=True)
class Relu:
    """SACT and requantisation: min(max(v, 0) >> shift, 2^bits - 1)."""

    kind: ClassVar[str] = "relu"
    name: str
    source: str
    shift: int
    bits: int


@dataclass(frozen=True, slots=True)
class MaxPool:
    """SMAP: maximum over size x size windows; padding is left out of the window."""

    kind: ClassVar[str] = "maxpool"
    name: str
    source: str
    size: int
    stride: int
    padding: int


@dataclass(frozen=True, slots=True)
class Concat:
    """Channels of several activations, one after the other."""

    kind: ClassVar[str] = "concat"
    name: str
    sources: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Dense:
    """SCT: the class vector. Weights (out, channels * height * width), channel-major flattening."""

    kind: ClassVar[str] = "dense"
    name: str
    source: str
    out_features: int
    weight_bits: int
    accumulator_bits: int


Linear = Conv | Dense
Node = Conv | Relu | MaxPool | Concat | Dense
_KINDS: dict[str, type[Node]] = {cls.kind: cls for cls in (Conv, Relu, MaxPool, Concat, Dense)}

IMAGE = "image"
"""Name of the plan's input tensor."""


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
        faults = _faults(self)
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
            data = json.loads(text)
            nodes = tuple(_node_from_dict(item) for item in data.pop("nodes"))
            shape = tuple(int(side) for side in data.pop("image_shape"))
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


def output_shape(node: Node, shapes: Mapping[str, Shape]) -> Shape:
    """Shape of the tensor that `node` makes from tensors of `shapes`, by name."""
    match node:
        case Conv():
            _, height, width = shapes[node.source]
            return (
                node.out_channels,
                _steps(height, node.kernel[0], node.stride, node.padding),
                _steps(width, node.kernel[1], node.stride, node.padding),
            )
        case MaxPool():
            channels, height, width = shapes[node.source]
            return (
                channels,
                _steps(height, node.size, node.stride, node.padding),
                _steps(width, node.size, node.stride, node.padding),
            )
        case Concat():
            first = shapes[node.sources[0]]
            return (sum(shapes[source][0] for source in node.sources), first[1], first[2])
        case Relu():
            return shapes[node.source]
        case Dense():
            return (node.out_features, 1, 1)


def _steps(side: int, kernel: int, stride: int, padding: int) -> int:
    return (side + 2 * padding - kernel) // stride + 1


def _is_int(value: object, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _are_ints(values: object, count: int, low: int, high: int) -> bool:
    return isinstance(values, tuple) and len(values) == count and all(_is_int(v, low, high) for v in values)


def _is_name(value: object) -> bool:
    return isinstance(value, str) and _NAME.fullmatch(value) is not None


def _faults(plan: Plan) -> list[str]:
    """Everything that keeps `plan` from being run, in the order of its layers."""
    if not _are_ints(plan.image_shape, 3, 1, 1024):
        return ["the image shape must be three integers from 1 to 1024"]
    if prod(plan.image_shape) > MAX_VALUES:
        return [f"the image has more than {MAX_VALUES:,} values"]
    faults = []
    if not _is_int(plan.image_bits, 1, 8):
        faults.append("image_bits must be 1 to 8")
    if not _is_int(plan.fraction_bits, 0, MAX_ACCUMULATOR_BITS):
        faults.append(f"fraction_bits must be 0 to {MAX_ACCUMULATOR_BITS}")
    if not 1 <= len(plan.nodes) <= 200:
        return [*faults, "a plan has 1 to 200 layers"]
    shapes: dict[str, Shape] = {IMAGE: plan.image_shape}
    activations = {IMAGE}
    accumulators: dict[str, bool] = {}
    for node in plan.nodes:
        fault = _node_fault(node, shapes, activations, accumulators)
        if not _is_name(node.name) or node.name in shapes:
            fault = fault or "its name is missing, taken or not of the form a-z0-9_"
        if fault:
            faults.append(f"layer {node.name!r}: {fault}")
            # Keep going with a plausible shape so that later faults are listed, too.
            shapes.setdefault(node.name, plan.image_shape)
            activations.add(node.name)
            continue
        shapes[node.name] = output_shape(node, shapes)
        if too_large := _size_fault(node, shapes):
            return [*faults, f"layer {node.name!r}: {too_large}"]
        if isinstance(node, Conv):
            accumulators[node.name] = False
        else:
            activations.add(node.name)
        if isinstance(node, Dense) and node is not plan.nodes[-1]:
            faults.append(f"layer {node.name!r}: a dense layer can only be the last one")
    if not isinstance(plan.nodes[-1], Dense):
        faults.append("the last layer must be dense")
    read = {
        source
        for node in plan.nodes
        for source in (node.sources if isinstance(node, Concat) else (node.source,))
    }
    unread = [name for name, done in accumulators.items() if not done]
    faults.extend(f"layer {name!r}: a convolution must be followed by exactly one ReLU" for name in unread)
    idle = [node.name for node in plan.nodes[:-1] if node.name not in read and node.name not in unread]
    faults.extend(f"layer {name!r}: no layer reads its output" for name in idle)
    return faults


def _node_fault(
    node: Node, shapes: Mapping[str, Shape], activations: set[str], accumulators: dict[str, bool]
) -> str | None:
    """What is wrong with one node, or None. Marks a convolution as read by its ReLU."""
    sources = node.sources if isinstance(node, Concat) else (node.source,)
    if not sources or any(source not in shapes for source in sources):
        return "it reads a layer that does not come before it"
    if isinstance(node, Relu):
        if accumulators.get(node.source) is not False:
            return "a ReLU must follow a convolution that no other layer reads"
        accumulators[node.source] = True
        if not _is_int(node.bits, 1, 8) or not _is_int(node.shift, 0, MAX_ACCUMULATOR_BITS):
            return "its shift or width is out of range"
        return None
    if any(source not in activations for source in sources):
        return "it reads a convolution without a ReLU between"
    if isinstance(node, Conv | Dense):
        if not _is_int(node.weight_bits, 2, 12):
            return "weight_bits must be 2 to 12"
        if not _is_int(node.accumulator_bits, node.weight_bits, MAX_ACCUMULATOR_BITS):
            return f"accumulator_bits must be weight_bits to {MAX_ACCUMULATOR_BITS}"
    match node:
        case Conv():
            if not _are_ints(node.kernel, 2, 1, 15):
                return "its kernel must be two integers from 1 to 15"
            return _window_fault(shapes[node.source], node.kernel, node.stride, node.padding) or (
                None if _is_int(node.out_channels, 1, 1024) else "out_channels must be 1 to 1024"
            )
        case MaxPool():
            if not _is_int(node.size, 1, 15):
                return "its window must be 1 to 15"
            return _window_fault(shapes[node.source], (node.size, node.size), node.stride, node.padding)
        case Concat():
            if len({shapes[source][1:] for source in sources}) != 1:
                return "its inputs differ in height or width"
        case Dense():
            if not _is_int(node.out_features, 2, 1000):
                return "out_features must be 2 to 1000"
    return None


def _size_fault(node: Node, shapes: Mapping[str, Shape]) -> str | None:
    """What keeps a cloud from ever running this node: a plan comes from a client, and is paid for here."""
    outputs, taps = prod(shapes[node.name]), 1
    match node:
        case Conv():
            taps = shapes[node.source][0] * prod(node.kernel)
        case Dense():
            taps = prod(shapes[node.source])
        case MaxPool():
            taps = node.size**2
    weights = shapes[node.name][0] * taps if isinstance(node, Conv | Dense) else 0
    if outputs > MAX_VALUES or weights > MAX_VALUES:
        return f"it has more than {MAX_VALUES:,} values or weights"
    if outputs * taps > MAX_PRODUCTS:
        return f"it has more than {MAX_PRODUCTS:,} products"
    return None


def _window_fault(shape: Shape, kernel: tuple[int, int], stride: int, padding: int) -> str | None:
    if not _is_int(stride, 1, 15) or not _is_int(padding, 0, 14):
        return "its stride or padding is out of range"
    for side, window in zip(shape[1:], kernel, strict=True):
        if padding >= window:
            return "its padding is not smaller than its window"
        if side + 2 * padding < window:
            return "its window is larger than its input"
    return None
