"""The circuits of a picture that are made ahead: what the clouds do between linear layers, stage by stage.

S1's input NAME is y1 + y2 - rho modulo 2^L of layer NAME's sums (the picture's: x xor rho), S2's is rho, so
that an adder (an xor, which is free) begins the circuit. Outputs are the stage's pieces, as shares modulo
2^share_bits. All are of one picture, shapes (bits, channels, height, width), and total.

AND gates of a stage: L - 1 a sum; b + h a ReLU, h = L - 1 - shift - b being what can overflow its b bits;
2 b a comparison of its pools. None for shares.

A stage is one circuit where that fits in one message. Else it is cut into parts, each of some units of some
of the tensors that it makes: a unit is a channel, as pools stay in one, or a row where no pool follows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import prod

import numpy as np

from twinveil.garbling.ahead import Circuit
from twinveil.garbling.gadgets import add, argmax, relu_requantise
from twinveil.garbling.gates import Gates, Wires
from twinveil.garbling.products import Pixels
from twinveil.garbling.tournament import Places, Tournament, run
from twinveil.network.plan import IMAGE
from twinveil.network.schedule import PoolStep, ReluStep, Schedule, Stage
from twinveil.protocol.packed import parts
from twinveil.protocol.packed.parts import Part, largest

Inputs = Mapping[str, Wires]
Shapes = Mapping[str, tuple[int, ...]]
"""Of what a circuit has of each tensor that its stage makes, by name, bits left out."""
LABEL = "label"
"""Output of a label-only model's last circuit: the index of the class, flipped."""


def stage_parts(stages: Schedule) -> list[Part]:
    """Of all stages in order; the last one's is the label's."""
    output, last = stages.plan.output, stages.stages[-1].index
    whole = {output.name: slice(output.out_features)}, {LABEL: slice(1)}
    made = [part for stage in stages.stages[:-1] for part in _parts(stages, stage)]
    return [*made, Part(last, label(stages), *whole)]


def circuit(stages: Schedule, stage: Stage, shapes: Shapes) -> Circuit | Pixels:
    """Of some of the tensors of a stage, or of a part of each."""
    return activation(stages, stage, shapes) if stage.index else picture(stages, shapes[IMAGE])


def picture(stages: Schedule, shape: tuple[int, ...]) -> Circuit | Pixels:
    """Stage 0: pixels, and pools on them if the plan has such. Pixels alone need no gate."""
    stage, bits = stages.stages[0], stages.plan.image_bits
    if not stage.pools:
        return Pixels(IMAGE, (bits, *shape), stages.pieces[IMAGE].share_bits)
    pieces = _Pieces(stages, stage, {IMAGE: shape})

    def program(g: Gates, masked: Inputs, drawn: Inputs) -> dict[str, Wires]:
        return pieces.outputs(g, {IMAGE: g.xor(masked[IMAGE], drawn[IMAGE])})

    return Circuit(program, {IMAGE: (bits, *shape)}, pieces.widths)


def activation(stages: Schedule, stage: Stage, shapes: Shapes) -> Circuit:
    """SACT and SMAP of one stage: sums of shares, ReLU, requantise, pools."""
    plan, made = stages.plan, [relu for relu in stage.relus if relu.name in shapes]
    inputs = {relu.source: (plan.bits[relu.source], *shapes[relu.name]) for relu in made}
    pieces = _Pieces(stages, stage, shapes)
    adders = _alike({name: shape[0] for name, shape in inputs.items()})
    alike: dict[tuple[int, int, int], list[ReluStep]] = {}
    for relu in made:
        alike.setdefault((plan.bits[relu.source], relu.shift, relu.bits), []).append(relu)

    def program(g: Gates, masked: Inputs, drawn: Inputs) -> dict[str, Wires]:
        sums: dict[str, Wires] = {}
        for names in adders.values():
            total = add(g, _joined(masked[name] for name in names), _joined(drawn[name] for name in names))
            sums |= _parted(total, {name: inputs[name][1:] for name in names})
        tensors: dict[str, Wires] = {}
        for (_, shift, bits), relus in alike.items():
            cut = relu_requantise(g, _joined(sums[relu.source] for relu in relus), shift, bits)
            tensors |= _parted(cut, {relu.name: inputs[relu.source][1:] for relu in relus})
        return pieces.outputs(g, tensors)

    return Circuit(program, inputs, pieces.widths)


def label(stages: Schedule) -> Circuit:
    """Argmax of the class vector, signed, ties to the lowest index: S2 gets index xor p, S1 has p."""
    output = stages.plan.output

    def program(g: Gates, masked: Inputs, drawn: Inputs) -> dict[str, Wires]:
        return {LABEL: argmax(g, add(g, masked[output.name], drawn[output.name]), signed=True)}

    return Circuit(program, {output.name: (output.accumulator_bits, output.out_features)}, {})


def _parts(stages: Schedule, stage: Stage) -> list[Part]:
    """Of a stage that has tensors: one, if that fits. Parts alike share the description of a circuit."""
    sources = {relu.name: relu.source for relu in stage.relus} if stage.index else {IMAGE: IMAGE}
    standing = {name: _standing(stage, name) for name in sources}
    units: dict[str, tuple[int, ...]] = {name: stages.pieces[name].shape for name in sources}
    cuts = [{name: range(shape[0]) for name, shape in units.items()}]
    whole = circuit(stages, stage, units)
    made = {_lengths(cuts[0]): whole}
    if largest(whole) > parts.MESSAGE_BYTES:
        for name, (channels, height, width) in ((name, stages.pieces[name].shape) for name in sources):
            if len(standing[name]) == 1:
                units[name] = (channels * height, width)
        one = {name: circuit(stages, stage, {name: (1, *shape[1:])}) for name, shape in units.items()}
        made, cuts = {}, _cut({name: (shape[0], largest(one[name])) for name, shape in units.items()})
    found = []
    for cut in cuts:
        if (alike := _lengths(cut)) not in made:
            made[alike] = circuit(stages, stage, {name: (len(cut[name]), *units[name][1:]) for name in cut})
        inputs, outputs = {}, {}
        for name, at in cut.items():
            inputs[sources[name]] = _flat(at, prod(units[name][1:]))
            for piece in standing[name]:
                outputs[piece] = _flat(at, prod(stages.pieces[piece].shape) // units[name][0])
        leaving = {name: at for name, at in outputs.items() if name in stage.outputs}
        found.append(Part(stage.index, made[alike], inputs, leaving))
    return found


def _cut(tensors: Mapping[str, tuple[int, int]]) -> list[dict[str, range]]:
    """Units of tensors, of each how many and how large one is, as they fill messages in turn."""
    cuts: list[dict[str, range]] = [{}]
    left = parts.MESSAGE_BYTES
    for name, (count, size) in tensors.items():
        first = 0
        while first < count:
            if size > left and cuts[-1]:
                cuts.append({})
                left = parts.MESSAGE_BYTES
            end = min(count, first + max(1, left // size))
            cuts[-1][name] = range(first, end)
            left, first = left - (end - first) * size, end
    return cuts


def _lengths(cut: Mapping[str, range]) -> tuple[tuple[str, int], ...]:
    return tuple((name, len(units)) for name, units in cut.items())


def _flat(units: range, values: int) -> slice:
    """Where units of so many values lie in a flattened tensor."""
    return slice(units.start * values, units.stop * values)


def _standing(stage: Stage, name: str) -> list[str]:
    """A tensor and all that pools make of it."""
    found = [name]
    for pool in stage.pools:
        if pool.source in found:
            found.append(pool.name)
    return found


class _Pieces:
    """What leaves a stage, from the tensors it makes: values of one width share a tournament."""

    def __init__(self, stages: Schedule, stage: Stage, shapes: Shapes) -> None:
        self.widths: dict[str, int] = {}
        self._groups = []
        for names in _alike({name: stages.pieces[name].bits for name in shapes}).values():
            rounds, places = _compete({name: shapes[name] for name in names}, stage.pools, stage.outputs)
            self._groups.append((names, rounds, places))
            self.widths |= {name: stages.pieces[name].share_bits for name in places}

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
