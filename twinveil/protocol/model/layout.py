"""Import of a model: what both clouds derive from the plan before any value arrives."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import get_args

import numpy as np
import numpy.typing as npt

from twinveil.errors import BadPlan, TooMuch
from twinveil.halves.blinding import COUNT_BITS, Segment, layer_segments
from twinveil.network.plan import Linear, Plan
from twinveil.params import Engine, Params
from twinveil.protocol.circuits import import_weights
from twinveil.protocol.garbled import GarbledStep
from twinveil.protocol.packed.layout import PackedLayout

LAYOUT = b"twinveil layout 1"
"""Its number is raised when what is stored of a model changes in a way that slots and widths do not show."""
MAX_KERNEL_SLOTS = 1 << 22
"""Slots of E(K); the default network has 62,000. A kernel with a long stride has mostly empty ones, so
that the weights do not bound them."""
ENGINES: tuple[Engine, ...] = get_args(Engine)
PART_PLAINTEXTS = 32
"""Plaintexts of weights in one circuit: some twenty megabytes of tables at 2048 bits."""


@dataclass(frozen=True)
class ImportLayout:
    """Segments, masks and ciphertext layouts of one model's import."""

    plan: Plan
    params: Params
    engines: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.engines or not set(self.engines) <= set(ENGINES):
            raise BadPlan(f"a model is imported for some of the engines {', '.join(ENGINES)}")
        if len(set(self.engines)) < len(self.engines):
            raise BadPlan("each engine is named once")
        self._refuse_bombs()

    def _refuse_bombs(self) -> None:
        """A plan comes from a client: its sizes by formula, before anything of such a size is made."""
        if "packed" in self.engines:
            slots = sum(layer.kernel_size for layer in self.packed.layers.values())
            if slots > MAX_KERNEL_SLOTS:
                raise BadPlan(
                    f"the network's kernels take {slots:,} slots, {MAX_KERNEL_SLOTS:,} are the most"
                )
            self._refuse_narrow_slots()
        segments = (each for node in self.plan.linear_nodes for each in self.segments(node))
        if sum(each.plaintexts for each in segments) > 1 << COUNT_BITS:
            raise TooMuch(f"the network has more than {1 << COUNT_BITS:,} plaintexts of weights and biases")

    def _refuse_narrow_slots(self) -> None:
        """S2 packs u + R into slots that were laid out for sums. Only absurd plans have no room for it."""
        for name, layer in self.packed.layers.items():
            if any(self.mask_bits(each) + 1 > 8 * layer.ahead.bytes for each in self.segments(layer.node)):
                raise BadPlan(
                    f"layer {name}: its sums' slots have no room for a masked weight: widen its accumulators"
                )

    @cached_property
    def packed(self) -> PackedLayout:
        return PackedLayout(self.plan, self.params.key_bits, self.params.sigma)

    @property
    def digest(self) -> bytes:
        """SHA-256 over all that says where a value sits and how wide it and its mask are.

        S1, S2 and every model on their disks must mean the same, or answers would be wrong without a word: so
        it is stored with a model and compared at the start of every conversation.
        """
        return digest_of(self.plan, self.params, self.engines)

    def segments(self, node: Linear) -> tuple[Segment, Segment]:
        return layer_segments(self.plan, node, key_bits=self.params.key_bits, sigma=self.params.sigma)

    @cached_property
    def value_bits(self) -> int:
        """ceil(log2(weights and biases in the model))."""
        total = sum(sum(s.count for s in self.segments(node)) for node in self.plan.linear_nodes)
        return (total - 1).bit_length()

    def mask_bits(self, segment: Segment) -> int:
        """Width of R in u + R: hides u statistically for the life of the model."""
        return segment.bits + self.params.sigma + self.value_bits

    def parts(self, node: Linear) -> list[tuple[Segment, ...]]:
        """A layer's values in circuits of bounded size: weights, and the biases with the last of them."""
        weights, biases = self.segments(node)
        size = PART_PLAINTEXTS * weights.per_plaintext
        pieces = [
            replace(weights, count=min(size, weights.count - start))
            for start in range(0, weights.count, size)
        ]
        return [*((piece,) for piece in pieces[:-1]), (pieces[-1], biases)]

    def step(self, part: Sequence[Segment]) -> GarbledStep:
        """The circuit of one part."""
        return import_weights(part, {s.name: self.mask_bits(s) for s in part})

    def placements(self, node: Linear) -> list[Placement]:
        """Ciphertexts that S2 makes of its masked values, in order: every engine's weights, then biases."""
        weights, biases = self.segments(node)
        made = []
        for engine in self.engines:
            if engine == "packed":
                layer = self.packed.layers[node.name]
                slots, width = layer.kernel_slots, layer.ahead.bytes
                made.append(Placement("packed", weights, slots.reshape(-1, slots.shape[2]), width))
                made.append(Placement("packed", biases, layer.bias_slots, width))
            else:
                for segment in (weights, biases):
                    each = np.arange(segment.count)[:, None]
                    made.append(Placement("textbook", segment, each, self.mask_bits(segment) // 8 + 1))
        return made


@dataclass(frozen=True)
class Placement:
    """One batch of ciphertexts: slots[p, j] says which value sits in slot j of plaintext p, -1 none."""

    engine: str
    segment: Segment
    slots: npt.NDArray[np.int64]
    slot_bytes: int


@lru_cache(64)
def digest_of(plan: Plan, params: Params, engines: tuple[str, ...]) -> bytes:
    # A layout of its own: what the cache holds keeps no layout's slots in memory.
    layout, digest = ImportLayout(plan, params, engines), hashlib.sha256(LAYOUT)

    def add(*fields: object) -> None:
        digest.update(repr(fields).encode())

    add(plan.hash, params.key_bits, params.sigma, engines)
    if "packed" in engines:
        add([(piece.name, piece.share_bits) for piece in layout.packed.schedule.pieces.values()])
    for node in plan.linear_nodes:
        for segment in (each for part in layout.parts(node) for each in part):
            add(segment, layout.mask_bits(segment), segment.plaintext_mask_bits(params.sigma))
        if "packed" in engines:
            layer = layout.packed.layers[node.name]
            add(layer.online, layer.ahead, layer.group)
        for placement in layout.placements(node):
            add(placement.engine, placement.slot_bytes, placement.slots.shape)
            digest.update(placement.slots.astype("<i8").tobytes())
    return digest.digest()
