"""What conversations about a plan send and hold, by formula, before anything of such a size is made.

A plan and a number of pictures come from clients, memory is the clouds'. Nobody else counts these: clouds
refuse by them, and estimates tell them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import prod

from twinveil.errors import BadPlan
from twinveil.garbling.ahead import Circuit
from twinveil.garbling.hashing import BLOCK
from twinveil.garbling.labels import LABEL_BYTES
from twinveil.garbling.ot_extension import correction_bytes, masked_bytes, prepare_bytes
from twinveil.halves.model import half_sizes
from twinveil.network.faults import over_limits
from twinveil.network.plan import Plan
from twinveil.params import Params
from twinveil.protocol.model.layout import Layouts
from twinveil.protocol.packed.cost import item_traffic, online_traffic
from twinveil.protocol.packed.plan import ItemPlan
from twinveil.protocol.textbook.garbled import GarbledStep
from twinveil.protocol.textbook.steps import BATCH, TextbookLayout
from twinveil.rounds.chunks import MESSAGE_BYTES

COPIES = 4
"""Of the longest message at a cloud: its parts, the message, its serialised form, what gRPC has of it."""
WORD_BYTES = 8
CIPHER_BYTES = 1600
"""Of AES with its key set up."""
NUMBER_BYTES = 64
"""Of a big integer in Python beside its digits."""


@dataclass(frozen=True, slots=True)
class QuerySize:
    """Bytes. longest: of a message. sent, received: at most, by S1. memory: at S1 at the peak, roughly, items
    left out. fault: why no cloud begins such a query, or None.
    """

    longest: int
    sent: int
    received: int
    memory: int
    fault: str | None


@dataclass(frozen=True, slots=True)
class ItemSize:
    """One item of the packed engine, in bytes. messages: S1's and S2's. Others as in QuerySize, and

    working_s1, working_s2: while it is made. memory_s1, memory_s2: as long as it lies ready. fault: why no
    cloud makes one, or None.
    """

    messages: int
    longest: int
    sent: int
    received: int
    working_s1: int
    working_s2: int
    memory_s1: int
    memory_s2: int
    fault: str | None


@dataclass(frozen=True, slots=True)
class ImportSize:
    """A model's import for one engine, in bytes. data: of either half from the owner; as in QuerySize."""

    data: int
    longest: int
    sent: int
    received: int
    fault: str | None


def query_size(plan: Plan, params: Params, engine: str, pictures: int = 1) -> QuerySize:
    """Raises BadPlan for a plan that the engine does not run at all."""
    if over := over_limits(plan, pictures):  # within the limits, counting is cheap
        return QuerySize(0, 0, 0, 0, f"more than {over}")
    if engine == "packed":
        return _packed(plan, params).query(pictures)
    return _textbook_query(plan, params)


def item_size(plan: Plan, params: Params) -> ItemSize:
    """Raises BadPlan or TooMuch for a plan that the engine does not run at all."""
    return _packed(plan, params).item


@lru_cache(256)
def import_size(plan: Plan, params: Params, engine: str) -> ImportSize:
    """Raises BadPlan or TooMuch for a plan that the engine does not run at all."""
    layouts, ciphertext = Layouts(plan, params, (engine,)), params.key_bits // 4
    (data,) = half_sizes(plan, (engine,), params)
    if engine == "packed":
        layout = layouts.packed
        sheets = [layout.sheet(node) for node in plan.linear_nodes]
        sent = [
            len(sheet.outputs) * ciphertext
            + prepare_bytes(sheet.transfers)
            + correction_bytes(sheet.transfers)
            for sheet in sheets
        ]
        kernels = [layout.item.layers[node.name].kernel for node in plan.linear_nodes]
        received = [
            kernel.chunks * kernel.bases * ciphertext + sheet.word_bytes
            for kernel, sheet in zip(kernels, sheets, strict=True)
        ]
        received.append(sum(len(sheet.outputs) for sheet in sheets) * ciphertext)
    else:
        imported = layouts.textbook
        parts = [part for node in plan.linear_nodes for part in imported.parts(node)]
        steps = [imported.step(part) for part in parts]
        sent = [sum(each.plaintexts for each in part) * ciphertext for part in parts]
        sent += [_batch_bytes(step) for step in steps]
        received = [prepare_bytes(step.choices) + correction_bytes(step.choices) for step in steps]
        segments = [imported.segments(node) for node in plan.linear_nodes]
        received += [sum(each.count for each in pair) * ciphertext for pair in segments]
        received.append(sum(each.plaintexts for pair in segments for each in pair) * ciphertext)
    longest = max(*sent, *received)
    return ImportSize(data, longest, sum(sent), sum(received), _fault(longest))


def refuse_unrunnable(plan: Plan, params: Params, engines: Sequence[str]) -> None:
    """Raises BadPlan or TooMuch for a plan of which not even one picture could come to its end."""
    for engine in engines:
        faults = [("a query of one picture", query_size(plan, params, engine).fault)]
        faults.append(("its import", import_size(plan, params, engine).fault))
        if engine == "packed":
            faults.append(("what is made ahead of a picture", item_size(plan, params).fault))
        for what, fault in faults:
            if fault:
                raise BadPlan(f"the network cannot be run: {what} has {fault}")


def _fault(longest: int) -> str | None:
    if longest <= MESSAGE_BYTES:
        return None
    return f"a message of {longest >> 20:,} MiB, {MESSAGE_BYTES >> 20} are the most"


@dataclass(frozen=True, slots=True)
class _Packed:
    """item: of one. sent, received: of a query's messages, a picture; held: at S1 beside them, a picture."""

    item: ItemSize
    sent: tuple[int, ...]
    received: tuple[int, ...]
    held: int

    def query(self, pictures: int) -> QuerySize:
        longest = pictures * max(*self.sent, *self.received)
        sent, received = (pictures * sum(sizes) for sizes in (self.sent, self.received))
        return QuerySize(longest, sent, received, COPIES * longest + pictures * self.held, _fault(longest))


@lru_cache(256)
def _packed(plan: Plan, params: Params) -> _Packed:
    items = Layouts(plan, params, ("packed",)).packed.items
    ahead, online = item_traffic(items), online_traffic(items, 1, True)
    longest = max(*ahead.sent, *ahead.received)
    numbers = (params.key_bits // 4 + NUMBER_BYTES) * max(items.layout.sums, items.layout.encryptions)
    working = COPIES * longest + 2 * numbers + items.transfers * 2 * LABEL_BYTES
    item = ItemSize(
        len(ahead.sent) + len(ahead.received),
        longest,
        sum(ahead.sent),
        sum(ahead.received),
        working,
        working,
        _item_s1(items),
        _item_s2(items),
        _fault(longest),
    )
    columns = max(layer.geometry.taps * layer.geometry.positions for layer in items.layout.layers.values())
    opened = sum(prod(piece.shape) for piece in items.layout.schedule.pieces.values())
    return _Packed(item, tuple(online.sent), tuple(online.received), WORD_BYTES * (3 * columns + opened))


def _sums_bytes(items: ItemPlan) -> int:
    """Of the shares of all layers' sums, at either cloud."""
    layers = items.layout.layers.values()
    return WORD_BYTES * sum(layer.geometry.channels * layer.geometry.positions for layer in layers)


def _item_s1(items: ItemPlan) -> int:
    """Zero labels of the inputs that wait for y1 + y2 - rho, masks of outputs, own sums."""
    size = _sums_bytes(items)
    for circuit in items.circuits:
        if isinstance(circuit, Circuit):
            outputs = circuit.counts.outputs
            size += circuit.counts.garbler_label_bytes
            size += WORD_BYTES * sum(prod(shape[1:]) for _, shape in outputs)
        else:
            size += 2 * WORD_BYTES * circuit.transfers + WORD_BYTES * prod(circuit.shape[1:])
    return size


def _item_s2(items: ItemPlan) -> int:
    """Tables and keys that are set up for them, labels of rho, rho, words of outputs, u, own sums."""
    size = _sums_bytes(items)
    size += WORD_BYTES * sum(
        prod(piece.shape) for piece in items.layout.schedule.pieces.values() if piece.share_bits
    )
    for circuit in items.circuits:
        if isinstance(circuit, Circuit):
            counts = circuit.counts
            words = sum(prod(shape) for name, shape in counts.outputs if name in circuit.widths)
            size += counts.table_bytes + LABEL_BYTES * counts.evaluator_bits + WORD_BYTES * words
            size += WORD_BYTES * sum(prod(shape[1:]) for shape in circuit.inputs.values())
            size += CIPHER_BYTES * (-(-counts.and_gates // BLOCK) - (-words // BLOCK))
        else:
            size += WORD_BYTES * (circuit.transfers + prod(circuit.shape[1:])) + items.transfers
    return size


@lru_cache(256)
def _textbook_query(plan: Plan, params: Params) -> QuerySize:
    """Every value that is masked, flipped or unmasked on its way is one of the products."""
    layout = TextbookLayout(plan, params)
    steps, ciphertext = layout.steps(), params.key_bits // 4
    products, pixels = layout.products * ciphertext, layout.picture.count * ciphertext
    garbled, transfers = [_batch_bytes(step) for step in steps], sum(step.choices for step in steps)
    sent = [*[2 * BATCH * ciphertext] * -(-layout.products // BATCH), products, products, pixels, *garbled]
    received = [products, products, products, pixels, prepare_bytes(transfers)]
    received += [correction_bytes(step.choices) for step in steps]
    longest = max(*sent, *received)
    held = pixels + 8 * products + sum(garbled) + transfers * 2 * LABEL_BYTES
    return QuerySize(longest, sum(sent), sum(received), held + COPIES * longest, _fault(longest))


def _batch_bytes(step: GarbledStep) -> int:
    counts = step.counts
    fixed: Iterable[int] = (counts.table_bytes, counts.garbler_label_bytes, counts.decode_bytes)
    return sum(fixed) + masked_bytes(step.choices)
