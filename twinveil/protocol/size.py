"""What a query of a plan would send and hold, by formula, before anything of such a size is made.

A plan and a number of pictures come from clients, memory is the clouds'. S2's shares are counted as if no tap
met padding only; everything else is exact but for tags, lengths and fields of fixed size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from twinveil.errors import BadPlan
from twinveil.garbling.labels import LABEL_BYTES
from twinveil.garbling.ot_extension import correction_bytes, masked_bytes, prepare_bytes
from twinveil.halves.blinding import picture_segment
from twinveil.network.faults import over_limits
from twinveil.network.plan import Plan
from twinveil.params import Params
from twinveil.protocol.packed.layout import PackedLayout
from twinveil.protocol.query.engines import query_plan
from twinveil.protocol.textbook.garbled import GarbledStep
from twinveil.protocol.textbook.steps import BATCH, TextbookLayout
from twinveil.rounds.chunks import MessageLimits

COPIES = 4
"""Of the longest message at S1: its parts, the message, its serialised form, what gRPC has of it."""
WORD_BYTES = 8


@dataclass(frozen=True, slots=True)
class QuerySize:
    """Bytes. longest: of a message. sent, received: at most, by S1. memory: at S1 at the peak, roughly.

    fault: why no cloud begins such a query, or None.
    """

    longest: int
    sent: int
    received: int
    memory: int
    fault: str | None


@lru_cache(256)
def query_size(plan: Plan, params: Params, engine: str, pictures: int = 1) -> QuerySize:
    """Raises BadPlan for a plan that the engine does not run at all."""
    if over := over_limits(plan, pictures):  # within the limits, counting is cheap
        return QuerySize(0, 0, 0, 0, f"more than {over}")
    query = query_plan(plan, params, engine, pictures)
    layout = query.layout
    sent, received, held = _packed(layout) if isinstance(layout, PackedLayout) else _textbook(layout)
    transfers = sum(step.choices for step in query.steps)
    garbled = [_batch_bytes(step) for step in query.steps]
    sent += garbled
    received += [prepare_bytes(transfers), *(correction_bytes(step.choices) for step in query.steps)]
    longest = max(*sent, *received)
    memory = sum(garbled) + transfers * 2 * LABEL_BYTES + COPIES * longest + held
    return QuerySize(longest, sum(sent), sum(received), memory, _fault(longest, sum(sent), sum(received)))


def refuse_unrunnable(plan: Plan, params: Params, engines: Sequence[str]) -> None:
    """Raises BadPlan for a plan of which not even a query of one picture could come to its end."""
    for engine in engines:
        if fault := query_size(plan, params, engine).fault:
            raise BadPlan(f"the network cannot be run: a query of one picture has {fault}")


def _fault(longest: int, sent: int, received: int) -> str | None:
    limits = MessageLimits()
    if longest > limits.message_bytes:
        return f"a message of {longest >> 20:,} MiB, {limits.message_bytes >> 20} are the most"
    if max(sent, received) > limits.conversation_bytes:
        most = limits.conversation_bytes >> 20
        return f"messages of {max(sent, received) >> 20:,} MiB in one direction, {most:,} are the most"
    return None


def _batch_bytes(step: GarbledStep) -> int:
    counts = step.counts
    fixed = counts.table_bytes + counts.garbler_label_bytes + counts.decode_bytes
    return fixed + masked_bytes(step.choices)


def _packed(layout: PackedLayout) -> tuple[list[int], list[int], int]:
    """Messages of ciphertexts of S1 and of S2, and what S1 holds of shares beside them."""
    plan, ciphertext = layout.plan, 2 * layout.key_bits // 8
    stages = [[layout.step(step) for step in stage.linear] for stage in layout.schedule.stages[1:]]
    pixels = picture_segment(plan, layout.pictures, key_bits=layout.key_bits, sigma=layout.sigma)
    layers = layout.layers.values()
    sent = [sum(layer.ahead_sums for layer in layers), pixels.plaintexts]
    sent += [sum(layer.online_sums for layer in stage) for stage in stages]
    received = [pixels.plaintexts]
    received += [sum(plan.taps(layer.node) * layer.blocks for layer in stage) for stage in stages]
    columns = max(layer.bases * layer.groups for layer in layers)
    return (
        [count * ciphertext for count in sent],
        [count * ciphertext for count in received],
        3 * WORD_BYTES * columns,
    )


def _textbook(layout: TextbookLayout) -> tuple[list[int], list[int], int]:
    """The same; every value that is masked, flipped or unmasked on its way is one of the products."""
    ciphertext = 2 * layout.params.key_bits // 8
    products, pixels = layout.products * ciphertext, layout.picture.count * ciphertext
    batches = [2 * BATCH * ciphertext] * -(-layout.products // BATCH)
    return [*batches, products, products, pixels], [products] * 3 + [pixels], pixels + 8 * products
