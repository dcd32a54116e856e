"""From a plan to stages: what the clouds do together, in order.

A stage is a batch of linear layers (SCVL or SCT) followed by one circuit (SACT and SMAP). Concat never
costs anything: a tensor is an ordered tuple of *pieces*, each the output of one ReLU or of one pool on one
piece, and pooling a concatenation is pooling its pieces. So every pool sits in the same circuit as the
ReLU above it, and a circuit reads accumulators only.
"""

from __future__ import annotations

from dataclasses import dataclass

from twinveil.network.plan import IMAGE, Concat, Conv, Dense, Linear, MaxPool, Plan, Relu, Shape


@dataclass(frozen=True, slots=True)
class Piece:
    """One activation tensor as the clouds hold it: additively shared modulo 2^share_bits."""

    name: str
    shape: Shape
    bits: int
    share_bits: int
    """Width of the shares: the widest accumulator that reads this piece; 0 if only pools read it."""


@dataclass(frozen=True, slots=True)
class LinearStep:
    """A convolution or dense layer with the pieces that make up its input, in channel order."""

    node: Linear
    inputs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ReluStep:
    """Piece `name` = requantised ReLU of the accumulators of layer `source`."""

    name: str
    source: str
    shift: int
    bits: int


@dataclass(frozen=True, slots=True)
class PoolStep:
    """Piece `name` = maximum over windows of piece `source`."""

    name: str
    source: str
    size: int
    stride: int
    padding: int


@dataclass(frozen=True, slots=True)
class Stage:
    """linear steps, then one circuit: relus and pools in order; `outputs` are the pieces that leave it.

    Stage 0 has no linear step: its circuit is the import of the picture. The last has no circuit steps.
    """

    index: int
    linear: tuple[LinearStep, ...]
    relus: tuple[ReluStep, ...]
    pools: tuple[PoolStep, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class Schedule:
    plan: Plan
    pieces: dict[str, Piece]
    stages: tuple[Stage, ...]


def schedule(plan: Plan) -> Schedule:
    """Put every layer in the earliest stage in which its inputs are there."""
    tensors: dict[str, tuple[str, ...]] = {IMAGE: (IMAGE,)}
    shapes: dict[str, Shape] = {IMAGE: plan.image_shape}
    bits = {IMAGE: plan.image_bits}
    stage_of = {IMAGE: 0}
    steps: dict[int, tuple[list[LinearStep], list[ReluStep], list[PoolStep]]] = {0: ([], [], [])}

    for node in plan.nodes:
        match node:
            case Conv() | Dense():
                inputs = tensors[node.source]
                stage_of[node.name] = 1 + max(stage_of[piece] for piece in inputs)
                linear = steps.setdefault(stage_of[node.name], ([], [], []))[0]
                linear.append(LinearStep(node, inputs))
            case Relu():
                stage_of[node.name] = stage_of[node.source]
                steps[stage_of[node.name]][1].append(ReluStep(node.name, node.source, node.shift, node.bits))
                tensors[node.name] = (node.name,)
                shapes[node.name], bits[node.name] = plan.shapes[node.name], node.bits
            case MaxPool():
                pooled = []
                for source in tensors[node.source]:
                    name = node.name if len(tensors[node.source]) == 1 else f"{node.name}.{source}"
                    pooled.append(name)
                    stage_of[name] = stage_of[source]
                    steps[stage_of[name]][2].append(
                        PoolStep(name, source, node.size, node.stride, node.padding)
                    )
                    shapes[name] = (shapes[source][0], *plan.shapes[node.name][1:])
                    bits[name] = bits[source]
                tensors[node.name] = tuple(pooled)
            case Concat():
                tensors[node.name] = tuple(piece for source in node.sources for piece in tensors[source])

    share_bits = dict.fromkeys(shapes, 0)
    for linear_steps, _, _ in steps.values():
        for step in linear_steps:
            for piece in step.inputs:
                # Never narrower than what it shares, whatever accumulators a plan declares.
                share_bits[piece] = max(share_bits[piece], step.node.accumulator_bits, bits[piece])
    stages = []
    for index in sorted(steps):
        linear, relus, pools = steps[index]
        made = ([IMAGE] if index == 0 else []) + [relu.name for relu in relus] + [pool.name for pool in pools]
        outputs = tuple(name for name in made if share_bits[name])
        stages.append(Stage(index, tuple(linear), tuple(relus), tuple(pools), outputs))
    pieces = {name: Piece(name, shapes[name], bits[name], share_bits[name]) for name in shapes}
    return Schedule(plan, pieces, tuple(stages))
