"""What an item and a picture cost, from the plan alone: bytes of messages and operations on big integers.

Bytes are payloads, without tags and lengths of messages. A test holds both equal to what is sent and done.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from twinveil.crypto.native.tables import exponentiation_counts, fold_counts, product_counts
from twinveil.crypto.nonces import encrypt_counts, nonce_counts
from twinveil.crypto.public_key import PublicKey
from twinveil.crypto.secret_key import SecretKey
from twinveil.crypto.tally import MODMUL_N2, Tally
from twinveil.garbling.base_ot import BASE_COUNT, POINT_BYTES
from twinveil.garbling.ot_extension import correction_bytes, prepare_bytes
from twinveil.protocol.packed.layout import MORE_TOWARDS_S1, ItemLayout
from twinveil.protocol.packed.plan import ItemPlan


@dataclass(frozen=True, slots=True)
class Traffic:
    """Payloads in bytes, message by message. A message of S1's and its answer are a round trip."""

    sent: Sequence[int]
    received: Sequence[int]


def item_traffic(plan: ItemPlan) -> Traffic:
    """One item that is not its conversation's first."""
    ciphertext = plan.layout.key_bits // 4
    tables = sum(sum(circuit.offer_bytes) for circuit in plan.circuits)
    borrows = sum(sheet.transfers for sheet in plan.sheets)
    choices = prepare_bytes(borrows) if borrows else 0
    choices += sum(correction_bytes(sheet.transfers) for sheet in plan.sheets)
    return Traffic(
        (0, tables + plan.layout.sums * ciphertext + choices),
        (
            plan.layout.encryptions * ciphertext + prepare_bytes(plan.transfers),
            sum(sheet.word_bytes for sheet in plan.sheets),
        ),
    )


FIRST_ITEM_BYTES = BASE_COUNT * POINT_BYTES
"""What S1 sends more with a conversation's first item."""


def online_traffic(plan: ItemPlan, pictures: int, label_only: bool) -> Traffic:
    """A query, the binding and the answers to the user left out."""
    stages = len(plan.stages)
    turns = [sum(each.bytes for each in plan.turn(index, label_only)) for index in range(stages)]
    labels = [circuit.answer_bytes for circuit in plan.circuits[: stages if label_only else stages - 1]]
    return Traffic(
        (0, *(size * pictures for size in labels)),
        (*(size * pictures for size in turns), *([0] if label_only else [])),
    )


def operations_s1(layout: ItemLayout, group: int) -> Tally:
    """Of one item at S1, the tables left out. group: of the tables, see `powers.table_group`."""
    tally = Tally(PublicKey.check_counts(layout.encryptions))
    for layer in layout.layers.values():
        kernel, channels = layer.kernel, layer.geometry.channels
        for _ in range(kernel.chunks):
            tally += product_counts(kernel.bases, kernel.reads.shape[1], layer.ring, group)
        for block in layer.inputs.blocks:
            tally += exponentiation_counts(len(block.taps), channels, layer.ring)
            whole, left = divmod(channels, block.folded)
            width = layer.slots.bits * block.size
            tally += fold_counts(block.folded, width, whole)
            if left:
                tally += fold_counts(left, width)
    tally += PublicKey.add_plain_counts(layout.sums)
    tally += nonce_counts(layout.key_bits, "full", layout.sums, layout.more_towards_s2)
    tally.add(MODMUL_N2, layout.sums)
    return tally


def operations_s2(layout: ItemLayout) -> Tally:
    """Of one item at S2."""
    tally = Tally(encrypt_counts(layout.encryptions))
    tally += nonce_counts(layout.key_bits, "short", layout.encryptions, MORE_TOWARDS_S1)
    tally += PublicKey.check_counts(layout.sums)
    tally += SecretKey.decrypt_counts(layout.sums)
    return tally
