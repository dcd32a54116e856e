"""Integers wider than a machine word, as arrays of bits or bytes: import masks and whole plaintexts."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from gmpy2 import mpz

from twinveil.garbling.bits import integers_to_bits

Bits = npt.NDArray[np.bool_]
Bytes = npt.NDArray[np.uint8]


def random_bits(bits: int, count: int, top: int = 0) -> Bits:
    """(bits + top, count): uniform integers below 2^bits, with `top` zero bits above."""
    stored = -(-bits * count // 8)
    flat = np.unpackbits(np.frombuffer(os.urandom(stored), np.uint8))[: bits * count]
    return np.concatenate([flat.reshape(bits, count), np.zeros((top, count), np.uint8)]).astype(bool)


def low_bits(values: Sequence[mpz], bits: int) -> Bits:
    """(bits, len(values)): the low bits of non-negative integers."""
    mask = (mpz(1) << bits) - 1
    return integers_to_bits([int(value & mask) for value in values], bits)


def to_words(bits: Bits) -> npt.NDArray[np.uint64]:
    """The low 64 bits of each column."""
    rows = np.packbits(bits[:64].T.astype(np.uint8), axis=1, bitorder="little")
    words = np.zeros((rows.shape[0], 8), np.uint8)
    words[:, : rows.shape[1]] = rows
    return words.view("<u8")[:, 0].astype(np.uint64)


def place(bits: Bits, slots: npt.NDArray[np.int64], slot_bytes: int) -> list[mpz]:
    """Plaintexts with column `slots[p, j]` of `bits` in slot j of plaintext p; -1 leaves a slot 0.

    bits: (width, count) with width <= 8 * slot_bytes; slots: (plaintexts, slots).
    """
    rows = np.packbits(bits.T.astype(np.uint8), axis=1, bitorder="little")
    table = np.zeros((bits.shape[1] + 1, slot_bytes), np.uint8)
    table[:-1, : rows.shape[1]] = rows  # index -1 finds the zero row
    return [mpz(int.from_bytes(row.tobytes(), "little")) for row in table[slots]]


def constant(value: int, bits: int, count: int) -> Bits:
    """(bits, count) of one public constant."""
    column = np.array([(value >> i) & 1 for i in range(bits)], bool)
    return np.repeat(column[:, None], count, axis=1)
