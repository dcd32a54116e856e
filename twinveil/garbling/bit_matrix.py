"""Transposing bit matrices of 128 rows, eight columns and eight rows at a time."""

from __future__ import annotations

import numpy as np

from twinveil.garbling.labels import Bytes

ROWS = 128
_BLOCK = 4096
"""Columns of bytes worked on at a time, so that the blocks stay in the cache."""

# Delta swaps of an 8x8 bit block held in 64 bits (Warren, Hacker's Delight, section 7-3): byte r, bit c.
_SWAPS = (
    (np.uint64(7), np.uint64(0x00AA00AA00AA00AA)),
    (np.uint64(14), np.uint64(0x0000CCCC0000CCCC)),
    (np.uint64(28), np.uint64(0x00000000F0F0F0F0)),
)


def transpose(rows: Bytes) -> Bytes:
    """128 x 8m bits as uint8 (128, m), to 8m x 128 bits as uint8 (8m, 16).

    Bits are little-endian in their bytes: bit c of rows[r, j] becomes bit r % 8 of out[8j + c, r // 8].
    """
    columns = rows.shape[1]
    out = np.empty((columns, 8, ROWS // 8), np.uint8)
    for start in range(0, columns, _BLOCK):
        part = rows[:, start : start + _BLOCK]
        # (byte column, row group, row in the group): each last axis is one 8x8 block.
        blocks = part.reshape(ROWS // 8, 8, -1).transpose(2, 0, 1).copy()
        squares = blocks.view("<u8")
        for shift, mask in _SWAPS:
            swap = squares >> shift
            swap ^= squares
            swap &= mask
            squares ^= swap
            swap <<= shift
            squares ^= swap
        out[start : start + _BLOCK] = blocks.transpose(0, 2, 1)
    return out.reshape(8 * columns, ROWS // 8)
