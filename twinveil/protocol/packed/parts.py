"""Parts: how a stage, and an item in the making, stay within one message, however large a layer is.

A part is some of a stage's values and a circuit for them: garbled, sent, labelled and evaluated by itself,
under an offset and a start point of its own. What is not kept of one is dropped before the next is begun.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from twinveil.garbling.ahead import Circuit
from twinveil.garbling.labels import LABEL_BYTES
from twinveil.garbling.products import Pixels
from twinveil.ring import Words

MESSAGE_BYTES = 32 << 20
"""Of what goes in one message, about, but for what cannot be cut; both clouds cut alike. An item of the
default network goes in one, and so does each of its stages for dozens of pictures."""


@dataclass(frozen=True)
class Part:
    """A circuit of a stage. inputs, outputs: where its values lie in the whole tensors, flattened."""

    stage: int
    circuit: Circuit | Pixels
    inputs: Mapping[str, slice]
    outputs: Mapping[str, slice]

    def read(self, tensors: Mapping[str, Words]) -> dict[str, Words]:
        """Its own inputs, out of whole tensors."""
        return {
            name: tensors[name].reshape(-1)[at].reshape(self.circuit.inputs[name][1:])
            for name, at in self.inputs.items()
        }


def together(
    places: Sequence[Mapping[str, slice]],
    found: Sequence[Mapping[str, Words]],
    shapes: Mapping[str, tuple[int, ...]],
) -> dict[str, Words]:
    """Whole tensors, out of each part's values and of where they lie in them."""
    made: dict[str, Words] = {}
    for at, values in zip(places, found, strict=True):
        for name, each in values.items():
            whole = made.setdefault(name, np.empty(prod(shapes[name]), each.dtype))
            whole[at[name]] = each.reshape(-1)
    return {name: whole.reshape(shapes[name]) for name, whole in made.items()}


def largest(circuit: Circuit | Pixels) -> int:
    """Bytes of the largest of what is sent of a circuit: its offer, its transfers, its labels."""
    return max(sum(circuit.offer_bytes), LABEL_BYTES * circuit.transfers, circuit.answer_bytes)


def runs(sizes: Iterable[Sequence[int]]) -> list[range]:
    """Neighbours, as many at a time as keep every sum of their sizes within MESSAGE_BYTES; at least one."""
    made: list[range] = []
    totals: list[int] = []
    for place, each in enumerate(sizes):
        grown = [total + size for total, size in zip(totals or [0] * len(each), each, strict=True)]
        if made and max(grown) <= MESSAGE_BYTES:
            made[-1], totals = range(made[-1].start, place + 1), grown
        else:
            made.append(range(place, place + 1))
            totals = list(each)
    return made
