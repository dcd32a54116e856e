"""What both clouds know of every item of a model: one picture, made ahead and spent once."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np

from twinveil.errors import InvalidMessage
from twinveil.garbling.ahead import EvaluatorHalf
from twinveil.garbling.products import PixelsHeld
from twinveil.network.plan import IMAGE, Dense
from twinveil.network.schedule import LinearStep, Stage
from twinveil.protocol.meter import nonlinear
from twinveil.protocol.packed.layout import ItemLayout
from twinveil.protocol.packed.masking import Sheet
from twinveil.protocol.packed.parts import Part, runs, together
from twinveil.protocol.packed.stages import LABEL, stage_parts
from twinveil.protocol.packed.steps import Step, layer_sheets, steps
from twinveil.ring import Words, pack_words, packed_bytes, unpack_words
from twinveil.rounds.scripted import ROUNDS_VERSION, binding


@dataclass(frozen=True)
class Values:
    """Some values of one turn: how many, in which shape, and of how many bits each."""

    name: str
    shape: tuple[int, ...]
    bits: int

    @property
    def bytes(self) -> int:
        return packed_bytes(prod(self.shape), self.bits)


@dataclass(frozen=True)
class ItemPlan:
    """Circuits, sheets, messages and turns of an item. Made once, with the model."""

    layout: ItemLayout

    def binding(self, import_id: bytes, layout: bytes, fingerprint: str, label_only: bool) -> bytes:
        """Of all that an item belongs to. layout: the model's digest; label_only: the owner's policy."""
        version = ROUNDS_VERSION.to_bytes(4, "big")
        policy = bytes([label_only])
        return binding(b"twinveil items", import_id, layout, fingerprint.encode(), b"packed", policy, version)

    @property
    def stages(self) -> tuple[Stage, ...]:
        return self.layout.schedule.stages

    @cached_property
    def parts(self) -> tuple[Part, ...]:
        """Of all stages in order. The last is the label's, which a query for the vector leaves alone."""
        return tuple(stage_parts(self.layout.schedule))

    def places(self, index: int) -> range:
        """Of a stage among the parts."""
        stages = [part.stage for part in self.parts]
        return range(bisect_left(stages, index), bisect_right(stages, index))

    @cached_property
    def layer_sheets(self) -> dict[str, tuple[Sheet, ...]]:
        """Of each layer."""
        return layer_sheets(self.layout)

    @property
    def sheets(self) -> tuple[Sheet, ...]:
        """Of all layers, in the order of the layout's steps."""
        return tuple(sheet for sheets in self.layer_sheets.values() for sheet in sheets)

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """In which an item is made: one, where it fits in a message."""
        return steps(self.layout, self.parts, self.layer_sheets)

    def parts_of(self, step: Step) -> tuple[Part, ...]:
        return self.parts[step.parts.start : step.parts.stop]

    def sheets_of(self, step: Step) -> tuple[Sheet, ...]:
        return self.sheets[step.sheets.start : step.sheets.stop]

    def add_shares(self, sums: dict[str, Words], step: Step, shares: Sequence[Words]) -> None:
        """One party's shares of the values on a step's sheets, to its own of each layer's sums made ahead."""
        layers = [name for name, sheets in self.layer_sheets.items() for _ in sheets]
        for place, share in zip(step.sheets, shares, strict=True):
            sums[layers[place]] = sums[layers[place]] + share if layers[place] in sums else share

    def rho(self, index: int, halves: Sequence[EvaluatorHalf | PixelsHeld]) -> dict[str, Words]:
        """Of a stage, from what S2 holds of all parts."""
        places, plan = self.places(index), self.layout.plan
        shapes = {each.name: each.shape for each in self.sums(self.stages[index])}
        drawn = [halves[place].drawn for place in places]
        return together(
            [self.parts[place].inputs for place in places], drawn, {IMAGE: plan.image_shape} | shapes
        )

    def outputs(self, index: int, found: Sequence[Mapping[str, Words]]) -> dict[str, Words]:
        """Of a stage, from those of its parts: x - r, or r."""
        shapes: dict[str, tuple[int, ...]] = {LABEL: ()}
        shapes |= {name: piece.shape for name, piece in self.layout.schedule.pieces.items()}
        places = [self.parts[place].outputs for place in self.places(index)]
        return together(places, found, shapes)

    def labels(self, index: int, pictures: int) -> list[list[tuple[int, int]]]:
        """Of a stage, message by message: whose labels these are, which picture's and which part's."""
        whose = [(picture, place) for picture in range(pictures) for place in self.places(index)]
        found = runs([self.parts[place].circuit.answer_bytes] for _, place in whose)
        return [[whose[at] for at in run] for run in found]

    def linear_name(self, index: int) -> str:
        """The published function that a stage's linear layers are, under which they are booked."""
        return "SCVL" if index + 1 < len(self.stages) else "SCT"

    def circuit_name(self, index: int) -> str:
        """The same of a stage's circuit."""
        if index in (0, len(self.stages) - 1):
            return "label" if index else "picture"
        return nonlinear(self.stages[index])

    def answer_bits(self, label_only: bool) -> int:
        """Of a word of either half of an answer."""
        output = self.layout.plan.output
        return (output.out_features - 1).bit_length() if label_only else output.accumulator_bits

    def sums(self, stage: Stage) -> list[Values]:
        """The accumulators of a stage, in the shape in which its circuit reads them."""
        shapes = self.layout.plan.shapes
        return [
            Values(
                step.node.name,
                shapes[step.node.name][: 1 if isinstance(step.node, Dense) else 3],
                step.node.accumulator_bits,
            )
            for step in stage.linear
        ]

    def turn(self, index: int, label_only: bool) -> list[Values]:
        """What S2 sends before S1's labels of stage `index`: e of what the stage before gave, y2 - rho.

        At first (d xor m) xor rho; at the end no y2 - rho, unless the label is asked for.
        """
        plan, stage = self.layout.plan, self.stages[index]
        if not index:
            return [Values(IMAGE, plan.image_shape, plan.image_bits)]
        pieces = [self.layout.schedule.pieces[name] for name in self.stages[index - 1].outputs]
        opened = [Values(piece.name, piece.shape, piece.share_bits) for piece in pieces]
        return opened + (self.sums(stage) if label_only or index + 1 < len(self.stages) else [])


def joined(step: LinearStep, pieces: Mapping[str, Words]) -> Words:
    """What a layer reads: pieces side by side along the channels, each modulo its own 2^share_bits."""
    return np.concatenate([pieces[name] for name in step.inputs])


def pack_turn(wanted: Sequence[Values], values: Mapping[str, Words]) -> bytes:
    return b"".join([pack_words(values[each.name], each.bits) for each in wanted])


def unpack_turns(wanted: Sequence[Values], data: bytes, count: int) -> list[dict[str, Words]]:
    """`count` turns side by side. Raises InvalidMessage if the size is not exact."""
    size = sum(each.bytes for each in wanted)
    if len(data) != count * size:
        raise InvalidMessage(f"{count} pictures' shares have {count * size} bytes here, not {len(data)}")
    turns, start = [], 0
    for _ in range(count):
        found = {}
        for each in wanted:
            part = data[start : start + each.bytes]
            found[each.name] = unpack_words(part, prod(each.shape), each.bits).reshape(each.shape)
            start += each.bytes
        turns.append(found)
    return turns
