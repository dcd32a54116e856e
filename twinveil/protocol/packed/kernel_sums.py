"""conv(r, K2): S1 raises E(K2), kept with the model, to r. Where K2 sits, and which r meets it.

Slots are output channels of a tile of neighbouring positions. K2 sits shifted under each position of a tile,
so that one power multiplies a value of r with all weights that it meets there:

    prod over bases t of E(K2)_t ^ r[reads of t]   =   E(sums of all channels at all positions of one tile)
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from twinveil.crypto.slots import Slots
from twinveil.protocol.packed.geometry import Geometry, Index

DECRYPTION = 1700
"""What a ciphertext of sums costs both clouds, its nonce and its decryption, in half multiplications. One for
all keys and levels of arithmetic, so that both clouds choose the same tiles: measured, it is 1000 (IFMA, 2048
bits), 1500 (IFMA, 3072), 1600 (gmpy2, 2048) and 2800 (gmpy2, 3072), and this is the geometric mean of the
extremes. The default network's tiles are the same from 1000 to 2300."""
BASE = 20
"""What a base costs, in the same unit: bytes of an import and S1's memory, for the life of the model."""
WIDE = 64
"""Output channels from which on a tile is one position: copies of K2 would be most of a large import."""


@dataclass(frozen=True, slots=True)
class Tile:
    """Outputs that share a ciphertext: channels of rows x columns positions."""

    rows: int
    columns: int
    channels: int


@dataclass(frozen=True)
class KernelSums:
    """The layout of one layer. Ciphertexts are in the order (chunk of channels, tile)."""

    geometry: Geometry
    slots: Slots
    ring: int

    @cached_property
    def tile(self) -> Tile:
        """The cheapest. All that a tile costs follows from public sizes."""
        _, rows, columns = self.geometry.outputs
        most = self.slots.count if self.geometry.channels < WIDE else 1
        choices = [
            self._fitted(row, column)
            for row in range(1, min(rows, most) + 1)
            for column in range(1, min(columns, most // row) + 1)
        ]
        return min(choices, key=self._cost)

    def _fitted(self, rows: int, columns: int) -> Tile:
        """A tile of that size, with as many channels as the chunks that have to be need."""
        out = self.geometry.channels
        chunks = -(-out // min(out, self.slots.count // (rows * columns)))
        return Tile(rows, columns, -(-out // chunks))

    def _cost(self, tile: Tile) -> int:
        """Half multiplications an item, times 8."""
        chunks = -(-self.geometry.channels // tile.channels)
        _, rows, columns = self.geometry.outputs
        sums = chunks * -(-rows // tile.rows) * -(-columns // tile.columns)
        high, wide = self.geometry.reads(tile.rows, tile.columns)
        bases = self.geometry.inputs[0] * high * wide
        return sums * (8 * DECRYPTION + bases * self.ring) + 8 * BASE * chunks * bases

    @property
    def chunks(self) -> int:
        """Ciphertexts that hold all channels of one tile."""
        return -(-self.geometry.channels // self.tile.channels)

    @cached_property
    def bases(self) -> int:
        """Ciphertexts of K2 in each chunk."""
        high, wide = self.geometry.reads(self.tile.rows, self.tile.columns)
        return self.geometry.inputs[0] * high * wide

    @property
    def sums(self) -> int:
        """Ciphertexts of sums."""
        _, rows, columns = self.geometry.outputs
        return self.chunks * -(-rows // self.tile.rows) * -(-columns // self.tile.columns)

    @cached_property
    def reads(self) -> Index:
        """(bases, tiles): the input that each base is raised to for each tile."""
        spans = self._spans()
        return np.ascontiguousarray(spans[spans.any(axis=1)])

    def _spans(self) -> Index:
        """The same with bases that meet nothing but padding: (row, column, channel) x tiles."""
        spans = self.geometry.windows(self.tile.rows, self.tile.columns).transpose(1, 2, 0, 3, 4)
        return spans.reshape(-1, spans.shape[3] * spans.shape[4])

    def weights(self, chunk: int) -> Index:
        """(bases, slots): which weight sits in which slot of a chunk's bases."""
        geometry, tile = self.geometry, self.tile
        first = chunk * tile.channels
        channels = range(first, min(first + tile.channels, geometry.channels))
        inputs, (high, wide), stride = geometry.inputs[0], geometry.kernel, geometry.stride
        count = geometry.taps * geometry.channels
        flat = np.arange(1, count + 1, dtype=np.int32).reshape(geometry.channels, inputs, high, wide)
        kernels = flat[channels.start : channels.stop].transpose(2, 3, 1, 0)
        span = ((tile.rows - 1) * stride + high, (tile.columns - 1) * stride + wide)
        placed = np.zeros((*span, inputs, tile.rows * tile.columns, tile.channels), np.int32)
        for place in range(tile.rows * tile.columns):
            row, column = (stride * at for at in divmod(place, tile.columns))
            placed[row : row + high, column : column + wide, :, place, : len(channels)] = kernels
        kept = np.flatnonzero(self._spans().any(axis=1))
        return placed.reshape(-1, tile.rows * tile.columns * tile.channels)[kept]

    @cached_property
    def outputs(self) -> Index:
        """(sums, slots): which output (channel, position) a slot holds."""
        geometry, tile = self.geometry, self.tile
        out, rows, columns = geometry.outputs
        down, across = -(-rows // tile.rows), -(-columns // tile.columns)
        padded = np.zeros((self.chunks * tile.channels, down * tile.rows, across * tile.columns), np.int32)
        padded[:out, :rows, :columns] = np.arange(1, out * rows * columns + 1).reshape(geometry.outputs)
        split = padded.reshape(self.chunks, tile.channels, down, tile.rows, across, tile.columns)
        by_sum = split.transpose(0, 2, 4, 3, 5, 1).reshape(self.sums, -1)
        made = np.zeros((self.sums, self.slots.count), np.int32)
        made[:, : by_sum.shape[1]] = by_sum
        return made
