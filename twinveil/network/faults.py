"""What keeps a plan from being run. A client may have sent it: all of it is checked before any work."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from math import prod
from typing import Protocol

from twinveil.network.nodes import IMAGE, Concat, Conv, Dense, MaxPool, Node, Relu, Shape, output_shape

MAX_ACCUMULATOR_BITS = 31
LIMITS = {"values": 1 << 21, "weights": 1 << 20, "products": 1 << 27, "window entries": 1 << 24}
"""Of a whole network and of all pictures of a query: they bound what these cost in time. The default network
for colour pictures of 224 x 224 has 1,774,986 values, 71 million products, 10 million window entries. What it
takes of memory (protocol/size.py) is for each cloud's own budget to refuse."""
_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")


class Described(Protocol):
    """A network's description as it came in; plan.py makes a Plan of it once nothing is wrong."""

    @property
    def image_shape(self) -> Shape: ...
    @property
    def image_bits(self) -> int: ...
    @property
    def fraction_bits(self) -> int: ...
    @property
    def nodes(self) -> Sequence[Node]: ...
    @property
    def shapes(self) -> Mapping[str, Shape]: ...


def faults_of(plan: Described) -> list[str]:
    """Everything that keeps `plan` from being run, in the order of its layers."""
    if not _are_ints(plan.image_shape, 3, 1, 1024):
        return ["the image shape must be three integers from 1 to 1024"]
    sizes = Counter({"values": prod(plan.image_shape)})
    if sizes["values"] > LIMITS["values"]:
        return [f"the image has more than {LIMITS['values']:,} values"]
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
        sizes.update(_sizes(node, shapes))
        if over := _over(sizes):
            return [*faults, f"the layers up to {node.name!r} have more than {over}"]
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


def over_limits(plan: Described, pictures: int) -> str | None:
    """Which of the limits a query of so many pictures exceeds, or None."""
    sizes = Counter({"values": prod(plan.image_shape)})
    for node in plan.nodes:
        sizes.update(_sizes(node, plan.shapes))
    return _over({what: size * (1 if what == "weights" else pictures) for what, size in sizes.items()})


def _over(sizes: Mapping[str, int]) -> str | None:
    return (
        " and ".join(f"{most:,} {what}" for what, most in LIMITS.items() if sizes.get(what, 0) > most) or None
    )


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


def _sizes(node: Node, shapes: Mapping[str, Shape]) -> dict[str, int]:
    """What a cloud pays for this node: a plan comes from a client, and is paid for by the clouds."""
    shape, taps = shapes[node.name], 0
    match node:
        case Conv():
            taps = shapes[node.source][0] * prod(node.kernel)
        case Dense():
            taps = prod(shapes[node.source])
        case MaxPool():
            return {"values": prod(shape), "window entries": prod(shape) * node.size**2}
    return {
        "values": prod(shape),
        "weights": shape[0] * taps,
        "products": prod(shape) * taps,
        "window entries": prod(shape[1:]) * taps,
    }


def _window_fault(shape: Shape, kernel: tuple[int, int], stride: int, padding: int) -> str | None:
    if not _is_int(stride, 1, 15) or not _is_int(padding, 0, 14):
        return "its stride or padding is out of range"
    for side, window in zip(shape[1:], kernel, strict=True):
        if padding >= window:
            return "its padding is not smaller than its window"
        if side + 2 * padding < window:
            return "its window is larger than its input"
    return None


def _is_int(value: object, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _are_ints(values: object, count: int, low: int, high: int) -> bool:
    return isinstance(values, tuple) and len(values) == count and all(_is_int(v, low, high) for v in values)


def _is_name(value: object) -> bool:
    return isinstance(value, str) and _NAME.fullmatch(value) is not None
