"""What both clouds know of every item of a model: one picture, made ahead and spent once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np

from twinveil.errors import InvalidMessage
from twinveil.garbling.ahead import Circuit
from twinveil.garbling.products import Pixels
from twinveil.network.plan import IMAGE, Dense
from twinveil.network.schedule import LinearStep, Stage
from twinveil.protocol.meter import nonlinear
from twinveil.protocol.packed.layout import ItemLayout
from twinveil.protocol.packed.masking import Sheet
from twinveil.protocol.packed.stages import circuits
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
    """Circuits, sheets and turns of an item. Made once, with the model."""

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
    def circuits(self) -> Sequence[Circuit | Pixels]:
        """One a stage. The last is the label's, which a query for the class vector leaves alone."""
        return circuits(self.layout.schedule, True)

    @cached_property
    def transfers(self) -> int:
        """Random transfers in which S2 chooses: one for each bit of rho."""
        return sum(circuit.transfers for circuit in self.circuits)

    @cached_property
    def sheets(self) -> tuple[Sheet, ...]:
        """Of each layer conv(r, K2), then conv(u, K1), in the order of the layout's steps."""
        made = []
        for layer in self.layout.layers.values():
            mask_bits = layer.slots.mask_bits(self.layout.margin)
            count = layer.geometry.channels * layer.geometry.positions
            made += [
                Sheet(layer.slots, layer.ring, mask_bits, outputs, count)
                for outputs in (layer.kernel.outputs, layer.inputs.outputs)
            ]
        return tuple(made)

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
