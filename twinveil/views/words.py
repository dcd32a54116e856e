"""The words of exactly L bits in the packed engine's messages: where each begins, from public data alone.

L is a layer's or a tensor's and words leave no gap, so that a byte says nothing of where a value begins.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from math import prod

from twinveil.errors import BadInput
from twinveil.garbling.products import Pixels
from twinveil.network.plan import Plan
from twinveil.protocol.packed.masking import Sheet
from twinveil.protocol.packed.model.layout import ModelLayout
from twinveil.protocol.packed.plan import ItemPlan, Values
from twinveil.protocol.packed.steps import Step
from twinveil.ring import Words, unpack_words
from twinveil.views.view import Bytes, View


def words_in(view: View, message: str, field: str, number: int) -> Sequence[Values] | None:
    """What a field of the number-th such message of a view holds, run by run; None where it holds bytes.

    Each run begins at a whole byte. field: as a recording names it. Raises IndexError for a message that is
    one more than the plan has.
    """
    topic, key_bits = view.subject, view.subject.n.bit_length()
    match message, field.split("."):
        case "shared_turn", ["shares"]:
            return topic.pictures * _layout(topic.plan, key_bits).items.turn(number, bool(view.label_only))
        case "labels", ["labels"]:
            items = _layout(topic.plan, key_bits).items
            whose = [
                each for index in range(len(items.stages)) for each in items.labels(index, topic.pictures)
            ]
            circuits = [items.parts[place].circuit for _, place in whose[number]]
            pixels = [each for each in circuits if isinstance(each, Pixels)]
            runs = [(each, shape) for each in pixels for shape in (each.shape, each.shape[1:])]
            return [Values(each.name, shape, each.width) for each, shape in runs] or None
        case "item_offer", ["circuits", place, "words"]:
            items = _layout(topic.plan, key_bits).items
            circuit = items.parts_of(items.steps[number])[int(place)].circuit
            if isinstance(circuit, Pixels):
                return None
            shapes = dict(circuit.counts.outputs)
            return [Values(name, shapes[name], bits) for name, bits in sorted(circuit.widths.items())]
        case "item_offer", ["corrections"]:
            items = _layout(topic.plan, key_bits).items
            return [_corrections(sheet) for sheet in items.sheets_of(items.steps[number])]
        case "item_inputs", ["words"]:
            items = _layout(topic.plan, key_bits).items
            return _borrows_of(items, items.steps[number - 1])
        case "item_words", ["words"]:
            items = _layout(topic.plan, key_bits).items
            return _borrows_of(items, items.steps[-1])
        case "masked_kernel", ["corrections"]:
            layout, node = _layout(topic.plan, key_bits), topic.plan.linear_nodes[number]
            return [_corrections(layout.sheet(node))]
        case "shared_kernel", ["words"]:
            layout, node = _layout(topic.plan, key_bits), topic.plan.linear_nodes[number]
            return [_borrows(node.name, layout.sheet(node))]
    return None


def unpacked(data: Bytes, runs: Sequence[Values]) -> Iterator[tuple[Values, Words]]:
    """Each run with its words. Raises BadInput where the size is not exactly theirs."""
    if len(data) != sum(run.bytes for run in runs):
        raise BadInput(f"{len(data)} bytes are no {', '.join(run.name for run in runs)} of this view's plan")
    start = 0
    for run in runs:
        yield run, unpack_words(data[start : start + run.bytes].tobytes(), prod(run.shape), run.bits)
        start += run.bytes


def _borrows_of(items: ItemPlan, step: Step) -> list[Values]:
    layers = [name for name, sheets in items.layer_sheets.items() for _ in sheets]
    return [_borrows(layers[place], items.sheets[place]) for place in step.sheets]


def _corrections(sheet: Sheet) -> Values:
    return Values("borrows", (sheet.transfers,), 1)


def _borrows(layer: str, sheet: Sheet) -> Values:
    return Values(layer, (sheet.transfers,), sheet.ring)


@lru_cache(8)
def _layout(plan: Plan, key_bits: int) -> ModelLayout:
    return ModelLayout(plan, key_bits)
