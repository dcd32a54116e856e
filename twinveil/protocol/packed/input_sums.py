"""conv(u, K1): S2 sends E(u), S1 raises it to K1. Where u sits in plaintexts, and what K1 it meets.

Slots are output positions, a plaintext holds what one tap reads at a block of them:

    prod over taps t of E(u)_t ^ K1[channel, t]   =   E(sums of one channel at all positions of a block)

The last block has fewer positions than slots. So sums of several channels are shifted behind one another
there, by a squaring a bit, which costs less than a decryption: blocks are filled up but for the last.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from twinveil.crypto.slots import Slots
from twinveil.protocol.packed.geometry import Geometry, Index


@dataclass(frozen=True)
class Block:
    """Positions first to first + size. taps: those that read no padding only, so that their plaintexts exist.

    folded: channels that share a ciphertext of sums, each behind the one before.
    """

    first: int
    size: int
    taps: Index
    folded: int


@dataclass(frozen=True)
class InputSums:
    """The layout of one layer. Plaintexts and sums are in the order of blocks, taps and channels."""

    geometry: Geometry
    slots: Slots

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        columns, slots, made = self.geometry.columns, self.slots.count, []
        for first in range(0, self.geometry.positions, slots):
            size = min(slots, self.geometry.positions - first)
            taps = np.flatnonzero(columns[:, first : first + size].any(axis=1)).astype(np.int32)
            made.append(Block(first, size, taps, min(slots // size, self.geometry.channels)))
        return tuple(made)

    @property
    def plaintexts(self) -> int:
        """Encryptions of u."""
        return sum(len(block.taps) for block in self.blocks)

    @property
    def sums(self) -> int:
        """Ciphertexts of sums."""
        return sum(-(-self.geometry.channels // block.folded) for block in self.blocks)

    @cached_property
    def inputs(self) -> Index:
        """(plaintexts, slots): which input a slot holds."""
        columns, made = self.geometry.columns, np.zeros((self.plaintexts, self.slots.count), np.int32)
        start = 0
        for block in self.blocks:
            part = columns[block.taps, block.first : block.first + block.size]
            made[start : start + len(part), : block.size] = part
            start += len(part)
        return made

    @cached_property
    def outputs(self) -> Index:
        """(sums, slots): which output (channel, position) a slot holds."""
        channels, positions = self.geometry.channels, self.geometry.positions
        flat = np.arange(1, channels * positions + 1, dtype=np.int32).reshape(channels, positions)
        made, start = np.zeros((self.sums, self.slots.count), np.int32), 0
        for block in self.blocks:
            count = -(-channels // block.folded)
            part = np.zeros((count * block.folded, block.size), np.int32)
            part[:channels] = flat[:, block.first : block.first + block.size]
            made[start : start + count, : block.folded * block.size] = part.reshape(count, -1)
            start += count
        return made
