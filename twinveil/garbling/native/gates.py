"""What `primitives` promises, in C: a layer a call, other threads free to run.

Nothing is kept between calls: a block's key is set up as it is met, which takes as long as some ten hashes.
"""

from __future__ import annotations

from typing import NoReturn

import numpy as np

from twinveil.garbling import hashing
from twinveil.garbling.bit_matrix import ROWS
from twinveil.garbling.labels import Bytes, Words

try:
    from twinveil.garbling.native import _gates

    BUILT = True
except ImportError:
    BUILT = False

SUPPORTED = BUILT and bool(_gates.SUPPORTED)
"""Whether it is built and this processor has what it wants."""
AND, RIPPLE = 0, 1


class Native:
    """See `primitives.Primitives`."""

    def __init__(self, start_point: bytes) -> None:
        self._start_point = start_point

    def __repr__(self) -> str:
        return "Native(...)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a start point belongs to one batch and is not pickled")

    def set_up(self, instances: range) -> None:
        """Nothing is worth it."""

    def hash(self, first: int, half: int, labels: Words) -> Words:
        labels = np.ascontiguousarray(labels)
        out = np.empty_like(labels)
        _gates.hash_labels(hashing.BLOCK, first, half, self._start_point, labels, out)
        return out

    def garble(self, first: int, delta: Words, a: Words, b: Words, tables: Words, zeros: Words) -> None:
        _gates.garble_layer(hashing.BLOCK, first, AND, self._start_point, delta, a, b, tables, zeros)

    def garble_ripple(
        self, first: int, delta: Words, x: Words, y: Words, tables: Words, carries: Words
    ) -> None:
        _gates.garble_layer(hashing.BLOCK, first, RIPPLE, self._start_point, delta, x, y, tables, carries)

    def open(self, first: int, a: Words, b: Words, tables: Words, active: Words) -> None:
        _gates.open_layer(hashing.BLOCK, first, AND, self._start_point, a, b, tables, active)

    def open_ripple(self, first: int, x: Words, y: Words, tables: Words, carries: Words) -> None:
        _gates.open_layer(hashing.BLOCK, first, RIPPLE, self._start_point, x, y, tables, carries)

    @staticmethod
    def streams(keys: Bytes, counter: int, size: int) -> Bytes:
        out = np.empty((len(keys), size), np.uint8)
        _gates.stream(counter, keys, out)
        return out

    @staticmethod
    def transpose(rows: Bytes) -> Bytes:
        out = np.empty((8 * rows.shape[1], ROWS // 8), np.uint8)
        _gates.transpose(rows, out)
        return out
