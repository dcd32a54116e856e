"""The circuits of a picture that are made ahead, one a stage: what the clouds do between linear layers.

S1's input NAME is y1 + y2 - rho modulo 2^L of layer NAME's sums (the picture's: x xor rho), S2's is rho, so
that an adder (an xor, which is free) begins the circuit. Outputs are the stage's pieces, as shares modulo
2^share_bits. All are of one picture, shapes (bits, channels, height, width), and total.

AND gates of a stage: L - 1 a sum; b + h a ReLU, h = L - 1 - shift - b being what can overflow its b bits;
2 b a comparison of its pools. None for shares.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from twinveil.garbling.ahead import Circuit
from twinveil.garbling.gadgets import add, argmax, relu_requantise
from twinveil.garbling.gates import Gates, Wires
from twinveil.garbling.products import Pixels
from twinveil.garbling.tournament import Places, Tournament, run
from twinveil.network.plan import IMAGE
from twinveil.network.schedule import PoolStep, ReluStep, Schedule, Stage

Inputs = Mapping[str, Wires]
LABEL = "label"
"""Output of a label-only model's last circuit: the index of the class, flipped."""


def circuits(stages: Schedule, label_only: bool) -> list[Circuit | Pixels]:
    """Of all stages in order. The last stage has one only where the label alone is given out."""
    made = [picture(stages), *(activation(stages, stage) for stage in stages.stages[1:-1])]
    return [*made, label(stages)] if label_only else made


def picture(stages: Schedule) -> Circuit | Pixels:
    """Stage 0: pixels, and pools on them if the plan has such. Pixels alone need no gate."""
    stage, plan = stages.stages[0], stages.plan
    shape = (plan.image_bits, *plan.image_shape)
    if not stage.pools:
        return Pixels(IMAGE, shape, stages.pieces[IMAGE].share_bits)
    pieces = _Pieces(stages, stage, {IMAGE: plan.image_bits})

    def program(g: Gates, masked: Inputs, drawn: Inputs) -> dict[str, Wires]:
        return pieces.outputs(g, {IMAGE: g.xor(masked[IMAGE], drawn[IMAGE])})

    return Circuit(program, {IMAGE: shape}, pieces.widths)


def activation(stages: Schedule, stage: Stage) -> Circuit:
    """SACT and SMAP of one stage: sums of shares, ReLU, requantise, pools."""
    plan = stages.plan
    inputs = {relu.source: (plan.bits[relu.source], *plan.shapes[relu.source]) for relu in stage.relus}
    pieces = _Pieces(stages, stage, {relu.name: relu.bits for relu in stage.relus})
    adders = _alike({name: shape[0] for name, shape in inputs.items()})
    alike: dict[tuple[int, int, int], list[ReluStep]] = {}
    for relu in stage.relus:
        alike.setdefault((plan.bits[relu.source], relu.shift, relu.bits), []).append(relu)

    def program(g: Gates, masked: Inputs, drawn: Inputs) -> dict[str, Wires]:
        sums: dict[str, Wires] = {}
        for names in adders.values():
            total = add(g, _joined(masked[name] for name in names), _joined(drawn[name] for name in names))
            sums |= _parted(total, {name: inputs[name][1:] for name in names})
        tensors: dict[str, Wires] = {}
        for (_, shift, bits), relus in alike.items():
            made = relu_requantise(g, _joined(sums[relu.source] for relu in relus), shift, bits)
            tensors |= _parted(made, {relu.name: inputs[relu.source][1:] for relu in relus})
        return pieces.outputs(g, tensors)

    return Circuit(program, inputs, pieces.widths)


def label(stages: Schedule) -> Circuit:
    """Argmax of the class vector, signed, ties to the lowest index: S2 gets index xor p, S1 has p."""
    output = stages.plan.output

    def program(g: Gates, masked: Inputs, drawn: Inputs) -> dict[str, Wires]:
        return {LABEL: argmax(g, add(g, masked[output.name], drawn[output.name]), signed=True)}

    return Circuit(program, {output.name: (output.accumulator_bits, output.out_features)}, {})


class _Pieces:
    """What leaves a stage, from the tensors it makes (name: bits): values of one width share a tournament."""

    def __init__(self, stages: Schedule, stage: Stage, made: Mapping[str, int]) -> None:
        self.widths = {name: stages.pieces[name].share_bits for name in stage.outputs}
        self._groups = []
        for names in _alike(made).values():
            shapes = {name: stages.pieces[name].shape for name in names}
            self._groups.append((names, *_compete(shapes, stage.pools, stage.outputs)))

    def outputs(self, g: Gates, tensors: Mapping[str, Wires]) -> dict[str, Wires]:
        found: dict[str, Wires] = {}
        for names, rounds, places in self._groups:
            row = run(g, _joined(tensors[name] for name in names), rounds)
            found |= {name: row.take(at, axis=1) for name, at in places.items()}
        return found


def _compete(
    shapes: Mapping[str, tuple[int, ...]], pools: Iterable[PoolStep], outputs: Iterable[str]
) -> tuple[list[tuple[Places, Places]], dict[str, Places]]:
    """Rounds of the pools that stand on these tensors, and the places of those outputs that they make."""
    count = sum(int(np.prod(shape)) for shape in shapes.values())
    tournament = Tournament(count)
    named = _parted(np.arange(count)[None], shapes)
    tensors = {name: at[0] for name, at in named.items()}
    for pool in pools:
        if pool.source in tensors:
            tensors[pool.name] = tournament.pool(tensors[pool.source], pool.size, pool.stride, pool.padding)
    return tournament.rounds(), {
        name: tournament.places(tensors[name]) for name in outputs if name in tensors
    }


def _alike(bits: Mapping[str, int]) -> dict[int, list[str]]:
    """Names by their number of bits."""
    found: dict[int, list[str]] = {}
    for name, each in bits.items():
        found.setdefault(each, []).append(name)
    return found


def _joined(bundles: Iterable[Wires]) -> Wires:
    """Bundles of one width side by side: (n, count)."""
    flat = [each.reshape(len(each), -1) for each in bundles]
    return flat[0] if len(flat) == 1 else np.concatenate(flat, axis=1)


def _parted(row: Wires, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Wires]:
    """The inverse: (n, count) -> (n, *shape) of each name in turn."""
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes.values()])
    parts = np.split(row, ends[:-1], axis=1)
    return {name: part.reshape(-1, *shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)}
