"""A model in the packed engine: what both clouds derive from the plan before any value arrives."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from twinveil.crypto.slots import Slots
from twinveil.errors import BadPlan
from twinveil.halves.blinding import Segment
from twinveil.halves.ring import kernel_segments
from twinveil.network.plan import Linear, Plan
from twinveil.params import PACKED_SIGMA
from twinveil.protocol.packed.layout import ItemLayout
from twinveil.protocol.packed.masking import Sheet
from twinveil.protocol.packed.plan import ItemPlan

LAYOUT = b"twinveil packed layout 2"
"""Raised when what is stored of a model changes in a way that slots and widths do not show."""
MAX_KERNEL_SLOTS = 1 << 23
"""Slots of E(K2), the empty ones counted: a kernel with a long stride has mostly such."""


@dataclass(frozen=True)
class ModelLayout:
    """Where each weight sits as it arrives, and in E(K2).

    Raises BadPlan or TooMuch for a network that no cloud imports.
    """

    plan: Plan
    key_bits: int
    sigma: int = PACKED_SIGMA

    def __post_init__(self) -> None:
        kernels = [layer.kernel for layer in self.item.layers.values()]
        slots = sum(kernel.chunks * kernel.bases * kernel.slots.count for kernel in kernels)
        if slots > MAX_KERNEL_SLOTS:
            raise BadPlan(f"the network's kernels take {slots:,} slots, {MAX_KERNEL_SLOTS:,} are the most")
        _ = self.segments

    @cached_property
    def item(self) -> ItemLayout:
        return ItemLayout(self.plan, self.key_bits, self.sigma)

    @cached_property
    def items(self) -> ItemPlan:
        return ItemPlan(self.item)

    @cached_property
    def segments(self) -> dict[str, Segment]:
        """How the owner packed each layer's weights."""
        return kernel_segments(self.plan, self.key_bits, self.sigma)

    def sheet(self, node: Linear) -> Sheet:
        """A layer's plaintexts as the owner packed them; weights are in offset binary there."""
        segment = self.segments[node.name]
        index = np.zeros(segment.plaintexts * segment.per_plaintext, np.int32)
        index[: segment.count] = np.arange(1, segment.count + 1)
        return Sheet(
            Slots(segment.bits, segment.per_plaintext),
            node.accumulator_bits,
            segment.plaintext_mask_bits(self.sigma),
            index.reshape(segment.plaintexts, segment.per_plaintext),
            segment.count,
            offset=1 << (node.weight_bits - 1),
        )

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 over all that says where a value sits and how wide it and its mask are.

        S1, S2 and every model on their disks must mean the same: it is stored with a model and compared at
        the start of every conversation.
        """
        digest = hashlib.sha256(LAYOUT)

        def add(*fields: object) -> None:
            digest.update(repr(fields).encode())

        add(self.plan.hash, self.key_bits, self.sigma, self.item.margin)
        add([(piece.name, piece.share_bits) for piece in self.item.schedule.pieces.values()])
        for name, layer in self.item.layers.items():
            add(name, self.segments[name], layer.slots, layer.ring, layer.kernel.tile)
            for chunk in range(layer.kernel.chunks):
                digest.update(layer.kernel.weights(chunk).astype("<i4").tobytes())
            digest.update(layer.inputs.inputs.astype("<i4").tobytes())
        return digest.digest()
