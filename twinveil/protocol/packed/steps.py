"""How the making of an item is cut into messages that do not grow with a layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from twinveil.garbling.labels import LABEL_BYTES
from twinveil.garbling.ot_extension import correction_bytes, prepare_bytes
from twinveil.protocol.packed import parts
from twinveil.protocol.packed.layout import ItemLayout
from twinveil.protocol.packed.masking import Sheet
from twinveil.protocol.packed.parts import Part, runs


@dataclass(frozen=True)
class Encryptions:
    """Of u for one layer: the plaintexts `rows` of its InputSums."""

    layer: str
    rows: range


@dataclass(frozen=True)
class Step:
    """One message each way. parts, sheets: places among the plan's.

    S2 sends encryptions of u, and transfers for the parts; S1 the parts, and sums on the sheets; of which S2
    sends words with what the next step begins with.
    """

    encryptions: tuple[Encryptions, ...]
    parts: range
    sheets: range

    @property
    def ciphertexts(self) -> int:
        """S2's."""
        return sum(len(each.rows) for each in self.encryptions)


NO_STEP = Step((), range(0), range(0))


def layer_sheets(layout: ItemLayout) -> dict[str, tuple[Sheet, ...]]:
    """Of each layer conv(r, K2), then conv(u, K1). Shares of several sheets of one sum add up to its own."""
    made = {}
    for name, layer in layout.layers.items():
        mask_bits = layer.slots.mask_bits(layout.margin)
        count = layer.geometry.channels * layer.geometry.positions
        most = _at_most(layout.key_bits // 4 + layer.slots.count * (LABEL_BYTES + 1))
        made[name] = tuple(
            Sheet(layer.slots, layer.ring, mask_bits, outputs[first : first + most], count)
            for outputs in (layer.kernel.outputs, layer.inputs.outputs)
            for first in range(0, len(outputs), most)
        )
    return made


def steps(
    layout: ItemLayout, all_parts: Sequence[Part], sheets: Mapping[str, Sequence[Sheet]]
) -> tuple[Step, ...]:
    """First all parts, so that r is there; then of each layer u, encrypted, and its sums."""
    ciphertext = layout.key_bits // 4
    todo: list[Part | Encryptions | Sheet] = list(all_parts)
    for name, layer in layout.layers.items():
        count, most = layer.inputs.plaintexts, _at_most(ciphertext)
        todo += [Encryptions(name, range(first, min(first + most, count))) for first in range(0, count, most)]
        todo += sheets[name]
    made, part, sheet = [], 0, 0
    for run in runs(_sizes(each, ciphertext) for each in todo):
        now = [todo[at] for at in run]
        of_parts = range(part, part + sum(isinstance(each, Part) for each in now))
        of_sheets = range(sheet, sheet + sum(isinstance(each, Sheet) for each in now))
        made.append(Step(tuple(each for each in now if isinstance(each, Encryptions)), of_parts, of_sheets))
        part, sheet = of_parts.stop, of_sheets.stop
    return tuple(made)


def _sizes(each: Part | Encryptions | Sheet, ciphertext: int) -> tuple[int, int]:
    """Bytes that S2 and that S1 sends of it."""
    match each:
        case Part(circuit=circuit):
            return prepare_bytes(circuit.transfers), sum(circuit.offer_bytes)
        case Encryptions(rows=rows):
            return len(rows) * ciphertext, 0
        case Sheet(transfers=count):
            choices = prepare_bytes(count) + correction_bytes(count)
            return each.word_bytes, len(each.outputs) * ciphertext + choices


def _at_most(size: int) -> int:
    """How many of that size are in a message, at least one."""
    return max(1, parts.MESSAGE_BYTES // size)
