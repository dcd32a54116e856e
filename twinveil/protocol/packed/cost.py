"""Operations on big integers of an item, from the plan alone. A test holds them equal to what is done."""

from __future__ import annotations

from twinveil.crypto.native.tables import exponentiation_counts, fold_counts, product_counts
from twinveil.crypto.nonces import encrypt_counts, nonce_counts
from twinveil.crypto.public_key import PublicKey
from twinveil.crypto.secret_key import SecretKey
from twinveil.crypto.tally import MODMUL_N2, Tally
from twinveil.protocol.packed.layout import MORE_TOWARDS_S1
from twinveil.protocol.packed.plan import ItemPlan


def operations_s1(plan: ItemPlan, group: int) -> Tally:
    """Of one item at S1, the tables left out. group: of the tables, see `powers.table_group`."""
    layout, tally = plan.layout, Tally()
    for step in plan.steps:
        if step.ciphertexts:
            tally += PublicKey.check_counts(step.ciphertexts)
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


def operations_s2(plan: ItemPlan) -> Tally:
    """Of one item at S2."""
    layout = plan.layout
    tally = Tally(encrypt_counts(layout.encryptions))
    tally += nonce_counts(layout.key_bits, "short", layout.encryptions, MORE_TOWARDS_S1)
    for step in plan.steps:
        if sums := sum(len(sheet.outputs) for sheet in plan.sheets_of(step)):
            tally += PublicKey.check_counts(sums)
            tally += SecretKey.decrypt_counts(sums)
    return tally
