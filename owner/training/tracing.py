"""From a torch network to a plan: which layer reads which, and which layers cannot be run.

torch.fx records the network's graph without running it. Every unusable layer is found before anything is
refused, so that one look at the message is enough to repair a network.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional

from owner.training import layers
from twinveil.errors import BadPlan
from twinveil.network import fixed_point
from twinveil.network.plan import IMAGE, Concat, Conv, Dense, MaxPool, Node, Plan, Relu, Shape, output_shape

_NOTHING = (nn.Identity, nn.Dropout, nn.Dropout2d)
"""Layers that do nothing at inference."""

_RELU_FUNCTIONS: tuple[object, ...] = (functional.relu, functional.relu_, torch.relu, torch.relu_)
_CAT_FUNCTIONS: tuple[object, ...] = (torch.cat, torch.concat, torch.concatenate)
_POOL_FUNCTIONS: tuple[object, ...] = (functional.max_pool2d, torch.max_pool2d)


@dataclass(frozen=True, slots=True)
class LinearLayer:
    """Where a convolution's or dense layer's real weights are: the layer, and what is folded into it."""

    module: nn.Conv2d | nn.Linear
    norm: nn.BatchNorm2d | None = None


@dataclass(frozen=True, slots=True)
class Traced:
    """A plan, and the layers its weights come from, by plan name."""

    plan: Plan
    linear: dict[str, LinearLayer]


def trace(module: nn.Module, image_shape: Shape, precision: fixed_point.Precision | None = None) -> Traced:
    """The plan of a network on pictures (channels, height, width), with the widths of fixed_point.

    Understood: Conv2d, BatchNorm2d after it, ReLU, MaxPool2d, cat along channels, flatten, Linear at the end,
    and what does nothing at inference (Identity, Dropout). Raises BadPlan, listing every unusable layer.
    """
    try:
        graph = fx.symbolic_trace(module)
    except Exception as error:  # the network's own forward runs here and may raise anything
        raise BadPlan(f"the network's forward cannot be followed: {str(error).splitlines()[0]}") from error
    reader = _Reader(dict(graph.named_modules()), image_shape, precision or fixed_point.Precision())
    for node in graph.graph.nodes:
        reader.read(node)
    return reader.finish()


@dataclass
class _Value:
    """What is known of one fx value: the plan tensor it is, and what may still follow."""

    name: str
    shape: Shape | None
    """None once a layer before it is unusable: no shape is checked from there on."""
    raw: bool = False
    """A convolution's accumulators, waiting for their ReLU."""
    flat: bool = False


@dataclass
class _Reader:
    modules: dict[str, nn.Module]
    image_shape: Shape
    precision: fixed_point.Precision
    nodes: list[Node] = field(default_factory=list)
    linear: dict[str, LinearLayer] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    values: dict[fx.Node, _Value] = field(default_factory=dict)
    fraction_bits: dict[str, int] = field(default_factory=lambda: {IMAGE: fixed_point.PIXEL_FRACTION_BITS})
    bits: dict[str, int] = field(default_factory=lambda: {IMAGE: fixed_point.PIXEL_BITS})
    seen: set[str] = field(default_factory=set)

    def read(self, node: fx.Node) -> None:
        match node.op:
            case "placeholder":
                if self.values:
                    self.faults.append(f"input {node.name!r}: a network has exactly one input, the picture")
                self.values[node] = _Value(IMAGE, self.image_shape)
            case "get_attr":
                self.values[node] = _Value(str(node.target), None)
            case "output":
                self._read_output(node)
            case _:
                self.values[node] = self._read_layer(node)

    def finish(self) -> Traced:
        if self.faults:
            raise BadPlan("the network cannot be run: " + "; ".join(self.faults))
        dense = self.nodes[-1]
        if not isinstance(dense, Dense):
            raise BadPlan("the network cannot be run: the last layer must be dense")
        scale = self.fraction_bits[dense.name]
        plan = Plan(self.image_shape, fixed_point.PIXEL_BITS, tuple(self.nodes), scale)
        return Traced(plan, self.linear)

    def _read_layer(self, node: fx.Node) -> _Value:
        name, what = self._name(node), self._what(node)
        sources = [self.values[source] for source in node.all_input_nodes]
        handler = self._handler(what)
        if handler is None or not sources:
            return self._refuse(node, name, sources, f"{_title(what)} has no encrypted form")
        before = len(self.faults)
        value = handler(node, name, what, sources)
        return value if len(self.faults) == before else _Value(name, None, flat=value.flat)

    def _handler(self, what: object) -> Callable[..., _Value] | None:
        match what:
            case nn.Conv2d():
                return self._conv
            case nn.BatchNorm2d():
                return self._norm
            case nn.ReLU():
                return self._relu
            case nn.MaxPool2d():
                return self._pool
            case nn.Linear():
                return self._dense
            case nn.Flatten():
                return self._flatten
            case _ if isinstance(what, _NOTHING):
                return self._nothing
        if what in _RELU_FUNCTIONS or what == "relu":
            return self._relu
        if what in _CAT_FUNCTIONS:
            return self._concat
        if what is torch.flatten or what == "flatten":
            return self._flatten
        if what in _POOL_FUNCTIONS:
            return self._pool
        return None

    def _conv(self, node: fx.Node, name: str, conv: nn.Conv2d, sources: list[_Value]) -> _Value:
        source = self._activation(name, sources[0])
        self._add_faults(name, layers.conv_faults(conv, source.shape), conv)
        followers = self._followers(node)
        if len(followers) == 1 and isinstance(self._what(followers[0]), nn.BatchNorm2d):
            followers = self._followers(followers[0])
        if len(followers) != 1 or self._handler(self._what(followers[0])) != self._relu:
            self._fault(name, "a convolution must be followed by one ReLU and nothing else")
        self.linear[name] = LinearLayer(conv)
        self._scale(name, source, conv)
        return self._placed(
            name, source, lambda: layers.conv_node(name, source.name, conv, *self._widths(source)), raw=True
        )

    def _norm(self, node: fx.Node, name: str, norm: nn.BatchNorm2d, sources: list[_Value]) -> _Value:
        (source,) = sources
        layer = self.linear.get(source.name)
        if layer is None or not source.raw or layer.norm is not None:
            if source.shape is not None:
                self._fault(name, "batch normalisation is only understood right after a convolution")
            return source
        self._add_faults(name, layers.norm_faults(norm), norm)
        self.linear[source.name] = LinearLayer(layer.module, norm)
        return source

    def _relu(self, node: fx.Node, name: str, what: object, sources: list[_Value]) -> _Value:
        (source,) = sources
        if not source.raw:
            return source  # activations and pixels are never negative
        if source.shape is not None:
            self.bits[name] = self.precision.activation_bits
            self.fraction_bits[name] = self.precision.activation_fraction_bits
            shift = self.fraction_bits[source.name] - self.fraction_bits[name]
            self.nodes.append(Relu(name, source.name, shift, self.bits[name]))
        return _Value(name, source.shape)

    def _pool(self, node: fx.Node, name: str, what: object, sources: list[_Value]) -> _Value:
        source = self._activation(name, sources[0])
        pool = what if isinstance(what, nn.MaxPool2d) else layers.pool_from_call(node.args[1:], node.kwargs)
        self._add_faults(name, layers.pool_faults(pool, source.shape), None)
        placed = self._placed(name, source, lambda: layers.pool_node(name, source.name, pool))
        self.fraction_bits[placed.name] = self.fraction_bits.get(source.name, 0)
        self.bits[placed.name] = self.bits.get(source.name, 0)
        return placed

    def _concat(self, node: fx.Node, name: str, what: object, sources: list[_Value]) -> _Value:
        tensors = node.args[0] if node.args else node.kwargs.get("tensors")
        dim = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", 0)
        if not isinstance(tensors, tuple | list) or dim not in (1, -3):
            self._fault(name, "only channels can be concatenated (dim=1)")
            return _Value(name, None)
        # A tensor may come twice, so the list itself counts, not the set of inputs.
        sources = [self.values[tensor] for tensor in tensors if isinstance(tensor, fx.Node)]
        parts = [self._activation(name, value) for value in sources]
        if any(part.shape is None for part in parts):
            return _Value(name, None)
        scales = {self.fraction_bits[part.name] for part in parts}
        if len(scales) > 1:
            self._fault(name, "its inputs have different scales: the picture itself cannot be concatenated")
        if len({part.shape[1:] for part in parts if part.shape}) > 1:
            self._fault(name, "its inputs differ in height or width")
        self.fraction_bits[name] = min(scales)
        self.bits[name] = max(self.bits[part.name] for part in parts)
        concat = Concat(name, tuple(part.name for part in parts))
        height, width = parts[0].shape[1:] if parts[0].shape else (0, 0)
        self.nodes.append(concat)
        return _Value(name, (sum(part.shape[0] for part in parts if part.shape), height, width))

    def _flatten(self, node: fx.Node, name: str, what: object, sources: list[_Value]) -> _Value:
        source = self._activation(name, sources[0])
        if isinstance(what, nn.Flatten):
            start: object = what.start_dim
            end: object = what.end_dim
        else:
            start = node.args[1] if len(node.args) > 1 else node.kwargs.get("start_dim", 0)
            end = node.args[2] if len(node.args) > 2 else node.kwargs.get("end_dim", -1)
        if start != 1 or end not in (-1, 3):
            self._fault(name, "only everything but the batch can be flattened (start_dim=1)")
        return _Value(source.name, source.shape, flat=True)

    def _dense(self, node: fx.Node, name: str, linear: nn.Linear, sources: list[_Value]) -> _Value:
        source = self._activation(name, sources[0], flat=True)
        self._add_faults(name, layers.dense_faults(linear, source.shape), linear)
        if any(user.op != "output" for user in node.users):
            self._fault(name, "a dense layer can only be the last one")
        self.linear[name] = LinearLayer(linear)
        self._scale(name, source, linear)
        return self._placed(
            name, source, lambda: layers.dense_node(name, source.name, linear, *self._widths(source))
        )

    def _nothing(self, node: fx.Node, name: str, what: object, sources: list[_Value]) -> _Value:
        return sources[0]

    def _placed(
        self, name: str, source: _Value, make: Callable[[], Conv | MaxPool | Dense], raw: bool = False
    ) -> _Value:
        """Add a layer whose options are sound and whose input is known."""
        if source.shape is None or any(fault.startswith(f"layer {name!r}:") for fault in self.faults):
            return _Value(name, None, raw=raw)
        made = make()
        self.nodes.append(made)
        return _Value(name, output_shape(made, {source.name: source.shape}), raw=raw)

    def _activation(self, name: str, source: _Value, flat: bool = False) -> _Value:
        """`source`, or an unknown if it is accumulators: the convolution itself has been refused then."""
        if source.flat != flat and source.shape is not None:
            self._fault(name, "it reads a flattened tensor" if source.flat else "flatten its input first")
        return _Value(source.name, None) if source.raw else source

    def _widths(self, source: _Value) -> tuple[int, int]:
        """Bits of what a linear layer reads, and of its weights."""
        return self.bits[source.name], self.precision.weight_bits

    def _scale(self, name: str, source: _Value, module: nn.Conv2d | nn.Linear) -> None:
        weights = fixed_point.weight_fraction_bits(module.weight[0].numel(), self.precision.weight_bits)
        self.fraction_bits[name] = self.fraction_bits.get(source.name, 0) + weights

    def _read_output(self, node: fx.Node) -> None:
        last = self.values.get(node.all_input_nodes[0]) if len(node.all_input_nodes) == 1 else None
        if last is None or (last.shape is not None and not isinstance(self.nodes[-1], Dense)):
            self.faults.append("output: a network must end in one dense layer")

    def _refuse(self, node: fx.Node, name: str, sources: list[_Value], reason: str) -> _Value:
        self._fault(name, reason)
        return _Value(name, None, flat=any(source.flat for source in sources))

    def _add_faults(self, name: str, faults: list[str], module: nn.Module | None) -> None:
        if module is not None and sum(layer.module is module for layer in self.linear.values()):
            faults = [*faults, "it is used twice; shared weights have no form here"]
        for fault in faults:
            self._fault(name, fault)

    def _fault(self, name: str, reason: str) -> None:
        self.faults.append(f"layer {name!r}: {reason}")

    def _followers(self, node: fx.Node) -> list[fx.Node]:
        """Layers that read `node`, looking through those that do nothing."""
        found = []
        for user in node.users:
            found += self._followers(user) if isinstance(self._what(user), _NOTHING) else [user]
        return found

    def _what(self, node: fx.Node) -> Any:
        return self.modules[str(node.target)] if node.op == "call_module" else node.target

    def _name(self, node: fx.Node) -> str:
        """The module's path, or the function's name behind its enclosing module's, as a plan name."""
        if node.op == "call_module":
            path = str(node.target)
        else:
            stack = list(node.meta.get("nn_module_stack", {}))
            title = _title(self._what(node)).split(".")[-1]
            path = ".".join([*stack[-1:], title]).lstrip(".")
        base = re.sub(r"[^a-z0-9_]+", "_", path.lower()).strip("_")
        base = base if re.match(r"[a-z]", base) else f"layer_{base}"
        base, name, count = base[:36], base[:36], 1
        while name in self.seen:
            count += 1
            name = f"{base}_{count}"
        self.seen.add(name)
        return name


def _title(what: object) -> str:
    if isinstance(what, nn.Module):
        return type(what).__name__
    if what is operator.add:
        return "addition"
    if what in _CAT_FUNCTIONS:
        return "concat"
    return str(getattr(what, "__name__", what))
