"""Import of a model into the textbook engine: what both clouds derive from the plan beforehand."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from twinveil.errors import TooMuch
from twinveil.halves.blinding import COUNT_BITS, Segment, layer_segments
from twinveil.network.plan import Linear, Plan
from twinveil.params import Params
from twinveil.protocol.textbook.circuits import import_weights
from twinveil.protocol.textbook.garbled import GarbledStep

LAYOUT = b"twinveil textbook layout 2"
"""Its number is raised when what is stored of a model changes in a way that widths do not show."""
PART_PLAINTEXTS = 32
"""Plaintexts of weights in one circuit: some twenty megabytes of tables at 2048 bits."""


@dataclass(frozen=True)
class ImportLayout:
    """Segments and masks of one model's import. Raises TooMuch for more plaintexts than an import takes."""

    plan: Plan
    params: Params

    def __post_init__(self) -> None:
        segments = (each for node in self.plan.linear_nodes for each in self.segments(node))
        if sum(each.plaintexts for each in segments) > 1 << COUNT_BITS:
            raise TooMuch(f"the network has more than {1 << COUNT_BITS:,} plaintexts of weights and biases")

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

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 over all that says how wide a value and its mask are.

        S1, S2 and every model on their disks must mean the same, or answers would be wrong without a word: so
        it is stored with a model and compared at the start of every conversation.
        """
        digest = hashlib.sha256(LAYOUT)
        digest.update(repr((self.plan.hash, self.params.key_bits, self.params.sigma)).encode())
        for node in self.plan.linear_nodes:
            for segment in (each for part in self.parts(node) for each in part):
                widths = self.mask_bits(segment), segment.plaintext_mask_bits(self.params.sigma)
                digest.update(repr((segment, *widths)).encode())
        return digest.digest()
