"""The messages of the packed engine's three conversations, to the byte, from the plan alone."""

from __future__ import annotations

from collections.abc import Sequence

from twinveil.garbling.base_ot import POINT_BYTES
from twinveil.garbling.ot_extension import correction_bytes, prepare_bytes
from twinveil.protocol.packed.masking import Sheet
from twinveil.protocol.packed.model.layout import ModelLayout
from twinveil.protocol.packed.plan import ItemPlan
from twinveil.protocol.turns import (
    BASE_BYTES,
    HASH_BYTES,
    ID_BYTES,
    OPENING,
    Turn,
    bind_fields,
    open_import,
)
from twinveil.rounds.scripted import ROUNDS_VERSION, SESSION_BYTES
from twinveil.rounds.wire import round_bytes


def import_turns(layout: ModelLayout) -> list[Turn]:
    """The import of a model, without the commitment."""
    ciphertext = layout.key_bits // 4
    sheets = {node.name: layout.sheet(node) for node in layout.plan.linear_nodes}
    factors = sum(len(sheet.outputs) for sheet in sheets.values()) * ciphertext
    opened = round_bytes("import_opened", factors=factors, base_ot=BASE_BYTES)
    turns = [Turn("import", open_import("packed", POINT_BYTES), opened)]
    for name, sheet in sheets.items():
        kernel = layout.item.layers[name].kernel
        masked = round_bytes(
            "masked_kernel", ciphertexts=len(sheet.outputs) * ciphertext, **_choices([sheet])
        )
        kernels = kernel.chunks * kernel.bases * ciphertext
        shared = round_bytes("shared_kernel", words=sheet.word_bytes, kernels=kernels)
        turns.append(Turn("import", masked, shared))
    return turns


def opening_turn() -> Turn:
    """Of a conversation in which items are made."""
    opening = round_bytes("open_items", **OPENING, binding=HASH_BYTES, base_ot=POINT_BYTES)
    return Turn("ahead", opening, round_bytes("items_opened", base_ot_reply=BASE_BYTES, base_ot=POINT_BYTES))


def item_turns(plan: ItemPlan, number: int = 0) -> list[Turn]:
    """One item. number: its own in its conversation, the first of which takes the base transfers."""
    ciphertext, turns, words = plan.layout.key_bits // 4, list[Turn](), 0
    sent = round_bytes("make_item", number=number, base_ot_reply=0 if number else BASE_BYTES)
    for index, step in enumerate(plan.steps):
        circuits = [part.circuit for part in plan.parts_of(step)]
        transfers = sum(circuit.transfers for circuit in circuits)
        inputs = round_bytes(
            "item_inputs",
            ciphertexts=step.ciphertexts * ciphertext,
            extension=prepare_bytes(transfers) if transfers else 0,
            words=words,
        )
        turns.append(Turn("ahead", sent, inputs))
        sheets, fields = plan.sheets_of(step), ("tables", "labels", "words")
        words = sum(sheet.word_bytes for sheet in sheets)
        sent = round_bytes(
            "item_offer",
            step=number * len(plan.steps) + index,
            circuits=[dict(zip(fields, circuit.offer_bytes, strict=True)) for circuit in circuits],
            ciphertexts=sum(len(sheet.outputs) for sheet in sheets) * ciphertext,
            **_choices(sheets),
        )
    return [*turns, Turn("ahead", sent, round_bytes("item_words", words=words))]


def query_turns(plan: ItemPlan, items: Sequence[int], label_only: bool) -> list[Turn]:
    """One query, a picture an item. items: their numbers in their conversation."""
    pictures, last = len(items), len(plan.stages) - 1
    shares = [
        round_bytes("shared_turn", shares=pictures * sum(each.bytes for each in plan.turn(index, label_only)))
        for index in range(last + 1)
    ]
    answers = [*shares[1:], round_bytes("answered")]
    spend = round_bytes(
        "spend",
        protocol_version=ROUNDS_VERSION,
        import_id=ID_BYTES,
        bind=bind_fields(label_only),
        items=[{"session_id": SESSION_BYTES, "number": number} for number in items],
    )
    turns, taken = [Turn("picture", spend, shares[0])], round_bytes("labels_taken")
    for index in range(last + 1 if label_only else last):
        *some, rest = (
            round_bytes("labels", labels=sum(plan.parts[place].circuit.answer_bytes for _, place in whose))
            for whose in plan.labels(index, pictures)
        )
        turns += [Turn(plan.circuit_name(index), each, taken) for each in some]
        turns.append(Turn(plan.circuit_name(index), rest, answers[index]))
    return turns


def _choices(sheets: Sequence[Sheet]) -> dict[str, int]:
    """Of S1, in the transfers of borrows."""
    count = sum(sheet.transfers for sheet in sheets)
    return {
        "extension": prepare_bytes(count) if count else 0,
        "corrections": sum(correction_bytes(sheet.transfers) for sheet in sheets),
    }
