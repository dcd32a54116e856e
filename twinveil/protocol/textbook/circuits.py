"""The programs that the clouds garble, and the shapes of their inputs. All are total.

Names: `z.NAME` is what S2 decrypted (value + mask), `s.NAME` S1's mask, `mask.NAME` S1's fresh mask of an
output; S2's output NAME is value + mask. Every program's outputs are under a fresh mask, so S2 learns
nothing from them and S1 nothing at all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from twinveil.garbling.gadgets import (
    add_mask,
    argmax,
    is_positive,
    one_hot_maximum,
    relu_requantise,
    subtract,
    subtract_wide,
)
from twinveil.garbling.gates import Gates, Wires
from twinveil.halves.blinding import Segment
from twinveil.protocol.textbook.garbled import GarbledStep

Inputs = Mapping[str, Wires]


def _slots(g: Gates, layout: Segment, z: Wires, s: Wires) -> Wires:
    """Import: (z - s) of whole plaintexts, cut into values: (bits, count)."""
    values = subtract_wide(g, z, s).reshape(layout.per_plaintext, layout.bits, layout.plaintexts)
    return values.transpose(1, 2, 0).reshape(layout.bits, -1)[:, : layout.count]


def _import_shapes(layout: Segment) -> tuple[int, int]:
    return (layout.packed_bits, layout.plaintexts)


def import_weights(segments: Sequence[Segment], mask_bits: Mapping[str, int]) -> GarbledStep:
    """Offset-binary values u of each segment under masks: u + mask, modulo 2^(mask_bits + 1).

    The mask is an integer below 2^mask_bits and wider than u, so nothing wraps: what the import forces is
    0 <= u < 2^bits, whatever the client sent.
    """

    def program(g: Gates, garbler: Inputs, evaluator: Inputs) -> dict[str, Wires]:
        outputs = {}
        for layout in segments:
            name = layout.name
            values = _slots(g, layout, evaluator[f"z.{name}"], garbler[f"s.{name}"])
            outputs[name] = add_mask(g, values, garbler[f"mask.{name}"])
        return outputs

    garbler = {f"s.{layout.name}": _import_shapes(layout) for layout in segments}
    garbler |= {f"mask.{layout.name}": (mask_bits[layout.name] + 1, layout.count) for layout in segments}
    evaluator = {f"z.{layout.name}": _import_shapes(layout) for layout in segments}
    return GarbledStep(program, garbler, evaluator)


def label(bits: int, classes: int, pictures: int) -> GarbledStep:
    """Argmax of the signed class vector, ties to the lowest index; S2 gets index xor `mask.label`."""

    def program(g: Gates, garbler: Inputs, evaluator: Inputs) -> dict[str, Wires]:
        scores = subtract(g, evaluator["z.scores"], garbler["s.scores"])
        return {"label": g.xor(argmax(g, scores, signed=True), garbler["mask.label"])}

    shape = (bits, classes, pictures)
    return GarbledStep(
        program,
        {"s.scores": shape, "mask.label": (label_bits(classes), pictures)},
        {"z.scores": shape},
    )


def label_bits(classes: int) -> int:
    return max(1, (classes - 1).bit_length())


def sign_records(bits: int, count: int) -> GarbledStep:
    """Textbook SACT: t = 1 where x > 0, as t xor `mask.t`."""

    def program(g: Gates, garbler: Inputs, evaluator: Inputs) -> dict[str, Wires]:
        value = subtract(g, evaluator["z.x"], garbler["s.x"])
        return {"t": g.xor(is_positive(g, value), garbler["mask.t"])}

    return GarbledStep(program, {"s.x": (bits, count), "mask.t": (1, count)}, {"z.x": (bits, count)})


def maximum_records(bits: int, count: int, window: int) -> GarbledStep:
    """Textbook SMAP: MR, the one-hot record of each window's maximum, as MR xor `mask.mr`.

    Inputs (bits, window, count): the window's members along axis 1; outputs (1, window, count).
    """

    def program(g: Gates, garbler: Inputs, evaluator: Inputs) -> dict[str, Wires]:
        value = subtract(g, evaluator["z.r"], garbler["s.r"])
        return {"mr": g.xor(one_hot_maximum(g, value)[None], garbler["mask.mr"])}

    shape = (bits, window, count)
    return GarbledStep(program, {"s.r": shape, "mask.mr": (1, window, count)}, {"z.r": shape})


def requantise(bits: int, count: int, shift: int, out_bits: int, mask_bits: int) -> GarbledStep:
    """Textbook truncation after SACT: min(x >> shift, 2^out_bits - 1) + `mask.y`, no wrap."""

    def program(g: Gates, garbler: Inputs, evaluator: Inputs) -> dict[str, Wires]:
        value = subtract(g, evaluator["z.x"], garbler["s.x"])
        return {"y": add_mask(g, relu_requantise(g, value, shift, out_bits), garbler["mask.y"])}

    return GarbledStep(
        program,
        {"s.x": (bits, count), "mask.y": (mask_bits + 1, count)},
        {"z.x": (bits, count)},
    )
