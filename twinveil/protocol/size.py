"""What conversations about a plan send and hold, by formula, before anything of such a size is made.

A plan and a number of pictures come from clients, memory is the clouds'. Nobody else counts these: clouds
refuse by them, and estimates tell them. Bytes of messages are exact, memory is about what is seen.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import prod

from twinveil.errors import BadPlan
from twinveil.garbling.ahead import Circuit
from twinveil.garbling.hashing import BLOCK
from twinveil.garbling.labels import LABEL_BYTES
from twinveil.halves.model import half_sizes
from twinveil.network.faults import over_limits
from twinveil.network.plan import Plan
from twinveil.params import Params
from twinveil.protocol.model.layout import Layouts
from twinveil.protocol.packed import turns as packed
from twinveil.protocol.packed.plan import ItemPlan
from twinveil.protocol.packed.powers import TABLE_BUDGET, table_group, tables_bytes
from twinveil.protocol.packed.steps import Step
from twinveil.protocol.textbook import moves as textbook
from twinveil.protocol.textbook.steps import TextbookLayout, pool_windows
from twinveil.protocol.turns import COMMIT, longest, messages, received, sent
from twinveil.rounds.chunks import MESSAGE_BYTES

COPIES = 4
"""Of the longest message at a cloud: its parts, the message, its serialised form, what gRPC has of it."""
WORD_BYTES = 8
CIPHER_BYTES = 1500
"""Of AES with its key set up."""
OWN_BYTES = 2 * WORD_BYTES
"""Of a weight's share: a word as it came, and a double to multiply with."""
NUMBER_BYTES = 56
"""Of a big integer in memory beside its digits."""


@dataclass(frozen=True, slots=True)
class QuerySize:
    """Bytes. longest: of a message. sent, received: at most, by S1. fault: why no cloud begins it, or None.

    memory, memory_s2: at S1 and at S2 at the peak, items left out.
    """

    longest: int
    sent: int
    received: int
    memory: int
    memory_s2: int
    fault: str | None


@dataclass(frozen=True, slots=True)
class ItemSize:
    """One item of the packed engine, in bytes. messages: S1's and S2's. Others as in QuerySize, and

    working: at either cloud while it is made. memory_s1, memory_s2: as long as it lies ready. fault: why no
    cloud makes one, or None.
    """

    messages: int
    longest: int
    sent: int
    received: int
    working: int
    memory_s1: int
    memory_s2: int
    fault: str | None


@dataclass(frozen=True, slots=True)
class ImportSize:
    """A model's import for one engine, in bytes. Others as in QuerySize, and

    data: of either half from the owner.
    memory_s1, memory_s2: of the model once it is loaded; tables: of S1's on E(K2), beside that.
    """

    data: int
    longest: int
    sent: int
    received: int
    memory_s1: int
    memory_s2: int
    tables: int
    fault: str | None


@lru_cache(256)
def query_size(plan: Plan, params: Params, engine: str, pictures: int = 1) -> QuerySize:
    """Raises BadPlan for a plan that the engine does not run at all."""
    if over := over_limits(plan, pictures):  # within the limits, counting is cheap
        return QuerySize(0, 0, 0, 0, 0, f"more than {over}")
    if engine == "textbook":
        return textbook_size(TextbookLayout(plan, params))
    items = Layouts(plan, params, ("packed",)).packed.items
    turns = packed.query_turns(items, range(pictures), label_only=True)
    columns = max(layer.geometry.taps * layer.geometry.positions for layer in items.layout.layers.values())
    opened = sum(prod(piece.shape) for piece in items.layout.schedule.pieces.values())
    memory = COPIES * longest(turns) + WORD_BYTES * (3 * columns + pictures * opened)
    return QuerySize(longest(turns), sent(turns), received(turns), memory, memory, _fault(longest(turns)))


@lru_cache(256)
def item_size(plan: Plan, params: Params) -> ItemSize:
    """Raises BadPlan or TooMuch for a plan that the engine does not run at all."""
    items = Layouts(plan, params, ("packed",)).packed.items
    turns = packed.item_turns(items)
    return ItemSize(
        messages(turns),
        longest(turns),
        sent(turns),
        received(turns),
        COPIES * longest(turns) + max(_working(items, step) for step in items.steps),
        _item_s1(items),
        _item_s2(items),
        _fault(longest(turns)),
    )


@lru_cache(256)
def import_size(plan: Plan, params: Params, engine: str) -> ImportSize:
    """Raises BadPlan or TooMuch for a plan that the engine does not run at all."""
    layouts, number = Layouts(plan, params, (engine,)), params.key_bits // 4 + NUMBER_BYTES
    (data,) = half_sizes(plan, (engine,), params)
    shapes = [plan.weight_shape(node) for node in plan.linear_nodes]
    if engine == "packed":
        layout = layouts.packed
        turns, item = packed.import_turns(layout), layout.item
        kernels = [layer.kernel for layer in item.layers.values()]
        memory_s2 = OWN_BYTES * sum(prod(shape) for shape in shapes)
        memory_s1 = memory_s2 + number * sum(kernel.chunks * kernel.bases for kernel in kernels)
        tables = tables_bytes(item, table_group(item, TABLE_BUDGET))
    else:
        turns = textbook.import_turns(layouts.textbook)
        memory_s1 = number * sum(prod(shape) + shape[0] for shape in shapes)
        memory_s2 = tables = 0
    turns.append(COMMIT)
    return ImportSize(
        data,
        longest(turns),
        sent(turns),
        received(turns),
        memory_s1,
        memory_s2,
        tables,
        _fault(longest(turns)),
    )


def refuse_unrunnable(plan: Plan, params: Params, engines: Sequence[str]) -> None:
    """Raises BadPlan or TooMuch for a plan of which not even one picture could come to its end."""
    for engine in engines:
        for what, fault in _faults(plan, params, engine):
            if fault:
                raise BadPlan(f"the network cannot be run: {what} has {fault}")


def textbook_size(layout: TextbookLayout) -> QuerySize:
    """Of one query. At S1 every tensor stays, and all products of a layer; S2 answers message by message."""
    turns = textbook.query_turns(layout, label_only=True)
    steps, ciphertext = layout.steps(), layout.params.key_bits // 4 + NUMBER_BYTES
    transfers = 2 * LABEL_BYTES * sum(step.choices for step in steps)
    tables = sum(step.counts.table_bytes for step in steps)
    at_s1 = tables + transfers + _live_numbers(layout) * ciphertext + COPIES * longest(turns)
    at_s2 = transfers + (COPIES - 1) * longest(turns)
    return QuerySize(longest(turns), sent(turns), received(turns), at_s1, at_s2, _fault(longest(turns)))


def _faults(plan: Plan, params: Params, engine: str) -> Iterator[tuple[str, str | None]]:
    yield "a query of one picture", query_size(plan, params, engine).fault
    yield "its import", import_size(plan, params, engine).fault
    if engine == "packed":
        yield "what is made ahead of a picture", item_size(plan, params).fault


def _fault(bytes_: int) -> str | None:
    if bytes_ <= MESSAGE_BYTES:
        return None
    return f"a message of {bytes_ >> 20:,} MiB, {MESSAGE_BYTES >> 20} are the most"


def _working(items: ItemPlan, step: Step) -> int:
    """Beside messages, at S1: both pads of each transfer; ciphertexts of the layers that a step is about."""
    sheets = [name for name, made in items.layer_sheets.items() for _ in made]
    names = {each.layer for each in step.encryptions} | set(sheets[step.sheets.start : step.sheets.stop])
    layers = [items.layout.layers[name] for name in names]
    numbers = sum(layer.sums + layer.inputs.plaintexts for layer in layers)
    return 2 * LABEL_BYTES * _transfers(items, step) + (items.layout.key_bits // 4 + NUMBER_BYTES) * numbers


def _transfers(items: ItemPlan, step: Step) -> int:
    return sum(part.circuit.transfers for part in items.parts_of(step))


def _item_s1(items: ItemPlan) -> int:
    """Zero labels of the inputs that wait for y1 + y2 - rho, masks of outputs, own sums."""
    size = _sums_bytes(items)
    for part in items.parts:
        circuit = part.circuit
        if isinstance(circuit, Circuit):
            size += circuit.counts.garbler_label_bytes
            size += WORD_BYTES * sum(prod(shape[1:]) for _, shape in circuit.counts.outputs)
        else:
            size += WORD_BYTES * (2 * circuit.transfers + prod(circuit.shape[1:]))
    return size


def _item_s2(items: ItemPlan) -> int:
    """Tables and keys that are set up for them, labels of rho, rho, words of outputs, u, own sums."""
    pieces = items.layout.schedule.pieces.values()
    size = _sums_bytes(items) + WORD_BYTES * sum(prod(piece.shape) for piece in pieces if piece.share_bits)
    for place, part in enumerate(items.parts):
        circuit = part.circuit
        if isinstance(circuit, Circuit):
            counts = circuit.counts
            words = sum(prod(shape) for name, shape in counts.outputs if name in circuit.widths)
            size += counts.table_bytes + LABEL_BYTES * counts.evaluator_bits + WORD_BYTES * words
            size += WORD_BYTES * sum(prod(shape[1:]) for shape in circuit.inputs.values())
            size += CIPHER_BYTES * (-(-counts.and_gates // BLOCK) - (-words // BLOCK))
        else:  # its choices are a view of all of its step
            size += WORD_BYTES * (circuit.transfers + prod(circuit.shape[1:]))
            size += max(_transfers(items, step) for step in items.steps if place in step.parts)
    return size


def _sums_bytes(items: ItemPlan) -> int:
    """Of the shares of all layers' sums, at either cloud."""
    layers = items.layout.layers.values()
    return WORD_BYTES * sum(layer.geometry.channels * layer.geometry.positions for layer in layers)


def _live_numbers(layout: TextbookLayout) -> int:
    """Ciphertexts at S1 at the peak: every tensor, and all products of the largest SMP beside them.

    Of SACT and SMAP, for each product, the record as it came and flipped as well.
    """
    planned, shapes = layout.schedule, layout.plan.shapes
    layers = [step for stage in planned.stages for step in stage.linear]
    tensors = sum(prod(piece.shape) for piece in planned.pieces.values())
    tensors += sum(prod(shapes[step.node.name]) for step in layers)
    working = [layout.layer_products(step) for step in layers]
    working += [3 * prod(shapes[relu.source]) for stage in planned.stages for relu in stage.relus]
    for stage in planned.stages:
        for pool in stage.pools:
            windows = pool_windows(pool, planned.pieces[pool.source].shape)
            working += [3 * members.size for members in windows if members.shape[0] > 1]
    return tensors + max(working)
