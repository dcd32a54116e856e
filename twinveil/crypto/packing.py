"""Many integers in one plaintext: unsigned, byte-aligned slots, slot 0 least significant.

Slots are a matter of linear algebra modulo N: a negative partial sum borrows from the slot above, and adding
an offset or a mask gives it back. So only the total that is decrypted has to be non-negative in every slot,
which `draw_masks` sees to: for y in [lo, hi], s = -lo + uniform keeps y + s in its slot. Everything goes
through bytes and numpy; no Python loop runs over slots.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
from gmpy2 import mpz
from numpy.typing import NDArray

WORD_BYTES = 8


def pack(values: NDArray[np.uint64], slot_bytes: int) -> list[mpz]:
    """sum_j values[i, j] 2^(8 slot_bytes j) for every row i of `values` (count, slots).

    Raises ValueError if a value does not fit its slot.
    """
    if values.dtype != np.uint64 or values.ndim != 2:
        raise ValueError("packed values are uint64 of shape (count, slots)")
    if slot_bytes < WORD_BYTES and int(values.max(initial=0)) >> (8 * slot_bytes):
        raise ValueError(f"a value does not fit a slot of {slot_bytes} bytes")
    count, slots = values.shape
    kept = min(slot_bytes, WORD_BYTES)
    cells = np.zeros((count, slots, slot_bytes), dtype=np.uint8)
    words = np.ascontiguousarray(values).astype("<u8", copy=False).view(np.uint8)
    cells[:, :, :kept] = words.reshape(count, slots, WORD_BYTES)[:, :, :kept]
    return _integers(cells)


def pack_wide(values: Sequence[Sequence[int]], slot_bytes: int) -> list[mpz]:
    """As `pack`, for non-negative integers wider than 64 bits. OverflowError if one does not fit its slot."""
    return [
        mpz.from_bytes(b"".join([int(value).to_bytes(slot_bytes, "little") for value in row]), "little")
        for row in values
    ]


def unpack_low(plaintexts: Sequence[mpz], slots: int, slot_bytes: int, bits: int) -> NDArray[np.uint64]:
    """The low `bits` bits (at most 64) of slots 0 to slots - 1 of every plaintext: (count, slots)."""
    if not 1 <= bits <= min(64, 8 * slot_bytes):
        raise ValueError(f"a slot of {slot_bytes} bytes has no {bits} low bits to unpack")
    cells = _cells(plaintexts, slots, slot_bytes)
    kept = min(slot_bytes, WORD_BYTES)
    words = np.zeros((len(plaintexts), slots, WORD_BYTES), dtype=np.uint8)
    words[:, :, :kept] = cells[:, :, :kept]
    return _words(words) & np.uint64((1 << bits) - 1)


def draw_masks(
    count: int,
    slots: int,
    slot_bytes: int,
    mask_bits: int | Sequence[int],
    offset: int | Sequence[int] = 0,
) -> tuple[list[mpz], NDArray[np.uint64]]:
    """Masks s uniform in [offset, offset + 2^mask_bits), one for every slot of `count` plaintexts.

    mask_bits and offset: for all slots, or one for each. Returns the packed masks and s mod 2^64 as (count,
    slots). One call to the operating system's generator. Raises ValueError if a mask could leave its slot.
    """
    widths = _per_slot(mask_bits, slots)
    offsets = _per_slot(offset, slots)
    for width, start in zip(widths, offsets, strict=True):
        if width < 0 or start < 0 or start + (1 << width) > 1 << (8 * slot_bytes):
            raise ValueError(f"a mask of {width} bits and its offset do not fit {slot_bytes} bytes")
    drawn = -(-max(widths, default=0) // 8)
    keep = b"".join([((1 << width) - 1).to_bytes(drawn, "little") for width in widths])
    random = np.frombuffer(os.urandom(count * slots * drawn), dtype=np.uint8).reshape(count, slots, drawn)
    cells = np.zeros((count, slots, max(slot_bytes, WORD_BYTES)), dtype=np.uint8)
    cells[:, :, :drawn] = random & np.frombuffer(keep, dtype=np.uint8).reshape(slots, drawn)
    low = np.array([value % (1 << 64) for value in offsets], dtype=np.uint64)
    shift = pack_wide([offsets], slot_bytes)[0]
    packed = [mask + shift for mask in _integers(cells[:, :, :slot_bytes])]
    return packed, _words(cells[:, :, :WORD_BYTES]) + low


def _per_slot(value: int | Sequence[int], slots: int) -> list[int]:
    values = [value] * slots if isinstance(value, int) else list(value)
    if len(values) != slots:
        raise ValueError(f"{len(values)} values for {slots} slots")
    return values


def _integers(cells: NDArray[np.uint8]) -> list[mpz]:
    """Rows of bytes (count, slots, slot_bytes) as integers."""
    count, slots, slot_bytes = cells.shape
    size = slots * slot_bytes
    data = cells.tobytes()
    return [mpz.from_bytes(data[at * size : (at + 1) * size], "little") for at in range(count)]


def _low_bytes(plaintext: mpz, size: int) -> bytes:
    if plaintext.bit_length() > 8 * size:
        plaintext = plaintext % (mpz(1) << (8 * size))
    return bytes(plaintext.to_bytes(size, "little"))


def _cells(plaintexts: Sequence[mpz], slots: int, slot_bytes: int) -> NDArray[np.uint8]:
    size = slots * slot_bytes
    data = b"".join([_low_bytes(plaintext, size) for plaintext in plaintexts])
    return np.frombuffer(data, dtype=np.uint8).reshape(len(plaintexts), slots, slot_bytes)


def _words(cells: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Bytes (count, slots, 8) as little-endian 64-bit words (count, slots)."""
    count, slots, _ = cells.shape
    words = np.ascontiguousarray(cells).view("<u8").reshape(count, slots)
    return words.astype(np.uint64, copy=False)
