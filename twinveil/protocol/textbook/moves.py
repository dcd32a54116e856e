"""What a textbook query does, in order, from the plan alone; bytes of its messages and of an import's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

from twinveil.garbling.base_ot import POINT_BYTES
from twinveil.garbling.ot_extension import correction_bytes, masked_bytes, prepare_bytes
from twinveil.network.schedule import PoolStep, ReluStep, Stage
from twinveil.protocol.textbook.garbled import GarbledStep
from twinveil.protocol.textbook.model.layout import ImportLayout
from twinveil.protocol.textbook.steps import BATCH, TextbookLayout, pool_windows
from twinveil.protocol.turns import BASE_BYTES, HASH_BYTES, OPENING, Turn, bind_fields, open_import
from twinveil.rounds.wire import round_bytes


@dataclass(frozen=True, slots=True)
class Move:
    """Some values at once. circuit: which is evaluated on them, or chosen for, in this move.

    open        the conversation begins; values are all its transfers
    picture     plaintexts of the picture, under masks
    mask        E(x + s), for a circuit, or for the user
    record      E(t xor m) from a circuit
    output      E(y + m) from a circuit
    products    SMP; sums: additions that follow
    label       of a circuit, for the user
    """

    function: str
    kind: str
    values: int
    circuit: GarbledStep | None = None
    sums: int = 0


def moves(layout: TextbookLayout, label_only: bool) -> list[Move]:
    """Of one query."""
    steps = layout.steps()
    opened = Move("garbling", "open", sum(step.choices for step in steps))
    return [opened, *_moves(layout, iter(steps), label_only)]


def query_turns(layout: TextbookLayout, label_only: bool) -> list[Turn]:
    """The messages of one query."""
    ciphertext = layout.params.key_bits // 4
    return [turn for move in moves(layout, label_only) for turn in _turns(move, ciphertext, label_only)]


def import_turns(layout: ImportLayout) -> list[Turn]:
    """The import of a model, without the commitment."""
    plan, ciphertext, base_ot = layout.plan, layout.params.key_bits // 4, BASE_BYTES
    segments = {node.name: layout.segments(node) for node in plan.linear_nodes}
    weights, biases = (sum(pair[which].plaintexts for pair in segments.values()) for which in (0, 1))
    opened = round_bytes(
        "import_opened", factors=weights * ciphertext, differences=biases * ciphertext, base_ot=POINT_BYTES
    )
    made = [Turn("import", open_import("textbook"), opened)]
    for node in plan.linear_nodes:
        parts = layout.parts(node)
        for part in parts:
            step = layout.step(part)
            masked = sum(segment.plaintexts for segment in part) * ciphertext
            corrections = round_bytes(
                "corrections", bits=correction_bytes(step.choices), extension=prepare_bytes(step.choices)
            )
            plaintexts = round_bytes("masked_plaintexts", ciphertexts=masked, base_ot=base_ot)
            made.append(Turn("import", plaintexts, corrections))
            values = sum(segment.count for segment in segments[node.name]) * ciphertext
            reply = round_bytes("encrypted_shares", ciphertexts=values)
            made.append(Turn("import", _garbled(step), reply if part is parts[-1] else round_bytes("done")))
            base_ot = 0
    return made


def _moves(layout: TextbookLayout, steps: Iterator[GarbledStep], label_only: bool) -> Iterator[Move]:
    stages, plan = layout.schedule.stages, layout.plan
    circuit = next(steps)
    yield Move("import", "picture", layout.picture.plaintexts, circuit)
    yield Move("import", "output", layout.picture.count, circuit)
    for stage in stages[1:]:
        last = stage is stages[-1]
        name = "SCT" if last else "SCVL"
        if stage.index == 1:
            yield from _pools(layout, steps, stages[0])
        for step in stage.linear:
            products = layout.layer_products(step)
            yield Move(name, "products", products, sums=products)
        if not last:
            for relu in stage.relus:
                yield from _sact(layout, steps, relu)
            yield from _pools(layout, steps, stage)
    circuit = next(steps)
    yield Move("SCT", "mask", plan.output.out_features, circuit if label_only else None)
    if label_only:
        yield Move("label", "label", 1, circuit)


def _sact(layout: TextbookLayout, steps: Iterator[GarbledStep], relu: ReluStep) -> Iterator[Move]:
    count, circuit = prod(layout.plan.shapes[relu.source]), next(steps)
    yield Move("SACT", "mask", count, circuit)
    yield Move("SACT", "record", count, circuit)
    yield Move("SACT", "products", count)
    circuit = next(steps)
    yield Move("SACT", "mask", count, circuit)
    yield Move("SACT", "output", count, circuit)


def _pools(layout: TextbookLayout, steps: Iterator[GarbledStep], stage: Stage) -> Iterator[Move]:
    for pool in stage.pools:
        yield from _smap(layout, steps, pool)


def _smap(layout: TextbookLayout, steps: Iterator[GarbledStep], pool: PoolStep) -> Iterator[Move]:
    for members in pool_windows(pool, layout.schedule.pieces[pool.source].shape):
        window, count = members.shape
        if window > 1:
            circuit = next(steps)
            yield Move("SMAP", "mask", window * count, circuit)
            yield Move("SMAP", "record", window * count, circuit)
            yield Move("SMAP", "products", window * count, sums=(window - 1) * count)


def _turns(move: Move, ciphertext: int, label_only: bool) -> Iterator[Turn]:
    size, chosen, garbled = move.values * ciphertext, round_bytes("answered"), 0
    if move.circuit is not None:
        chosen = round_bytes("corrections", bits=correction_bytes(move.circuit.choices))
        garbled = _garbled(move.circuit)
    match move.kind:
        case "open":
            opening = round_bytes("open_query", **OPENING, layout=HASH_BYTES)
            yield Turn(move.function, opening, round_bytes("query_opened", base_ot=POINT_BYTES))
            extension = round_bytes("prepared", extension=prepare_bytes(move.values))
            yield Turn(move.function, round_bytes("prepare", base_ot=BASE_BYTES), extension)
        case "picture":
            bind = round_bytes("bind", **bind_fields(label_only))
            yield Turn(move.function, bind, round_bytes("import_factors", factors=size))
            yield Turn(move.function, round_bytes("masked_plaintexts", ciphertexts=size), chosen)
        case "mask":
            yield Turn(move.function, round_bytes("masked_sums", ciphertexts=size), chosen)
        case "products":
            yield from _products(move, ciphertext)
        case "record":
            yield Turn(move.function, garbled, round_bytes("record_bits", ciphertexts=size))
        case "output":
            yield Turn(move.function, garbled, round_bytes("encrypted_shares", ciphertexts=size))
        case "label":
            yield Turn(move.function, garbled, round_bytes("answered"))


def _products(move: Move, ciphertext: int) -> Iterator[Turn]:
    for count, times in ((BATCH, move.values // BATCH), (move.values % BATCH, 1)):
        if count and times:
            side = count * ciphertext
            operands = round_bytes("smp_operands", left=side, right=side)
            yield Turn(move.function, operands, round_bytes("smp_products", products=side), times)


def _garbled(step: GarbledStep) -> int:
    """Bytes of a circuit with S1's labels and the transfers of S2's."""
    return round_bytes(
        "garbled_batch",
        tables=step.counts.table_bytes,
        garbler_labels=step.counts.garbler_label_bytes,
        masked_labels=masked_bytes(step.choices),
        decode=step.counts.decode_bytes,
    )
